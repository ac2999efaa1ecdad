"""Features from elsewhere into a data set that fine-tuning reads: `python3 -m bassl.prepare.arrays FILE.npz ...`.

A `.npz` a film: shots (N, 2) first and last frame, a label a shot (N,), and features (N, D). They become shot files,
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
from bassl.labels.film_names import colliding, film_name_of, safe_film_name
from bassl.labels.findings import Finding
from bassl.labels.label_files import NO_LABEL, Labels, write_label_file
from bassl.prepare.annotations import Film, write_annotations
from bassl.prepare.layout import Layout, alone, check_shot_frames, write_shot_file
from bassl.prepare.options import EXIT, add_split_options, chosen_splits, finish
from bassl.prepare.splits import Splits, unplaced, write_split_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmArrays:
    """A film's shots (N, 2) in frames, features (N, D), and labels (N,): 1, 0, -1 uncertain, or None without."""

    shots: ArrayLike
    features: ArrayLike
    labels: ArrayLike | None = None


def write_arrays(
    target: Path,
    films: Mapping[str, FilmArrays],
    splits: Splits,
    store: str = "arrays",
    keep_last: bool = False,
) -> Path:
    """Write films into `target` in MovieNet's layout, without key-frames; returns the folder of the feature store.

    The label of each film's last shot is left out unless `keep_last`: after it there is nothing to tell apart. Films
    in a store that is there already are not written again; one with other features there is refused, before anything
    is written.

    Raises InputError for names that cannot be folders, arrays that do not fit each other, other labels than 1, 0 and
    -1, and features that are not finite, of another dimension than the rest's, or other than those stored.
    """
    from bassl.dataset.features import FeatureWriter  # imports torch

    names = {name: safe_film_name(name) for name in (*films, store)}
    if wrong := [name for name, safe in names.items() if name != safe]:
        raise InputError(f"{wrong[0]!r} cannot name a folder; name it {names[wrong[0]]!r}")
    if not films:
        raise InputError("there are no films to write; name a .npz file or more")
    checked = {name: _checked(name, arrays, keep_last) for name, arrays in films.items()}
    dimensions = {name: features.shape[1] for name, (_, features, _) in checked.items()}
    dimension = next(iter(dimensions.values()))
    if other := next((name for name, found in dimensions.items() if found != dimension), None):
        raise InputError(f"features of {other} have {dimensions[other]} numbers a shot, the others {dimension}")
    layout = Layout.of(target)
    identity = {"model": None, "transform": None, "precision": "float32", "source": store}
    writer = FeatureWriter(layout.features / store, dimension, "float32", identity)
    with alone(target), closing(writer):
        writer.begin()
        stored = {name for name, (_, features, _) in checked.items() if writer.holds(name, features)}
        for name, (frames, features, labels) in checked.items():
            if name not in stored:
                writer.write(name, features)
            if (labels != NO_LABEL).any():
                write_label_file(layout.labels / f"{name}.txt", labels)
            write_shot_file(layout.shots / f"{name}.txt", frames)
        writer.finish({name: len(frames) for name, (frames, _, _) in checked.items()})
        write_split_file(layout.split, splits)
        records = [Film(name, labels, False) for name, (_, _, labels) in checked.items()]
        rows = write_annotations(layout, records, splits)
    log.info("%s: %s", target, ", ".join(f"{name} {count} rows" for name, count in rows.items() if count))
    return layout.features / store


def _checked(name: str, arrays: FilmArrays, keep_last: bool) -> tuple[NDArray[np.int64], NDArray[np.float32], Labels]:
    frames = np.asarray(arrays.shots)
    if frames.dtype.kind not in "iu":
        raise InputError(f"the shots of {name} are {frames.dtype}; give whole frame numbers, not seconds")
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
        raise InputError(f"features of {name} hold NaN or infinity in 32 bit; mend them")
    labels = np.full(len(frames), NO_LABEL, np.int8)
    if arrays.labels is not None:
        given = np.asarray(arrays.labels)
        if given.shape != (len(frames),) or given.dtype.kind not in "biuf" or not np.isin(given, (-1, 0, 1)).all():
            raise InputError(
                f"the labels of {name} (shape {given.shape}, {given.dtype}) have to be {len(frames)} times 1, 0 or -1"
            )
        labels[:] = given
        if not keep_last:
            labels[-1] = NO_LABEL
    return frames, features, labels


def read_npz(path: Path, shots: str, features: str, labels: str | None) -> FilmArrays:
    """The arrays of a `.npz` under the given names; executes nothing. Raises InputError for what cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            wanted = [name for name in (shots, features, labels) if name is not None]
            if missing := [name for name in wanted if name not in stored.files]:
                raise InputError(f"{path} has no array {missing[0]!r}; it has {', '.join(stored.files)[:200]}")
            return FilmArrays(stored[shots], stored[features], stored[labels] if labels is not None else None)
    except InputError:
        raise
    except OSError as error:
        if error.errno is not None:
            what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise InputError(f"{path} {what}; check the path") from error
        raise InputError(f"{path} is no .npz file, or a damaged one; write it with numpy.savez") from error
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no .npz file of numbers, or a damaged one; write it with numpy.savez") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return finish(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> list[Finding]:
    names = {str(path): film_name_of(path) for path in arguments.files}
    if clash := colliding(names):
        name, sources = next(iter(clash.items()))
        raise InputError(f"{' and '.join(sources[:2])} would both be the film {name}; rename one")
    labels = None if arguments.labels == "none" else arguments.labels
    films = {names[str(path)]: read_npz(path, arguments.shots, arguments.features, labels) for path in arguments.files}
    splits, found = chosen_splits(arguments, sorted(films))
    store = arguments.store or safe_film_name(arguments.features)
    folder = write_arrays(arguments.target, films, splits, store, arguments.keep_last)
    log.info("fine-tune with config.DATA_PATH=%s config.FEATURE_PATH=%s", arguments.target, folder)
    return [*found, *unplaced(films, splits)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.prepare.arrays",
        description="Turn .npz files (one a film, called like it: shots, features, boundary labels) into a "
        "data set that fine-tuning reads.",
        epilog=EXIT,
    )
    add = parser.add_argument
    add("files", type=Path, nargs="+", metavar="FILE.npz")
    add("--target", type=Path, required=True, metavar="FOLDER", help="the data set; made if need be")
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
