"""Steps that cost nothing, and a sweep of them.

`python -m tests.sweep.pretend step ACTION...` does each action, `... sweep FOLDER ROW=ACTION,ACTION ...` runs a sweep
whose runs have two steps: the actions, and one that adds a line to `<FOLDER>/<run>.txt`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from bassl.errors import Preempted
from bassl.sweep.execute import execute
from bassl.sweep.folder import SweepFolder
from bassl.sweep.runs import Run, Step, run_name

MODULE = "tests.sweep.pretend"


def act(action: str) -> None:
    """say:TEXT, fail:STATUS, run:FILE (Python), add:FILE (a line to it), save:FILE (on SIGTERM, then status
    75), wait:FIFO (open it for writing, then sleep until a signal comes)."""
    verb, _, value = action.partition(":")
    if verb == "say":
        sys.stderr.write(value + "\n")
    elif verb == "fail":
        sys.exit(int(value))
    elif verb == "add":
        with Path(value).open("a") as file:
            file.write("once\n")
    elif verb == "save":

        def save(number: int, _frame: object) -> None:
            Path(value).write_text(signal.Signals(number).name)
            sys.exit(Preempted.EXIT_STATUS)

        signal.signal(signal.SIGTERM, save)
        signal.signal(signal.SIGUSR1, save)
    elif verb == "run":
        exec(Path(value).read_text(), {})
    elif verb == "wait":
        with Path(value).open("w"):
            signal.pause()
    else:
        raise AssertionError(action)


def pretended_run(
    folder: Path, row: str, actions: list[str], seed: int = 0, settings: Any = None, annotations: tuple[Path, ...] = ()
) -> Run:
    """Make a run of two steps, the first of which reads annotations."""
    name = run_name(row, seed)
    written = folder / f"{name}.txt"
    first = Step("pretrain", MODULE, ("step", *actions), settings or {"a": 1}, folder / f"{name}.begun", annotations)
    second = Step("extract", MODULE, ("step", f"add:{written}"), {"b": 2}, written)
    return Run(row, seed, (first, second))


def run_sweep(folder: Path, planned: list[Run], **options: Any) -> SweepFolder:
    """Run a sweep in this process."""
    sweep = SweepFolder(folder)
    with sweep.hold():
        sweep.begin("pretended", planned)
        execute(planned, sweep, **options)
    return sweep


def main(argv: list[str]) -> int:
    if argv[0] == "step":
        for action in argv[1:]:
            act(action)
        return 0
    folder = Path(argv[1])
    rows = [text.split("=", 1) for text in argv[2:]]
    try:
        run_sweep(folder, [pretended_run(folder, row, actions.split(",")) for row, actions in rows])
    except Preempted as stop:
        sys.stderr.write(f"{stop}\n")
        return Preempted.EXIT_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
