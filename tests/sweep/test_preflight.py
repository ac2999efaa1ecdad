from __future__ import annotations

from pathlib import Path

import pytest

from bassl.config.load import load
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.errors import InputError
from bassl.finetune.inputs import Window, read_splits
from bassl.sweep.experiment import Experiment
from bassl.sweep.preflight import check_runs
from bassl.sweep.runs import Run, plan_runs
from tests.movienet import write_movienet
from tests.reference import data

FILMS = {f"tt{number:07d}": 12 + number for number in range(9)}  # train: 0, 3 and 6 with 11, 14 and 17 rows


@pytest.fixture(scope="module")
def movienet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_movienet(tmp_path_factory.mktemp("movienet"), FILMS)


def runs(movienet: Path, folder: Path, films: list[int], *settings: str) -> list[Run]:
    experiment = Experiment(name="x", about="x", rows={"a": ["+method=shotcol"]}, labelled_films=films)
    batch = [f"{job}:config.TRAIN.BATCH_SIZE.effective_batch_size=20" for job in ("pretrain", "finetune")]
    small = ["pretrain:config.DISTRIBUTED.NUM_PROC_PER_NODE=1", *batch]
    return plan_runs(experiment, [f"config.DATA_PATH={movienet}", *small, *settings], folder, [0], ["a"])


def test_a_sweep_that_can_start_is_accepted(movienet: Path, tmp_path: Path) -> None:
    check_runs(runs(movienet, tmp_path, [2, 3]))


@pytest.mark.parametrize(("films", "setting", "message"), [
    ([1], "config.TRAIN.NUM_WORKERS=0", "row a, finetune-1films: a batch of 20 samples does not fit the 11 samples"),
    ([4], "config.TRAIN.NUM_WORKERS=0", r"has 3 films, not 4; give at most 3 labelled films"),
    ([], "config.ANNO_PATH=/nowhere", "row a, pretrain: there is no /nowhere/anno.pretrain.ndjson"),
    ([], "config.DISTRIBUTED.NUM_PROC_PER_NODE=20", "row a, pretrain: .*NUM_PROC_PER_NODE=20 needs as many GPUs"),
])  # fmt: skip
def test_a_step_that_cannot_start_is_refused_with_its_row(
    movienet: Path, tmp_path: Path, films: list[int], setting: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_runs(runs(movienet, tmp_path, films, setting))


def test_fine_tuning_reads_the_first_films_of_train_only(movienet: Path, tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path / "features", 4, "float32", {"model": None})
    writer.begin()
    for name, num_shots in FILMS.items():
        writer.write(name, data(0, (num_shots, 4)).numpy())
    writer.finish(FILMS)
    given = [f"config.DATA_PATH={movienet}", f"config.FEATURE_PATH={tmp_path / 'features'}"]
    store = FeatureStore.open(tmp_path / "features")
    for number, rows in ((None, 42), (2, 25)):
        config = load("finetune", [*given, *([f"config.TRAIN.NUM_FILMS={number}"] if number else [])])
        splits, _ = read_splits(config, ["train", "test"], store, Window.of(config))
        assert (len(splits["train"].windows), len(splits["test"].windows)) == (rows, 48)
    config = load("finetune", [*given, "config.TRAIN.NUM_FILMS=4"])
    with pytest.raises(InputError, match=r"NUM_FILMS=4, but anno\.train has only 3 films"):
        read_splits(config, ["train"], store, Window.of(config))
