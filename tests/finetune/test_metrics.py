from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.finetune.metrics import (
    FRAME_METRICS,
    METRIC_DEFINITIONS,
    ShotPredictions,
    area_under_roc,
    average_precision,
    best_f1_threshold,
    precision_recall_curve,
    scene_metrics,
)
from tests.reference import FOLDER, golden, load_json

RECORDED = ("AP", "AUC", "F1", "Recall", "Recall@3s", "mIoU")  # the order of metric/values


def recorded_predictions() -> ShotPredictions:
    rows = load_json("metric_rows.json")
    return ShotPredictions(
        film=np.array([row["global_video_id"] for row in rows]),
        shot=np.array([int(row["shot_id"]) for row in rows]),
        probability=golden()["metric/prob"],
        label=golden()["metric/gt"],
    )


def recorded_frames() -> dict[int, np.ndarray]:
    paths = sorted((FOLDER / "shot_movie318").glob("*.txt"))
    return {film: np.loadtxt(path, dtype=int)[:, :2] for film, path in enumerate(paths)}


def take(predictions: ShotPredictions, rows: np.ndarray) -> ShotPredictions:
    return ShotPredictions(
        predictions.film[rows], predictions.shot[rows], predictions.probability[rows], predictions.label[rows]
    )


def one_film(probability: list[float], label: list[int], film: int = 0) -> ShotPredictions:
    num_shots = len(label)
    return ShotPredictions(np.full(num_shots, film), np.arange(num_shots), np.array(probability), np.array(label))


def joined(*films: ShotPredictions) -> ShotPredictions:
    columns = ("film", "shot", "probability", "label")
    return ShotPredictions(*(np.concatenate([getattr(film, name) for film in films]) for name in columns))


def equal_shots(num_shots: int, num_frames: int) -> np.ndarray:
    first = np.arange(num_shots) * num_frames
    return np.stack([first, first + num_frames - 1], axis=1)


def tied_ranking(seed: int, num_shots: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(num_shots) < 0.2).astype(int)
    return np.round(rng.random(num_shots) * 0.8 + 0.2 * label, 1), label


def loop_average_precision(probability: np.ndarray, label: np.ndarray) -> float:
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(probability.tolist()), reverse=True):
        true_positives = sum(1 for p, y in zip(probability, label, strict=True) if p >= threshold and y)
        num_predicted = sum(1 for p in probability if p >= threshold)
        recall = true_positives / label.sum()
        area += (recall - recall_before) * true_positives / num_predicted
        recall_before = recall
    return area


def pairwise_auc(probability: np.ndarray, label: np.ndarray) -> float:
    won = 0.0
    for positive in probability[label == 1]:
        for negative in probability[label == 0]:
            won += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
    return won / ((label == 1).sum() * (label == 0).sum())


def test_the_six_recorded_metrics_come_out() -> None:
    found = scene_metrics(recorded_predictions(), recorded_frames())
    assert len(golden()["metric/values"]) == len(RECORDED) == 6
    # Recall@3s: the reference divides by the number of boundaries + 1e-5, which takes 4e-7 off.
    np.testing.assert_allclose([found[name] for name in RECORDED], golden()["metric/values"], rtol=1e-6)


def test_every_defined_metric_is_computed_those_in_frames_only_with_frames() -> None:
    found, without = (scene_metrics(recorded_predictions(), frames) for frames in (recorded_frames(), None))
    assert list(found) == list(METRIC_DEFINITIONS)
    assert len(METRIC_DEFINITIONS) == 11
    # The recorded rows reach each film's last shot, so nothing else depends on the frames.
    assert without == {name: value for name, value in found.items() if name not in FRAME_METRICS}


def test_shuffled_rows_with_duplicates_of_a_padding_sampler_change_nothing() -> None:
    rng = np.random.default_rng(0)
    predictions, frames = recorded_predictions(), recorded_frames()
    rows = rng.permutation(np.concatenate([np.arange(800), rng.integers(0, 800, 50), [3, 3, 3]]))
    assert scene_metrics(take(predictions, rows), frames) == scene_metrics(predictions, frames)


