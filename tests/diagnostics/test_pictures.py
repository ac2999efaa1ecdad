from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bassl.diagnostics.pictures import losses, neighbors, pictures_of, precision_recall, splits
from bassl.diagnostics.run import FinishedRun
from bassl.errors import InputError
from bassl.finetune.metrics import average_precision
from tests.plots.drawing import line_called, marks_called, texts
from tests.plots.finished import write_finetuning, write_pretraining


@pytest.fixture(scope="module")
def run(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return FinishedRun(write_finetuning(tiny_movienet, tmp_path_factory.mktemp("finetuning")))


def test_each_kind_of_run_has_its_pictures(run: FinishedRun, tiny_movienet: Path, tmp_path: Path) -> None:
    assert list(pictures_of(run)) == ["loss", "precision_recall", "neighbors", "splits"]
    pretraining = FinishedRun(write_pretraining(tiny_movienet, tmp_path))
    assert list(pictures_of(pretraining)) == ["loss", "knn", "boundary_distance", "neighbors", "splits"]


def test_precision_and_recall_are_those_of_the_runs_predictions(run: FinishedRun) -> None:
    ap = average_precision(run.predictions.probability, np.abs(run.predictions.label))
    assert line_called(precision_recall(run, 0, 6), "AP").get_label() == f"AP {100 * ap:.1f} %"


def test_a_threshold_on_the_command_line_is_the_one_that_is_marked(run: FinishedRun) -> None:
    other = FinishedRun(run.folder, ("config.TEST.THRESHOLD=0.125",))
    assert str(line_called(precision_recall(other, 0, 6), "threshold").get_label()).startswith("threshold 0.125:")


def test_sheets_hold_as_many_rows_as_asked_for(run: FinishedRun) -> None:
    assert len(neighbors(run, 0, 3).axes[0].images) == 3 * (1 + 6)


def test_no_window_is_shown_twice(run: FinishedRun) -> None:
    figure = splits(run, 0, 6)
    (axes,) = figure.axes
    windows = len(axes.images) // 17
    assert len(marks_called(figure, "pseudo-boundary")) == windows
    first_shots = [text.get_text() for text in axes.texts if text.get_text().isdigit()][::17]
    assert len(set(first_shots)) == windows > 1


def test_the_loss_is_titled_with_the_runs_name(run: FinishedRun) -> None:
    assert "Training loss: run" in texts(losses(run, 0, 6))


def test_missing_keyframes_name_the_key_to_set(run: FinishedRun, tmp_path: Path) -> None:
    moved = FinishedRun(run.folder, (f"config.IMG_PATH={tmp_path}",))
    with pytest.raises(InputError, match=r"no key-frames of tt0000003 in .*; set config.DATA_PATH or config.IMG_PATH"):
        neighbors(moved, 0, 3)
