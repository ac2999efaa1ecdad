"""What a command says while it works: one line an event, on standard error."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

CHATTERING = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric", "tensorboard")
"""Libraries of which only warnings are of interest."""


def conclude(sentence: str) -> None:
    """Say how a command ended, on a line of its own: progress bars that stand open are closed before."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    with suppress(OSError, ValueError):  # Ctrl-C ends those that read, too
        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()
        sys.stdout.flush()  # where Lightning's bars are
    sys.stderr.write("".join(f"{printable(line)}\n" for line in sentence.splitlines()))


def printable(text: str) -> str:
    """Text without what terminals, XML and EDL choke on: control characters and undecodable bytes, as in file names."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def counted(number: int, what: str) -> str:
    """`1 shot`, `1,234 shots`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class StandardError(logging.Handler):
    """Writes to what `sys.stderr` is at that moment, so that nothing is lost where it has been replaced since."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):  # it is closed, or cannot encode the line
            self.handleError(record)


def speak(level: int = logging.INFO) -> None:
    """Show the program's messages from `level` on; called again it changes the level and nothing else."""
    root = logging.getLogger()
    root.setLevel(level)
    for name in CHATTERING:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    if not any(isinstance(handler, StandardError) for handler in root.handlers):
        root.addHandler(StandardError())
