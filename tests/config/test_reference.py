from __future__ import annotations

from pathlib import Path

import pytest

import bassl
from bassl.config import reference
from bassl.config.load import known_keys
from bassl.config.schema import JOBS

DOCUMENT = Path(bassl.__file__).parents[1] / "docs" / "config.md"


def test_the_documented_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    reference.main()
    printed = capsys.readouterr().out
    assert DOCUMENT.read_text(encoding="utf-8") == printed, "run `python3 -m bassl.config.reference > docs/config.md`"


def test_every_key_has_one_row_in_the_table_of_its_job() -> None:
    sections = reference.reference().split("\n## ")[1:]
    assert len(sections) == len(JOBS)
    for job, section in zip(JOBS, sections, strict=True):
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == list(known_keys(job))
        assert all(row.count(" | ") == 2 for row in rows)
