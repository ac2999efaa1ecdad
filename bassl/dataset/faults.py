"""What happens when a key-frame among millions is missing or broken: another of its shot stands in, or the run ends."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from bassl.errors import InputError
from bassl.files import lock_folder

log = logging.getLogger(__name__)
FEW = 10  # broken files that are borne, however little has been read, unless none is to be


@dataclass
class Faults:
    """Counts and names broken key-frames of one data set as one process, such as a data worker, reads it.

    strict: end at the first. max_share: end when more than this share of the key-frames read so far (and more than
    `FEW`) was broken; 0 bears none. num_files: key-frames that there are, so that later epochs, which read them again,
    do not make the share smaller; None: unknown. list_file: gets each broken file once, a line each, from all
    processes, data sets and starts of a run, and what is listed is not named again in the log; None: only the log says
    it.
    """

    strict: bool = False
    max_share: float = 0.001
    list_file: Path | None = None
    num_files: int | None = None
    num_read: int = 0
    broken: set[str] = field(default_factory=set)

    def note(self, path: Path, error: InputError) -> None:
        """Count a broken key-frame; raises InputError where it is one too many."""
        if self.strict:
            raise error
        if str(path) not in self.broken:
            self.broken.add(str(path))
            if self._list(path):
                log.warning("%s; another key-frame of the shot stands in", error)
        num_read = self.num_read if self.num_files is None else min(self.num_read, self.num_files)
        if len(self.broken) > (max(FEW, self.max_share * num_read) if self.max_share else 0):
            raise InputError(
                f"{len(self.broken)} of the first {num_read} key-frames are missing or broken, such as {path}; "
                f"{self.where}; mend them, or raise config.DATA_FAULTS.max_share={self.max_share}"
            )

    @property
    def where(self) -> str:
        """Where the broken key-frames are named, for a sentence."""
        return f"they are listed in {self.list_file}" if self.list_file else "the log names them"

    def report(self) -> None:
        """Say once, at the end of a run, how many key-frames are listed, where there are any."""
        if self.list_file is not None and self.list_file.is_file():
            count = len(self.list_file.read_text(encoding="utf-8").splitlines())
            log.warning("%d key-frames were missing or broken and others stood in; %s", count, self.where)

    def _list(self, path: Path) -> bool:
        """Add a file to the list; False where it is there already, be it from another process or an earlier start."""
        if self.list_file is None:
            return True
        self.list_file.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another process keeps {self.list_file}; start the run again"
        self.list_file.touch()
        with (
            lock_folder(self.list_file.parent, busy, name=f".{self.list_file.name}.lock"),
            self.list_file.open("r+", encoding="utf-8") as file,
        ):
            if str(path) in file.read().splitlines():
                return False
            file.write(f"{path}\n")
        return True
