from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from bassl.plots.tiles import (
    MISSING_COLOR,
    crop_to_fill,
    draw_caption,
    draw_tile,
    new_sheet,
    strip_pixels,
    strip_tiles,
)
from tests.plots.drawing import plain_keyframe


def test_every_shot_has_a_tile_where_there_is_room() -> None:
    tiles = strip_tiles(20, scene_ends=[3, 9], shot_width=74, tile_width=120)
    assert [tuple(tile) for tile in tiles] == [(i, i + 1, i) for i in range(20)]


def test_a_scene_is_thinned_to_equal_tiles_of_about_the_requested_width() -> None:
    tiles = strip_tiles(12, scene_ends=[], shot_width=10, tile_width=40)
    assert [tuple(tile) for tile in tiles] == [(0, 4, 2), (4, 8, 6), (8, 12, 10)]


@pytest.mark.parametrize("seed", range(20))
def test_tiles_cover_all_shots_once_and_never_reach_across_a_scene_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_shots = int(rng.integers(1, 80))
    ends = rng.integers(0, num_shots, size=int(rng.integers(0, 9))).tolist()
    tiles = strip_tiles(num_shots, ends, float(rng.uniform(0.5, 90)), tile_width=60)
    assert (tiles[0].left, tiles[-1].right) == (0, num_shots)
    assert all(tile.right == after.left for tile, after in pairwise(tiles))
    for tile in tiles:
        assert tile.left < tile.right
        assert int(tile.left) <= tile.shown < tile.right
        assert not any(tile.left < end + 1 < tile.right for end in ends)


def test_the_strip_shows_each_tiles_keyframe_reads_no_other_and_is_grey_without_one() -> None:
    tiles = strip_tiles(30, scene_ends=[10], shot_width=12.5, tile_width=40)
    read: list[int] = []

    def keyframe(shot: int) -> np.ndarray | None:
        read.append(shot)
        return None if shot == 100 + tiles[3].shown else plain_keyframe(shot)

    pixels = strip_pixels(tiles, list(range(100, 130)), keyframe, shot_width=12.5, height=20)
    assert pixels.shape == (20, 375, 3)
    assert read == [100 + tile.shown for tile in tiles] and len(tiles) == 9
    for number, tile in enumerate(tiles):
        color = [MISSING_COLOR] * 3 if number == 3 else plain_keyframe(100 + tile.shown)[0, 0]
        np.testing.assert_array_equal(pixels[:, round((tile.left + tile.right) / 2 * 12.5)], np.tile(color, (20, 1)))


def test_a_keyframe_is_cropped_around_its_centre() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 255
    np.testing.assert_array_equal(crop_to_fill(wide, 10, 10), 255)
    np.testing.assert_array_equal(crop_to_fill(wide.transpose(1, 0, 2), 10, 10), 255)


def test_grey_and_transparent_images_become_rgb() -> None:
    assert crop_to_fill(Image.new("L", (8, 6), 7), 4, 3).tolist() == [[[7, 7, 7]] * 4] * 3
    assert crop_to_fill(Image.new("RGBA", (8, 6), (1, 2, 3, 255)), 4, 3).shape == (3, 4, 3)


@pytest.mark.parametrize("height", [16, 240, 1279, 2160])
def test_key_frames_of_every_size_fill_every_tile(height: int) -> None:
    """426 pixels wide once ended in a crop box of -1e-14 (issue 13)."""
    rng = np.random.default_rng(height)
    widths = [16, 17, 90, 320, 426, 427, 720, 1080, 1920, 4096, *rng.integers(16, 4097, 2).tolist()]
    for width in widths:
        image = Image.new("RGB", (width, height), (1, 2, 3))
        for tile in [(1, 92), (2, 92), *((int(n), 92) for n in rng.integers(3, 151, 2)), (178, 100)]:
            pixels = crop_to_fill(image, *tile)
            assert pixels.shape == (tile[1], tile[0], 3)
            assert (pixels == (1, 2, 3)).all()
    for width in range(400, 460):
        for tile_width in range(90, 130):
            crop_to_fill(Image.new("L", (width, 16)), tile_width, 92)


def test_a_sheet_counts_pixels_from_its_upper_left_corner() -> None:
    figure, axes = new_sheet("$t", "$n", 300, 200)
    draw_tile(axes, plain_keyframe(7), left=40, top=90, width=60, height=50)
    draw_tile(axes, None, left=120, top=90, width=60, height=50)
    draw_caption(axes, 250, 100, "$\\frac{")  # text is no markup
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(pixels[92:138, 42:98], np.broadcast_to(plain_keyframe(7)[0, 0], (46, 56, 3)))
    assert (pixels[92:138, 122:178] == MISSING_COLOR).all()
    assert (pixels[150:, :] == 255).all()
