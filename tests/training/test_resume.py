"""A run that stops anywhere and is resumed ends with the weights of an undisturbed one, bit for bit on the CPU."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from bassl.dataset.movienet import WindowBatch
from bassl.finetune import main as finetune
from bassl.finetune.module import FinetuneModule
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import main as pretrain
from bassl.training.checkpointing import AtomicCheckpointIO
from tests.runs import FINETUNING, PRETRAINING, all_scalars, assert_same_run, finetune_overrides, pretrain_overrides

RESUME = "config.RESUME=true"


class Stopped(Exception):
    """Raised in place of a kill."""


def stop_after(monkeypatch: pytest.MonkeyPatch, num_saves: int) -> None:
    """Stop the run right after its n-th checkpoint is in place."""
    whole, left = AtomicCheckpointIO.save_checkpoint, [num_saves]

    def save(self: AtomicCheckpointIO, *arguments: object, **options: object) -> None:
        whole(self, *arguments, **options)  # type: ignore[arg-type]
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)


def trained(folder: Path) -> dict[str, float]:
    return {name: value for name, value in all_scalars(folder).items() if "train/" in name}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize(
    "num_saves", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_pretraining_resumes_where_it_stopped(
    num_saves: int, finished: Path, tiny_movienet: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder,
) -> None:  # fmt: skip
    """Saves are within the first epoch, at its end, within the second, at its end."""
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *PRETRAINING]
    with monkeypatch.context() as patch:
        stop_after(patch, num_saves)
        with pytest.raises(Stopped):
            pretrain.main(overrides)
    assert pretrain.main([*overrides, RESUME]) == 0
    assert_same_run(finished / "pretrain", tmp_path / "pretrain")
    assert all_scalars(finished / "pretrain") == all_scalars(tmp_path / "pretrain")
    assert not [warning for warning in recwarn if "not resumable" in str(warning.message)]


@pytest.mark.parametrize("num_saves", [2, *(pytest.param(saves, marks=pytest.mark.slow) for saves in (4, 8))])
def test_fine_tuning_resumes_where_it_stopped(
    num_saves: int, finished: Path, features_of: Path, tiny_movienet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eighth save is the last: only the report is left to write."""
    overrides = [*finetune_overrides(tiny_movienet, features_of), *FINETUNING]
    with monkeypatch.context() as patch:
        stop_after(patch, num_saves)
        with pytest.raises(Stopped):
            finetune.main(overrides)
    assert finetune.main([*overrides, RESUME]) == 0
    one, two = (folder / "finetune" for folder in (finished, features_of))
    assert_same_run(one, two)
    reports = [json.loads((folder / "logs/devel/all_score.json").read_text()) for folder in (one, two)]
    assert [report.pop("model")["path"] for report in reports] == [
        str(folder / "ckpt/devel/last.ckpt") for folder in (one, two)
    ]
    assert reports[0] == reports[1]
    assert trained(one) == trained(two)
    assert all_scalars(one).items() <= all_scalars(two).items(), "every validation is there"


