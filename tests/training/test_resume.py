"""A run that was killed and goes on ends with the very weights of one that was left alone (CPU, bit for bit)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bassl.dataset.movienet import WindowBatch
from bassl.finetune import main as finetune_main
from bassl.finetune.module import FinetuneModule
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
from tests.runs import ROOT, extract_overrides, finetune_overrides, pretrain_overrides
from tests.soak_jobs import scalars

LONGER = [
    "config.TRAINER.max_epochs=2",
    "config.TRAINER.limit_train_batches=4",
    "config.TRAINER.checkpoint_every_n_steps=1",
    "config.TEST.KNN_VALIDATION=false",
]


def same_weights(first: Path, second: Path) -> None:
    one, two = read_checkpoint(first), read_checkpoint(second)
    assert (one.epoch, one.global_step) == (two.epoch, two.global_step)
    assert one.state_dict.keys() == two.state_dict.keys()
    for name, value in one.state_dict.items():
        assert torch.equal(two.state_dict[name], value), name
    for states in zip(one.metadata["optimizer_states"], two.metadata["optimizer_states"], strict=True):
        for key, entry in states[0]["state"].items():
            for field, value in entry.items():
                assert torch.equal(torch.as_tensor(states[1]["state"][key][field]), torch.as_tensor(value)), field


class Stopped(Exception):
    """Raised in place of a kill."""


def stop_after(monkeypatch: pytest.MonkeyPatch, num_saves: int) -> None:
    """Let the run die right after a checkpoint is in place."""
    from bassl.training import checkpointing

    whole, left = checkpointing.AtomicCheckpointIO.save_checkpoint, [num_saves]

    def save(self: object, *arguments: object, **options: object) -> None:
        whole(self, *arguments, **options)  # type: ignore[arg-type]
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    monkeypatch.setattr(checkpointing.AtomicCheckpointIO, "save_checkpoint", save)


@pytest.fixture(scope="module")
def alone(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-training and a fine-tuning run that were left alone."""
    out = tmp_path_factory.mktemp("alone")
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, out), *LONGER]) == 0
    assert extract_shot_repr.main([*extract_overrides(tiny_movienet, out), "+config.LOAD_FROM=devel"]) == 0
    assert finetune_main.main([*finetune_overrides(tiny_movienet, out), *tuning()]) == 0
    return out


def with_features(alone: Path, out: Path) -> Path:
    """A folder with the pre-training and the features of another."""
    for part in ("pretrain", "features"):
        shutil.copytree(alone / part, out / part)
    return out


def tuning() -> list[str]:
    kept = [override for override in LONGER if "KNN" not in override]
    return [*kept, "+config.PRETRAINED_LOAD_FROM=devel"]


