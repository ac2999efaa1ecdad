from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bassl.procedural.contact_sheet import NUM_COLUMNS, contact_sheet, main
from bassl.procedural.shot_plan import plan_film


def test_a_row_is_a_scene_and_a_tile_a_shot() -> None:
    film = plan_film(0, 0, 30, 0.0)
    figure = contact_sheet([("easy", film), ("again", film)], num_scenes=2)
    lengths = [min(NUM_COLUMNS, sum(shot.scene == scene for shot in film.shots)) for scene in range(2)]
    rows = [image.get_extent()[3] for image in figure.axes[0].images]
    assert [rows.count(top) for top in sorted(set(rows))] == 2 * lengths
    assert [text.get_text() for text in figure.texts][2:] == ["easy", "again"]


def test_the_command_writes_both_formats(tmp_path: Path) -> None:
    for name, kind in (("sheet.png", "PNG"), ("sheet.jpg", "JPEG")):
        assert main([str(tmp_path / name), "--scenes", "1", "--difficulty", "0.5"]) == 0
        with Image.open(tmp_path / name) as image:
            assert image.format == kind and image.width > 1000


@pytest.mark.parametrize(("typed", "message"), [
    (["sheet.xyz"], "give a file in .jpg or .png"),
    (["sheet.png", "--scenes", "0"], "--scenes 0 is invalid"),
    (["sheet.png", "--difficulty", "2"], "difficulty 2.0 is out of range"),
    (["a file/sheet.png"], "a file cannot be written"),
])  # fmt: skip
def test_an_invalid_picture_is_one_error(
    tmp_path: Path, typed: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").write_text("text")
    assert main([str(tmp_path / typed[0]), *typed[1:]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
