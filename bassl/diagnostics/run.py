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
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bassl.config.load import load
from bassl.config.plan import DataPlan, FinetunePlan, PretrainPlan
from bassl.config.resolve import resolve_finetune, resolve_pretrain
from bassl.config.schema import JOBS
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.features import FeatureStore
from bassl.dataset.keyframes import Keyframes
from bassl.errors import InputError
from bassl.finetune.inputs import open_store
from bassl.finetune.metrics import ShotPredictions
from bassl.model import BEST
from bassl.model.checkpoint import Checkpoint, load_weights, read_checkpoint
from bassl.model.heads import NCEHead


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
    def plan(self) -> PretrainPlan | FinetunePlan:
        """The run's plan, from the `config.json` in its log folder."""
        return recorded_plan(self.folder, self.overrides)

    @cached_property
    def threshold(self) -> float:
        """Probability from which a shot counted as a boundary; of fine-tuning alone."""
        assert isinstance(self.plan, FinetunePlan), "a pre-training run predicts nothing"
        if self.plan.threshold is not None:
            return self.plan.threshold
        path = self.folder / "all_score.json"
        try:
            return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} does not say which threshold val chose ({error!r}); evaluate the run again, or give "
                "config.TEST.THRESHOLD=<number>"
            ) from error

    @property
    def data(self) -> DataPlan:
        """Where its data lies."""
        return self.plan.data

    @property
    def window(self) -> tuple[int, int]:
        """Shots on either side of the centre, and shots from one position of the window to the next."""
        where = self.plan if isinstance(self.plan, FinetunePlan) else self.plan.method
        return where.neighbor_size, where.neighbor_interval

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
        plan = self.plan
        path = plan.run.checkpoint_folder
        if isinstance(plan, FinetunePlan):
            trained = path / BEST if plan.select_on == "val" else path
            path = plan.evaluate or (plan.pretrained if plan.zero_shot and plan.pretrained else trained)
        return read_checkpoint(path)

    @cached_property
    def store(self) -> FeatureStore:
        """Shot features: those that were fine-tuned, or those extracted with the pre-trained model."""
        if self.feature_folder is not None:
            return FeatureStore.open(self.feature_folder)
        if isinstance(self.plan, PretrainPlan):
            return FeatureStore.open(self.data.root / "features" / self.plan.run.name)
        store = open_store(self.plan, self.checkpoint if self.plan.evaluate else None, None)
        if store is None:
            raise InputError("the run read key-frames (config.USE_RAW_SHOT=true), so there are no features to look at")
        return store

    @cached_property
    def projection(self) -> NCEHead:
        """The NCE head of pre-training, which dynamic time warping compares shots with."""
        plan = self.plan
        if isinstance(plan, FinetunePlan) and plan.pretrained is None:
            raise InputError("the run names no pre-trained model, hence no NCE head; set config.PRETRAINED_LOAD_FROM")
        pretrained = read_checkpoint(plan.pretrained) if isinstance(plan, FinetunePlan) else self.checkpoint  # type: ignore[arg-type]
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


def recorded_plan(folder: Path, overrides: Sequence[str] = ()) -> PretrainPlan | FinetunePlan:
    """The plan that the `config.json` of a log folder gives, with overrides such as `config.DATA_PATH=...` on
    top.

    Relative paths in it count from the working directory, as when the run was started. Raises InputError
    where the file is missing or is none of ours, and for an override that the run's job does not know.
    """
    path = folder / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the log folder of a run (<logs>/<EXPR_NAME>)") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the log folder of another run") from error
    job = "finetune" if isinstance(stored, dict) and "PRETRAINED_LOAD_FROM" in stored else "pretrain"
    asked = load(job, overrides)
    try:
        config = OmegaConf.merge(OmegaConf.structured(JOBS[job]), stored)
        for name in (override.lstrip("+").split("=", 1)[0].removeprefix("config.") for override in overrides):
            OmegaConf.update(config, name, OmegaConf.select(asked, name))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is of another version ({str(error).splitlines()[0]}); draw it with that one"
        ) from error
    return resolve_finetune(config) if job == "finetune" else resolve_pretrain(config)  # type: ignore[arg-type]


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
