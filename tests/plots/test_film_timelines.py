from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.dataset.annotation import Annotations
from bassl.dataset.keyframes import Keyframes
from bassl.finetune.metrics import ShotPredictions
from bassl.plots import film_timelines
from bassl.plots.film_timelines import draw_film_timelines, film_keyframes
from tests.plots.drawing import plain_keyframe


def three_films(root: Path, num_shots: int = 6) -> tuple[Keyframes, ShotPredictions]:
    """Films a, b and 影 of some shots each, the last without a row; a and 影 have key-frames on disk."""
    film, shot = np.divmod(np.arange(3 * num_shots), num_shots)
    rows = shot < num_shots - 1
    names = ("a", "b", "影")
    label = (shot % 3 == 2).astype(np.int8)
    notes = Annotations(names, film, shot, label, np.zeros_like(film), np.full(3, num_shots), np.full(3, 4)).select(
        rows
    )
    for name in ("a", "影"):
        (root / name).mkdir()
        for number in range(num_shots):
            Image.fromarray(plain_keyframe(number)).save(root / name / f"shot_{number:04d}_img_1.jpg")
    probability = np.linspace(0, 1, len(notes))
    return Keyframes(root, notes), ShotPredictions(notes.film, notes.shot, probability, notes.label.astype(np.int64))


def test_every_film_has_its_picture_and_the_first_one_is_the_runs(tmp_path: Path) -> None:
    keyframes, predictions = three_films(tmp_path)
    out = tmp_path / "out"
    written = draw_film_timelines(out, predictions, keyframes)
    assert [path.relative_to(out).as_posix() for path in written] == [
        "timeline.png", "timelines/a.png", "timelines/b.png", "timelines/影.png",
    ]  # fmt: skip
    assert all(path.is_file() for path in written)
    assert written[0].read_bytes() == written[1].read_bytes()


def test_a_single_film_needs_no_folder(tmp_path: Path) -> None:
    keyframes, predictions = three_films(tmp_path)
    only = predictions.film == 2
    columns = (predictions.film, predictions.shot, predictions.probability, predictions.label)
    alone = ShotPredictions(*(column[only] for column in columns))
    assert draw_film_timelines(tmp_path / "out", alone, keyframes) == [tmp_path / "out" / "timeline.png"]


def test_no_more_films_are_drawn_than_asked_for(tmp_path: Path) -> None:
    keyframes, predictions = three_films(tmp_path)
    assert len(draw_film_timelines(tmp_path / "out", predictions, keyframes, max_films=2)) == 3


def test_films_without_keyframes_are_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyframes, predictions = three_films(tmp_path)
    with caplog.at_level(logging.INFO):
        draw_film_timelines(tmp_path / "out", predictions, keyframes)
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("no key-frames of 1 films, such as b, in ")


def test_what_is_drawn_is_what_was_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyframes, predictions = three_films(tmp_path)
    order = np.random.default_rng(0).permutation(len(predictions.film))
    again = np.concatenate([order, order[:4]])  # a padded sampler gives some shots twice
    columns = (predictions.film, predictions.shot, predictions.probability, predictions.label)
    shuffled = ShotPredictions(*(column[again] for column in columns))
    frames = {1: np.stack([np.arange(6) * 48, np.arange(6) * 48 + 47], axis=1)}
    calls = []
    monkeypatch.setattr(film_timelines, "draw_timeline", lambda path, **given: calls.append(given))
    draw_film_timelines(tmp_path / "out", shuffled, keyframes, frames, threshold=0.3, fps=24)
    assert len(calls) == 4
    b = calls[2]
    assert b["title"] == "b, 5 shots"
    assert b["shot_range"] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(b["probability"], predictions.probability[5:10])
    np.testing.assert_array_equal(b["label"], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(b["shot_seconds"], [0, 2, 4, 6, 8])
    assert (b["threshold"], b["keyframes"], calls[0]["shot_seconds"]) == (0.3, None, None)


def test_a_part_of_a_film_says_which_shots_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyframes, predictions = three_films(tmp_path)
    part = (predictions.film == 0) & (predictions.shot > 1)
    columns = (predictions.film, predictions.shot, predictions.probability, predictions.label)
    calls = []
    monkeypatch.setattr(film_timelines, "draw_timeline", lambda path, **given: calls.append(given))
    draw_film_timelines(tmp_path / "out", ShotPredictions(*(c[part] for c in columns)), keyframes)
    assert calls[0]["title"] == "a, shots 2 to 4"


def test_times_are_left_out_where_the_shot_file_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyframes, predictions = three_films(tmp_path)
    calls = []
    monkeypatch.setattr(film_timelines, "draw_timeline", lambda path, **given: calls.append(given))
    draw_film_timelines(tmp_path / "out", predictions, keyframes, {0: np.zeros((3, 2), np.int64)})
    assert calls[0]["shot_seconds"] is None


def test_a_missing_or_broken_keyframe_is_a_gap_and_no_end(tmp_path: Path) -> None:
    keyframes, _ = three_films(tmp_path)
    (tmp_path / "a" / "shot_0001_img_1.jpg").unlink()
    (tmp_path / "a" / "shot_0002_img_1.jpg").write_bytes(b"no picture")
    read = film_keyframes(keyframes, 0)
    assert read is not None
    assert (read(1), read(2)) == (None, None)
    image = read(3)
    assert isinstance(image, Image.Image)
    assert np.abs(np.asarray(image).astype(int) - plain_keyframe(3)).max() <= 3  # JPEG


def test_a_film_without_a_folder_has_no_reader(tmp_path: Path) -> None:
    keyframes, _ = three_films(tmp_path)
    assert film_keyframes(keyframes, 1) is None
