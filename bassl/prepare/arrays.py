"""Features from elsewhere into a data set that fine-tuning reads: `python3 -m bassl.prepare.arrays FILE.npz ...`.

One `.npz` per film holds shots (N, 2), first and last frame; labels (N,); and features (N, D). They become shot files,
label files, annotations and a feature store. `write_arrays` does the same from Python.
"""

from __future__ import annotations

import argparse
import logging
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError
from bassl.labels.film_names import film_name_of, find_collisions, safe_film_name
from bassl.labels.findings import EXIT_STATUS, Finding, run_and_report
from bassl.labels.label_files import NO_LABEL, Labels, write_label_file
from bassl.prepare.annotations import Film, write_annotations
from bassl.prepare.layout import IntArray, Layout, check_shot_frames, lock_target, write_shot_file
from bassl.prepare.splits import Splits, add_split_options, choose_splits, note_unplaced, write_split_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmArrays:
    """A film's shots (N, 2) in frames, features (N, D), and labels (N,): 1, 0, -1 uncertain, or None for no labels."""

    shots: ArrayLike
    features: ArrayLike
    labels: ArrayLike | None = None


@dataclass(frozen=True)
class _CheckedFilm:
    frames: IntArray
    features: NDArray[np.float32]
    labels: Labels


def write_arrays(
    target: Path,
    films: Mapping[str, FilmArrays],
    splits: Splits,
    store: str = "arrays",
    keep_last: bool = False,
) -> Path:
    """Write films in MovieNet's layout, without key-frames, and return the folder of the feature store.

    Films that the store holds already are not written again.

    Args:
        target: data set to write.
        films: arrays by film name.
        splits: film names of "train", "val" and "test".
        store: name of the feature store.
        keep_last: keep the label of each film's last shot, which no shot follows.

    Raises:
        InputError: names that cannot be folders, arrays that do not fit each other, labels other than 1, 0 and -1,
            features that are not finite, or features other than the store holds for a film. Nothing is written then.
    """
    from bassl.dataset.features import FeatureWriter  # imports torch

    # 1. refuse everything that cannot be written
    for name in (*films, store):
        if name != safe_film_name(name):
            raise InputError(f"{name!r} cannot name a folder; name it {safe_film_name(name)!r}")
    if not films:
        raise InputError("there are no films to write; name a .npz file or more")
    checked = {name: _check_arrays(name, arrays, keep_last) for name, arrays in films.items()}
    dimensions = {name: film.features.shape[1] for name, film in checked.items()}
    dimension = next(iter(dimensions.values()))
    if other := next((name for name, value in dimensions.items() if value != dimension), None):
        raise InputError(f"features of {other} have {dimensions[other]} numbers per shot, the others {dimension}")

    # 2. write the store, then what refers to it
    layout = Layout.of(target)
    identity = {"model": None, "transform": None, "precision": "float32", "source": store}
    writer = FeatureWriter(layout.features / store, dimension, "float32", identity)
    with lock_target(target), closing(writer):
        writer.begin()
        stored = {name for name, film in checked.items() if writer.holds(name, film.features)}
        for name, film in checked.items():
            if name not in stored:
                writer.write(name, film.features)
            if (film.labels != NO_LABEL).any():
                write_label_file(layout.labels / f"{name}.txt", film.labels)
            write_shot_file(layout.shots / f"{name}.txt", film.frames)
        writer.finish({name: len(film.frames) for name, film in checked.items()})
        write_split_file(layout.split, splits)
        rows = write_annotations(layout, [Film(name, film.labels, False) for name, film in checked.items()], splits)
    log.info("%s: %s", target, ", ".join(f"{name} {count} rows" for name, count in rows.items() if count))
    return layout.features / store


def _check_arrays(name: str, arrays: FilmArrays, keep_last: bool) -> _CheckedFilm:
    frames = np.asarray(arrays.shots)
    if frames.dtype.kind not in "iu":
        raise InputError(f"the shots of {name} are {frames.dtype}; give integer frame numbers, not seconds")
    frames = frames.astype(np.int64)
    check_shot_frames(frames, name)
    features = np.asarray(arrays.features)
    if features.ndim != 2 or len(features) != len(frames) or not features.size or features.dtype.kind not in "fiu":
        raise InputError(
            f"features of {name} have shape {features.shape} and type {features.dtype}; give ({len(frames)}, D) numbers"
        )
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    if not np.isfinite(features).all():
        raise InputError(f"features of {name} hold NaN or infinity in float32; replace them")
    labels = np.full(len(frames), NO_LABEL, np.int8)
    if arrays.labels is not None:
        given = np.asarray(arrays.labels)
        if given.shape != (len(frames),) or given.dtype.kind not in "biuf" or not np.isin(given, (-1, 0, 1)).all():
            raise InputError(
                f"the labels of {name} have shape {given.shape} and type {given.dtype}; give ({len(frames)},) of "
                "1, 0 and -1"
            )
        labels[:] = given
        if not keep_last:
            labels[-1] = NO_LABEL
    return _CheckedFilm(frames, features, labels)


def read_npz(path: Path, shots: str, features: str, labels: str | None) -> FilmArrays:
    """Read the arrays of these names from a `.npz`, never a pickle. Raises InputError if they cannot be read."""
    wanted = [name for name in (shots, features, labels) if name is not None]
    try:
        with np.load(path, allow_pickle=False) as stored:
            if missing := [name for name in wanted if name not in stored.files]:
                raise InputError(f"{path} has no array {missing[0]!r}; it has {', '.join(stored.files)[:200]}")
            return FilmArrays(stored[shots], stored[features], stored[labels] if labels is not None else None)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
        raise InputError(f"{path} is not an .npz file of numbers, or is damaged; write it with numpy.savez") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_and_report(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> list[Finding]:
    names = {str(path): film_name_of(path) for path in arguments.files}
    if collisions := find_collisions(names):
        name, sources = next(iter(collisions.items()))
        raise InputError(f"{' and '.join(sources[:2])} would both be the film {name}; rename one")
    labels = None if arguments.labels == "none" else arguments.labels
    films = {names[str(path)]: read_npz(path, arguments.shots, arguments.features, labels) for path in arguments.files}
    splits, findings = choose_splits(arguments, sorted(films))
    store = arguments.store or safe_film_name(arguments.features)
    folder = write_arrays(arguments.output, films, splits, store=store, keep_last=arguments.keep_last)
    log.info("fine-tune with config.DATA_PATH=%s config.FEATURE_PATH=%s", arguments.output, folder)
    return [*findings, *note_unplaced(films, splits)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.prepare.arrays",
        description="Turn .npz files (one per film: shots, features, boundary labels) into a data set that "
        "fine-tuning reads.",
        epilog=EXIT_STATUS,
    )
    add = parser.add_argument
    add("files", type=Path, nargs="+", metavar="FILE.npz")
    add("--output", "--target", type=Path, required=True, metavar="FOLDER", help="the data set; made if need be")
    add("--features", default="features", metavar="NAME", help="array (N, D); default: %(default)s")
    add("--shots", default="shots", metavar="NAME", help="array (N, 2) in frames; default: %(default)s")
    text = "array (N,), 1 where a scene ends with the shot, or none; default: %(default)s"
    add("--labels", default="boundary", metavar="NAME", help=text)
    add("--keep-last", action="store_true", help="keep the label of each film's last shot")
    add("--store", metavar="NAME", help="name of the feature store; default: that of the array")
    add_split_options(parser, "default: drawn 0.6 0.2 0.2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
