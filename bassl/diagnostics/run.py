"""A finished run on disk: configuration, predictions, features, weights and key-frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bassl.config.load import load
from bassl.config.methods import method_of
from bassl.config.paths import data_paths, evaluated_checkpoint, pretrained_checkpoint
from bassl.config.schema import Finetune, Pretrain
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.features import FeatureStore
from bassl.dataset.keyframes import Keyframes
from bassl.errors import InputError
from bassl.finetune.inputs import Window, open_store
from bassl.finetune.metrics import ShotPredictions
from bassl.model import BEST
from bassl.model.checkpoint import Checkpoint, load_weights, read_checkpoint
from bassl.model.heads import NCEHead
from bassl.training.run_folder import RunFolder, run_folder


@dataclass(frozen=True)
class FilmLabels:
    """Labels of one film.

    Attributes:
        shots: labelled shots, ascending.
        is_boundary: (num_shots,) a scene ends with the shot; an uncertain label (-1) counts as one.
        scene: (num_shots,) number of the scene, -1 for shots without a label.
    """

    shots: NDArray[np.int64]
    is_boundary: NDArray[np.bool_]
    scene: NDArray[np.int64]


@dataclass(frozen=True)
class FinishedRun:
    """A pre-training or fine-tuning run, read from disk on demand; InputError for what is missing.

    Attributes:
        folder: its logs.
        overrides: changes to its recorded configuration, for data that has moved.
        feature_folder: feature store; default the one of its configuration.
    """

    folder: Path
    overrides: tuple[str, ...] = ()
    feature_folder: Path | None = None

    @cached_property
    def config(self) -> Pretrain | Finetune:
        """The recorded configuration with the overrides."""
        return recorded_config(self.folder, self.overrides)

    @property
    def is_finetuning(self) -> bool:
        """Whether the run was fine-tuned or evaluated, rather than pre-trained."""
        return isinstance(self.config, Finetune)

    @property
    def finetuning(self) -> Finetune:
        """The configuration of a fine-tuning run."""
        assert isinstance(self.config, Finetune), "a pre-training run predicts nothing"
        return self.config

    @cached_property
    def run(self) -> RunFolder:
        """Name and folders of the run."""
        return run_folder(self.config, job="finetune" if self.is_finetuning else "pretrain")

    @property
    def window(self) -> tuple[int, int]:
        """Shots on either side of a window's centre, and the step between two shots of the window."""
        if isinstance(self.config, Finetune):
            window = Window.of(self.config)
            return window.size, window.interval
        method = method_of(self.config)
        return method.neighbor_size, method.neighbor_interval

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The run's model: the best on val where that was selected, otherwise the last."""
        config, path = self.config, self.run.checkpoints
        if isinstance(config, Finetune):
            trained = path / BEST if config.TEST.SELECT_ON == "val" else path
            pretrained = pretrained_checkpoint(config) if config.ZERO_SHOT else None
            path = evaluated_checkpoint(config) or pretrained or trained
        return read_checkpoint(path)

    @cached_property
    def store(self) -> FeatureStore:
        """Shot features that were fine-tuned on, or extracted with the pre-trained model."""
        if self.feature_folder is not None:
            return FeatureStore.open(self.feature_folder)
        if isinstance(self.config, Pretrain):
            return FeatureStore.open(data_paths(self.config).root / "features" / self.run.name)
        store = open_store(self.config, pretrained=None, tuned=self.checkpoint if self.config.LOAD_FROM else None)
        if store is None:
            raise InputError("the run read key-frames (config.USE_RAW_SHOT=true), so it has no features to show")
        return store

    @cached_property
    def threshold(self) -> float:
        """Probability from which a shot counts as a boundary."""
        chosen = self.finetuning.TEST.THRESHOLD
        if not isinstance(chosen, str):
            return chosen
        path = self.folder / "all_score.json"
        try:
            return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} holds no threshold chosen on val ({error!r}); evaluate the run again, or give "
                "config.TEST.THRESHOLD=<number>"
            ) from error

    @cached_property
    def annotations(self) -> Annotations:
        """The test rows, with the films' lengths from the feature store if there is one."""
        annotations = read_annotations(data_paths(self.config).annotations / "anno.test.ndjson")
        try:
            return annotations.with_num_shots(self.store.num_shots, f"the feature store {self.store.folder}")
        except InputError:
            return annotations

    @cached_property
    def keyframes(self) -> Keyframes:
        """Key-frames of the test films."""
        return Keyframes(data_paths(self.config).keyframes, self.annotations)

    @cached_property
    def projection(self) -> NCEHead:
        """The NCE head of pre-training, in whose space dynamic time warping compares shots."""
        checkpoint = self.checkpoint
        if isinstance(self.config, Finetune):
            path = pretrained_checkpoint(self.config)
            if path is None:
                raise InputError("the run names no pre-trained model, so no NCE head; set config.PRETRAINED_LOAD_FROM")
            checkpoint = read_checkpoint(path)
        first, second = (checkpoint.state_dict.get(f"loss.head_nce.model.{layer}.weight") for layer in (0, 2))
        if first is None or second is None:
            raise InputError(f"{checkpoint.path} holds no NCE head (no loss.head_nce.* tensors); choose another run")
        head = NCEHead(first.shape[1], first.shape[0], second.shape[0])
        load_weights(head, checkpoint.state_dict, prefix="loss.head_nce.", source=checkpoint.path)
        return head.eval()

    @cached_property
    def predictions(self) -> ShotPredictions:
        """Predictions for the test rows, from `predictions.csv`."""
        return read_predictions(self.folder / "predictions.csv", self.annotations.films)

    def features(self, film: int) -> torch.Tensor:
        """Return the shot features of a film, (num_shots, D) float32."""
        return torch.from_numpy(np.array(self.store.film(self.annotations.films[film]), dtype=np.float32))

    def labels(self, film: int) -> FilmLabels:
        """Return the labels of a film's test rows."""
        annotations = self.annotations
        rows = np.flatnonzero(annotations.film == film)
        rows = rows[np.argsort(annotations.shot[rows])]
        shots = annotations.shot[rows].astype(np.int64)
        is_boundary = np.zeros(int(annotations.num_shots[film]), dtype=bool)
        scene = np.full(len(is_boundary), -1, dtype=np.int64)
        is_boundary[shots] = annotations.label[rows] != 0
        scene[shots] = annotations.scene_numbers()[rows]
        return FilmLabels(shots, is_boundary, scene)


