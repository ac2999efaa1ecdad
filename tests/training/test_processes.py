"""One process or several: the same weights, features and scores, over gloo on the CPU."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from bassl.config.load import load
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain.train import build_module
from tests.distributed import run_in_processes
from tests.runs import all_scalars, extract_overrides, finetune_overrides, pretrain_overrides, typed

pytestmark = pytest.mark.slow
NO_DROPOUT = "config.MODEL.contextual_relation_network.params.trn.hidden_dropout_prob=0"


def run_jobs(*jobs: tuple[str, Sequence[str]]) -> None:
    """Run jobs one after another, as one of the ranks."""
    from bassl.finetune import main as finetune
    from bassl.pretrain import extract_shot_repr as extract
    from bassl.pretrain import main as pretrain

    mains = {"pretrain": pretrain.main, "extract": extract.main, "finetune": finetune.main}
    for job, overrides in jobs:
        assert mains[job](overrides) == 0, (job, overrides)


def in_processes(number: int, *jobs: tuple[str, Sequence[str]]) -> None:
    """Run jobs in ranks that something else than Lightning started, as torchrun would."""
    more = [f"config.DISTRIBUTED.NUM_PROC_PER_NODE={number}", "config.TRAINER.accelerator=cpu"]
    run_in_processes(run_jobs, number, *((job, [*overrides, *more]) for job, overrides in jobs))


@pytest.fixture(scope="module")
def outputs(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Outputs of all three jobs by number of processes; features of both come from the first one's checkpoint."""
    folders = {number: tmp_path_factory.mktemp(f"processes{number}") for number in (1, 2)}
    encoder = f"{folders[1]}/pretrain/ckpt"
    for number, out in folders.items():
        validated = [NO_DROPOUT, "config.TEST.VAL_FIRST=true"]
        in_processes(
            number,
            ("pretrain", [*pretrain_overrides(tiny_movienet, out), *validated]),
            (
                "extract",
                [*extract_overrides(tiny_movienet, out), f"config.CKPT_PATH={encoder}", "config.LOAD_FROM=devel"],
            ),
            (
                "finetune",
                [
                    *(*finetune_overrides(tiny_movienet, out), NO_DROPOUT),
                    *(f"config.PRETRAINED_CKPT_PATH={encoder}", "config.PRETRAINED_LOAD_FROM=devel"),
                ],
            ),
        )
    return folders


def assert_close_weights(first: Path, second: Path, overrides: list[str], seed: int) -> None:
    """Assert that two runs ended closer together than 5 % of the way that training went.

    Not element by element: batch statistics in two parts are rounded differently, so one of a million inputs of ReLU
    may change its sign, and single gradients with it. Rows read twice, or summed gradients, are far outside.
    """
    one, two = (read_checkpoint(out / "pretrain/ckpt/devel").state_dict for out in (first, second))
    pl.seed_everything(seed, verbose=False)
    module = build_module(load("pretrain", [*overrides, NO_DROPOUT]), seed)
    initial = module.state_dict()
    assert one.keys() == two.keys() == initial.keys()
    names = [name for name, _ in module.named_parameters()]
    moved = torch.stack([torch.dist(one[name], initial[name]) for name in names]).norm()
    apart = torch.stack([torch.dist(one[name], two[name]) for name in names]).norm()
    assert moved > 1e-3
    assert apart < 0.05 * moved
    for name, _ in module.named_buffers():
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)


def test_pretraining_ends_with_the_same_weights(outputs: dict[int, Path], tiny_movienet: Path) -> None:
    assert_close_weights(outputs[1], outputs[2], pretrain_overrides(tiny_movienet, outputs[1]), seed=1)


def test_every_logged_value_is_that_of_the_whole_batch_and_of_all_films(outputs: dict[int, Path]) -> None:
    """One test film: the second process has none, and takes part all the same."""
    for job, needed in (("pretrain", "knn/precision@1 at 0"), ("finetune", "train/loss at 0")):
        one, two = (all_scalars(out / job) for out in outputs.values())
        assert needed in one
        assert two.keys() == one.keys()
        for name, value in one.items():
            if "train/" in name or name.endswith(" at 0"):
                assert two[name] == pytest.approx(value, rel=1e-3, abs=1e-4), (job, name)
    assert {f"train/{term} at 0" for term in ("loss", "ssm", "cgm", "pp", "msm")} <= set(
        all_scalars(outputs[1] / "pretrain")
    )


