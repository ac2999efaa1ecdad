from __future__ import annotations

import pytest

from bassl.errors import InputError
from bassl.video.reader import FilmReader
from bassl.video.refetch import FrameFetcher
from tests.video.clips import read_number, write_clip


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


def test_nothing_is_opened_for_nothing(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (5,))
    with FilmReader(path) as reader:
        list(reader.pictures())
        path.unlink()
        with FrameFetcher(reader) as fetcher:
            assert fetcher.fetch([]) == {}


def test_a_film_that_changes_while_it_is_read_is_one_clear_error(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (50,))
    with FilmReader(path) as reader:
        list(reader.pictures())
        path.unlink()
        write_clip(path, (20,))
        with FrameFetcher(reader) as fetcher, pytest.raises(InputError, match="do not change a film"):
            fetcher.fetch([40])
