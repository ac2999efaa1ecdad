"""Key-frames on disk, `<root>/<film>/shot_<id>_img_<k>.jpg`, three per shot; corrupt ones are replaced and counted."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from bassl.dataset.annotation import Annotations
from bassl.dataset.transform import decode_keyframe, same_size, stacked
from bassl.errors import InputError
from bassl.files import lock_folder, sha256_of

log = logging.getLogger(__name__)
NUM_KEYFRAMES = 3
ALWAYS_TOLERATED = 10  # corrupt key-frames, unless max_fraction is 0


@dataclass
class CorruptFrames:
    """Count the missing or broken key-frames that one process meets, and end the run when there are too many.

    Attributes:
        strict: fail at the first one.
        max_fraction: fail when more than this fraction of the key-frames read so far was corrupt. The first 10 are
            tolerated; 0 tolerates none.
        list_file: lists each corrupt file once, for all processes, data sets and restarts of a run. Files in the list
            are not logged again. None: only the log names them.
        num_files: number of key-frames, so that reading them again in later epochs tolerates no more; None: unknown.
        num_read: key-frames read so far, repeats included.
        broken: paths of the corrupt ones.
    """

    strict: bool = False
    max_fraction: float = 0.001
    list_file: Path | None = None
    num_files: int | None = None
    num_read: int = 0
    broken: set[str] = field(default_factory=set)

    def record(self, path: Path, error: InputError) -> None:
        """Count a corrupt key-frame; raises InputError if it is one too many."""
        if self.strict:
            raise error
        if str(path) not in self.broken:
            self.broken.add(str(path))
            if self._add_to_list(path):
                log.warning("%s; another key-frame of the shot is used", error)
        num_read = self.num_read if self.num_files is None else min(self.num_read, self.num_files)
        tolerated = max(ALWAYS_TOLERATED, self.max_fraction * num_read) if self.max_fraction else 0
        if len(self.broken) > tolerated:
            raise InputError(
                f"{len(self.broken)} of the first {num_read} key-frames are missing or broken, such as {path}; "
                f"{self.where}; replace them, or raise config.DATA_FAULTS.max_share={self.max_fraction}"
            )

    @property
    def where(self) -> str:
        """Say where the corrupt key-frames are named."""
        return f"they are listed in {self.list_file}" if self.list_file else "the log names them"

    def report(self) -> None:
        """Log how many key-frames are listed, at the end of a run."""
        if self.list_file is not None and self.list_file.is_file():
            count = len(self.list_file.read_text(encoding="utf-8").splitlines())
            log.warning("%d key-frames were missing or broken and were replaced; %s", count, self.where)

    def _add_to_list(self, path: Path) -> bool:
        """Add a file to the list; False if another process or an earlier start has listed it."""
        if self.list_file is None:
            return True
        folder, busy = self.list_file.parent, f"another process keeps {self.list_file}; start the run again"
        with (
            lock_folder(folder, busy, name=f".{self.list_file.name}.lock"),
            self.list_file.open("a+", encoding="utf-8") as file,
        ):
            file.seek(0)
            if str(path) in file.read().splitlines():
                return False
            file.write(f"{path}\n")
        return True


@dataclass(frozen=True)
class Keyframes:
    """Key-frames of the films of an annotation file."""

    root: Path
    annotations: Annotations
    corrupt: CorruptFrames = field(default_factory=CorruptFrames)

    def path(self, film: int, shot: int, keyframe: int) -> Path:
        """Return the file of a key-frame; `film` is an index into the films of the annotations."""
        name = self.annotations.films[film]
        return self.root / name / f"shot_{self.annotations.shot_id(film, shot)}_img_{keyframe}.jpg"

    def read(self, film: int, shots: Sequence[int], keyframes: Sequence[int]) -> list[Tensor]:
        """Read key-frame `keyframes[i]` of shot `shots[i]` of a film: (3, H, W) uint8, all of one size.

        The next key-frame of the shot replaces a corrupt one. Raises InputError for a shot without a readable one.
        """
        return same_size([self._load(film, shot, k) for shot, k in zip(shots, keyframes, strict=True)])

    def read_all(self, film: int, shots: Sequence[int]) -> Tensor:
        """Read every key-frame of some shots of a film as `read` does: (len(shots), K, 3, H, W) uint8."""
        pairs = [(shot, k) for shot in shots for k in range(NUM_KEYFRAMES)]
        images = self.read(film, [shot for shot, _ in pairs], [k for _, k in pairs])
        return stacked(images).unflatten(0, (len(shots), NUM_KEYFRAMES))

    def _load(self, film: int, shot: int, keyframe: int) -> Tensor:
        for offset in range(NUM_KEYFRAMES):
            path = self.path(film, shot, (keyframe + offset) % NUM_KEYFRAMES)
            self.corrupt.num_read += 1
            try:
                return decode_keyframe(path)
            except InputError as error:
                self.corrupt.record(path, error)
        raise InputError(
            f"shot {shot} of film {self.annotations.films[film]} has no readable key-frame in {path.parent}; "
            f"{self.corrupt.where}; get the key-frames of the film again, or remove it from the annotations"
        )

    def first_hash(self) -> str:
        """Return the SHA-256 over name and content of the first key-frame of every film."""
        digest = hashlib.sha256()
        for film, name in enumerate(self.annotations.films):
            path = self.path(film, 0, 0)
            digest.update(f"{name}/{path.name}\n".encode())
            digest.update(bytes.fromhex(sha256_of(path)) if path.is_file() else b"missing")
        return digest.hexdigest()


def open_keyframes(
    folder: Path,
    annotations: Annotations,
    *,
    strict: bool = False,
    max_fraction: float = 0.001,
    list_file: Path | None = None,
) -> Keyframes:
    """Open the key-frames of some annotations and check that each film has its first one.

    Args:
        folder: holds a folder of key-frames per film.
        annotations: whose films are read.
        strict, max_fraction, list_file: what to do about corrupt key-frames, see `CorruptFrames`.

    Raises InputError if a film has no key-frames.
    """
    num_files = NUM_KEYFRAMES * int(annotations.num_shots.sum())
    corrupt = CorruptFrames(strict=strict, max_fraction=max_fraction, list_file=list_file, num_files=num_files)
    keyframes = Keyframes(folder, annotations, corrupt)
    num_films = len(annotations.films)
    missing = [path for film in range(num_films) if not (path := keyframes.path(film, 0, 0)).is_file()]
    if missing:
        raise InputError(
            f"key-frame {missing[0]} does not exist ({len(missing)} of {num_films} films have none); set "
            "config.DATA_PATH or config.IMG_PATH, or get them with scripts/download_movienet_data.sh"
        )
    return keyframes