@pytest.mark.slow
def test_a_run_with_a_limit_of_steps_resumes_after_a_whole_epoch(
    finished: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning alone would run an empty epoch first, and count epochs differently from the sampler."""
    runs = []
    for name in ("whole", "stopped"):
        for part in ("pretrain", "features"):
            shutil.copytree(finished / part, tmp_path / name / part)
        limits = ["config.TRAINER.max_epochs=5", "config.TRAINER.max_steps=9"]
        runs.append([*finetune_overrides(tiny_movienet, tmp_path / name), *FINETUNING, *limits])
    assert finetune.main(runs[0]) == 0
    for more in ([], [RESUME]):  # stop at the ends of the first and of the second epoch
        with monkeypatch.context() as patch:
            stop_after(patch, 4)
            with pytest.raises(Stopped):
                finetune.main([*runs[1], *more])
    assert finetune.main([*runs[1], RESUME]) == 0
    one, two = (tmp_path / name / "finetune" for name in ("whole", "stopped"))
    assert_same_run(one, two)
    assert trained(one) == trained(two)
    assert read_checkpoint(two / "ckpt/devel").global_step == 9


def test_a_run_resumed_with_other_micro_batches_reads_each_sample_once(
    features_of: Path, tiny_movienet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*finetune_overrides(tiny_movienet, features_of), *FINETUNING]
    rows: list[tuple[int, int]] = []
    step = FinetuneModule.training_step

    def note(self: FinetuneModule, batch: WindowBatch, batch_idx: int) -> torch.Tensor:
        rows.extend((self.current_epoch, row) for row in batch.row.tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "training_step", note)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            finetune.main(overrides)
    assert len(rows) == 3 * 8
    before = contents(features_of / "finetune")
    assert finetune.main([*overrides, RESUME, "config.TRAIN.BATCH_SIZE.effective_batch_size=16"]) == 2
    assert "after 24 samples of an epoch, in steps of 8, and cannot resume" in capsys.readouterr().err
    assert contents(features_of / "finetune") == before
    halves = ["config.TRAINER.accumulate_grad_batches=2", "config.TRAINER.limit_train_batches=8"]
    assert finetune.main([*overrides, RESUME, *halves]) == 0
    assert len(set(rows)) == len(rows) == 2 * 4 * 8
    stored = read_checkpoint(features_of / "finetune/ckpt/devel")
    assert (stored.epoch, stored.global_step) == (1, 8)


@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_another_model_than_the_stored_one_is_refused_before_anything_is_written(
    job: str, finished: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path / job)
    if job == "pretrain":
        deeper = "config.MODEL.shot_encoder.resnet.depth=34"
        status = pretrain.main([*pretrain_overrides(tiny_movienet, tmp_path), deeper, RESUME])
    else:
        wider = "config.LOSS.sampling_method.params.neighbor_size=4"
        scratch = "config.MODEL.contextual_relation_network.transfer=false"
        status = finetune.main([*finetune_overrides(tiny_movienet, tmp_path), *FINETUNING, RESUME, wider, scratch])
    assert status == 2
    assert f"{tmp_path}/{job}/ckpt/devel/last.ckpt" in capsys.readouterr().err
    assert contents(tmp_path / job) == before


def test_a_resumed_run_without_a_seed_keeps_the_one_that_was_drawn(
    finished: Path, features_of: Path, tiny_movienet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [word for word in finetune_overrides(tiny_movienet, features_of) if "SEED" not in word]
    monkeypatch.setenv("BASSL_SEED", "0")
    for drawn, more in ((1, []), (2, [RESUME])):  # 1 is the seed of the finished run
        del os.environ["BASSL_SEED"]  # as in a new process
        with monkeypatch.context() as patch:
            patch.setattr("bassl.training.trainer.secrets.randbits", lambda _bits, drawn=drawn: drawn)
            if not more:
                stop_after(patch, 2)
                with pytest.raises(Stopped):
                    finetune.main([*overrides, *FINETUNING])
            else:
                assert finetune.main([*overrides, *FINETUNING, *more]) == 0
    assert_same_run(finished / "finetune", features_of / "finetune")


def test_without_optimizer_state_a_finished_run_is_a_model_but_cannot_be_resumed(
    features_of: Path, tiny_movienet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training itself can be resumed until it is complete."""
    light = [*finetune_overrides(tiny_movienet, features_of), *FINETUNING, "config.SAVE_OPTIMIZER=false"]
    assert finetune.main(light) == 0
    assert "optimizer_states" not in read_checkpoint(features_of / "finetune/ckpt/devel").metadata
    assert finetune.main([*light, "config.LOAD_FROM=devel", "config.EXPR_NAME=evaluated"]) == 0
    capsys.readouterr()
    assert finetune.main([*light, RESUME, "config.TRAINER.max_epochs=3"]) == 2
    assert "holds weights but no training state" in capsys.readouterr().err
