from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bassl.dataset.shot_files import keyframe_numbers
from bassl.errors import InputError
from bassl.video.cuts import CutFinder
from bassl.video.keyframes import FrameFetcher, detected_shots, given_shots
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


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264", "avi"])
def test_detected_shots_carry_the_very_frames_that_they_name(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    shots = detected(write_clip(tmp_path / f"a.{suffix}", LENGTHS, Fraction(25), codec=codec))
    assert [(shot.first, shot.last) for shot in shots] == spans(LENGTHS)
    assert [tuple(read_number(image) for image in shot.images) for shot in shots] == [shot.numbers for shot in shots]
    assert [shot.numbers for shot in shots] == [keyframe_numbers(*span) for span in spans(LENGTHS)]


@pytest.mark.parametrize(("suffix", "buffer"), [("mp4", 0), ("mkv", 5), ("ts", 40), ("h264", 5)])
def test_frames_that_are_read_again_are_the_same_as_those_that_were_kept(tmp_path, suffix, buffer):
    path = write_clip(tmp_path / f"a.{suffix}", LENGTHS, Fraction(25), options={"g": "20", "bf": "2"})
    for short, long in zip(detected(path, buffer=buffer), detected(path), strict=True):
        assert short.numbers == long.numbers
        assert all(np.array_equal(a, b) for a, b in zip(short.images, long.images, strict=True))


@pytest.mark.parametrize("length", [1, 4])
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


def test_every_frame_is_reported(tmp_path):
    path = write_clip(tmp_path / "a.mp4", LENGTHS)
    calls: list[int] = []
    detected(path, on_frame=lambda: calls.append(1))
    assert len(calls) == sum(LENGTHS)


def fetch(path, *batches):
    with FilmReader(path) as reader:
        list(reader.pictures())
        with FrameFetcher(reader) as fetcher:
            return [{n: read_number(p.rgb()) for n, p in fetcher.fetch(batch).items()} for batch in batches]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
def test_frames_are_fetched_by_number_forwards_and_backwards(tmp_path, suffix):
    path = write_clip(tmp_path / f"a.{suffix}", (400,), options={"g": "50", "bf": "3"})
    assert fetch(path, [7, 8, 399], [200], [0]) == [{7: 7, 8: 8, 399: 399}, {200: 200}, {0: 0}]


def test_a_film_with_a_single_key_picture_is_fetched_from(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (400,), options={"g": "1000"})
    assert fetch(path, [10, 390], [200]) == [{10: 10, 390: 390}, {200: 200}]


def test_a_film_that_changes_while_it_is_read_is_one_clear_error(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (50,))
    with FilmReader(path) as reader:
        list(reader.pictures())
        path.unlink()
        write_clip(path, (20,))
        with FrameFetcher(reader) as fetcher, pytest.raises(InputError, match="do not change a film"):
            fetcher.fetch([40])
