"""One process or several: the same model, the same features, the same scores. All over gloo on the CPU."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from bassl.config.resolve import resolve_pretrain

from bassl.config.load import load
from bassl.model.checkpoint import read_checkpoint
from bassl.plots.scalars import read_scalars
from bassl.pretrain.train import build_module
from tests.runs import extract_overrides, finetune_overrides, pretrain_overrides, typed
from tests.soak_jobs import scalars

MODULES = {
    "pretrain": "bassl.pretrain.main",
    "extract": "bassl.pretrain.extract_shot_repr",
    "finetune": "bassl.finetune.main",
}
NO_DROPOUT = "config.MODEL.contextual_relation_network.params.trn.hidden_dropout_prob=0"


def processes(number: int) -> list[str]:
    return [f"config.DISTRIBUTED.NUM_PROC_PER_NODE={number}", "config.TRAINER.accelerator=cpu"]


def run(job: str, *overrides: str) -> str:
    done = typed(["-m", MODULES[job], *overrides])
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def runs(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The three steps with one and with two processes; features of both come from the first one's checkpoint."""
    folders = {number: tmp_path_factory.mktemp(f"processes{number}") for number in (1, 2)}
    for number, out in folders.items():
        first = "config.TEST.VAL_FIRST=true"
        said = run("pretrain", *pretrain_overrides(tiny_movienet, out), NO_DROPOUT, first, *processes(number))
        checkpoints = f"config.CKPT_PATH={folders[1]}/pretrain/ckpt"
        extraction = [*extract_overrides(tiny_movienet, out), checkpoints, "+config.LOAD_FROM=devel"]
        said += run("extract", *extraction, *processes(number))
        tuning = [*finetune_overrides(tiny_movienet, out), f"config.PRETRAINED_CKPT_PATH={folders[1]}/pretrain/ckpt"]
        said += run("finetune", *tuning, NO_DROPOUT, "+config.PRETRAINED_LOAD_FROM=devel", *processes(number))
        (out / "said.txt").write_text(said)
    return folders


@pytest.mark.slow
def test_pretraining_ends_with_the_same_weights(runs: dict[int, Path], tiny_movienet: Path) -> None:
    same_weights(runs, pretrain_overrides(tiny_movienet, runs[1]), seed=1)


def same_weights(runs: dict[int, Path], overrides: list[str], seed: int) -> None:
    """Apart by less than 5 % of the way that training went.

    Not element by element: statistics of a batch in two parts are rounded otherwise, so among a million inputs of
    ReLU one near zero may change its sign, and with it single gradients (seed 5: one input in step 1, 0.6 % of the
    way in the end; 0.001 % for a seed without). Rows read twice or gradients summed are as far apart as the way.
    """
    one, two = (read_checkpoint(runs[number] / "pretrain" / "ckpt" / "devel").state_dict for number in (1, 2))
    pl.seed_everything(seed, verbose=False)
    module = build_module(resolve_pretrain(load("pretrain", [*overrides, NO_DROPOUT])), seed, {})
    assert one.keys() == two.keys() == module.state_dict().keys()
    moved, apart = (
        torch.stack([torch.dist(one[name], weights[name]) for name, _ in module.named_parameters()]).norm()
        for weights in (module.state_dict(), two)
    )
    assert moved > 1e-3
    assert apart < 0.05 * moved
    for name, _ in module.named_buffers():
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_processes_say_no_more_than_one(runs: dict[int, Path]) -> None:
    """What we log is of all ranks already, and rank zero speaks."""
    said = (runs[2] / "said.txt").read_text()
    assert "2 process(es)" in said
    for noise in ("sync_dist", "Initializing distributed", "GLOBAL_RANK", "broadcast_buffers", "Warning"):
        assert noise not in said, said


@pytest.mark.slow
def test_validation_before_training_gives_the_same_measures(runs: dict[int, Path]) -> None:
    """One test film: the second process has none, and takes part all the same."""
    one, two = (read_scalars(out / "pretrain" / "logs" / "devel") for out in runs.values())
    for tag in ("knn/precision@1", "val/pseudo_boundary_distance", "val/pseudo_boundary_distance_random"):
        assert (one[tag].step[0], two[tag].step[0]) == (0, 0)
        assert (len(one[tag].step), len(two[tag].step)) == (2, 2)
        assert two[tag].value[0] == pytest.approx(one[tag].value[0])


@pytest.mark.slow
def test_every_logged_number_is_that_of_the_whole_batch(runs: dict[int, Path]) -> None:
    one, two = (
        {
            job: {name: value for name, value in scalars(out / job / "logs" / "devel").items() if "train/" in name}
            for job in ("pretrain", "finetune")
        }
        for out in runs.values()
    )
    names = {name.split(" at ")[0] for name in one["pretrain"]}
    assert names == {f"train/{name}" for name in ("loss", "lr", "ssm", "cgm", "pp", "msm")}
    for job, values in one.items():
        assert two[job].keys() == values.keys()
        for name, value in values.items():
            assert two[job][name] == pytest.approx(value, rel=1e-3, abs=1e-4), (job, name)


