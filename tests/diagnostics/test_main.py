from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bassl.diagnostics.main import main
from tests.plots.finished import write_finetuning, write_pretraining
from tests.runs import extract_overrides, finetune_overrides, pretrain_overrides, typed

FINETUNING = ["loss", "neighbors", "precision_recall", "splits", "timeline"]


@pytest.fixture
def logs(tiny_movienet: Path, tmp_path: Path) -> Path:
    return write_finetuning(tiny_movienet, tmp_path)


def pictures(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.rglob("*.png"))


def images(folder: Path) -> dict[str, np.ndarray]:
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    found = {}
    for tag in events.Tags()["images"]:
        (event,) = events.Images(tag)
        found[tag] = np.array([event.width, event.height])
    return found


def test_a_finetuning_run_gets_all_its_pictures_and_tensorboard_the_same_once(logs: Path) -> None:
    for _ in range(2):  # a second call replaces what the first one wrote
        assert main(["--run", str(logs), "--examples", "1"]) == 0
    assert pictures(logs / "diagnostics") == FINETUNING
    assert len(FINETUNING) == 6
    found = images(logs / "diagnostics")
    assert sorted(found) == [f"diagnostics/{name}" for name in FINETUNING]
    for tag, size in found.items():
        with Image.open(logs / f"{tag}.png") as image:
            assert image.size == tuple(size)


def test_the_runs_own_tensorboard_files_are_never_touched(logs: Path) -> None:
    (own,) = logs.glob("events.out.tfevents.*")
    before = own.read_bytes()
    (logs / "predictions.csv").unlink()
    for _ in range(2):
        assert main(["--run", str(logs), "--out", str(logs), "--features", "none"]) == 0
    assert own.read_bytes() == before
    assert len(list(logs.glob("events.out.tfevents.*"))) == 2


def test_pictures_can_go_elsewhere(logs: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "features").iterdir():
        path.unlink()
    assert main(["--run", str(logs), "--out", str(tmp_path / "else where")]) == 0
    assert pictures(tmp_path / "else where") == ["loss", "precision_recall", "timeline"]
    assert not (logs / "diagnostics").exists()


def test_a_run_without_features_gets_the_rest_and_the_reason(
    tiny_movienet: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = write_finetuning(tiny_movienet, tmp_path, features=False)
    with caplog.at_level(logging.INFO):
        assert main(["--run", str(logs)]) == 0
    assert pictures(logs / "diagnostics") == ["loss", "precision_recall", "timeline"]
    left_out = [message for message in caplog.messages if message.startswith("left out")]
    assert [message.split(":")[0] for message in left_out] == [
        "left out neighbors.png",
        "left out splits.png",
    ]
    assert all("bassl extract config.LOAD_FROM=" in message for message in left_out)


def test_a_pretraining_run_gets_its_curves(tiny_movienet: Path, tmp_path: Path) -> None:
    logs = write_pretraining(tiny_movienet, tmp_path)
    assert main(["--run", str(logs)]) == 0
    assert pictures(logs / "diagnostics") == ["knn", "loss"]


def test_overrides_may_stand_anywhere_on_the_line(logs: Path, tmp_path: Path) -> None:
    assert main(["config.TEST.THRESHOLD=0.9", "--run", str(logs), f"config.IMG_PATH={tmp_path}"]) == 0
    assert pictures(logs / "diagnostics") == ["loss", "precision_recall", "timeline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--film", "tt9"], "--film tt9 is none of the 1 test films, such as tt0000003"),
        (["--examples", "0"], "--examples 0 and --max-films 20 must be 1 or more"),
        (["--out", f"{__file__}/d"], f"test_main.py/d cannot be written ({__file__} is a file); name another --out"),
        (["config.DATA_PAT=x"], "did you mean config.DATA_PATH?"),
        (["config.DATA_PATH=/nowhere"], "annotation file /nowhere/anno/anno.test.ndjson does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(
    logs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["--run", str(logs), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run", str(tmp_path)]) == 2
    assert "config.json does not exist; give the log folder of a run" in capsys.readouterr().err


def test_a_run_with_nothing_to_draw_says_so(logs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in [*logs.glob("events.out.tfevents.*"), logs / "predictions.csv"]:
        path.unlink()
    assert main(["--run", str(logs), "--features", str(tmp_path / "none")]) == 2
    assert "holds nothing to draw" in capsys.readouterr().err


def test_help_is_there_without_a_run() -> None:
    done = typed(["-m", "bassl.diagnostics.main", "--help"])
    assert done.returncode == 0
    assert "--run" in done.stdout


@pytest.mark.slow
def test_a_real_run_is_drawn_by_the_command_as_a_user_types_it(tiny_movienet: Path, tmp_path: Path) -> None:
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
    assert pictures(finetuned / "diagnostics") == FINETUNING
    drawn = pictures(pretrained / "diagnostics")
    assert drawn == ["boundary_distance", "knn", "loss", "neighbors", "splits"]


def test_ctrl_c_is_no_traceback(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bassl.diagnostics.main.add_to_tensorboard", interrupt)
    assert main(["--run", str(logs)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
