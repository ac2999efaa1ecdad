"""Apply each fault of `mutants.py` to a copy of the tree and report whether its tests notice.

    python -m tests.mutants.run                     all of them
    python -m tests.mutants.run ssm-* files --list  by pattern of names and rooms (folders or modules of bassl/)

The tests must pass without a fault first. Exits with 1 if a fault survives, 2 if the list no longer fits the code.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PASSED, RAN = 0, (0, 1, 2)  # pytest: 1 is a failed test, 2 a module that cannot be imported


def misfit(mutant: Mutant) -> str:
    """Return why a fault cannot be applied to this tree, "" if it can."""
    path = ROOT / "bassl" / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(mutant.old)) != 1:
        return f"{mutant.name}: {count} times in bassl/{mutant.file}, not once: {mutant.old!r}"
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    return ""


def copy_tree(target: Path) -> None:
    """Copy the files that git tracks and new ones that it does not ignore."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in {name for name in names if (ROOT / name).is_file()}:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def pytest(tree: Path, test: str, seconds: float) -> tuple[int | None, str]:
    """Run a test file in a tree; return pytest's status, None after `seconds`, and its output."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
    pipe: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=tree, env=environment, text=True, start_new_session=True, **pipe) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that the test started


def killer(mutant: Mutant, tree: Path, seconds: float) -> str:
    """Return the first test that notices the fault, "" if none does."""
    path = tree / "bassl" / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        for test in mutant.paths:
            status, output = pytest(tree, test, seconds)
            assert status in (None, *RAN), output
            if status != PASSED:
                named = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
                return named[1] if named else f"{test} ({'out of time' if status is None else 'no test failed'})"
    finally:
        path.write_text(text, encoding="utf-8")
    return ""


def main() -> int:
    """Run the faults that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"], help="names or rooms, with * and ?; default: all")
    parser.add_argument("--list", action="store_true", help="show the faults, run nothing")
    parser.add_argument("--seconds", type=float, default=300, help="limit of one test file; default: %(default)s")
    parser.add_argument("--trust", action="store_true", help="skip the run without a fault")
    arguments = parser.parse_args()
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS), "two faults have one name"
    chosen = [m for m in MUTANTS if any(fnmatchcase(name, p) for name in (m.name, m.room) for p in arguments.patterns)]
    if wrong := list(filter(None, map(misfit, chosen))) if chosen else ["no fault or room has such a name"]:
        print(*wrong, sep="\n", file=sys.stderr)
        return 2
    if arguments.list:
        print("\n".join(f"{m.name:21} bassl/{m.file:27} {m.about}" for m in chosen))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the tests end as well
    killed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(tree := Path(folder))
        for test in [] if arguments.trust else sorted({test for mutant in chosen for test in mutant.paths}):
            status, output = pytest(tree, test, arguments.seconds)
            if status != PASSED:
                print(f"{output[-2000:]}\n{test} does not pass without a fault (status {status})", file=sys.stderr)
                return 2
        for mutant in chosen:
            start, by = time.monotonic(), killer(mutant, tree, arguments.seconds)
            killed += bool(by)
            verdict = f"{'killed' if by else 'SURVIVED':9} {mutant.name:21} {time.monotonic() - start:4.0f} s"
            print(f"{verdict}  {by or mutant.about}", flush=True)
    print(f"{killed} of {len(chosen)} killed")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
