from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import bassl.segment
from bassl.errors import InputError
from bassl.segment import DetectorSettings, Scene, default_cache, load_model, segment, write
from bassl.segment.api import Options, analyse
from bassl.video.settings import ShotSettings
from bassl.video.shot_list import ShotList
from tests.segment.models import SMALL, save_encoder, save_finetuned, save_pretrained


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path, device="cpu")


def options(film, model, cache, **more):
    return Options(film, model.spec, cache=cache, **more)


def refuse():
    raise AssertionError("the model was loaded")


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


def test_the_package_offers_what_it_lists():
    assert len(bassl.segment.__all__) == 10
    for name in bassl.segment.__all__:
        assert getattr(bassl.segment, name) is not None
    assert set(bassl.segment.__all__) <= set(dir(bassl.segment))
    assert bassl.segment.Scene is Scene
    assert isinstance(default_cache(), Path)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bassl.segment.nothing  # noqa: B018


def test_a_second_call_loads_nothing_and_gives_the_same(film, model, tmp_path):
    first = analyse(options(film, model, tmp_path), lambda: model)
    second = analyse(options(film, model, tmp_path), refuse)
    np.testing.assert_array_equal(first[0].frames, second[0].frames)
    for name in ("probability", "training_free"):
        np.testing.assert_array_equal(getattr(first[1], name), getattr(second[1], name))
    assert first[1].model == second[1].model


def test_a_model_trained_again_under_its_name_is_not_answered_from_the_cache(film, tmp_path):
    def threshold(value):
        path = save_finetuned(tmp_path / "mine" / "last.ckpt", threshold=value, transform=SMALL)
        return segment(film, path, cache=tmp_path / "cache", device="cpu").threshold.value

    assert (threshold(0.25), threshold(0.75)) == (0.25, 0.75)


def test_another_head_over_the_same_encoder_reads_no_frame_again(film, model, tmp_path, monkeypatch):
    analyse(options(film, model, tmp_path), lambda: model)
    other = load_model(save_pretrained(tmp_path / "pre.ckpt", transform=SMALL), device="cpu")
    monkeypatch.setattr("bassl.segment.api.encode_film", None)
    _, scores = analyse(options(film, other, tmp_path), lambda: other)
    assert scores.model.kind == "zero-shot"
    assert np.isfinite(scores.probability[:-1]).all()


@pytest.mark.parametrize(("settings", "num_shots"), [
    (ShotSettings(DetectorSettings(threshold=2.5)), 5),
    (ShotSettings(given=ShotList(Path("list.txt"), np.array([[0, 79], [80, 159]]))), 2),
])  # fmt: skip
def test_other_shots_are_another_analysis(film, model, tmp_path, settings, num_shots):
    analyse(options(film, model, tmp_path), lambda: model)
    loads: list[int] = []
    found, _ = analyse(options(film, model, tmp_path, shots=settings), lambda: loads.append(1) or model)
    assert (len(loads), len(found.frames)) == (1, num_shots)


def test_a_known_film_needs_neither_torch_nor_pyav(film, model, tmp_path):
    analyse(options(film, model, tmp_path), lambda: model)
    code = (
        "import sys\nfrom pathlib import Path\nfrom bassl.segment.api import segment\n"
        f"found = segment({str(film)!r}, {str(model.spec.checkpoint)!r}, cache={str(tmp_path)!r}, threshold=0.4)\n"
        "assert len(found.shots) == 5\nassert not {'torch', 'av', 'cv2'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_pyav_one_sentence_says_so(film, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "bassl.video.reader", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[video\]'"):
        analyse(options(film, model, None), lambda: model)


def test_the_scorer_gets_the_films_features_and_shot_lengths(film, model, monkeypatch):
    seen = []
    score = type(model).score
    monkeypatch.setattr(type(model), "score", lambda self, *given: seen.append(given) or score(self, *given))
    found, _ = analyse(options(film, model, None), lambda: model)
    ((features, lengths),) = seen
    assert features is found.features
    assert lengths.tolist() == [30, 40, 25, 35, 30]