def test_pooled_metrics_have_their_hand_values() -> None:
    # ranked: 0.9 yes, 0.6 no, 0.4 yes, 0.1 no -> precision 1 at recall 1/2, 2/3 at recall 1
    found = scene_metrics(one_film([0.6, 0.9, 0.1, 0.4], [0, 1, 0, 1]), None)
    assert found["AP"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["AUC"] == pytest.approx(3 / 4)
    assert found["F1"] == pytest.approx(2 * 1 / (2 + 2))
    assert (found["Accuracy"], found["Accuracy0"], found["Accuracy1"]) == (0.5, 0.5, 0.5)
    assert found["Recall"] == 0.5


def test_a_probability_at_the_threshold_is_a_boundary() -> None:
    assert scene_metrics(one_film([0.5, 0.4], [1, 0]), None)["F1"] == 1.0
    assert scene_metrics(one_film([0.5, 0.4], [1, 0]), None, threshold=0.6)["F1"] == 0.0


@pytest.mark.parametrize("seed", range(2))
def test_average_precision_is_the_sum_over_distinct_thresholds(seed: int) -> None:
    probability, label = tied_ranking(seed)
    assert len(np.unique(probability)) < 15
    assert average_precision(probability, label) == pytest.approx(loop_average_precision(probability, label), rel=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_area_under_roc_is_the_share_of_pairs_won_with_ties_as_half(seed: int) -> None:
    probability, label = tied_ranking(seed)
    assert area_under_roc(probability, label) == pytest.approx(pairwise_auc(probability, label), rel=1e-12)


def test_precision_recall_curve_has_one_point_per_distinct_probability() -> None:
    curve = precision_recall_curve([0.9, 0.6, 0.6, 0.1], [1, 0, 1, 0])
    np.testing.assert_array_equal(curve.threshold, [0.9, 0.6, 0.1])
    np.testing.assert_allclose(curve.precision, [1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1, 1])


@pytest.mark.parametrize("seed", range(2))
def test_best_f1_threshold_beats_every_other_one(seed: int) -> None:
    probability, label = tied_ranking(seed)
    f1 = {
        float(threshold): scene_metrics(one_film(list(probability), list(label)), None, float(threshold))["F1"]
        for threshold in np.unique(probability)
    }
    best = max(f1.values())
    assert best_f1_threshold(probability, label) == max(t for t in f1 if f1[t] == pytest.approx(best))


def test_film_metrics_average_over_films_and_pooled_ones_over_shots() -> None:
    both = joined(one_film([0.9, 0.1, 0.1, 0.1], [1, 0, 0, 0], film=3), one_film([0.2, 0.8, 0.3], [1, 0, 1], film=5))
    found = scene_metrics(both, {3: equal_shots(4, 100), 5: equal_shots(3, 100)})
    second_ap = 0.5 * 1 / 2 + 0.5 * 2 / 3
    assert found["mAP"] == pytest.approx((1 + second_ap) / 2)
    assert found["AP"] != pytest.approx(found["mAP"])
    assert found["Recall"] == pytest.approx((1 + 0) / 2)
    assert found["Accuracy1"] == pytest.approx(1 / 3)


def test_a_film_without_boundaries_is_left_out_of_the_film_means() -> None:
    with_empty = joined(one_film([0.9, 0.1, 0.1], [1, 0, 0]), one_film([0.9, 0.9, 0.1], [0, 0, 0], film=1))
    frames = {0: equal_shots(3, 100), 1: equal_shots(3, 100)}
    found = scene_metrics(with_empty, frames)
    assert (found["mAP"], found["Recall"], found["Recall@3s"], found["mIoU"]) == (1.0, 1.0, 1.0, 1.0)
    assert found["AP"] < 1
    assert found["mIoU_shots"] < 1


def test_a_split_without_boundaries_gives_nan_and_no_exception() -> None:
    found = scene_metrics(one_film([0.9, 0.1], [0, 0]), {0: equal_shots(2, 50)})
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {"AP", "mAP", "AUC", "F1", "Accuracy1", "Recall", "Recall@3s", "mIoU"}
    assert found["Accuracy"] == found["Accuracy0"] == 0.5
    assert np.isnan(best_f1_threshold([0.9, 0.1], [0, 0]))


@pytest.mark.parametrize(("num_frames", "recall"), [(71, 1.0), (72, 0.0), (73, 0.0)])
def test_near_is_less_than_three_seconds_of_24_frames(num_frames: int, recall: float) -> None:
    predictions = one_film([0.1, 0.9, 0.1], [1, 0, 0])
    assert scene_metrics(predictions, {0: equal_shots(3, num_frames)})["Recall@3s"] == recall


def test_recall_at_3_seconds_counts_frames_at_the_given_rate() -> None:
    predictions = one_film([0.1, 0.9, 0.1, 0.1], [1, 0, 0, 0])
    frames = {0: equal_shots(4, 80)}
    assert scene_metrics(predictions, frames)["Recall@3s"] == 0.0
    assert scene_metrics(predictions, frames, fps=30.0)["Recall@3s"] == 1.0
    assert scene_metrics(predictions, frames, fps={0: 30.0})["Recall@3s"] == 1.0


def test_the_first_row_of_a_shot_counts_and_rows_come_sorted_by_film_and_shot() -> None:
    columns = [1, 0, 1, 0, 1], [1, 7, 0, 7, 1], [0.5, 0.4, 0.3, 0.2, 0.1], [0, 1, 0, 1, 0]
    once = ShotPredictions(*map(np.array, columns)).deduplicated()
    assert once.film.tolist() == [0, 1, 1]
    assert once.shot.tolist() == [7, 0, 1]
    assert once.probability.tolist() == [0.4, 0.3, 0.5]
    assert once.label.tolist() == [1, 0, 0]


def test_an_uncertain_label_counts_as_a_boundary_or_is_masked_out() -> None:
    predictions = one_film([0.9, 0.2, 0.8], [1, -1, 0])
    assert predictions.deduplicated().label.tolist() == [1, 1, 0]
    masked = predictions.deduplicated(uncertain="masked")
    assert (masked.shot.tolist(), masked.label.tolist()) == ([0, 2], [1, 0])
    assert scene_metrics(predictions, None)["Recall"] == 0.5
    assert scene_metrics(predictions, None, uncertain="masked")["Recall"] == 1.0


@pytest.mark.parametrize(
    "rows, message",
    [
        (([0, 0], [0, 1], [0.1, np.nan], [0, 1]), "shot 1 of film 0 has probability nan"),
        (([0, 0], [0, 1], [0.1, 3.2], [0, 1]), "probability 3.2; give values within 0..1"),
        (([0, 0], [0, 1], [0.1, 0.2], [0, 2]), "label 2 is not one of"),
        (([0, 0], [0, 1], [0.1, 0.2, 0.3], [0, 1]), "give four of one shape"),
        (([0, 0], [4, 4], [0.1, 0.2], [0, 1]), "shot 4 of film 0 has two labels"),
        (([0, 0], [-1, 0], [0.1, 0.2], [0, 1]), "shot -1 is negative"),
        (([0, 0], [0.5, 1], [0.1, 0.2], [0, 1]), "shot holds float64; give whole numbers"),
    ],
)
def test_malformed_predictions_are_refused(rows: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ShotPredictions(*map(np.array, rows)).deduplicated()


@pytest.mark.parametrize(("call", "text"), [
    (lambda: scene_metrics(one_film([0.1] * 4, [0, 1, 0, 0]), {0: equal_shots(3, 100)}), "is past its 3 shots"),
    (lambda: scene_metrics(one_film([0.1, 0.9], [0, 1]), {1: equal_shots(2, 100)}), "film 0 has no shot frames"),
    (lambda: scene_metrics(one_film([0.1], [1]), {0: equal_shots(1, 9)}, fps={1: 24.0}), "nan frames per second"),
    (lambda: scene_metrics(one_film([0.1], [1]), None, threshold=float("nan")), "threshold is nan"),
    (lambda: scene_metrics(one_film([0.1], [1]), None, uncertain="ignored"), "choose 'positive' or 'masked'"),
    (lambda: average_precision([0.1, 0.2], [1]), "give both"),
    (lambda: best_f1_threshold([0.1, 0.2], [1, -1]), "label -1 is not one of"),
    (lambda: area_under_roc([0.1, np.nan], [1, 0]), "1 NaN"),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        call()


def test_miou_cuts_scenes_out_of_the_annotated_shots_only() -> None:
    """Two shots before the first row and one hole are left out, as in the reference."""
    frames = {0: np.array([[0, 9], [10, 19], [20, 29], [30, 39], [40, 49], [50, 59]])}
    rows = ShotPredictions(
        film=np.zeros(3, int),
        shot=np.array([2, 3, 5]),
        probability=np.array([0.9, 0.9, 0.1]),
        label=np.array([0, 1, 0]),
    )
    # True scene: frames 20 to 39. Predicted scenes: 20 to 29 and 30 to 39. Spans are 19, 9 and 9 frames.
    expected = (9 / 19 + (9 / 19 + 9 / 19) / 2) / 2
    assert scene_metrics(rows, frames)["mIoU"] == pytest.approx(expected)
