"""Key-frames on disk: `<root>/<film>/shot_<id>_img_<k>.jpg`, three a shot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from bassl.dataset.annotation import Annotations
from bassl.dataset.faults import Faults
from bassl.dataset.transform import decode_keyframe, same_size, stacked
from bassl.errors import InputError

NUM_KEYFRAMES = 3


@dataclass(frozen=True)
class Keyframes:
    """The key-frame folders of the films of an annotation file."""

    root: Path
    annotations: Annotations
    faults: Faults = field(default_factory=Faults)

    def path(self, film: int, shot: int, keyframe: int) -> Path:
        """File of a key-frame; `film` is an index into the annotations' films."""
        name = self.annotations.films[film]
        return self.root / name / f"shot_{self.annotations.shot_id(film, shot)}_img_{keyframe}.jpg"

    def read(self, film: int, shots: Sequence[int], keyframes: Sequence[int]) -> list[Tensor]:
        """Key-frame `keyframes[i]` of shot `shots[i]` of a film, each (3, H, W) uint8, all of one size.

        Where one is missing or broken, the next of the same shot stands in (see `Faults`). Raises InputError for a shot
        without any that can be read.
        """
        return same_size([self._load(film, shot, k) for shot, k in zip(shots, keyframes, strict=True)])

    def read_all(self, film: int, shots: Sequence[int]) -> Tensor:
        """Every key-frame of some shots of a film, (len(shots), K, 3, H, W) uint8, with stand-ins as in `read`."""
        numbered = [(shot, k) for shot in shots for k in range(NUM_KEYFRAMES)]
        images = self.read(film, [shot for shot, _ in numbered], [k for _, k in numbered])
        return stacked(images).unflatten(0, (len(shots), NUM_KEYFRAMES))

    def _load(self, film: int, shot: int, keyframe: int) -> Tensor:
        for turn in range(NUM_KEYFRAMES):
            path = self.path(film, shot, (keyframe + turn) % NUM_KEYFRAMES)
            self.faults.num_read += 1
            try:
                return decode_keyframe(path)
            except InputError as error:
                self.faults.note(path, error)
        raise InputError(
            f"shot {shot} of film {self.annotations.films[film]} has no key-frame that can be read in {path.parent}; "
            f"{self.faults.where}; get the film's key-frames again, or take it out of the annotations"
        )

    def check(self) -> None:
        """Raise InputError unless the first key-frame of every film is there: a quick look before a long run."""
        missing = [path for film in range(len(self.annotations.films)) if not (path := self.path(film, 0, 0)).is_file()]
        if missing:
            raise InputError(
                f"key-frame {missing[0]} does not exist ({len(missing)} of {len(self.annotations.films)} films lack "
                "theirs); set config.DATA_PATH or config.IMG_PATH, or get them with scripts/download_movienet_data.sh"
            )
