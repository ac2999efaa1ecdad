from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from bassl.plots.style import add_axes, add_text, new_figure, optional_picture, save_figure, truncate_text
from tests.runs import ROOT

HOSTILE = [
    "$\\frac{1}{",
    "line\nbreak\ttab\x00null",
    "\u202ereversed",
    "影片 фильм",
    "\ud800 half",
    "x" * 5000,
    "",
]


def test_a_saved_picture_has_the_requested_size_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_figure(tmp_path / "new" / "picture.png", new_figure(317, 123))
    with Image.open(tmp_path / "new" / "picture.png") as image:
        assert (image.format, image.size) == ("PNG", (317, 123))
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_failed_save_keeps_the_previous_picture(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"previous")
    figure = new_figure(20, 20)
    figure.text(0.5, 0.5, "$\\frac{1$")  # markup that matplotlib refuses when it draws
    with pytest.raises(ValueError, match=r"Parse|frac|Expected"):
        save_figure(path, figure)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"previous"]


def test_axes_are_placed_in_pixels_from_the_upper_left_corner() -> None:
    axes = add_axes(new_figure(200, 100), left=20, top=10, width=100, height=50)
    assert axes.get_position().bounds == pytest.approx((0.1, 0.4, 0.5, 0.5))


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_drawn_literally_within_the_picture_and_without_a_warning(text: str, tmp_path: Path) -> None:
    figure = new_figure(400, 60)
    add_text(figure, 10, 10, text, size=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(tmp_path / "picture.png", figure)
    (drawn,) = figure.texts
    assert drawn.get_window_extent().x1 <= 400
    assert "\n" not in drawn.get_text()


def test_long_text_is_cut_with_an_ellipsis_and_wide_letters_earlier() -> None:
    assert truncate_text("  a\n\n b\x07\u202ec ", 400, 12) == "a b c"
    cut = truncate_text("x" * 300, 400, 12)
    assert cut.endswith("…") and 20 < len(cut) < 60
    assert len(truncate_text("影" * 300, 400, 12)) < len(cut)


def test_a_failing_optional_picture_is_one_warning_and_an_interrupt_still_ends_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with optional_picture("timeline.png"):
        raise ZeroDivisionError("by zero")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].startswith("timeline.png was not drawn (ZeroDivisionError: by zero)")
    with pytest.raises(KeyboardInterrupt), optional_picture("timeline.png"):
        raise KeyboardInterrupt


def test_no_display_is_needed_and_matplotlib_is_imported_only_to_draw(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bassl.plots.timeline import draw_timeline, film_scores\n"
        "assert 'matplotlib' not in sys.modules\n"
        "draw_timeline(Path(sys.argv[1]), 'film', film_scores([0.1, 0.9]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", code, str(tmp_path / "picture.png")]
    subprocess.run(command, env=environment | {"MPLBACKEND": "tkagg"}, cwd=ROOT, check=True)
    assert (tmp_path / "picture.png").is_file()
