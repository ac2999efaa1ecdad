from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

import bassl.segment
from bassl.errors import InputError
from bassl.segment import DetectorSettings, Scene, default_cache, load_model, segment, write
from tests.segment.models import SMALL, save_encoder


def test_three_lines_segment_a_film(film, model_path):
    model = load_model(model_path, device="cpu")
    scenes = [
        (scene.start.timecode, scene.end.seconds, scene.num_shots) for scene in segment(film, model, threshold=0.0)
    ]
    assert scenes[1] == ("00:00:01:06", 70 * Fraction(1001, 24000), 1)
    assert len(scenes) == 5


def test_a_path_is_loaded_when_it_is_needed(film, model_path, tmp_path):
    first = segment(film, model_path, device="cpu", cache=tmp_path)
    second = segment(film, str(model_path), device="no such device", cache=tmp_path)
    assert first == second
    assert first.threshold.origin.startswith("chosen on the validation split")


def test_the_number_of_scenes_can_be_asked_for(film, model_path, tmp_path):
    assert [len(segment(film, model_path, num_scenes=n, cache=tmp_path, device="cpu")) for n in (1, 3, 5)] == [1, 3, 5]


def test_shots_detector_and_labels_can_be_given(film, model_path, tmp_path):
    shots, labels = tmp_path / "shots.txt", tmp_path / "labels.txt"
    shots.write_text("0 79\n80 159\n")
    labels.write_text("0 1\n")
    found = segment(film, model_path, shots=shots, labels=labels, device="cpu", threshold=0.0)
    assert [(shot.start.frame, shot.end.frame) for shot in found.shots] == [(0, 80), (80, 160)]
    assert found.labels.tolist() == [1, -2]
    assert found.evaluation["model"]["F1"] == 1.0
    assert "training-free" in found.evaluation
    found = segment(film, model_path, detector=DetectorSettings(min_seconds=100.0), device="cpu")
    assert len(found.shots) == 1


def test_without_a_model_scores_are_training_free(film, tmp_path):
    found = segment(film, load_model(None, encoder=save_encoder(tmp_path / "e.ckpt", transform=SMALL), device="cpu"))
    assert found.model.kind == "training-free"
    assert "mean score" in found.threshold.origin
    assert found.evaluation == {}


def test_results_can_be_written(film, model_path, tmp_path):
    found = segment(film, model_path, device="cpu")
    written = write(found, tmp_path / "out", "json,edl")
    assert [path.name for path in written] == ["scenes.json", "scenes.edl"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write(found, tmp_path / "file" / "out")


def test_mistakes_are_told_before_the_film_is_read(film, model_path, tmp_path, monkeypatch):
    monkeypatch.setattr("bassl.segment.api.analyse", None)
    for arguments in ({"shots": tmp_path / "none.csv"}, {"model": "no such model"}, {"labels": tmp_path / "none.csv"}):
        with pytest.raises(InputError):
            segment(film, **{"model": model_path, **arguments})


def test_the_package_offers_what_it_lists():
    assert len(bassl.segment.__all__) == 10
    for name in bassl.segment.__all__:
        assert getattr(bassl.segment, name) is not None
    assert set(bassl.segment.__all__) <= set(dir(bassl.segment))
    assert bassl.segment.Scene is Scene
    assert isinstance(default_cache(), Path)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bassl.segment.nothing  # noqa: B018
