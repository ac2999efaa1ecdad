from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from bassl.errors import InputError
from bassl.plots.curves import DISTANCE, RANDOM_DISTANCE, distance_figure, knn_figure, loss_figure, running_mean
from bassl.plots.scalars import Series, over_epochs, read_scalars

EPOCHS = Series(np.array([0, 9, 10, 19]), np.array([0.0, 0, 1, 1]))


def logged(num_points: int, seed: int = 0) -> Series:
    return Series(np.arange(num_points) * 10, np.random.default_rng(seed).random(num_points))


def test_logged_scalars_are_read_back_without_thinning(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(12_000):
            writer.add_scalar("train/loss", step / 2, step)
        writer.add_scalar("train/ssm", float("nan"), 70)
    scalars = read_scalars(tmp_path)
    assert sorted(scalars) == ["train/loss", "train/ssm"]
    assert scalars["train/loss"].step.tolist() == list(range(12_000))
    np.testing.assert_array_equal(scalars["train/loss"].value, np.arange(12_000) / 2)
    assert scalars["train/ssm"].step.tolist() == [70] and np.isnan(scalars["train/ssm"].value[0])


def test_a_step_that_a_resumed_run_logged_again_counts_once_with_its_later_value(tmp_path: Path) -> None:
    for number, (first, stop, value) in enumerate([(0, 5, 1.0), (3, 8, 2.0)]):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{number}") as writer:
            for step in range(first, stop):
                writer.add_scalar("train/loss", value, step, walltime=1e9 + 100 * number + step)
    loss = read_scalars(tmp_path)["train/loss"]
    assert (loss.step.tolist(), loss.value.tolist()) == (list(range(8)), [1, 1, 1, 2, 2, 2, 2, 2])


@pytest.mark.parametrize("name", [".", "missing"])
def test_a_folder_without_tensorboard_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="holds no TensorBoard file"):
        read_scalars(tmp_path / name)


def test_points_are_counted_in_finished_epochs() -> None:
    series = Series(np.array([0, 9, 19]), np.array([40.0, 50, 60]))
    assert over_epochs(series, {"epoch": EPOCHS}).step.tolist() == [0, 1, 2]
    assert over_epochs(Series(series.step[1:], series.value[1:]), {}).step.tolist() == [1, 2]


def test_the_summed_loss_comes_first_and_every_term_has_its_panel() -> None:
    scalars = {tag: logged(5) for tag in ("train/ssm", "train/pp", "train/loss", "lr-LARS", "knn/precision@1")}
    assert [axes.get_title(loc="left") for axes in loss_figure(scalars).axes] == ["loss", "pp", "ssm"]


def test_a_short_curve_is_drawn_unsmoothed_and_a_long_one_below_its_mean() -> None:
    short, long = logged(7), logged(400)
    (line,) = loss_figure({"train/loss": short}).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), short.step)
    np.testing.assert_array_equal(line.get_ydata(), short.value)
    raw, mean = loss_figure({"train/loss": long}).axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), long.value)
    np.testing.assert_allclose(mean.get_ydata(), running_mean(long.value, 11))


@pytest.mark.parametrize("num_tags", [1, 2, 3, 4, 7])
def test_panels_lie_inside_the_picture_and_apart(num_tags: int) -> None:
    boxes = [axes.get_position() for axes in loss_figure({f"train/{n}": logged(50) for n in range(num_tags)}).axes]
    assert len(boxes) == num_tags
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


@pytest.mark.parametrize("window", [1, 3, 7, 23])
def test_the_running_mean_equals_the_slow_one(window: int) -> None:
    values = np.random.default_rng(window).random(23)
    values[[4, 5, 6, 7, 20]] = np.nan
    for place, mean in enumerate(running_mean(values, window)):
        inside = values[max(place - window // 2, 0) : place + window // 2 + 1]
        expected = inside[np.isfinite(inside)]
        assert mean == pytest.approx(expected.mean() if len(expected) else np.nan, nan_ok=True)


def test_a_loss_that_became_nan_is_drawn() -> None:
    loss_figure({"train/loss": Series(np.arange(100), np.where(np.arange(100) < 50, 1.0, np.nan))}).canvas.draw()


def test_knn_has_one_curve_per_k_that_differs_in_line_and_marker_too() -> None:
    scalars = {f"knn/precision@{k}": Series(np.array([9, 19]), np.array([k, 2.0 * k])) for k in (10, 1, 5)}
    lines = knn_figure(scalars | {"epoch": EPOCHS}).axes[0].lines
    assert [line.get_label() for line in lines] == ["k = 1", "k = 5", "k = 10"]
    for line, k in zip(lines, (1, 5, 10), strict=True):
        assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [k, 2 * k])
    assert len({line.get_marker() for line in lines}) == len({line.get_linestyle() for line in lines}) == 3


def test_the_distance_is_drawn_beside_chance() -> None:
    distance = Series(np.array([0, 9, 19]), np.array([2.5, 2.0, 1.5]))
    scalars = {DISTANCE: distance, RANDOM_DISTANCE: Series(distance.step, np.full(3, 2.8)), "epoch": EPOCHS}
    drawn = {line.get_label(): list(line.get_ydata()) for line in distance_figure(scalars).axes[0].lines}
    assert drawn == {"pseudo-boundary": [2.5, 2.0, 1.5], "at random": [2.8] * 3}


@pytest.mark.parametrize("draw", [loss_figure, knn_figure, distance_figure])
def test_a_run_that_did_not_log_the_curve_is_refused(draw) -> None:
    with pytest.raises(InputError, match="among the 1 logged values"):
        draw({"epoch": EPOCHS})
