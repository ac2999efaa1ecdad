from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bassl.diagnostics import pictures
from bassl.diagnostics.main import main
from tests.diagnostics.finished import write_finetuning, write_pretraining
from tests.runs import extract_overrides, finetune_overrides, pretrain_overrides, typed

FINETUNING = ["loss", "neighbors", "precision_recall", "splits", "timeline"]


@pytest.fixture
def logs(tiny_movienet: Path, tmp_path: Path) -> Path:
    return write_finetuning(tiny_movienet, tmp_path)


def drawn_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.rglob("*.png"))


def test_a_finetuning_run_gets_all_its_pictures_and_tensorboard_the_same_once(logs: Path) -> None:
    (own,) = logs.glob("events.out.tfevents.*")
    before = own.read_bytes()
    for _ in range(2):  # the second call replaces what the first one wrote
        assert main(["--run", str(logs), "--out", str(logs), "--examples", "1"]) == 0
    assert drawn_in(logs) == FINETUNING
    assert own.read_bytes() == before
    assert len(list(logs.glob("events.out.tfevents.*"))) == 2
    events = EventAccumulator(str(logs), size_guidance={"images": 0}).Reload()
    assert sorted(events.Tags()["images"]) == [f"diagnostics/{name}" for name in FINETUNING]
    for name in FINETUNING:
        (event,) = events.Images(f"diagnostics/{name}")
        with Image.open(logs / f"{name}.png") as image:
            assert image.size == (event.width, event.height)


def test_a_run_without_features_gets_the_rest_and_the_reason(
    tiny_movienet: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = write_finetuning(tiny_movienet, tmp_path, features=False)
    with caplog.at_level(logging.INFO):
        assert main(["--run", str(logs), "--out", str(tmp_path / "else where")]) == 0
    assert drawn_in(tmp_path / "else where") == ["loss", "precision_recall", "timeline"]
    assert not (logs / "diagnostics").exists()
    left_out = [message for message in caplog.messages if message.startswith("left out")]
    assert [message.split(":")[0] for message in left_out] == ["left out neighbors.png", "left out splits.png"]
    assert all("bassl extract config.LOAD_FROM=" in message for message in left_out)


def test_a_pretraining_run_gets_its_curves(tiny_movienet: Path, tmp_path: Path) -> None:
    logs = write_pretraining(tiny_movienet, tmp_path)
    assert main(["--run", str(logs)]) == 0
    assert drawn_in(logs / "diagnostics") == ["knn", "loss"]


def test_overrides_may_stand_anywhere_on_the_line(logs: Path, tmp_path: Path) -> None:
    assert main(["config.TEST.THRESHOLD=0.9", "--run", str(logs), f"config.IMG_PATH={tmp_path}"]) == 0
    assert drawn_in(logs / "diagnostics") == ["loss", "precision_recall", "timeline"]


def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(
    logs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pictures, "neighbor_figure", lambda *_: 1 / 0)
    assert main(["--run", str(logs)]) == 0
    assert drawn_in(logs / "diagnostics") == [name for name in FINETUNING if name != "neighbors"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "neighbors.png was not drawn (ZeroDivisionError" in warnings[0]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--film", "tt9"], "--film tt9 is not one of the 1 test films, such as tt0000003"),
    (["--examples", "0"], "--examples 0 and --max-films 20 must be 1 or more"),
    (["--out", f"{__file__}/d"], "name another --out"),
    (["config.DATA_PAT=x"], "did you mean config.DATA_PATH?"),
    (["config.DATA_PATH=/nowhere"], "annotation file /nowhere/anno/anno.test.ndjson does not exist"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(
    logs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["--run", str(logs), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_run_with_nothing_to_draw_is_a_mistake(
    logs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path in [*logs.glob("events.out.tfevents.*"), logs / "predictions.csv"]:
        path.unlink()
    assert main(["--run", str(logs), "--features", str(tmp_path / "none")]) == 2
    assert "holds nothing to draw" in capsys.readouterr().err


@pytest.mark.slow
def test_real_runs_are_drawn_by_the_command_as_typed(tiny_movienet: Path, tmp_path: Path) -> None:
    for entry, overrides in (
        ("pretrain/main.py", pretrain_overrides(tiny_movienet, tmp_path)),
        ("pretrain/extract_shot_repr.py", [*extract_overrides(tiny_movienet, tmp_path), "config.LOAD_FROM=devel"]),
        ("finetune/main.py", [*finetune_overrides(tiny_movienet, tmp_path), "config.PRETRAINED_LOAD_FROM=devel"]),
    ):
        done = typed([f"bassl/{entry}", *overrides])
        assert done.returncode == 0, done.stderr
    finetuned, pretrained = (tmp_path / job / "logs" / "devel" for job in ("finetune", "pretrain"))
    assert typed(["bassl/diagnostics/main.py", "--run", str(finetuned)], cwd=None).returncode == 0
    command = ["-m", "bassl.diagnostics.main", "--run", str(pretrained), "--features", str(tmp_path / "features")]
    assert typed(command).returncode == 0
    assert drawn_in(finetuned / "diagnostics") == FINETUNING
    assert drawn_in(pretrained / "diagnostics") == ["boundary_distance", "knn", "loss", "neighbors", "splits"]
    with Image.open(finetuned / "timeline.png") as own, Image.open(finetuned / "diagnostics" / "timeline.png") as image:
        # the same scores (but for their rounding in predictions.csv), threshold and times
        assert np.abs(np.asarray(image).astype(int) - np.asarray(own)).max() <= 2
