"""The soak of `tests.soak`, in short: its own table says what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import typed


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_end_as_if_they_had_been_left_alone(tmp_path: Path) -> None:
    done = typed(["-m", "tests.soak", "--kills", "4", "--folder", str(tmp_path)])
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == ["pretrain", "finetune", "extract", "prepare"]
    assert [row[-1].removesuffix(" |") for row in rows] == ["nothing"] * 4
    assert [sum(int(word) for word in row[1].split("(")[0].split() if word.isdigit()) for row in rows] == [1, 1, 1, 1]
