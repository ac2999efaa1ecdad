"""What happens when a key-frame among millions is missing or broken: another of its shot stands in, or the run ends."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from bassl.errors import InputError

log = logging.getLogger(__name__)
FEW = 10  # broken files that are always borne, however little has been read


@dataclass
class Faults:
    """Counts and names broken key-frames of one process.

    strict: end at the first. max_share: end when more than this share of the key-frames read so far (and more than
    `FEW`) was broken. list_file: gets each broken file once, a line each; None: only the log says it.
    """

    strict: bool = False
    max_share: float = 0.001
    list_file: Path | None = None
    num_read: int = 0
    broken: set[str] = field(default_factory=set)

    def note(self, path: Path, error: InputError) -> None:
        """Count a broken key-frame; raises InputError where it is one too many."""
        if self.strict:
            raise error
        if str(path) not in self.broken:
            self.broken.add(str(path))
            log.warning("%s; another key-frame of the shot stands in", error)
            self._list(path)
        if len(self.broken) > max(FEW, self.max_share * self.num_read):
            named = f"they are listed in {self.list_file}" if self.list_file else "the log names them"
            raise InputError(
                f"{len(self.broken)} of the first {self.num_read} key-frames are missing or broken, such as {path}; "
                f"{named}; mend them, or raise config.DATA_FAULTS.max_share={self.max_share}"
            )

    def _list(self, path: Path) -> None:
        if self.list_file is not None:
            self.list_file.parent.mkdir(parents=True, exist_ok=True)
            with self.list_file.open("a", encoding="utf-8") as file:  # short appends of several processes stay whole
                file.write(f"{path}\n")
