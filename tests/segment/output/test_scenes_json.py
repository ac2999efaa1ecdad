from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bassl.segment.output.scenes_json import FORMAT, VERSION, write_json
from bassl.video.timing import FrameTimes
from tests.segment.models import segmentation

RATES = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)]


def document(tmp_path, found):
    write_json(tmp_path / "scenes.json", found)
    return json.loads((tmp_path / "scenes.json").read_bytes())


@pytest.mark.parametrize("rate", RATES)
def test_frames_and_exact_seconds_say_the_same(tmp_path, rate):
    found = document(tmp_path, segmentation(rate=rate))
    assert Fraction(found["film"]["frame_rate"]) == rate
    moments = [part[end] for kind in ("scenes", "shots") for part in found[kind] for end in ("start", "end")]
    assert len(moments) == 2 * (3 + 5)
    for moment in moments:
        assert Fraction(moment["exact_seconds"]) * rate == moment["frame"]
        assert moment["seconds"] == pytest.approx(float(Fraction(moment["exact_seconds"])), abs=1e-12)


def test_everything_that_is_documented_is_there(tmp_path):
    found = document(tmp_path, segmentation())
    assert (found["format"], found["version"]) == (FORMAT, VERSION) == ("bassl-scenes", 1)
    assert set(found) == {
        "format", "version", "generator", "film", "model", "settings", "warnings", "evaluation", "scenes", "shots",
    }  # fmt: skip
    assert set(found["film"]) == {
        "name", "path", "width", "height", "codec", "num_frames", "frame_rate", "has_variable_frame_rate", "seconds",
        "timecode",
    }  # fmt: skip
    assert set(found["model"]) == {
        "name", "kind", "sha256", "encoder", "encoder_id", "threshold", "decoder", "scorer", "about",
    }  # fmt: skip
    assert set(found["settings"]) == {"threshold", "threshold_origin", "shots"}
    assert set(found["scenes"][0]) == {"scene", "start", "end", "first_shot", "last_shot", "probability"}
    assert set(found["shots"][0]) == {"shot", "scene", "start", "end", "keyframes", "probability", "label"}
    assert set(found["shots"][0]["start"]) == {"frame", "seconds", "exact_seconds", "timecode"}


def test_every_field_is_in_the_documentation(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "video.md").read_text()

    def names(value):
        for name, inner in value.items():
            yield name
            inner = inner[0] if isinstance(inner, list) and inner else inner
            yield from names(inner) if isinstance(inner, dict) else ()

    found = set(names(document(tmp_path, segmentation())))
    assert len(found) > 35
    assert {name for name in found if f"`{name}`" not in text} == set()


def test_the_last_shot_is_not_decided(tmp_path):
    found = document(tmp_path, segmentation())
    assert [shot["probability"] for shot in found["shots"]] == [0.1, 0.9, 0.3, 0.7, None]
    assert found["scenes"][-1]["probability"] is None
    assert [shot["scene"] for shot in found["shots"]] == [1, 1, 2, 2, 3]
    assert found["shots"][1]["keyframes"] == [54, 68, 82]


def test_variable_frame_rates_have_exact_seconds_too(tmp_path):
    times = FrameTimes(Fraction(30), Fraction(0), 6, np.array([0, 33, 66, 500, 533, 566]), Fraction(1, 1000), 33)
    found = document(tmp_path, segmentation(lengths=[3, 3], probability=(0.9,), times=times))
    assert found["film"]["has_variable_frame_rate"] is True
    assert found["scenes"][1]["start"] == {
        "frame": 3, "seconds": 0.5, "exact_seconds": "1/2", "timecode": "00:00:00:15",
    }  # fmt: skip
