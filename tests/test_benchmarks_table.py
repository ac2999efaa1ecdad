"""The two commands that only show stored results answer --help and a wrong file, and write nothing then."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import readme, table


@pytest.mark.parametrize("command", [table.main, readme.main])
def test_help_is_answered_and_nothing_else_done(
    command: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(readme, "write_atomically", lambda *_: pytest.fail("the README was written"))
    with pytest.raises(SystemExit) as stop:
        command(["--help"])  # type: ignore[operator]
    assert stop.value.code == 0
    assert "usage: python3 -m benchmarks." in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "", "[]", '{"a": 1}', "{}"])
def test_a_file_that_holds_no_results_is_one_sentence(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nope.json"
    if content is not None:
        file.write_text(content)
    assert table.main([str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file} cannot be read (")
    assert said.count("\n") == 1
