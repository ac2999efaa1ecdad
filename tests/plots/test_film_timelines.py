from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bassl.dataset.annotation import Annotations
from bassl.dataset.keyframes import Keyframes
from bassl.finetune.metrics import ShotPredictions
from bassl.plots import film_timelines
from bassl.plots.film_timelines import draw_film_timelines, film_keyframes
from tests.plots.drawing import plain_keyframe

NUM_SHOTS = 6


@pytest.fixture
def evaluation(tmp_path: Path) -> tuple[Keyframes, ShotPredictions]:
    """Films a, b and 影 of six shots, the last without a row; a and 影 have key-frames on disk."""
    film, shot = np.divmod(np.arange(3 * NUM_SHOTS), NUM_SHOTS)
    label = (shot % 3 == 2).astype(np.int8)
    lengths, digits = np.full(3, NUM_SHOTS), np.full(3, 4)
    annotations = Annotations(("a", "b", "影"), film, shot, label, np.zeros_like(film), lengths, digits)
    annotations = annotations.select(shot < NUM_SHOTS - 1)
    for name in ("a", "影"):
        (tmp_path / name).mkdir()
        for number in range(NUM_SHOTS):
            Image.fromarray(plain_keyframe(number)).save(tmp_path / name / f"shot_{number:04d}_img_1.jpg")
    probability = np.linspace(0, 1, len(annotations))
    predictions = ShotPredictions(annotations.film, annotations.shot, probability, annotations.label.astype(np.int64))
    return Keyframes(tmp_path, annotations), predictions


def select(predictions: ShotPredictions, rows: np.ndarray) -> ShotPredictions:
    columns = (predictions.film, predictions.shot, predictions.probability, predictions.label)
    return ShotPredictions(*(column[rows] for column in columns))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Title, scores and key-frame reader of every timeline that is drawn."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(film_timelines, "draw_timeline", lambda path, *given: calls.append(given))
    return calls


def test_every_film_has_its_picture_and_the_first_is_timeline_png(
    evaluation: tuple[Keyframes, ShotPredictions], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keyframes, predictions = evaluation
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO):
        written = draw_film_timelines(out, predictions, keyframes)
    names = ["timeline.png", "timelines/a.png", "timelines/b.png", "timelines/影.png"]
    assert [path.relative_to(out).as_posix() for path in written] == names
    assert written[0].read_bytes() == written[1].read_bytes()
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("no key-frames of 1 films, such as b, in ")
    assert draw_film_timelines(out, select(predictions, predictions.film == 2), keyframes) == [out / "timeline.png"]
    assert len(draw_film_timelines(out, predictions, keyframes, max_films=2)) == 3


def test_predictions_are_drawn_in_film_order_each_shot_once_with_its_start(
    evaluation: tuple[Keyframes, ShotPredictions], tmp_path: Path, drawn: list
) -> None:
    keyframes, predictions = evaluation
    order = np.random.default_rng(0).permutation(len(predictions.film))
    shuffled = select(predictions, np.concatenate([order, order[:4]]))  # a padding sampler repeats shots
    frames = {1: np.stack([np.arange(6) * 48, np.arange(6) * 48 + 47], axis=1), 2: np.zeros((3, 2), np.int64)}
    draw_film_timelines(tmp_path / "out", shuffled, keyframes, frames, threshold=0.3, fps=24)
    (title, scores, reader), (_, too_few_frames, _) = drawn[2], drawn[3]
    assert (title, reader, scores.threshold) == ("b, 5 shots", None, 0.3)
    assert scores.shots.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(scores.probability, predictions.probability[5:10])
    assert scores.is_labelled.tolist() == [False, False, True, False, False]
    assert scores.seconds.tolist() == [0, 2, 4, 6, 8]
    assert (drawn[0][1].seconds, too_few_frames.seconds) == (None, None)


def test_a_part_of_a_film_says_which_shots_it_shows(
    evaluation: tuple[Keyframes, ShotPredictions], tmp_path: Path, drawn: list
) -> None:
    keyframes, predictions = evaluation
    draw_film_timelines(tmp_path, select(predictions, (predictions.film == 0) & (predictions.shot > 1)), keyframes)
    assert drawn[0][0] == "a, shots 2 to 4"


def test_a_film_that_cannot_be_drawn_is_a_warning_and_the_others_are_drawn(
    evaluation: tuple[Keyframes, ShotPredictions], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keyframes, predictions = evaluation
    predictions.probability[predictions.film == 1] = np.nan
    written = draw_film_timelines(tmp_path / "out", predictions, keyframes)
    assert [path.name for path in written] == ["timeline.png", "a.png", "影.png"]
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "b.png was not drawn (InputError: probability 0 is nan" in warning


def test_a_missing_or_broken_keyframe_is_none_and_so_is_the_reader_without_a_folder(
    evaluation: tuple[Keyframes, ShotPredictions], tmp_path: Path
) -> None:
    keyframes, _ = evaluation
    (tmp_path / "a" / "shot_0001_img_1.jpg").unlink()
    (tmp_path / "a" / "shot_0002_img_1.jpg").write_bytes(b"no picture")
    read = film_keyframes(keyframes, 0)
    assert read is not None and (read(1), read(2)) == (None, None)
    assert np.abs(np.asarray(read(3)).astype(int) - plain_keyframe(3)).max() <= 3  # JPEG
    assert film_keyframes(keyframes, 1) is None
