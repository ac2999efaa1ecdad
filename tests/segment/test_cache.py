from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bassl.segment.cache import FACTS, Cache, default_folder
from bassl.segment.scenes import FilmShots, ModelInfo, Scores
from bassl.video.timing import FrameTimes

VARIABLE = FrameTimes(Fraction(30), Fraction(1, 3), 4, np.array([0, 40, 70, 110]), Fraction(1, 1000), 33)
CONSTANT = FrameTimes(Fraction(24000, 1001), Fraction(0), 4)
MODEL = ModelInfo("mine", "fine-tuned", "0" * 64, "mine", "1" * 64, 0.4)


def shots(times, path):
    return FilmShots(
        path=path,
        width=640,
        height=480,
        codec="h264",
        has_audio=True,
        timecode="01:00:00:00",
        times=times,
        frames=np.array([[0, 1], [2, 3]]),
        thumbnails=(b"first", b"", b"third")[:2],
        features=np.arange(8, dtype=np.float32).reshape(2, 4),
        detector={"name": "adaptive", "threshold": 3.0},
        warnings=("odd",),
        has_lengths=False,
    )


@pytest.mark.parametrize("times", [VARIABLE, CONSTANT])
def test_a_films_shots_come_back_as_they_were_for_wherever_the_film_is_now(tmp_path, times):
    cache, before = Cache(tmp_path), shots(times, Path("/old/place.mp4"))
    cache.write_shots("key", before)
    after = cache.read_shots("key", Path("/new/place.mp4"), with_features=True)
    assert after.path == Path("/new/place.mp4")
    for name in FACTS:
        assert getattr(after, name) == getattr(before, name)
    assert [after.times.seconds(n) for n in range(5)] == [times.seconds(n) for n in range(5)]
    assert (after.times.rate, after.times.is_variable) == (times.rate, times.is_variable)
    assert after.thumbnails == before.thumbnails
    np.testing.assert_array_equal(after.frames, before.frames)
    np.testing.assert_array_equal(after.features, before.features)
    assert cache.read_shots("key", Path("x"), with_features=False).features.size == 0


def test_scores_come_back_as_they_were(tmp_path):
    cache = Cache(tmp_path)
    cache.write_scores("key", Scores(np.array([0.1, np.nan]), np.array([0.2, np.nan]), MODEL))
    after = cache.read_scores("key")
    assert after.model == MODEL
    np.testing.assert_array_equal(after.probability, [0.1, np.nan])
    np.testing.assert_array_equal(after.training_free, [0.2, np.nan])


def test_what_is_not_there_is_not_known(tmp_path):
    for cache in (Cache(tmp_path / "none"), Cache(None)):
        assert cache.read_scores("key") is None
        assert cache.read_shots("key", Path("x"), with_features=True) is None
    Cache(None).write_scores("key", Scores(np.zeros(1), np.zeros(1), MODEL))


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_file_is_as_good_as_none(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.write_scores("key", Scores(np.zeros(1), np.zeros(1), MODEL))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    assert cache.read_scores("key") is None


def test_a_cache_that_cannot_be_written_is_no_misfortune(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file").write_scores("key", Scores(np.zeros(1), np.zeros(1), MODEL))
    assert "the next call computes again" in caplog.text


def test_the_users_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("BASSL_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("BASSL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "bassl"
