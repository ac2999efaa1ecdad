from __future__ import annotations

import gc
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
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
