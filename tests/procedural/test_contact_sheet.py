from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.procedural.contact_sheet import GAP, HEAD, contact_sheet, main
from bassl.procedural.screenplay import write_screenplay


def test_a_row_is_a_scene_and_a_tile_a_shot() -> None:
    film = write_screenplay(0, 0, 30, 0.0)
    sheet = np.asarray(contact_sheet([("one", film)], num_scenes=2, num_columns=5, width=32, height=18))
    assert sheet.shape == (HEAD + 2 * (18 + GAP), 5 * (32 + GAP) - GAP, 3)
    for row in range(2):
        top = HEAD + row * (18 + GAP)
        filled = [(sheet[top : top + 18, n * (32 + GAP) : n * (32 + GAP) + 32] != 255).any() for n in range(5)]
        assert filled == [True] * min(5, sum(shot.scene == row for shot in film.shots)) + [False] * (5 - sum(filled))


def test_the_command_writes_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    assert main([str(path), "--scenes", "1", "--difficulty", "0.5"]) == 0
    with Image.open(path) as image:
        assert image.width > 1000


def test_a_difficulty_that_cannot_work_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "sheet.png"), "--difficulty", "2"]) == 2
    assert capsys.readouterr().err.startswith("error: difficulty 2.0 cannot work")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("typed", "status", "said"), [
    (["sheet.xyz"], 2, "sheet.xyz is no picture by its name; end it in .jpg or .png"),
    (["sheet"], 2, "is no picture by its name"),
    (["sheet.png", "--scenes", "0"], 2, "--scenes 0 draws nothing"),
    (["a file/sheet.png"], 2, "a file cannot be written"),
])  # fmt: skip
def test_a_picture_that_cannot_be_is_one_error(
    tmp_path: Path, typed: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").write_text("text")
    assert main([str(tmp_path / typed[0]), "--difficulty", "0", *typed[1:]]) == status
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
