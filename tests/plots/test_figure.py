from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from bassl.plots.figure import add_axes, add_text, fitting_text, new_figure, save_figure

HOSTILE = [
    "$\\frac{1}{",
    "a_b^c $x$ \\n %s {0}",
    "line\nbreak\ttab\x00null",
    "\u202ereversed",
    "影片 第一集 фильм",
    "\ud800 half of a pair",
    "x" * 5000,
    "",
]


def test_a_saved_figure_has_the_asked_number_of_pixels(tmp_path: Path) -> None:
    save_figure(tmp_path / "new" / "picture.png", new_figure(317, 123))
    with Image.open(tmp_path / "new" / "picture.png") as image:
        assert (image.format, image.size) == ("PNG", (317, 123))


def test_nothing_but_the_picture_is_left_in_the_folder(tmp_path: Path) -> None:
    save_figure(tmp_path / "picture.png", new_figure(20, 20))
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_failed_save_keeps_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    figure = new_figure(20, 20)
    figure.text(0.5, 0.5, "$\\frac{1$")  # markup that matplotlib refuses when it draws
    with pytest.raises(ValueError, match=r"Parse|frac|Expected"):
        save_figure(path, figure)
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_axes_lie_where_they_are_put_in_pixels_from_the_upper_left_corner() -> None:
    figure = new_figure(200, 100)
    bounds = add_axes(figure, left=20, top=10, width=100, height=50).get_position().bounds
    assert bounds == pytest.approx((0.1, 0.4, 0.5, 0.5))


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_drawn_as_it_stands_and_without_a_warning(text: str, tmp_path: Path) -> None:
    figure = new_figure(400, 60)
    add_text(figure, 10, 10, text, size=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(tmp_path / "picture.png", figure)
    (drawn,) = figure.texts
    assert drawn.get_window_extent().x1 <= 400
    assert "\n" not in drawn.get_text()


def test_hostile_texts_are_eight() -> None:
    assert len(HOSTILE) == 8


def test_text_is_cut_at_the_width_and_says_so() -> None:
    assert fitting_text("a short title", 400, 12) == "a short title"
    cut = fitting_text("x" * 300, 400, 12)
    assert cut.endswith("…")
    assert 20 < len(cut) < 60
    assert len(fitting_text("影" * 300, 400, 12)) < len(cut)


def test_white_space_and_control_characters_become_single_spaces() -> None:
    assert fitting_text("  a\n\n b\x07\u202ec ", 400, 12) == "a b c"


def test_no_display_is_needed_and_pyplot_is_never_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import bassl.plots.timeline as timeline\n"
        "assert 'matplotlib' not in sys.modules, 'imported before a picture is made'\n"
        "from pathlib import Path\n"
        "timeline.draw_timeline(Path(sys.argv[1]), title='film', probability=[0.1, 0.9])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment["MPLBACKEND"] = "tkagg"  # what a desktop may have set; never opened
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, str(tmp_path / "picture.png")]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").is_file()