@pytest.mark.parametrize("num_saves", [3, *(pytest.param(saves, marks=pytest.mark.slow) for saves in (1, 4, 5, 7))])
def test_pretraining_goes_on_where_it_stopped(
    num_saves: int,
    alone: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Three of four steps and the end of the epoch save four times an epoch: stops within epochs and between them.

    Lightning takes loaders without a state for unreliable; ours is told where to go on. Nor is no validation news.
    """
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *LONGER]
    with monkeypatch.context() as patch:
        stop_after(patch, num_saves)
        with pytest.raises(Stopped):
            pretrain_main.main(overrides)
    assert pretrain_main.main([*overrides, "config.RESUME=true"]) == 0
    same_weights(alone / "pretrain" / "ckpt" / "devel", tmp_path / "pretrain" / "ckpt" / "devel")
    told = [str(warning.message) for warning in recwarn]
    assert not [message for message in told if "not resumable" in message or "across ranks is zero" in message]


@pytest.mark.parametrize("num_saves", [2, 4, 5, 8])
def test_fine_tuning_goes_on_where_it_stopped(
    num_saves: int, alone: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eighth is the last of all: only the report is left to write."""
    overrides = [*finetune_overrides(tiny_movienet, with_features(alone, tmp_path)), *tuning()]
    with monkeypatch.context() as patch:
        stop_after(patch, num_saves)
        with pytest.raises(Stopped):
            finetune_main.main(overrides)
    assert finetune_main.main([*overrides, "config.RESUME=true"]) == 0
    same_weights(alone / "finetune" / "ckpt" / "devel", tmp_path / "finetune" / "ckpt" / "devel")
    one, two = (folder / "finetune" / "logs" / "devel" for folder in (alone, tmp_path))
    reports = [json.loads((folder / "all_score.json").read_text()) for folder in (one, two)]
    scored = [report.pop("model")["path"] for report in reports]
    assert scored == [str(out / "finetune" / "ckpt" / "devel" / "last.ckpt") for out in (alone, tmp_path)]
    assert reports[0] == reports[1]
    trained = [{name: value for name, value in scalars(logs).items() if "train/" in name} for logs in (one, two)]
    assert trained[0] == trained[1]
    assert scalars(one).items() <= scalars(two).items(), "every validation is there"


@pytest.mark.parametrize("job", [pytest.param("pretrain", marks=pytest.mark.slow), "finetune"])
def test_a_run_with_a_limit_of_steps_goes_on_after_a_whole_epoch(
    job: str, alone: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would run an empty epoch first, and then the module counted other epochs than the sampler."""
    runs = []
    for name in ("whole", "stopped"):
        out = with_features(alone, tmp_path / name)
        if job == "pretrain":
            shutil.rmtree(out / "pretrain")
            options = [*pretrain_overrides(tiny_movienet, out), *LONGER]
        else:
            options = [*finetune_overrides(tiny_movienet, out), *tuning()]
        runs.append([*options, "config.TRAINER.max_epochs=5", "config.TRAINER.max_steps=9"])
    main = pretrain_main.main if job == "pretrain" else finetune_main.main
    assert main(runs[0]) == 0
    for num_saves, more in ((4, []), (4, ["config.RESUME=true"])):  # at the ends of the first and the second epoch
        with monkeypatch.context() as patch:
            stop_after(patch, num_saves)
            with pytest.raises(Stopped):
                main([*runs[1], *more])
    assert main([*runs[1], "config.RESUME=true"]) == 0
    same_weights(*(tmp_path / name / job / "ckpt" / "devel" for name in ("whole", "stopped")))
    logs = [scalars(tmp_path / name / job / "logs" / "devel") for name in ("whole", "stopped")]
    trained = [{name: value for name, value in found.items() if "train/" in name} for found in logs]
    assert trained[0] == trained[1]


def test_a_run_that_goes_on_with_other_micro_batches_reads_each_sample_once(
    alone: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = with_features(alone, tmp_path)
    overrides = [*finetune_overrides(tiny_movienet, out), *tuning()]
    rows: list[tuple[int, int]] = []
    step = FinetuneModule.training_step

    def noted(self: FinetuneModule, batch: WindowBatch, batch_idx: int) -> torch.Tensor:
        rows.extend((self.current_epoch, row) for row in batch.row.tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "training_step", noted)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            finetune_main.main(overrides)
    assert len(rows) == 3 * 8
    before = {path: path.read_bytes() for path in (out / "finetune").rglob("*") if path.is_file()}
    assert (
        finetune_main.main([*overrides, "config.RESUME=true", "config.TRAIN.BATCH_SIZE.effective_batch_size=16"]) == 2
    )
    assert "after 24 samples of an epoch, in steps of 8, and no step of 16" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (out / "finetune").rglob("*") if path.is_file()} == before
    halves = ["config.TRAINER.accumulate_grad_batches=2", "config.TRAINER.limit_train_batches=8"]
    assert finetune_main.main([*overrides, "config.RESUME=true", *halves]) == 0
    assert len(set(rows)) == len(rows) == 2 * 4 * 8
    stored = read_checkpoint(out / "finetune" / "ckpt" / "devel")
    assert (stored.epoch, stored.global_step) == (1, 8)


@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_another_model_than_the_stored_one_is_refused_before_anything_is_written(
    job: str, alone: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(alone, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / job
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if job == "pretrain":
        other = [*pretrain_overrides(tiny_movienet, tmp_path), "config.MODEL.shot_encoder.resnet.depth=34"]
        status = pretrain_main.main([*other, "config.RESUME=true"])
    else:
        other = [*finetune_overrides(tiny_movienet, tmp_path), *tuning()]
        wider = "config.LOSS.sampling_method.params.neighbor_size=4"
        scratch = "config.MODEL.contextual_relation_network.transfer=false"
        status = finetune_main.main([*other, "config.RESUME=true", wider, scratch])
    said = capsys.readouterr().err
    assert status == 2, said
    assert f"{folder}/ckpt/devel/last.ckpt, which holds another model than this run's" in said
    assert "missing: shot_encoder" in said if job == "pretrain" else "of another shape: crn" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(
    alone: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [name for name in pretrain_overrides(tiny_movienet, tmp_path) if "SEED" not in name]
    monkeypatch.setenv("BASSL_SEED", "0")
    for drawn, more in ((1, []), (2, ["config.RESUME=true"])):  # 1 is the seed of the run that was left alone
        del os.environ["BASSL_SEED"]  # a process of its own; the first run sets it
        with monkeypatch.context() as patch:
            patch.setattr("bassl.training.trainer.secrets.randbits", lambda _bits, drawn=drawn: drawn)
            if not more:
                stop_after(patch, 2)
                with pytest.raises(Stopped):
                    pretrain_main.main([*overrides, *LONGER])
            else:
                assert pretrain_main.main([*overrides, *LONGER, *more]) == 0
    same_weights(alone / "pretrain" / "ckpt" / "devel", tmp_path / "pretrain" / "ckpt" / "devel")


@pytest.mark.slow
def test_another_seed_draws_another_run(alone: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *LONGER, "config.SEED=2"]
    assert pretrain_main.main(overrides) == 0
    with pytest.raises(AssertionError):
        same_weights(alone / "pretrain" / "ckpt" / "devel", tmp_path / "pretrain" / "ckpt" / "devel")


@pytest.mark.slow
def test_a_killed_process_goes_on(alone: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    """SIGKILL as soon as the second checkpoint is in place, wherever the run is then."""
    command = [sys.executable, "-m", "bassl.pretrain.main", *pretrain_overrides(tiny_movienet, tmp_path), *LONGER]
    last = tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt"
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline, seen = time.monotonic() + 120, set()
    while len(seen) < 2 and time.monotonic() < deadline and process.poll() is None:
        if last.exists():
            seen.add(last.stat().st_ino)
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert pretrain_main.main([*command[3:], "config.RESUME=true"]) == 0
    same_weights(alone / "pretrain" / "ckpt" / "devel", last)
