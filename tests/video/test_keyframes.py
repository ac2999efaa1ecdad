from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bassl.dataset.shot_files import keyframe_numbers
from bassl.video.cuts import CutFinder
from bassl.video.keyframes import detected_shots, given_shots
from bassl.video.reader import FilmReader
from bassl.video.settings import DetectorSettings
from tests.video.clips import read_number, spans, write_clip

LENGTHS = (24, 61, 17, 40)


def detected(path, **arguments):
    with FilmReader(path) as reader:
        return list(detected_shots(reader, CutFinder(DetectorSettings(), reader.rate), **arguments))


def given(path, frames):
    with FilmReader(path) as reader:
        return list(given_shots(reader, np.array(frames)))


@pytest.mark.parametrize(("first", "last", "expected"), [
    (0, 35, (8, 16, 24)), (36, 284, (98, 160, 222)), (5, 5, (5, 5, 5)), (0, 3, (0, 0, 0)), (10, 14, (11, 12, 13)),
])  # fmt: skip
def test_key_frames_lie_at_the_quarters_as_in_movienet(first, last, expected):
    assert keyframe_numbers(first, last) == expected


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264", "avi"])
def test_detected_shots_carry_the_very_frames_that_they_name(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    shots = detected(write_clip(tmp_path / f"a.{suffix}", LENGTHS, Fraction(25), codec=codec))
    assert [(shot.first, shot.last) for shot in shots] == spans(LENGTHS)
    assert [tuple(read_number(image) for image in shot.images) for shot in shots] == [shot.numbers for shot in shots]
    assert [shot.numbers for shot in shots] == [keyframe_numbers(*span) for span in spans(LENGTHS)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
@pytest.mark.parametrize("buffer", [0, 5, 40])
def test_frames_that_are_read_again_are_the_same_as_those_that_were_kept(tmp_path, suffix, buffer):
    path = write_clip(tmp_path / f"a.{suffix}", LENGTHS, Fraction(25), options={"g": "20", "bf": "2"})
    for short, long in zip(detected(path, buffer=buffer), detected(path), strict=True):
        assert short.numbers == long.numbers
        assert all(np.array_equal(a, b) for a, b in zip(short.images, long.images, strict=True))


def test_the_buffer_never_holds_more_than_it_may(tmp_path, monkeypatch):
    held = []
    path = write_clip(tmp_path / "a.mp4", (300,))
    import bassl.video.keyframes as module

    forget = module._forget
    monkeypatch.setattr(module, "_forget", lambda kept, *rest: (forget(kept, *rest), held.append(len(kept))))
    detected(path, buffer=50)
    assert len(held) == 300
    assert max(held) == 50


def test_a_film_of_one_shot_is_one_shot(tmp_path):
    (shot,) = detected(write_clip(tmp_path / "a.mp4", (50,)))
    assert (shot.first, shot.last) == (0, 49)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_the_shortest_films_are_one_shot(tmp_path, length):
    (shot,) = detected(write_clip(tmp_path / "a.mp4", (length,)))
    assert (shot.first, shot.last, shot.numbers) == (0, length - 1, (0, 0, 0))


def test_given_shots_are_taken_as_they_are(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (100,))
    frames = [(0, 9), (10, 10), (30, 70), (71, 99)]
    shots = given(path, frames)
    assert [(shot.first, shot.last) for shot in shots] == frames
    assert [tuple(read_number(image) for image in shot.images) for shot in shots] == [
        keyframe_numbers(*f) for f in frames
    ]


def test_given_shots_end_with_the_film(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (60,))
    shots = given(path, [(0, 19), (20, 99), (100, 140)])
    assert [(shot.first, shot.last) for shot in shots] == [(0, 19), (20, 59)]
    assert [read_number(image) for image in shots[1].images] == list(keyframe_numbers(20, 59))


def test_every_frame_is_told(tmp_path):
    path = write_clip(tmp_path / "a.mp4", LENGTHS)
    calls: list[int] = []
    detected(path, on_frame=lambda: calls.append(1))
    assert len(calls) == sum(LENGTHS)
