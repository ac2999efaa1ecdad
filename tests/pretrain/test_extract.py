from __future__ import annotations

import gc
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bassl.config.resolve import resolve_extract

from bassl.config.load import load
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.model.checkpoint import Checkpoint
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
from bassl.pretrain.extract import warn_of_other_pictures
from tests.runs import extract_overrides, pretrain_overrides


@pytest.mark.parametrize("chunk", [9, 300], ids=["three shots at a time", "a film at a time"])
def test_no_more_than_one_film_is_ever_held(
    chunk: int, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained = ["config.TRAINER.max_epochs=0", "config.TEST.KNN_VALIDATION=false"]
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, tmp_path), *untrained]) == 0
    whole, written, alive = FeatureWriter.write, [], []

    def write(self: FeatureWriter, film: str, features: np.ndarray) -> None:
        gc.collect()
        alive.append(sum(array() is not None for array in written))
        written.append(weakref.ref(features))
        whole(self, film, features)

    monkeypatch.setattr(FeatureWriter, "write", write)
    more = ["+config.LOAD_FROM=devel", f"config.TEST.BATCH_SIZE.effective_batch_size={chunk}"]
    assert extract_shot_repr.main([*extract_overrides(tiny_movienet, tmp_path), *more]) == 0
    assert alive == [0, 0, 0]
    store = FeatureStore.open(tmp_path / "features")
    assert store.num_shots == {"tt0000001": 40, "tt0000002": 31, "tt0000003": 24}


@pytest.mark.parametrize(
    ("stored", "warned"),
    [
        ({"test": {"resize": 96, "crop": 90}}, True),
        ({"test": {"resize": 256, "crop": 224}}, False),
        ({"test": {"Resize": 96}}, False),
        ([{"name": "VideoResize"}], False),
        (None, False),
    ],
    ids=["other", "same", "other names", "the reference's", "none"],
)
@pytest.mark.parametrize("place", ["within", "beside"])
def test_other_pictures_than_in_pretraining_are_one_warning(
    place: str, stored: object, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    config = {} if stored is None else {"TRANSFORM": stored}
    beside, within = (config, {}) if place == "beside" else (None, {"bassl": {"config": config}})
    checkpoint = Checkpoint(Path("/ckpt/a/last.ckpt"), {}, config=beside, metadata=within)
    warn_of_other_pictures(resolve_extract(load("extract", ["config.LOAD_FROM=a"])), checkpoint)
    said = (
        "key-frames are resized to 256 and cropped to 224 pixels, those of /ckpt/a/last.ckpt were to 96 and 90; "
        "for the same, set config.TRANSFORM.test.resize=96 config.TRANSFORM.test.crop=90"
    )
    assert caplog.messages == [said] * warned


def test_processes_wait_for_one_another_for_days(
    tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares depend on the films alone, so after a resume one process may have all the work."""
    given: dict[str, Any] = {}

    def trainer(**arguments: Any) -> None:
        given.update(arguments)
        raise InterruptedError

    untrained = ["config.TRAINER.max_epochs=0", "config.TEST.KNN_VALIDATION=false"]
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, tmp_path), *untrained]) == 0
    monkeypatch.setattr("bassl.pretrain.extract.pl.Trainer", trainer)
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu", "+config.LOAD_FROM=devel"]
    with pytest.raises(InterruptedError):
        extract_shot_repr.main([*extract_overrides(tiny_movienet, tmp_path), *two])
    assert given["strategy"]._timeout > timedelta(days=1)
