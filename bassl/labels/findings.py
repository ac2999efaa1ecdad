"""Findings: facts that a preparation or a check reports, one record each, for text, JSON and exit status alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bassl.console import printable, run_command, setup_logging
from bassl.errors import RunError

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
MAX_LINES = 20
EXIT_STATUS = "exit status: 0 done, 1 done but for what is listed as an error, 2 a mistake in the command"
RESUME_HINT = "the same command resumes"


class Finding(NamedTuple):
    """One fact.

    Attributes:
        severity: "error" (a run would fail or learn something wrong), "warning" or "note".
        kind: short name of the sort of fact, to group by.
        about: a film or a file.
        what: a sentence about it.
    """

    severity: str
    kind: str
    about: str
    what: str


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is an error."""
    return any(finding.severity == ERROR for finding in findings)


def text_lines(findings: Sequence[Finding], max_lines: int = MAX_LINES) -> list[str]:
    """Format findings as lines, errors first, with at most `max_lines` per kind and then their number."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)):
        groups.setdefault(finding[:2], []).append(finding)
    lines = []
    for (severity, kind), group in groups.items():
        lines += [printable(f"{severity}: {finding.about}: {finding.what}") for finding in group[:max_lines]]
        if len(group) > max_lines:
            lines.append(f"{severity}: ... and {len(group) - max_lines} more of this kind ({kind})")
    return lines


def run_and_report(run: Callable[[], list[Finding]]) -> int:
    """Run a command, print its findings on standard error and return the status (`EXIT_STATUS`; 130 interrupted)."""

    def work() -> int:
        try:
            findings = run()
        except OSError as error:  # films, labels and folders are the user's
            raise RunError(f"{error}; correct this, and {RESUME_HINT}") from error
        sys.stderr.write("".join(f"{line}\n" for line in text_lines(findings)))
        return int(has_errors(findings))

    setup_logging()
    return run_command(work, interrupted=f"interrupted; {RESUME_HINT}")
