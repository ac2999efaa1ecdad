from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from bassl.errors import InputError
from bassl.plots.scalars import Series, over_epochs, read_scalars


def series(step: list[int], value: list[float]) -> Series:
    return Series(np.array(step, dtype=np.int64), np.array(value, dtype=np.float64))


def test_what_was_logged_is_read_back(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(30):
            writer.add_scalar("train/loss", step / 2, step)
            writer.add_scalar("train/ssm", -step, 10 * step)
    scalars = read_scalars(tmp_path)
    assert sorted(scalars) == ["train/loss", "train/ssm"]
    assert scalars["train/loss"].step.tolist() == list(range(30))
    assert scalars["train/loss"].value.tolist() == [step / 2 for step in range(30)]
    assert scalars["train/ssm"].step.tolist() == list(range(0, 300, 10))


def test_nothing_is_thinned(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(12_000):
            writer.add_scalar("train/loss", 1.0, step)
    assert len(read_scalars(tmp_path)["train/loss"].step) == 12_000


def test_a_step_that_a_resumed_run_logged_again_counts_once_with_its_later_value(tmp_path: Path) -> None:
    for number, (first, last, value) in enumerate([(0, 5, 1.0), (3, 8, 2.0)]):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{number}") as writer:
            for step in range(first, last):
                writer.add_scalar("train/loss", value, step, walltime=1e9 + 100 * number + step)
    loss = read_scalars(tmp_path)["train/loss"]
    assert loss.step.tolist() == list(range(8))
    assert loss.value.tolist() == [1, 1, 1, 2, 2, 2, 2, 2]


def test_nan_is_read_as_nan(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("train/loss", float("nan"), 0)
    assert np.isnan(read_scalars(tmp_path)["train/loss"].value).tolist() == [True]


@pytest.mark.parametrize("name", [".", "missing"])
def test_a_folder_without_tensorboard_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"holds no TensorBoard file; give the log folder of a run"):
        read_scalars(tmp_path / name)


def test_epochs_are_read_off_what_was_logged_beside() -> None:
    scalars = {"epoch": series([0, 10, 20, 30], [0, 0, 1, 1]), "knn/precision@1": series([15, 31], [50, 60])}
    found = over_epochs(scalars["knn/precision@1"], scalars)
    assert found.step.tolist() == [1, 2]
    assert found.value.tolist() == [50, 60]


def test_a_point_before_training_stands_at_epoch_0() -> None:
    scalars = {"epoch": series([0, 15, 31], [0, 0, 1]), "knn/precision@1": series([0, 15, 31], [40, 50, 60])}
    assert over_epochs(scalars["knn/precision@1"], scalars).step.tolist() == [0, 1, 2]


def test_without_epochs_points_are_numbered() -> None:
    assert over_epochs(series([15, 31], [50, 60]), {}).step.tolist() == [1, 2]
