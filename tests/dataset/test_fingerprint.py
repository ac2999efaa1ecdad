from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from bassl.dataset.annotation import read_annotations
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.dataset.fingerprint import fingerprint
from bassl.dataset.keyframes import Keyframes


@pytest.fixture
def data(tiny_movienet: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_movienet, tmp_path / "data")


def of(data: Path) -> dict[str, object]:
    notes = read_annotations(data / "anno" / "anno.train.ndjson")
    return fingerprint(data / "anno", ["train", "test"], Keyframes(data / "240P_frames", notes))


def test_annotations_are_told_by_the_hash_of_their_files(data: Path) -> None:
    found = of(data)
    assert found["annotations"] == str(data / "anno")
    assert found["sha256"] == {
        name: hashlib.sha256((data / "anno" / name).read_bytes()).hexdigest()
        for name in ("anno.test.ndjson", "anno.train.ndjson")
    }


@pytest.mark.parametrize("change", ["label", "keyframe", "missing"])
def test_other_labels_and_other_key_frames_have_another_fingerprint(change: str, data: Path) -> None:
    before = of(data)
    assert of(data) == before
    first = data / "240P_frames" / "tt0000001" / "shot_0000_img_0.jpg"
    if change == "label":
        path = data / "anno" / "anno.train.ndjson"
        path.write_text(path.read_text().replace('"boundary_label": 0', '"boundary_label": 1', 1))
        part = "sha256"
    elif change == "keyframe":
        shutil.copy(first.with_name("shot_0001_img_0.jpg"), first)
        part = "keyframes"
    else:
        first.unlink()
        part = "keyframes"
    after = of(data)
    assert [name for name in before if after[name] != before[name]] == [part]


def test_features_are_told_by_their_index(data: Path, tmp_path: Path) -> None:
    hashes = []
    for model in ("one", "two"):
        writer = FeatureWriter(tmp_path / model, 4, "float32", {"model": {"name": model, "sha256": model}})
        writer.begin()
        writer.write("tt0000001", np.zeros((3, 4), np.float32))
        writer.finish({"tt0000001": 3})
        found = fingerprint(data / "anno", [], store=FeatureStore.open(tmp_path / model))["features"]
        assert found["folder"] == str(tmp_path / model)
        hashes.append(found["sha256"])
    assert hashes[0] != hashes[1]