def recorded_config(folder: Path, overrides: Sequence[str] = ()) -> Pretrain | Finetune:
    """Load the configuration that a run recorded in `config.json`, with overrides on top.

    Relative paths start at the working directory, as when the run was started. Raises InputError where the file is
    missing or foreign, and for an override that the run's job does not know.
    """
    path = folder / "config.json"
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the log folder of a run") from error
    job = "finetune" if isinstance(recorded, dict) and "PRETRAINED_LOAD_FROM" in recorded else "pretrain"
    load(job, [*overrides, *(["config.FEATURE_PATH=."] if job == "finetune" else [])])  # names a wrong override
    try:
        return load(job, overrides, recorded=recorded)
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"{path} is of another version ({error}); draw the run with that version") from error


def read_predictions(path: Path, films: Sequence[str]) -> ShotPredictions:
    """Read the table that fine-tuning writes; `film` becomes an index into `films`.

    Raises InputError for a missing or empty table, and with its line for a malformed row or an unknown film.
    """
    index = {name: number for number, name in enumerate(films)}
    rows: list[tuple[int, int, float, int]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            for row in table:
                rows.append((index[row["film"]], int(row["shot"]), float(row["probability"]), int(row["label"])))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); finish the fine-tuning run first") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}, line {table.line_num} is not a prediction of the {len(films)} test films ({error!r}); "
            "evaluate the run again"
        ) from error
    if not rows:
        raise InputError(f"{path} holds no predictions; finish the fine-tuning run first")
    film, shot, probability, label = zip(*rows, strict=True)
    return ShotPredictions(np.array(film), np.array(shot), np.array(probability), np.array(label))