def arrays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_extraction_gives_the_same_bytes_also_if_ranks_have_nothing_to_do(
    outputs: dict[int, Path], tiny_movienet: Path, tmp_path: Path
) -> None:
    whole = arrays(outputs[1] / "features")
    assert sorted(whole) == ["tt0000001.npy", "tt0000002.npy", "tt0000003.npy"]
    assert arrays(outputs[2] / "features") == whole
    index = [(out / "features/index.json").read_bytes() for out in outputs.values()]
    assert index[0] == index[1]
    own = [f"config.CKPT_PATH={outputs[1]}/pretrain/ckpt", "config.LOAD_FROM=devel", "config.SPLIT=test"]
    in_processes(3, ("extract", [*extract_overrides(tiny_movienet, tmp_path), *own]))
    assert arrays(tmp_path / "features") == {"tt0000003.npy": whole["tt0000003.npy"]}


def predictions(out: Path, name: str = "devel") -> dict[tuple[str, str], float]:
    """Return the probability of each film and shot, in the order of the file."""
    lines = (out / "finetune/logs" / name / "predictions.csv").read_text().split()[1:]
    return {(line.split(",")[0], line.split(",")[1]): float(line.split(",")[2]) for line in lines}


def test_fine_tuning_gives_the_same_probabilities(outputs: dict[int, Path]) -> None:
    """Adam magnifies rounding; equal models score equally, as the next test shows."""
    one, two = (predictions(out) for out in outputs.values())
    assert list(two) == list(one) and len(one) == 23
    np.testing.assert_allclose(list(two.values()), list(one.values()), atol=5e-4)


def test_three_processes_score_rows_that_do_not_divide(outputs: dict[int, Path], tiny_movienet: Path) -> None:
    """23 test rows: evaluation alone repeats the scores of one process."""
    out = outputs[1]
    in_processes(
        3,
        (
            "finetune",
            [*finetune_overrides(tiny_movienet, out), "config.LOAD_FROM=devel", "config.EXPR_NAME=three"],
        ),
    )
    logs = out / "finetune/logs"
    one, three = (json.loads((logs / name / "all_score.json").read_text())["test"] for name in ("devel", "three"))
    np.testing.assert_allclose(list(three.values()), list(one.values()), rtol=1e-6)
    one, three = (predictions(out, name) for name in ("devel", "three"))
    assert list(three) == list(one)
    np.testing.assert_allclose(list(three.values()), list(one.values()), atol=1e-5)


def test_an_error_in_one_of_two_processes_ends_both_with_its_message(
    finished: Path, tiny_movienet: Path, tmp_path: Path
) -> None:
    """Lightning starts the second process, which reads the second film. Nothing but the error is printed."""
    data = shutil.copytree(tiny_movienet, tmp_path / "data")
    for keyframe in range(3):
        (data / "240P_frames/tt0000002" / f"shot_0005_img_{keyframe}.jpg").unlink()
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu", "config.LOAD_FROM=devel"]
    overrides = [*extract_overrides(data, finished), f"config.FEATURE_PATH={tmp_path}/features", *two]
    done = typed(["-m", "bassl.pretrain.extract_shot_repr", *overrides], timeout=120)
    assert done.returncode != 0
    assert "error: shot 5 of film tt0000002 has no" in done.stderr
    for noise in ("sync_dist", "Initializing distributed", "GLOBAL_RANK", "broadcast_buffers", "Warning"):
        assert noise not in done.stderr


def test_torchrun_shares_a_drawn_seed_and_trains_what_one_process_trains_with_it(
    tiny_movienet: Path, tmp_path: Path
) -> None:
    """With a seed per rank, rows would be read twice or never."""
    one, two = tmp_path / "one", tmp_path / "two"
    more = ["config.EXPR_NAME=devel", "config.TEST.KNN_VALIDATION=false", NO_DROPOUT, "config.TRAINER.accelerator=cpu"]
    overrides = [word for word in pretrain_overrides(tiny_movienet, two) if "SEED" not in word]
    processes = "config.DISTRIBUTED.NUM_PROC_PER_NODE=2"
    script = shlex.join(["bash", "scripts/torchrun_pretrain.sh", *overrides, *more, processes])
    done = typed(script, env={"PYTHON": sys.executable, "NUM_PROC_PER_NODE": "2"})
    assert done.returncode == 0, done.stderr[-3000:]
    seed = json.loads((two / "pretrain/ckpt/devel/config.json").read_text())["SEED"]
    alone = [*pretrain_overrides(tiny_movienet, one), "+method=bassl", *more, f"config.SEED={seed}"]
    run_jobs(("pretrain", alone))
    assert_close_weights(one, two, alone, seed)
