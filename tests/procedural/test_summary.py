"""The table that the quickstart ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bassl.procedural.summary import count_ends, main

SHOTS = [{"scene": scene, "label": label} for scene, label in [(1, 0), (1, 1), (2, 0), (2, 1), (2, 0), (3, None)]]


def test_scene_ends_are_counted_as_found_labelled_and_cut() -> None:
    assert count_ends({"shots": SHOTS}) == (1, 2, 2)  # cut after shots 1 and 4, labelled after 1 and 3


def test_the_summary_shows_chance_and_three_scores_in_percent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"boundary_label": label} for label in (0, 0, 0, 1)]
    files = {
        "finetune/logs/untrained/all_score.json": {"test": {"AP": 0.5}},
        "finetune/logs/finetuned/all_score.json": {"test": {"AP": 0.75}, "training_free": {"AP": 0.625}},
        "scenes/big_buck_bunny/scenes.json": {"shots": SHOTS},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "films/anno").mkdir(parents=True)
    (tmp_path / "films/anno/anno.test.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[-1] for line in printed.splitlines() if line.startswith("  ")][:4] == [
        "25.0",
        "50.0",
        "62.5",
        "75.0",
    ]
    assert "1 of 2 labelled scene ends found, 3 scenes in all" in printed
