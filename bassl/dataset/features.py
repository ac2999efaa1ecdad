"""Feature store: one array per film, and an index that says which model made them.

    <folder>/index.json     format, version, dimension, dtype, model (name, sha256), settings, shots of each film
    <folder>/<film>.npy     (num_shots, dimension)

Films are written atomically. The index is written before the first film (without a film list) and after the last one.
The reference's layout, one file per shot (`<film>/shot_0000.npy`), is read as well.
"""

from __future__ import annotations

import json
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

FORMAT, VERSION = "bassl-features", 1
SHOT_FILE = re.compile(r"(?:shot_)?(\d+)\.npy")


@dataclass(frozen=True)
class FeatureStore:
    """A finished store on disk.

    Attributes:
        folder: its path.
        dimension: D.
        num_shots: shots of each film, by name.
        model: the model that made it, as recorded, or None.
        transform: resize and crop of the key-frames in pixels, as recorded, or None.
        per_shot: whether it has the reference's layout.
    """

    folder: Path
    dimension: int
    num_shots: Mapping[str, int]
    model: Mapping[str, Any] | None
    transform: Mapping[str, int] | None = None
    per_shot: bool = False

    @classmethod
    def open(cls, folder: Path, command: str | None = None) -> FeatureStore:
        """Open a store of either layout.

        command: the command that makes it, for the error message. Raises InputError if there is no store, if its
        extraction has not finished or if its index is damaged.
        """
        index = folder / "index.json"
        if index.is_file():
            return cls._from_index(folder, index)
        if stores := sorted(path.parent for path in folder.glob("*/index.json")):
            names = ", ".join(store.name for store in stores)
            raise InputError(f"{folder} holds {len(stores)} feature store(s), {names}; name one, such as {stores[0]}")
        films = sorted(path for path in folder.glob("*/") if any(path.glob("[!.]*.npy"))) if folder.is_dir() else []
        if not films:
            target = shlex.quote(f"config.FEATURE_PATH={folder}")
            command = command or f"bassl extract config.LOAD_FROM=<EXPR_NAME of the pre-training run> {target}"
            raise InputError(f"no shot features in {folder}; make them with `{command}`, or name an existing store")
        dimension = _load_array(next(films[0].glob("[!.]*.npy"))).size
        return cls(folder, dimension, {film.name: len(_shot_files(film)) for film in films}, None, per_shot=True)

    @classmethod
    def _from_index(cls, folder: Path, index: Path) -> FeatureStore:
        stored = _read_index(index)
        if (stored.get("format"), stored.get("version")) != (FORMAT, VERSION):
            kind = f"{stored.get('format')} {stored.get('version')}"
            raise InputError(f"{index} is of format {kind}, not {FORMAT} {VERSION}; extract again")
        try:
            dimension, model, films = int(stored["dimension"]), stored["model"], stored["films"]
            num_shots = None if films is None else {str(name): int(count) for name, count in films.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the index {index} is damaged ({error!r}); extract again") from error
        if num_shots is None:
            raise InputError(f"the extraction into {folder} has not finished; start the same command again")
        if invalid := [name for name in num_shots if not is_film_name(name)]:
            raise InputError(f"{index} names a film {invalid[0]!r}, which is not a file name; do not use this store")
        return cls(folder, dimension, num_shots, model, stored.get("transform"))

    def film(self, name: str) -> np.ndarray:
        """Return the features of a film, (num_shots, dimension), memory-mapped if they are one array."""
        if name not in self.num_shots:
            raise InputError(
                f"the feature store {self.folder} holds no film {name} ({len(self.num_shots)} others); extract the "
                "split that holds it: repeat the command that made the store with config.SPLIT=..."
            )
        if self.per_shot:
            shots = [_load_array(path).reshape(-1) for path in _shot_files(self.folder / name)]
            array = np.stack(shots) if len({len(shot) for shot in shots}) == 1 else np.empty(0)
        else:
            array = _load_array(self.folder / f"{name}.npy", mapped=True)
        expected = (self.num_shots[name], self.dimension)
        if array.shape != expected:
            raise InputError(
                f"the features of film {name} in {self.folder} have another shape than {expected}; remove them and "
                "extract again"
            )
        return array

    def table(self, films: Sequence[str], progress_bar: bool = False) -> FeatureTable:
        """Load the features of several films into one tensor, in the given order."""
        counts = np.asarray([self.num_shots.get(name, 0) for name in films], dtype=np.int64)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        values: torch.Tensor | None = None
        for name, start, count in tqdm(
            list(zip(films, first, counts, strict=True)), "reading features", unit="film", disable=not progress_bar
        ):
            array = self.film(name)
            if values is None:
                dtype = torch.float16 if array.dtype == np.float16 else torch.float32
                values = torch.empty((int(counts.sum()), self.dimension), dtype=dtype)
            values.numpy()[start : start + count] = array
        assert values is not None, "a table of no films"
        return FeatureTable(values, first, counts)


@dataclass
class FeatureTable:
    """Features of several films in one tensor.

    Attributes:
        values: (R, D), in the precision of the store.
        first: (F,) int64, first row of each film.
        num_shots: (F,) int64, rows of each film.
    """

    values: torch.Tensor
    first: np.ndarray
    num_shots: np.ndarray
    _buffers: dict[torch.dtype, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def gather(self, rows: torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
        """Return the features at `rows` (B, S) as (B, S, D) float32 on a device, by default that of the table.

        The result of a table in host memory is valid until the next call, which writes into the same memory: fresh
        pages for every batch would cost seven times the copying. Autograd notices a later use.
        """
        on_host = self.values.device.type == "cpu"
        flat = rows.reshape(-1).to(self.values.device, non_blocking=not on_host)  # the host would not wait for them
        device = device or self.values.device
        if not on_host:
            features = self.values.index_select(0, flat).float().to(device)
        elif device.type == "cpu":
            features = torch.index_select(self.values, 0, flat, out=self._buffer(self.values.dtype, len(flat)))
            if features.dtype != torch.float32:
                features = self._buffer(torch.float32, len(flat)).copy_(features)
        else:  # from pinned memory, as stored; waited for, since the next call writes there
            buffer = self._buffer(self.values.dtype, len(flat), pinned=device.type == "cuda")
            features = torch.index_select(self.values, 0, flat, out=buffer).to(device).float()
        return features.view(*rows.shape, -1)

    def _buffer(self, dtype: torch.dtype, num_rows: int, pinned: bool = False) -> torch.Tensor:
        if dtype not in self._buffers or len(self._buffers[dtype]) < num_rows:
            with torch.inference_mode(False):  # evaluation may come first, and training has to save what it gathers
                self._buffers[dtype] = torch.empty((num_rows, self.values.shape[1]), dtype=dtype, pin_memory=pinned)
        return self._buffers[dtype][:num_rows]

    def mean(self, first: np.ndarray, num_shots: np.ndarray) -> torch.Tensor:
        """Return the mean feature (D,) over the shots of some films, given by their first rows and lengths."""
        total = torch.zeros(self.values.shape[1], dtype=torch.float64)
        for start, count in zip(first.tolist(), num_shots.tolist(), strict=True):
            total += self.values[start : start + count].double().sum(0).cpu()
        return (total / int(num_shots.sum())).float()


class FeatureWriter:
    """Write a store film by film. Several ranks may write films; rank zero begins and finishes the index.

    identity: everything that decides the features (model name and sha256, transform, precision, ...). A store with
    another identity is never mixed with this one: `begin` raises InputError.
    """

    def __init__(self, folder: Path, dimension: int, dtype: str, identity: Mapping[str, Any]) -> None:
        self.folder, self.dimension, self.dtype, self.identity = folder, dimension, np.dtype(dtype), dict(identity)
        self._held = ExitStack()

    def begin(self) -> None:
        """Lock the folder, check its content and write the index without films. Rank zero only.

        Raises InputError if another process writes the folder, or if it holds features of another identity.
        """
        busy = f"another process is writing {self.folder}; wait for it or set config.FEATURE_PATH"
        self._held.enter_context(lock_folder(self.folder, busy))
        try:
            self._check_content()
        except InputError:
            self.close()
            raise
        remove_leftovers(self.folder)
        if not (self.folder / "index.json").is_file():
            self._write_index(None)

    def _check_content(self) -> None:
        index, problem = self.folder / "index.json", None
        if index.is_file():
            stored, identity = _read_index(index), self._index(None)
            for key, value in identity.items():
                if key != "films" and stored.get(key) != value:
                    problem = f"features that were made differently ({key}: {stored.get(key)}, now {value})"
        elif any(self.folder.glob("[!.]*.npy")) or any(self.folder.glob("[!.]*/[!.]*.npy")):
            problem = "features without an index"
        if problem:
            raise InputError(f"{self.folder} holds {problem}; set config.FEATURE_PATH to another folder, or remove it")

    def has(self, film: str, num_shots: int) -> bool:
        """Return whether a film is written with the right shape."""
        path = self.folder / f"{film}.npy"
        return path.is_file() and _load_array(path, mapped=True).shape == (num_shots, self.dimension)

    def holds(self, film: str, features: np.ndarray) -> bool:
        """Return whether a film is written with these features; raises InputError if it is with others."""
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
        """Write the final index, which keeps the films of earlier runs, and unlock the folder. Rank zero only."""
        missing = [film for film, count in films.items() if not self.has(film, count)]
        assert not missing, f"films not written: {missing}"
        stored = _read_index(self.folder / "index.json")["films"] or {}
        self._write_index({**stored, **films})
        self.close()

    def close(self) -> None:
        """Unlock the folder."""
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
    numbered = sorted((int(match[1]), path) for path in film.iterdir() if (match := SHOT_FILE.fullmatch(path.name)))
    if not numbered or [number for number, _ in numbered] != list(range(len(numbered))):
        gap = next((i for i, (number, _) in enumerate(numbered) if number != i), 0)
        raise InputError(f"the features of film {film.name} in {film.parent} lack shot {gap}; extract them again")
    return [path for _, path in numbered]


def _load_array(path: Path, mapped: bool = False) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise ValueError("it holds no array of floating-point numbers")
    except Exception as error:  # NumPy raises anything for a damaged header, TokenError and MemoryError included
        raise InputError(f"the feature file {path} cannot be read ({error}); remove it and extract again") from error
    return array


def _read_index(index: Path) -> dict[str, Any]:
    try:
        stored = json.loads(index.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the index {index} is damaged ({error}); extract again into another folder") from error
    return stored
