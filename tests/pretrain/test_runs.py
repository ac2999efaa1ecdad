"""Pre-training and extraction through the real entry points: untrained baselines, validation, the feature store."""

from __future__ import annotations

import gc
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bassl.config.load import load
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.model.checkpoint import Checkpoint, read_checkpoint
from bassl.plots.scalars import read_scalars
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
from bassl.pretrain.extract import warn_of_other_transform
from tests.movienet import FILMS
from tests.runs import extract_overrides, pretrain_overrides

MEASURES = ["knn/precision@1", "val/pseudo_boundary_distance", "val/pseudo_boundary_distance_random"]
STILL = "config.TRAIN.OPTIMIZER.lr.base_lr=1e-30"  # steps that change nothing


def pretrain(data: Path, out: Path, *more: str) -> Path:
    assert pretrain_main.main([*pretrain_overrides(data, out), *more]) == 0
    return out / "pretrain"


def extract(data: Path, pretrained: Path, out: Path, *more: str) -> int:
    places = [f"config.CKPT_PATH={pretrained}/pretrain/ckpt", "+config.LOAD_FROM=untrained"]
    return extract_shot_repr.main([*extract_overrides(data, out), *places, *more])


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / "ckpt" / name).state_dict)


def assert_equal(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


@pytest.fixture(scope="module")
def untrained(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a run of no epochs, called `untrained`."""
    out = tmp_path_factory.mktemp("untrained")
    pretrain(tiny_movienet, out, "config.EXPR_NAME=untrained", "config.TRAINER.max_epochs=0")
    return out


def test_no_epochs_measure_and_save_the_initial_weights(untrained: Path) -> None:
    folder = untrained / "pretrain"
    files = sorted(path.name for path in (folder / "ckpt" / "untrained").glob("[!.]*"))
    assert files == ["config.json", "environment.json", "last.ckpt"]
    assert read_checkpoint(folder / "ckpt" / "untrained").global_step == 0
    scalars = read_scalars(folder / "logs" / "untrained")
    assert [scalars[tag].step.tolist() for tag in MEASURES] == [[0]] * 3
    assert all(0 <= scalars[tag].value[0] <= 100 for tag in MEASURES)
    assert not [tag for tag in scalars if tag.startswith("train/")]


@pytest.mark.slow
def test_every_method_starts_from_the_same_encoder(untrained: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    """With one seed, so the untrained row of a sweep is what the others were before training."""
    drawn = weights(untrained / "pretrain", "untrained")
    folder = pretrain(tiny_movienet, tmp_path, "+method=instance", STILL, "config.TEST.KNN_VALIDATION=false")
    still = weights(folder, "devel")
    names = [
        name for name in still if name.startswith("shot_encoder.") and "running_" not in name and "num_b" not in name
    ]
    assert len(names) > 50
    assert_equal({name: still[name] for name in names}, {name: drawn[name] for name in names}, rtol=0, atol=1e-20)


@pytest.mark.slow
def test_validating_first_or_resuming_from_untrained_weights_changes_no_number(
    untrained: Path, tiny_movienet: Path, tmp_path: Path
) -> None:
    plain = pretrain(tiny_movienet, tmp_path / "plain")
    first = pretrain(tiny_movienet, tmp_path / "first", "config.TEST.VAL_FIRST=true")
    assert_equal(weights(first, "devel"), weights(plain, "devel"))
    with_first, without = (read_scalars(folder / "logs" / "devel") for folder in (first, plain))
    for tag in MEASURES:
        assert with_first[tag].step.tolist() == [0, *without[tag].step.tolist()]
        assert with_first[tag].value[1:].tolist() == without[tag].value.tolist()
    path = untrained / "pretrain" / "ckpt" / "untrained" / "last.ckpt"
    resumed = pretrain(tiny_movienet, tmp_path / "resumed", f"config.RESUME={path}")
    assert_equal(weights(resumed, "devel"), weights(plain, "devel"))


def test_extraction_holds_one_film_at_a_time(
    untrained: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written, alive = FeatureWriter.write, [], []

    def watch(self: FeatureWriter, film: str, features: np.ndarray) -> None:
        gc.collect()
        alive.append(sum(array() is not None for array in written))
        written.append(weakref.ref(features))
        write(self, film, features)

    monkeypatch.setattr(FeatureWriter, "write", watch)
    assert extract(tiny_movienet, untrained, tmp_path, "config.TEST.BATCH_SIZE.effective_batch_size=9") == 0
    assert alive == [0, 0, 0]
    assert FeatureStore.open(tmp_path / "features").num_shots == FILMS


def test_a_store_keeps_finished_films_and_refuses_other_numbers(
    untrained: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(tiny_movienet, untrained, tmp_path) == 0
    films = [tmp_path / "features" / f"{name}.npy" for name in FILMS]
    whole = films[0].read_bytes()
    films[0].unlink()
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in films[1:]]
    assert extract(tiny_movienet, untrained, tmp_path) == 0
    assert films[0].read_bytes() == whole
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in films[1:]] == before, "also the last one"
    for change in ("config.TRANSFORM.test.resize=34", "config.TRANSFORM.test.crop=30", "config.TRAINER.precision=bf16"):
        assert extract(tiny_movienet, untrained, tmp_path, change) == 2
        assert str(tmp_path / "features") in capsys.readouterr().err
    assert films[0].read_bytes() == whole


def test_a_dry_run_of_extraction_writes_nothing(untrained: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    assert extract(tiny_movienet, untrained, tmp_path, "config.DRY_RUN=true") == 0
    assert not list(tmp_path.iterdir())


def test_processes_of_an_extraction_wait_for_one_another_for_days(
    untrained: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares depend on the films alone, so after a resume one process may have all the work."""
    given: dict[str, Any] = {}

    def trainer(**arguments: Any) -> None:
        given.update(arguments)
        raise InterruptedError

    monkeypatch.setattr("bassl.pretrain.extract.pl.Trainer", trainer)
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]
    with pytest.raises(InterruptedError):
        extract(tiny_movienet, untrained, tmp_path, *two)
    assert given["strategy"]._timeout > timedelta(days=1)
    assert (given["devices"], given["use_distributed_sampler"]) == (2, False)


@pytest.mark.parametrize(("stored", "warned"), [
    ({"test": {"resize": 96, "crop": 90}}, True),
    ({"test": {"resize": 256, "crop": 224}}, False),
    ([{"name": "VideoResize"}], False),  # the reference's own
])  # fmt: skip
def test_another_transform_than_in_pretraining_is_one_warning(
    stored: object, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for beside, within in (({"TRANSFORM": stored}, {}), (None, {"bassl": {"config": {"TRANSFORM": stored}}})):
        caplog.clear()
        checkpoint = Checkpoint(Path("/ckpt/a/last.ckpt"), {}, config=beside, metadata=within)
        warn_of_other_transform(load("extract", ["config.LOAD_FROM=a"]), checkpoint)
        assert len(caplog.messages) == warned
        assert all("config.TRANSFORM.test.resize=96 config.TRANSFORM.test.crop=90" in line for line in caplog.messages)
