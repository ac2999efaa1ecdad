from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image

from bassl.errors import InputError
from bassl.segment.encode import encode_film
from bassl.segment.model import load_model
from bassl.video.cuts import CutFinder
from bassl.video.keyframes import detected_shots
from bassl.video.reader import FilmReader
from bassl.video.settings import DetectorSettings, ShotSettings
from tests.video.clips import read_number, spans, write_clip

LENGTHS = (30, 40, 25, 35, 30)


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path, device="cpu")


def test_a_film_is_read_once_for_all_that_is_known_of_it(film, model):
    shots = encode_film(film, model.encoder, ShotSettings())
    assert shots.frames.tolist() == [list(span) for span in spans(LENGTHS)]
    assert shots.features.shape == (5, 512)
    assert (shots.name, shots.width, shots.height, shots.has_audio) == ("a film.mp4", 160, 96, True)
    assert (shots.times.num_frames, shots.warnings) == (160, ())


def test_features_are_those_of_the_shots_key_frames(film, model):
    found = encode_film(film, model.encoder, ShotSettings()).features
    with FilmReader(film) as reader:
        shots = list(detected_shots(reader, CutFinder(DetectorSettings(), reader.rate)))
    for feature, shot in zip(found, shots, strict=True):
        alone = model.encoder.encode([[model.encoder.prepare(image) for image in shot.images]])[0]
        np.testing.assert_allclose(feature, alone, rtol=0.05, atol=0.05 * np.abs(alone).max())


def test_thumbnails_show_the_middle_key_frame(film, model):
    shots = encode_film(film, model.encoder, ShotSettings())
    images = [np.asarray(Image.open(io.BytesIO(image))) for image in shots.thumbnails]
    assert [image.shape for image in images] == [(120, 200, 3)] * 5
    assert [read_number(image) for image in images] == [a + 2 * ((b - a) // 4) for a, b in spans(LENGTHS)]


def test_an_interrupt_ends_in_the_middle_of_a_shot(tmp_path, model, monkeypatch):
    """The film is not read to its end first, and nothing reads it any more."""
    path = write_clip(tmp_path / "a.mp4", (20, 900))
    seen: list[int] = []
    interrupted = threading.Event()
    push = CutFinder.push

    def pushed(self, picture):
        seen.append(picture.index)
        assert picture.index != 100 or interrupted.wait(60)  # by then the first shot is being encoded
        return push(self, picture)

    def interrupt(self, shots):
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(CutFinder, "push", pushed)
    monkeypatch.setattr(model.encoder, "batch_size", 1)

    monkeypatch.setattr(type(model.encoder), "encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        encode_film(path, model.encoder, ShotSettings())
    assert len(seen) < 900
    assert not [thread for thread in threading.enumerate() if thread.name == "bassl-decode"]


def test_an_encoder_that_has_diverged_is_told(film, model, monkeypatch):
    nan = np.full((8, 4), np.nan, np.float32)
    monkeypatch.setattr(type(model.encoder), "encode", lambda self, shots: nan[: len(shots)])
    with pytest.raises(InputError, match="NaN"):
        encode_film(film, model.encoder, ShotSettings())
