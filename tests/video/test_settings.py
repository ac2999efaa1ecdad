from __future__ import annotations

from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.video.settings import THRESHOLDS, DetectorSettings, ShotSettings
from bassl.video.shot_list import read_shot_list


@pytest.mark.parametrize(("arguments", "message"), [
    ({"name": "adaptve"}, "unknown; choose adaptive"),
    ({"threshold": 0.0}, "out of range"),
    ({"min_seconds": -1.0}, "0 to 600"),
    ({"name": "transnetv2"}, "needs its network"),
    ({"network": Path("net.onnx")}, "not for adaptive"),
    ({"name": "transnetv2", "network": Path("no/net.onnx")}, "does not exist"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        DetectorSettings(**arguments)


def test_the_record_names_the_threshold_that_was_used():
    assert len(THRESHOLDS) == 3
    assert ShotSettings().described() == {"name": "adaptive", "threshold": 3.0, "min_seconds": 0.6, "network": None}
    assert ShotSettings(DetectorSettings(threshold=4.0)).described()["threshold"] == 4.0


def test_the_cache_key_changes_with_whatever_decides_the_shots(tmp_path):
    path = tmp_path / "shots.txt"
    path.write_text("0 9 2 4 6\n10 20 12 14 16\n")
    first = ShotSettings(given=read_shot_list(path)).key_parts()
    path.write_text("0 10 2 4 6\n11 20 12 14 16\n")
    network = tmp_path / "net.onnx"
    network.write_bytes(b"x")
    keys = [
        first,
        ShotSettings(given=read_shot_list(path)).key_parts(),
        ShotSettings().key_parts(),
        ShotSettings(DetectorSettings(threshold=4.0)).key_parts(),
        ShotSettings(DetectorSettings(min_seconds=1.0)).key_parts(),
        ShotSettings(DetectorSettings("transnetv2", network=network)).key_parts(),
    ]
    assert len({repr(key) for key in keys}) == 6
