from __future__ import annotations

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.plots.sheet import draw_frame, draw_tile, new_sheet, write
from tests.plots.drawing import plain_keyframe


def test_a_tile_fills_its_place_in_pixels() -> None:
    figure, axes = new_sheet("title", "note", 300, 200)
    draw_tile(axes, plain_keyframe(7), left=40, top=90, width=60, height=50)
    draw_tile(axes, None, left=120, top=90, width=60, height=50)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(pixels[92:138, 42:98], np.broadcast_to(plain_keyframe(7)[0, 0], (46, 56, 3)))
    assert (pixels[92:138, 122:178] == 226).all()
    assert (pixels[150:, :] == 255).all()


def test_a_tile_does_not_move_the_sheets_axes() -> None:
    _, axes = new_sheet("title", "note", 300, 200)
    draw_tile(axes, None, 0, 0, 10, 10)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 300), (200, 0))


def test_a_frame_carries_its_meaning_as_a_label() -> None:
    _, axes = new_sheet("title", "note", 300, 200)
    draw_frame(axes, 10, 20, 30, 40, "red", "same scene")
    (frame,) = axes.patches
    assert (frame.get_label(), frame.get_xy(), frame.get_width(), frame.get_height()) == (
        "same scene",
        (10, 20),
        30,
        40,
    )


def test_text_is_no_markup() -> None:
    figure, axes = new_sheet("$t", "$n", 300, 200)
    write(axes, 10, 10, "$\\frac{")
    figure.canvas.draw()
    assert axes.texts[0].get_text() == "$\\frac{"


def test_what_is_no_keyframe_is_refused() -> None:
    _, axes = new_sheet("title", "note", 300, 200)
    with pytest.raises(InputError, match=r"give uint8 \(H, W, 3\)"):
        draw_tile(axes, np.zeros((3, 4), np.uint8), 0, 0, 10, 10)
