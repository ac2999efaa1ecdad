"""Read the inputs of fine-tuning: labelled rows, shot features and frame numbers, checked to belong together."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bassl.config.batches import eval_batch_size, num_processes
from bassl.config.paths import DATA, PRETRAINED, data_paths, fault_options, feature_folder, pretrained_checkpoint
from bassl.config.schema import Finetune
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.datamodule import FinetuneData, LoaderSpec, usable_workers
from bassl.dataset.features import FeatureStore, FeatureTable
from bassl.dataset.keyframes import Keyframes, open_keyframes
from bassl.dataset.movienet import LabelledWindows, RawWindows
from bassl.dataset.shot_files import read_known_shot_frames
from bassl.dataset.window import WindowSpec
from bassl.errors import InputError
from bassl.model.checkpoint import Checkpoint
from bassl.model.relative_similarity import centered_features
from bassl.training.run_folder import run_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """Window of shots around the one that is scored: `size` shots on either side, every `interval`-th."""

    size: int
    interval: int

    @classmethod
    def of(cls, config: Finetune, stored: Mapping[str, Any] | None = None) -> Window:
        """Return the configured window, or that of a fine-tuned model's metadata."""
        neighbors, stored = config.LOSS.sampling_method.params, stored or {}
        return cls(
            size=stored.get("neighbor_size", neighbors.neighbor_size),
            interval=stored.get("neighbor_interval", neighbors.neighbor_interval),
        )

    @property
    def num_shots(self) -> int:
        """Length in shots."""
        return 2 * self.size + 1


@dataclass(frozen=True)
class Split:
    """Rows of an annotation file with the data they point to.

    Attributes:
        windows: Samples.
        frames: First and last frame of every shot, by film index; None if a shot file is missing.
        first: First row of each film in the feature table; None with raw key-frames.
    """

    name: str
    annotations: Annotations
    windows: LabelledWindows | RawWindows
    frames: Mapping[int, np.ndarray] | None
    first: np.ndarray | None

    @property
    def keyframes(self) -> Keyframes | None:
        """Key-frames that the samples read, if they do."""
        return self.windows.keyframes if isinstance(self.windows, RawWindows) else None


def open_store(
    config: Finetune, *, pretrained: Checkpoint | None, tuned: Checkpoint | None = None
) -> FeatureStore | None:
    """Open the feature store of a run; return None if key-frames are read.

    Warns of features whose key-frames were resized or cropped differently from those of the pre-training run.

    Raises:
        InputError: The store was made by another checkpoint, unless `config.FEATURE_PATH` names it.
    """
    if config.USE_RAW_SHOT:
        return None
    stored = tuned.metadata.get("bassl", {}) if tuned is not None else {}
    folder = feature_folder(config)
    if folder is None:
        if not stored.get("features"):
            raise InputError("the model names no feature store; set config.FEATURE_PATH=<feature store>")
        folder = data_paths(config).root / "features" / stored["features"]
    store = FeatureStore.open(folder, extract_command(config, folder))
    expected = stored.get("feature_model") or ({"sha256": pretrained.sha256} if pretrained is not None else None)
    if store.model and expected and store.model.get("sha256") != expected.get("sha256"):
        message = (
            f"the features in {folder} were made by another checkpoint ({store.model.get('name')}, sha256 "
            f"{str(store.model.get('sha256'))[:12]}...) than the one in use ({str(expected.get('sha256'))[:12]}...)"
        )
        if config.FEATURE_PATH is None:
            raise InputError(
                f"{message}; remove that folder and extract again, or set config.FEATURE_PATH to use it anyway"
            )
        log.warning("%s; used anyway, because config.FEATURE_PATH names them", message)
    if pretrained is not None and pretrained.test_transform is not None and store.transform:
        used, trained = (store.transform.get("resize"), store.transform.get("crop")), pretrained.test_transform
        if used != trained:
            log.warning(
                "key-frames of the features in %s were resized to %s and cropped to %s pixels, those of %s to %s, %s",
                folder, *used, pretrained.path, *trained,
            )  # fmt: skip
    return store


def extract_command(config: Finetune, folder: Path) -> str:
    """Return the command that extracts the features of a run."""
    model, paths = pretrained_checkpoint(config), data_paths(config)
    is_file = model is not None and model.suffix == ".ckpt"
    places = {
        "CKPT_PATH": (model.parent if model is not None and not is_file else PRETRAINED, PRETRAINED),
        "DATA_PATH": (paths.root, DATA),
        "ANNO_PATH": (paths.annotations, paths.root / "anno"),
        "IMG_PATH": (paths.keyframes, paths.root / "240P_frames"),
        "FEATURE_PATH": (folder, None if config.FEATURE_PATH is not None else folder),
    }
    name = "<EXPR_NAME of the pre-training run>" if model is None else model if is_file else model.name
    overrides = [f"config.{key}={value}" for key, (value, default) in places.items() if value != default]
    return shlex.join(["bassl", "extract", f"config.LOAD_FROM={name}", *overrides])


