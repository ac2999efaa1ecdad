from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bassl.segment.encode as encode_module
from bassl.errors import InputError
from bassl.segment.analyse import analyse
from bassl.segment.cache import Cache
from bassl.segment.model import load_model
from bassl.segment.reference import find_model
from bassl.video.settings import DetectorSettings, ShotSettings
from bassl.video.shot_list import ShotList
from tests.segment.models import SMALL, save_pretrained
from tests.video.clips import write_clip


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path, device="cpu")


def refuse():
    raise AssertionError("the model was loaded")


def test_a_second_call_loads_nothing_and_gives_the_same(film, model, tmp_path):
    cache = Cache(tmp_path)
    first = analyse(film, model.reference, lambda: model, ShotSettings(), cache)
    second = analyse(film, model.reference, refuse, ShotSettings(), cache)
    for name in ("frames", "probability", "similarity"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert replace(first, frames=0, probability=0, similarity=0) == replace(
        second, frames=0, probability=0, similarity=0
    )


def test_another_head_over_the_same_encoder_reads_no_frame_again(film, model, tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    analyse(film, model.reference, lambda: model, ShotSettings(), cache)
    other = load_model(save_pretrained(tmp_path / "pre.ckpt", transform=SMALL), device="cpu")
    monkeypatch.setattr(encode_module, "encode_film", lambda *_: refuse())
    found = analyse(film, other.reference, lambda: other, ShotSettings(), cache)
    assert found.model.kind == "zero-shot"
    assert np.isfinite(found.probability[:-1]).all()


@pytest.mark.parametrize(("settings", "num_shots"), [
    (ShotSettings(DetectorSettings(threshold=2.5)), 5),
    (ShotSettings(given=ShotList(Path("list.txt"), np.array([[0, 79], [80, 159]]))), 2),
])  # fmt: skip
def test_other_shots_are_another_analysis(film, model, tmp_path, settings, num_shots):
    cache = Cache(tmp_path)
    analyse(film, model.reference, lambda: model, ShotSettings(), cache)
    loads: list[int] = []
    found = analyse(film, model.reference, lambda: loads.append(1) or model, settings, cache)
    assert (len(loads), len(found.frames)) == (1, num_shots)


def test_a_film_that_cannot_be_read_leaves_nothing_in_the_cache(tmp_path, model):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    with pytest.raises(InputError, match="cannot be read as a video"):
        analyse(bad, model.reference, lambda: model, ShotSettings(), Cache(tmp_path / "cache"))
    with pytest.raises(InputError, match="does not exist"):
        analyse(tmp_path / "none.mp4", model.reference, refuse, ShotSettings(), Cache(None))
    assert not (tmp_path / "cache").exists()


def test_a_known_film_needs_neither_torch_nor_pyav(film, model, tmp_path):
    analyse(film, model.reference, lambda: model, ShotSettings(), Cache(tmp_path))
    code = (
        "import sys\nfrom pathlib import Path\nfrom bassl.segment.api import segment\n"
        f"found = segment({str(film)!r}, {str(model.reference.checkpoint)!r}, cache={str(tmp_path)!r}, threshold=0.4)\n"
        "assert len(found.shots) == 5\nassert not {'torch', 'av', 'cv2'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_pyav_one_sentence_says_so(film, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "bassl.segment.encode", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[video\]'"):
        analyse(film, model.reference, lambda: model, ShotSettings(), Cache(None))


def test_one_shot_films_have_one_undecided_shot(tmp_path, model):
    path = write_clip(tmp_path / "one.mp4", (20,))
    found = analyse(path, find_model(model.reference.checkpoint), lambda: model, ShotSettings(), Cache(None))
    assert found.frames.tolist() == [[0, 19]]
    assert np.isnan(found.probability).all()
