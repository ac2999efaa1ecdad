from __future__ import annotations

import sys
from fractions import Fraction

import pytest

from bassl.errors import InputError
from bassl.video.cuts import CutFinder
from bassl.video.reader import FilmReader
from bassl.video.settings import DetectorSettings
from tests.video.clips import NTSC_FILM, NTSC_VIDEO, write_clip


def cuts(path, settings):
    with FilmReader(path) as reader:
        finder = CutFinder(settings, reader.rate)
        return [cut for picture in reader.pictures() for cut in finder.push(picture)] + finder.finish()


@pytest.mark.parametrize("name", ["adaptive", "content"])
@pytest.mark.parametrize("rate", [NTSC_FILM, NTSC_VIDEO, Fraction(60)])
def test_cuts_are_the_first_frames_of_new_shots(tmp_path, name, rate):
    path = write_clip(tmp_path / "a.mp4", (60, 40, 75), rate)
    assert cuts(path, DetectorSettings(name)) == [60, 100]


def test_cuts_are_found_in_turned_and_in_tiny_pictures(tmp_path):
    assert cuts(write_clip(tmp_path / "a.mp4", (30, 30), rotation=90), DetectorSettings()) == [30]
    assert cuts(write_clip(tmp_path / "b.mp4", (30, 30), size=(16, 16)), DetectorSettings()) == [30]


def test_a_shot_is_as_short_as_the_setting_allows_at_any_rate(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (60, 20, 60), Fraction(50))
    assert cuts(path, DetectorSettings("content", min_seconds=0.3)) == [60, 80]
    assert 60 not in cuts(path, DetectorSettings("content", min_seconds=1.3))


def test_without_pyscenedetect_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[video\]'"):
        CutFinder(DetectorSettings(), Fraction(24))