@pytest.mark.slow
def test_extraction_gives_the_same_bytes(runs: dict[int, Path]) -> None:
    one, two = (
        {
            path.name: path.read_bytes()
            for pattern in ("*.npy", "index.json")
            for path in (out / "features").glob(pattern)
        }
        for out in runs.values()
    )
    assert sorted(one) == ["index.json", "tt0000001.npy", "tt0000002.npy", "tt0000003.npy"]
    assert one == two


@pytest.mark.slow
def test_three_processes_extract_the_same_bytes(runs: dict[int, Path], tiny_movienet: Path, tmp_path: Path) -> None:
    """Of three films, and of a split with one, where two processes have nothing to do."""
    whole = runs[1] / "features"
    overrides = [*extract_overrides(tiny_movienet, tmp_path), f"config.CKPT_PATH={runs[1]}/pretrain/ckpt"]
    for split, films in (("trainvaltest", 3), ("test", 1)):
        store = tmp_path / split
        more = ["+config.LOAD_FROM=devel", f"config.SPLIT={split}", f"config.FEATURE_PATH={store}"]
        run("extract", *overrides, *more, *processes(3))
        arrays = sorted(path.name for path in store.glob("*.npy"))
        assert len(arrays) == films
        assert [(store / name).read_bytes() for name in arrays] == [(whole / name).read_bytes() for name in arrays]


@pytest.mark.slow
def test_fine_tuning_gives_the_same_probabilities(runs: dict[int, Path]) -> None:
    """After six steps of Adam, which magnifies rounding; equal models score equally, as the next test shows."""
    one, two = (
        [
            float(line.split(",")[2])
            for line in (out / "finetune/logs/devel/predictions.csv").read_text().splitlines()[1:]
        ]
        for out in runs.values()
    )
    assert len(one) == 23
    np.testing.assert_allclose(two, one, atol=5e-4)


@pytest.mark.slow
def test_three_processes_score_films_that_do_not_divide(runs: dict[int, Path], tiny_movienet: Path) -> None:
    """23 test rows over 3 processes: evaluation alone repeats the scores of one process."""
    out = runs[1]
    overrides = [*finetune_overrides(tiny_movienet, out), "+config.LOAD_FROM=devel", "config.EXPR_NAME=three"]
    overrides.append("config.TRAIN.BATCH_SIZE.effective_batch_size=9")
    run("finetune", *overrides, *processes(3))
    logs = out / "finetune" / "logs"
    one, three = (json.loads((logs / name / "all_score.json").read_text())["test"] for name in ("devel", "three"))
    np.testing.assert_allclose(list(three.values()), list(one.values()), rtol=1e-6)
    assert (logs / "three" / "predictions.csv").read_text() == (logs / "devel" / "predictions.csv").read_text()


@pytest.mark.slow
def test_an_error_in_one_process_ends_both_with_its_sentence(
    runs: dict[int, Path], tiny_movienet: Path, tmp_path: Path
) -> None:
    """The second process reads the second film, of which a shot has no key-frame."""
    data = shutil.copytree(tiny_movienet, tmp_path / "data")
    for keyframe in range(3):
        (data / "240P_frames" / "tt0000002" / f"shot_0005_img_{keyframe}.jpg").unlink()
    overrides = [*extract_overrides(data, runs[1]), f"config.FEATURE_PATH={tmp_path}/features"]
    done = typed(["-m", MODULES["extract"], *overrides, "+config.LOAD_FROM=devel", *processes(2)], timeout=60)
    assert done.returncode != 0
    assert "error: shot 5 of film tt0000002 has no key-frame that can be read" in done.stderr


@pytest.mark.slow
def test_torchrun_without_a_seed_trains_what_one_process_trains_with_the_seed_that_was_drawn(
    tiny_movienet: Path, tmp_path: Path
) -> None:
    """The real script and torchrun: with a seed for each rank, rows would be read twice or never."""
    more = ["+method=bassl", "config.EXPR_NAME=devel", "config.TEST.KNN_VALIDATION=false", NO_DROPOUT]
    folders = {number: tmp_path / str(number) for number in (1, 2)}
    overrides = [word for word in pretrain_overrides(tiny_movienet, folders[2]) if "SEED" not in word]
    script = ["bash", "scripts/torchrun_pretrain.sh", *overrides, *more[1:], *processes(2)]
    done = typed(shlex.join(script), env={"PYTHON": sys.executable, "NUM_PROC_PER_NODE": "2"})
    assert done.returncode == 0, done.stderr[-3000:]
    seed = json.loads((folders[2] / "pretrain" / "ckpt" / "devel" / "config.json").read_text())["SEED"]
    run("pretrain", *pretrain_overrides(tiny_movienet, folders[1]), *more, f"config.SEED={seed}")
    same_weights(folders, [*pretrain_overrides(tiny_movienet, folders[1]), *more], seed)


@pytest.mark.slow
def test_torchrun_itself_is_told_to_share_a_seed(tiny_movienet: Path, tmp_path: Path) -> None:
    overrides = [word for word in pretrain_overrides(tiny_movienet, tmp_path) if "SEED" not in word]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "bassl/pretrain/main.py"]
    done = typed([*launcher, *overrides, *processes(2)])
    assert done.returncode != 0
    assert "error: config.SEED is unset, and 2 processes" in done.stderr
    assert list(tmp_path.iterdir()) == []
