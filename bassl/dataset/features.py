"""Feature store: one array a film, and an index that says what they are.

    <folder>/index.json     format, version, dimension, dtype, model (name, sha256), settings, shots of each film
    <folder>/<film>.npy     (num_shots, dimension)

Films are written to a temporary name and renamed, so a file that is there is whole; the index is written before the
first film (without film list) and again after the last. The reference's layout, one `.npy` a shot in a folder a film
(`<film>/shot_0000.npy`), is read as well.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bassl.dataset.annotation import is_film_name
from bassl.errors import InputError
from bassl.files import lock_folder, remove_leftovers, write_atomically, write_json

log = logging.getLogger(__name__)
FORMAT, VERSION = "bassl-features", 1
SHOT_FILE = re.compile(r"(?:shot_)?(\d+)\.npy")


@dataclass(frozen=True)
class FeatureStore:
    """A store on disk. num_shots: shots of each film, by name; model: what made it, as recorded, or None."""

    folder: Path
    dimension: int
    num_shots: Mapping[str, int]
    model: Mapping[str, Any] | None
    per_shot: bool = False

    @classmethod
    def open(cls, folder: Path, makes: str | None = None) -> FeatureStore:
        """Open a store of either layout; raises InputError where there is none or its index is damaged.

        makes: the command that makes it, where the caller knows it.
        """
        index = folder / "index.json"
        if index.is_file():
            return cls._from_index(folder, index)
        if stores := sorted(path.parent for path in folder.glob("*/index.json")):
            names = ", ".join(store.name for store in stores)
            raise InputError(f"{folder} holds {len(stores)} feature store(s), {names}; name one, such as {stores[0]}")
        films = sorted(path for path in folder.glob("*/") if any(path.glob("[!.]*.npy"))) if folder.is_dir() else []
        if not films:
            into = shlex.quote(f"config.FEATURE_PATH={folder}")
            makes = makes or f"bassl extract config.LOAD_FROM=<EXPR_NAME of the pre-training run> {into}"
            raise InputError(f"no shot features in {folder}; make them with `{makes}`, or name a store that there is")
        dimension = _load_array(next(films[0].glob("[!.]*.npy"))).size
        return cls(folder, dimension, {film.name: len(_shot_files(film)) for film in films}, None, True)

    @classmethod
    def _from_index(cls, folder: Path, index: Path) -> FeatureStore:
        stored = _read_index(index)
        if (stored.get("format"), stored.get("version")) != (FORMAT, VERSION):
            found = f"{stored.get('format')} {stored.get('version')}"
            raise InputError(f"{index} is of format {found}, not {FORMAT} {VERSION}; extract again")
        try:
            dimension, model, films = int(stored["dimension"]), stored["model"], stored["films"]
            num_shots = None if films is None else {str(name): int(count) for name, count in films.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the index {index} is damaged ({error}); extract again") from error
        if num_shots is None:
            raise InputError(f"the extraction into {folder} has not finished; start the same command again, it goes on")
        outside = [name for name in num_shots if not is_film_name(name)]
        if outside:
            raise InputError(f"{index} names a film {outside[0]!r}, which is no file name; do not use this store")
        return cls(folder, dimension, num_shots, model)

    def film(self, name: str) -> np.ndarray:
        """Features of a film, (num_shots, dimension), memory-mapped where they are one array."""
        if name not in self.num_shots:
            raise InputError(
                f"the feature store {self.folder} holds no film {name} ({len(self.num_shots)} others); extract the "
                f"split that holds it: repeat the command that made the store with config.SPLIT=..."
            )
        if self.per_shot:
            return np.stack([self._shot(path) for path in _shot_files(self.folder / name)])
        array = _load_array(self.folder / f"{name}.npy", mapped=True)
        if array.shape != (self.num_shots[name], self.dimension):
            raise InputError(
                f"{self.folder / name}.npy has shape {array.shape}, the index says "
                f"{(self.num_shots[name], self.dimension)}; remove the file and extract again"
            )
        return array

    def _shot(self, path: Path) -> np.ndarray:
        array = _load_array(path)
        if array.size != self.dimension:
            raise InputError(f"{path} has shape {array.shape}, others of {self.folder} hold {self.dimension} numbers")
        return array.reshape(-1)

    def table(self, films: Sequence[str], progress_bar: bool = False) -> FeatureTable:
        """The features of several films in one tensor in memory, in the given order."""
        counts = np.asarray([self.num_shots.get(name, 0) for name in films], dtype=np.int64)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        values: torch.Tensor | None = None
        for name, start, count in tqdm(
            list(zip(films, first, counts, strict=True)), "reading features", unit="film", disable=not progress_bar
        ):
            array = self.film(name)
            if values is None:
                kind = torch.float16 if array.dtype == np.float16 else torch.float32
                values = torch.empty((int(counts.sum()), self.dimension), dtype=kind)
            values.numpy()[start : start + count] = array
        assert values is not None, "a table of no films"
        return FeatureTable(values, first, counts)


@dataclass
class FeatureTable:
    """Rows of several films behind one another. values: (R, D); first and num_shots: (F,) int64, a film's rows."""

    values: torch.Tensor
    first: np.ndarray
    num_shots: np.ndarray
    _gathered: dict[torch.dtype, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def gather(self, rows: torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
        """Features at `rows` (B, S) as (B, S, D) float32 on `device` (that of the table unless given).

        From a table in host memory the answer is valid until the next call, which writes into the same memory: fresh
        pages for every batch would cost seven times the copying. Autograd notices a use past that.
        """
        on_host = self.values.device.type == "cpu"
        flat = rows.reshape(-1).to(self.values.device, non_blocking=not on_host)  # the host would not wait for them
        device = device or self.values.device
        if not on_host:
            found = self.values.index_select(0, flat).float().to(device)
        elif device.type == "cpu":
            found = self._take(flat)
        else:  # from pinned memory, as stored; waited for, since the next call writes there
            buffer = self._buffer(self.values.dtype, len(flat), pinned=device.type == "cuda")
            found = torch.index_select(self.values, 0, flat, out=buffer).to(device).float()
        return found.view(*rows.shape, -1)

    def _take(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of a table in host memory, float32, in the buffer that earlier calls used."""
        taken = torch.index_select(self.values, 0, rows, out=self._buffer(self.values.dtype, len(rows)))
        return taken if taken.dtype == torch.float32 else self._buffer(torch.float32, len(rows)).copy_(taken)

    def _buffer(self, dtype: torch.dtype, num_rows: int, pinned: bool = False) -> torch.Tensor:
        if dtype not in self._gathered or len(self._gathered[dtype]) < num_rows:
            with torch.inference_mode(False):  # evaluation may come first, and training has to save what it gathers
                self._gathered[dtype] = torch.empty((num_rows, self.values.shape[1]), dtype=dtype, pin_memory=pinned)
        return self._gathered[dtype][:num_rows]

    def mean(self, first: np.ndarray, num_shots: np.ndarray) -> torch.Tensor:
        """Mean feature (D,) of the shots of some films, given by their first rows and lengths."""
        total = torch.zeros(self.values.shape[1], dtype=torch.float64)
        for start, count in zip(first.tolist(), num_shots.tolist(), strict=True):
            total += self.values[start : start + count].double().sum(0).cpu()
        return (total / int(num_shots.sum())).float()


class FeatureWriter:
    """Writes a store film by film. Several ranks may write films; rank zero begins and finishes the index.

    identity: everything that decides the numbers (model name and sha256, transform, precision, ...). A store with
    another identity, or one that another running process writes, is refused with InputError, never mixed.
    """

    def __init__(self, folder: Path, dimension: int, dtype: str, identity: Mapping[str, Any]) -> None:
        self.folder, self.dimension, self.dtype, self.identity = folder, dimension, np.dtype(dtype), dict(identity)
        self._held = ExitStack()

    def begin(self) -> None:
        """Take the folder: lock it, check what lies there, write the index without films. Rank zero only."""
        busy = f"another process is writing {self.folder}; wait for it or set config.FEATURE_PATH"
        self._held.enter_context(lock_folder(self.folder, busy))
        try:
            self._take_over()
            remove_leftovers(self.folder)
        except InputError:
            self.close()
            raise

    def _take_over(self) -> None:
        """Check that what lies in the folder is of the same kind, or start an index."""
        index = self.folder / "index.json"
        if index.is_file():
            stored = _read_index(index)
            mine = self._index(None)
            different = [key for key in mine if key != "films" and stored.get(key) != mine[key]]
            if different:
                key = different[0]
                raise InputError(
                    f"the features in {self.folder} were made differently ({key}: {stored.get(key)}, now {mine[key]}); "
                    "set config.FEATURE_PATH to another folder, or remove that one"
                )
        elif any(self.folder.glob("[!.]*.npy")) or any(self.folder.glob("[!.]*/[!.]*.npy")):
            raise InputError(
                f"{self.folder} holds features without an index; set config.FEATURE_PATH to another folder"
            )
        else:
            self._write_index(None)

    def has(self, film: str, num_shots: int) -> bool:
        """Whether a film is written, whole and of the right shape."""
        path = self.folder / f"{film}.npy"
        return path.is_file() and _load_array(path, mapped=True).shape == (num_shots, self.dimension)

    def holds(self, film: str, features: np.ndarray) -> bool:
        """Whether a film is written with these very features; raises InputError where it is with others."""
        path = self.folder / f"{film}.npy"
        if not path.is_file():
            return False
        if np.array_equal(_load_array(path, mapped=True), features.astype(self.dtype)):
            return True
        raise InputError(f"{path} holds other features of film {film}; write to another store, or remove the file")

    def write(self, film: str, features: np.ndarray) -> None:
        """Write one film's features, (num_shots, dimension)."""
        assert features.shape == (len(features), self.dimension), features.shape
        array = np.ascontiguousarray(features.astype(self.dtype))
        write_atomically(self.folder / f"{film}.npy", lambda path: np.save(path, array, allow_pickle=False))

    def finish(self, films: Mapping[str, int]) -> None:
        """Write the final index (films of earlier runs stay in it) and let go of the folder. Rank zero only."""
        missing = [film for film, count in films.items() if not self.has(film, count)]
        assert not missing, f"films not written: {missing}"
        stored = _read_index(self.folder / "index.json")["films"] or {}
        self._write_index({**stored, **films})
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._held.close()

    def _index(self, films: Mapping[str, int] | None) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "dimension": self.dimension,
            "dtype": self.dtype.name,
            **self.identity,
            "films": None if films is None else dict(sorted(films.items())),
        }

    def _write_index(self, films: Mapping[str, int] | None) -> None:
        write_json(self.folder / "index.json", self._index(films))


def _shot_files(film: Path) -> list[Path]:
    numbered = [(int(match[1]), path) for path in film.iterdir() if (match := SHOT_FILE.fullmatch(path.name))]
    numbered.sort()
    if not numbered or [number for number, _ in numbered] != list(range(len(numbered))):
        gap = next((i for i, (number, _) in enumerate(numbered) if number != i), 0)
        raise InputError(f"the features of film {film.name} in {film.parent} lack shot {gap}; extract them again")
    return [path for _, path in numbered]


def _load_array(path: Path, mapped: bool = False) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # whatever a damaged header provokes in NumPy, TokenError and MemoryError included
        raise InputError(f"the feature file {path} cannot be read ({error}); remove it and extract again") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise InputError(
            f"the feature file {path} holds no array of floating-point numbers; remove it and extract again"
        )
    return array


def _read_index(index: Path) -> dict[str, Any]:
    try:
        stored = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the index {index} is damaged ({error}); extract again into another folder") from error
    if not isinstance(stored, dict):
        raise InputError(f"the index {index} is damaged (no object); extract again into another folder")
    return stored
