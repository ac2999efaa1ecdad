from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.segment.ground_truth import evaluate, labels_for, read_labels
from bassl.segment.output.tables import write_scenes
from bassl.video.timing import FrameTimes
from tests.segment.models import segmentation

FILM = Path("/films/a film.mp4")
SCENES = "film,start,end\na film.mp4,0:00,0:05\nother,0:00,0:09\n"
COLUMNS = "Scene Number,Start Frame,End Frame\n1,1,24\n2,25,80\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def labels(tmp_path, text, name="labels.txt"):
    path = tmp_path / name
    path.write_text(text)
    found = segmentation(rate=Fraction(25))
    return read_labels(path, found.film).tolist()


def test_movienets_label_files_are_read(tmp_path):
    assert labels(tmp_path, "0000 0\n0001 1\n0002 0\n0003 -1\n") == [0, 1, 0, -1, -2]


@pytest.mark.parametrize("text", [
    "film,start_frame,end_frame\na film,0,99\na film,100,219\na film,220,249\nother,0,7\n",
    "film,start_seconds,end_seconds\na film.mp4,0,4.0\na film.mp4,4.0,8.8\na film.mp4,8.8,10\n",
])  # fmt: skip
def test_scene_lists_are_snapped_to_shots(tmp_path, text):
    assert labels(tmp_path, text, "scenes.csv") == [0, 1, 0, 1, -2]


def test_our_own_scenes_corrected_by_hand_are_labels(tmp_path):
    write_scenes(tmp_path / "scenes.csv", segmentation(rate=Fraction(25)))
    assert labels(tmp_path, (tmp_path / "scenes.csv").read_text(), "mine.csv") == [0, 1, 0, 1, -2]


@pytest.mark.parametrize(("text", "name", "message"), [
    ("0000 0\n0009 1\n", "a.txt", "labels shot 9, and a film.mp4 has 5 shots"),
    ("film,start,end\nother,0,5\n", "a.csv", "holds no scenes of a film.mp4; it names other"),
    ("what is this\n", "a.txt", "line 1"),
])  # fmt: skip
def test_labels_that_are_not_the_films_are_refused(tmp_path, text, name, message):
    with pytest.raises(InputError, match=message):
        labels(tmp_path, text, name)


def test_the_measures_are_the_benchmarks(tmp_path):
    found = segmentation()  # cut after shots 1 and 3
    perfect = evaluate(np.array([0, 1, 0, 1, -2]), found.film, found.scores.probability, 0.5)
    assert {perfect[name] for name in ("AP", "AUC", "F1", "F1_best", "Recall", "Recall@3s", "mIoU")} == {1.0}
    half = evaluate(np.array([0, 1, 1, 0, -2]), found.film, found.scores.probability, 0.5)
    assert half["F1"] == 0.5
    assert half["AP"] == pytest.approx((1 + 2 / 3) / 2)


def test_at_a_variable_rate_seconds_are_those_of_the_clock():
    """A cut that is 4 s off and only 20 frames off (5 a second) is not within three seconds."""
    ticks = np.arange(100) * 200 + np.arange(100) % 2
    times = FrameTimes(Fraction(25), Fraction(0), 100, ticks, Fraction(1, 1000), 200)
    found = segmentation(lengths=(20, 20, 20, 20, 20), probability=(0.1, 0.9, 0.1, 0.1), times=times)
    truth = np.array([0, 0, 1, 0, -2], np.int8)
    assert evaluate(truth, found.film, found.scores.probability, 0.5)["Recall@3s"] == 0


def test_one_list_of_scenes_is_of_several_films(tmp_path):
    path = write(tmp_path / "scenes.csv", SCENES)
    assert labels_for(path, FILM, 2) == path


def test_of_several_films_one_without_labels_is_logged_and_does_not_stop_the_rest(tmp_path, caplog):
    path = write(tmp_path / "scenes.csv", SCENES)
    with caplog.at_level(logging.WARNING):
        assert labels_for(path, Path("third.mp4"), 3) is None
        assert labels_for(tmp_path, Path("third.mp4"), 3) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"third.mp4: {path} has no labels for it; it is not measured",
        f"third.mp4: {tmp_path} has no labels for it; it is not measured",
    ]


def test_the_only_film_has_to_have_labels(tmp_path):
    path = write(tmp_path / "scenes.csv", SCENES)
    with pytest.raises(InputError, match=r"holds no scenes of third\.mp4; it names a film\.mp4, other"):
        labels_for(path, Path("third.mp4"), 1)
    with pytest.raises(InputError, match=r"holds no list for third\.mp4"):
        labels_for(tmp_path, Path("third.mp4"), 1)


@pytest.mark.parametrize(("name", "text"), [("scenes.csv", COLUMNS), ("labels.txt", "0 1\n")])
def test_the_shots_of_one_film_are_no_labels_of_several(tmp_path, name, text):
    path = write(tmp_path / name, text)
    assert labels_for(path, FILM, 1) == path
    with pytest.raises(InputError, match="is for one film, not 2; give a folder"):
        labels_for(path, FILM, 2)