def read_splits(
    config: Finetune, names: Sequence[str], store: FeatureStore | None, window: Window
) -> tuple[dict[str, Split], FeatureTable | None]:
    """Read the named splits, and one table with the features of all their films (None with raw key-frames)."""
    paths, masks = data_paths(config), config.TEST.UNCERTAIN_LABEL == "masked"
    rows = {name: read_annotations(paths.annotations / f"anno.{name}.ndjson") for name in names}
    films = sorted({film for annotations in rows.values() for film in annotations.films})
    frames = read_known_shot_frames(paths.shots, films)
    if store is None:
        table, lengths, source = None, {film: len(shots) for film, shots in frames.items()}, str(paths.shots)
    else:
        table = store.table(films, config.TRAINER.progress_bar)
        lengths, source = dict(zip(films, table.num_shots.tolist(), strict=True)), f"the feature store {store.folder}"
    splits = {}
    for name, loaded in rows.items():
        labelled = loaded.with_num_shots(lengths, source)
        if name == "val" and not (labelled.label == 1 if masks else labelled.label != 0).any():
            raise InputError(
                f"{paths.annotations / 'anno.val.ndjson'} has no scene end, so no epoch can be selected on it; "
                "set config.TEST.SELECT_ON=last"
            )
        if name == "train" and config.TRAIN.NUM_FILMS is not None:
            labelled = _first_films(labelled, config.TRAIN.NUM_FILMS)
        if name == "train" and masks:
            labelled = labelled.select(labelled.label >= 0)
        first = None if table is None else table.first[[films.index(film) for film in labelled.films]]
        splits[name] = Split(
            name=name,
            annotations=labelled,
            windows=_windows(config, labelled, first, window),
            frames=_frames(name, labelled, frames, paths.shots),
            first=first,
        )
    return splits, table


def centered_table(table: FeatureTable) -> FeatureTable:
    """Return the features of a table, those of each film centred on it."""
    values = torch.empty(table.values.shape, dtype=torch.float32)
    for first, count in zip(table.first.tolist(), table.num_shots.tolist(), strict=True):
        rows = slice(first, first + count)
        values[rows] = torch.from_numpy(centered_features(table.values[rows].float().numpy()))
    return FeatureTable(values, table.first, table.num_shots)


def _first_films(annotations: Annotations, number: int) -> Annotations:
    """Return the rows of the first films; film indices count in order of appearance."""
    if number > len(annotations.films):
        raise InputError(
            f"config.TRAIN.NUM_FILMS={number}, but anno.train has only {len(annotations.films)} films; set it lower"
        )
    return annotations.first_films(number)


def build_data(
    config: Finetune,
    evaluated: Split,
    seed: int,
    *,
    on_gpu: bool,
    train: Split | None = None,
    batch_size: int = 1,
    accumulate: int = 1,
    processes: int | None = None,
) -> FinetuneData:
    """Build the data module of one evaluated split, and of training samples if there are any."""
    per_node = config.DISTRIBUTED.NUM_PROC_PER_NODE
    spec = LoaderSpec(
        batch_size=batch_size,
        eval_batch_size=eval_batch_size(config),
        num_processes=processes or num_processes(config),
        local_processes=per_node,
        accumulate=accumulate,
        num_workers=usable_workers(config.TRAIN.NUM_WORKERS, per_node),
        pin_memory=on_gpu,
    )
    return FinetuneData(train.windows if train else None, [evaluated.windows], spec, seed=seed)


def _windows(
    config: Finetune, rows: Annotations, first: np.ndarray | None, window: Window
) -> LabelledWindows | RawWindows:
    if first is not None:
        return LabelledWindows(rows, first, WindowSpec(window.size, window.interval))
    list_folder = None if config.DRY_RUN else run_folder(config, job="finetune").logs
    keyframes = open_keyframes(data_paths(config).keyframes, rows, **fault_options(config, list_folder))
    test = config.TRANSFORM.test
    return RawWindows(keyframes, resize=test.resize, crop=test.crop, window=WindowSpec(window.size, window.interval))


def _frames(
    name: str, rows: Annotations, frames: Mapping[str, np.ndarray], folder: Path
) -> dict[int, np.ndarray] | None:
    missing = [film for film in rows.films if film not in frames]
    if missing and name != "train":
        log.warning(
            "%s: no shot file for %d films, such as %s, so Recall@3s and mIoU are omitted; set config.SHOT_PATH",
            name, len(missing), missing[0],
        )  # fmt: skip
    if missing:
        return None
    last = np.zeros(len(rows.films), dtype=np.int64)
    np.maximum.at(last, rows.film, rows.shot)
    for film, shot in zip(rows.films, last.tolist(), strict=True):
        if shot >= len(frames[film]):
            raise InputError(
                f"film {film} has a row for shot {shot}, but the shot file {folder / film}.txt holds only "
                f"{len(frames[film])} shots (0 to {len(frames[film]) - 1}); correct it or set config.SHOT_PATH"
            )
    return {index: frames[film] for index, film in enumerate(rows.films)}
