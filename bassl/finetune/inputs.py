"""What fine-tuning reads: labelled rows, shot features and frame numbers, checked to belong together."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bassl.config.locations import DATA, PRETRAINED
from bassl.config.plan import FinetunePlan
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.features import FeatureStore, FeatureTable
from bassl.dataset.keyframes import open_keyframes
from bassl.dataset.movienet import LabelledWindows, RawWindows
from bassl.dataset.shot_files import read_known_shot_frames
from bassl.dataset.window import WindowSpec
from bassl.errors import InputError
from bassl.model.checkpoint import Checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Rows of an annotation file with the data they point into.

    windows: its samples. frames: first and last frame of every shot, by film index; None where a shot file lacks.
    first: first row of each film in the feature table; None with raw key-frames.
    """

    name: str
    annotations: Annotations
    windows: LabelledWindows | RawWindows
    frames: Mapping[int, np.ndarray] | None
    first: np.ndarray | None


def open_store(plan: FinetunePlan, tuned: Checkpoint | None, pretrained: Checkpoint | None) -> FeatureStore | None:
    """The feature store of the run, None where key-frames are read.

    Raises InputError where the store was made by another checkpoint than the run's, unless its path was given.
    """
    if plan.raw:
        return None
    stored = tuned.metadata.get("bassl", {}) if tuned is not None else {}
    folder = plan.features
    if folder is None:
        if not stored.get("features"):
            raise InputError("which features belong to the model? Set config.FEATURE_PATH=<feature store>")
        folder = plan.data.root / "features" / stored["features"]
    store = FeatureStore.open(folder, extraction(plan, folder))
    expected = stored.get("feature_model") or ({"sha256": pretrained.sha256} if pretrained is not None else None)
    if store.model and expected and store.model.get("sha256") != expected.get("sha256"):
        message = (
            f"the features in {folder} were made by another checkpoint ({store.model.get('name')}, sha256 "
            f"{str(store.model.get('sha256'))[:12]}...) than the one to be used ({str(expected.get('sha256'))[:12]}...)"
        )
        if not plan.own_features:
            raise InputError(
                f"{message}; remove that folder and extract again, or name it by config.FEATURE_PATH to use it anyway"
            )
        log.warning("%s; used all the same, as config.FEATURE_PATH names them", message)
    return store


def extraction(plan: FinetunePlan, folder: Path) -> str:
    """The command that makes a run's features, as one would type it."""
    model, data = plan.pretrained, plan.data
    is_file = model is not None and model.suffix == ".ckpt"
    places = {
        "CKPT_PATH": (model.parent if model is not None and not is_file else PRETRAINED, PRETRAINED),
        "DATA_PATH": (data.root, DATA),
        "ANNO_PATH": (data.annotations, data.root / "anno"),
        "IMG_PATH": (data.keyframes, data.root / "240P_frames"),
        "FEATURE_PATH": (folder, None if plan.own_features else folder),
    }
    name = "<EXPR_NAME of the pre-training run>" if model is None else model if is_file else model.name
    own = [f"config.{key}={value}" for key, (value, default) in places.items() if value != default]
    return shlex.join(["bassl", "extract", f"config.LOAD_FROM={name}", *own])


def read_splits(
    plan: FinetunePlan, names: Sequence[str], store: FeatureStore | None
) -> tuple[dict[str, Split], FeatureTable | None]:
    """The named splits, and one table with the features of all their films (None with raw key-frames)."""
    rows = {name: read_annotations(plan.data.annotations / f"anno.{name}.ndjson") for name in names}
    films = sorted({film for notes in rows.values() for film in notes.films})
    frames = read_known_shot_frames(plan.shots, films)
    if store is None:
        table, lengths, source = None, {film: len(shots) for film, shots in frames.items()}, str(plan.shots)
    else:
        table = store.table(films, plan.loop.progress_bar)
        lengths, source = dict(zip(films, table.num_shots.tolist(), strict=True)), f"the feature store {store.folder}"
    splits = {}
    for name, notes in rows.items():
        notes = notes.with_num_shots(lengths, source)
        if name == "val" and not (notes.label == 1 if plan.uncertain == "masked" else notes.label != 0).any():
            raise InputError(
                f"{plan.data.annotations / 'anno.val.ndjson'} has no scene end, so it can choose no epoch; "
                "set config.TEST.SELECT_ON=last"
            )
        if name == "train" and plan.uncertain == "masked":
            notes = notes.select(notes.label >= 0)
        first = None if table is None else table.first[[films.index(film) for film in notes.films]]
        splits[name] = Split(name, notes, _windows(plan, notes, first), _frames(name, notes, frames, plan.shots), first)
    return splits, table


def _windows(plan: FinetunePlan, rows: Annotations, first: np.ndarray | None) -> LabelledWindows | RawWindows:
    window = WindowSpec(plan.neighbor_size, plan.neighbor_interval)
    if first is not None:
        return LabelledWindows(rows, first, window)
    keyframes = open_keyframes(
        plan.data.keyframes,
        rows,
        strict=plan.data.strict,
        max_fraction=plan.data.max_faulty_share,
        list_file=None if plan.run.dry_run else plan.run.log_folder / "broken_keyframes.txt",
    )
    size = plan.test_transform
    return RawWindows(keyframes, resize=size.resize, crop=size.crop, window=window)


def _frames(
    name: str, rows: Annotations, frames: Mapping[str, np.ndarray], folder: Path
) -> dict[int, np.ndarray] | None:
    missing = [film for film in rows.films if film not in frames]
    if missing and name != "train":
        log.warning(
            "%s: no shot file for %d films, such as %s, so Recall@3s and mIoU are left out; set config.SHOT_PATH",
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
                f"{len(frames[film])} shots (0 to {len(frames[film]) - 1}); mend it or set config.SHOT_PATH"
            )
    return {index: frames[film] for index, film in enumerate(rows.films)}
