"""A finished run as it lies on disk: its configuration, predictions, features, weights and key-frames."""

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
from bassl.config.paths import DataPaths, data_paths, evaluated_checkpoint, pretrained_checkpoint
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
    """What the labels say of one film. shots: those with a row, ascending. is_boundary: (num_shots,) bool, a
    scene ends with it; scene: (num_shots,) number of the scene, -1 for shots without a row."""

    shots: NDArray[np.int64]
    is_boundary: NDArray[np.bool_]
    scene: NDArray[np.int64]


@dataclass(frozen=True)
class FinishedRun:
    """A pre-training or fine-tuning run. Everything is read when it is first asked for; what is not there is
    an InputError.

    folder: its logs. overrides: command-line overrides of its recorded configuration, for data that has
    moved. feature_folder: the feature store, where it is not the one that the configuration names.
    """

    folder: Path
    overrides: tuple[str, ...] = ()
    feature_folder: Path | None = None

    @cached_property
    def config(self) -> Pretrain | Finetune:
        """Configuration of the run, from the `config.json` in its log folder."""
        return recorded_config(self.folder, self.overrides)

    @cached_property
    def run(self) -> RunFolder:
        """Name and folders of the run."""
        return run_folder(self.config, job="finetune" if isinstance(self.config, Finetune) else "pretrain")

    @cached_property
    def threshold(self) -> float:
        """Probability from which a shot counted as a boundary, in fine-tuning."""
        assert isinstance(self.config, Finetune), "a pre-training run predicts nothing"
        if not isinstance(self.config.TEST.THRESHOLD, str):
            return self.config.TEST.THRESHOLD
        path = self.folder / "all_score.json"
        try:
            return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} does not say which threshold val chose ({error!r}); evaluate the run again, or give "
                "config.TEST.THRESHOLD=<number>"
            ) from error

    @property
    def data(self) -> DataPaths:
        """Folders of its data set."""
        return data_paths(self.config)

    @property
    def window(self) -> tuple[int, int]:
        """Shots on either side of the centre, and the step between two shots of the window."""
        if isinstance(self.config, Finetune):
            window = Window.of(self.config)
            return window.size, window.interval
        method = method_of(self.config)
        return method.neighbor_size, method.neighbor_interval

    @cached_property
    def annotations(self) -> Annotations:
        """The test rows, with the films' lengths as the feature store knows them, if it is there."""
        notes = read_annotations(self.data.annotations / "anno.test.ndjson")
        try:
            store = self.store
        except InputError:
            return notes
        return notes.with_num_shots(store.num_shots, f"the feature store {store.folder}")

    @cached_property
    def keyframes(self) -> Keyframes:
        """Key-frames of the test films."""
        return Keyframes(self.data.keyframes, self.annotations)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The run's model: the best on val where that was selected, else the last."""
        config, path = self.config, self.run.checkpoints
        if isinstance(config, Finetune):
            trained = path / BEST if config.TEST.SELECT_ON == "val" else path
            pretrained = pretrained_checkpoint(config)
            path = evaluated_checkpoint(config) or (pretrained if config.ZERO_SHOT and pretrained else trained)
        return read_checkpoint(path)

    @cached_property
    def store(self) -> FeatureStore:
        """Shot features: those that were fine-tuned, or those extracted with the pre-trained model."""
        if self.feature_folder is not None:
            return FeatureStore.open(self.feature_folder)
        if isinstance(self.config, Pretrain):
            return FeatureStore.open(self.data.root / "features" / self.run.name)
        tuned = self.checkpoint if self.config.LOAD_FROM else None
        store = open_store(self.config, pretrained=None, tuned=tuned)
        if store is None:
            raise InputError("the run read key-frames (config.USE_RAW_SHOT=true), so there are no features to look at")
        return store

    @cached_property
    def projection(self) -> NCEHead:
        """The NCE head of pre-training, which dynamic time warping compares shots with."""
        pretrained = self.checkpoint
        if isinstance(self.config, Finetune):
            path = pretrained_checkpoint(self.config)
            if path is None:
                raise InputError("the run names no pre-trained model, so no NCE head; set config.PRETRAINED_LOAD_FROM")
            pretrained = read_checkpoint(path)
        first, second = (pretrained.state_dict.get(f"loss.head_nce.model.{layer}.weight") for layer in (0, 2))
        if first is None or second is None:
            raise InputError(f"{pretrained.path} holds no NCE head (no loss.head_nce.* tensors); choose another run")
        head = NCEHead(first.shape[1], first.shape[0], second.shape[0])
        load_weights(head, pretrained.state_dict, prefix="loss.head_nce.", source=pretrained.path)
        return head.eval()

    def features(self, film: int) -> torch.Tensor:
        """Shot features of a film, (num_shots, D) float32."""
        return torch.from_numpy(np.array(self.store.film(self.annotations.films[film]), dtype=np.float32))

    def labels(self, film: int) -> FilmLabels:
        """Labels of a film's test rows; an uncertain one (-1) counts as a boundary."""
        notes = self.annotations
        rows = np.flatnonzero(notes.film == film)
        rows = rows[np.argsort(notes.shot[rows])]
        is_boundary = np.zeros(int(notes.num_shots[film]), dtype=bool)
        scene = np.full(len(is_boundary), -1, dtype=np.int64)
        is_boundary[notes.shot[rows]] = notes.label[rows] != 0
        scene[notes.shot[rows]] = notes.scene_numbers()[rows]
        return FilmLabels(notes.shot[rows].astype(np.int64), is_boundary, scene)

    @cached_property
    def predictions(self) -> ShotPredictions:
        """What the run predicted for the test rows, from its `predictions.csv`."""
        return read_predictions(self.folder / "predictions.csv", self.annotations.films)


def recorded_config(folder: Path, overrides: Sequence[str] = ()) -> Pretrain | Finetune:
    """Return the configuration that the `config.json` of a log folder holds, with overrides on top.

    Relative paths in it start at the working directory, as when the run was started.

    Raises:
        InputError: The file is missing or of another program, or an override is unknown to the run's job.
    """
    path = folder / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the log folder of a run (<logs>/<EXPR_NAME>)") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the log folder of another run") from error
    job = "finetune" if isinstance(stored, dict) and "PRETRAINED_LOAD_FROM" in stored else "pretrain"
    load(job, [*overrides, *(["config.FEATURE_PATH=."] if job == "finetune" else [])])  # names a wrong override
    try:
        return load(job, overrides, recorded=stored)
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"{path} is of another version ({error}); draw it with that one") from error


def read_predictions(path: Path, films: Sequence[str]) -> ShotPredictions:
    """The table that fine-tuning writes; `film` becomes the index into `films`.

    Raises InputError with the line for a malformed row and for a film that is not among them, and for a file that is
    no table.
    """
    index = {name: number for number, name in enumerate(films)}
    rows: list[tuple[int, int, float, int]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    rows.append((index[row["film"]], int(row["shot"]), float(row["probability"]), int(row["label"])))
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(
                        f"{path}, line {number}: {dict(row)} is no prediction of {len(films)} test films; "
                        "run the evaluation again"
                    ) from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; finish the fine-tuning run, which writes it") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table ({error}); run the evaluation again") from error
    if not rows:
        raise InputError(f"{path} holds no predictions; finish the fine-tuning run, which writes them")
    film, shot, probability, label = zip(*rows, strict=True)
    return ShotPredictions(np.array(film), np.array(shot), np.array(probability), np.array(label))
