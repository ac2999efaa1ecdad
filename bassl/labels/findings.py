"""What a preparation or a check has to say: one record a fact, so that text, JSON and exit status agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bassl.console import printable

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
MAX_LINES = 20


class Finding(NamedTuple):
    """One fact. severity: "error" (a run would fail or learn something wrong), "warning" or "note"; about: a film or a
    file; what: a sentence about it; kind: short name of the sort of fact, to group by.
    """

    severity: str
    kind: str
    about: str
    what: str


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether something is wrong."""
    return any(finding.severity == ERROR for finding in findings)


def text_lines(findings: Sequence[Finding], max_lines: int = MAX_LINES) -> list[str]:
    """The findings as lines, errors first; of each kind at most `max_lines`, then how many more there are."""
    lines = []
    for severity in SEVERITIES:
        kinds = dict.fromkeys(finding.kind for finding in findings if finding.severity == severity)
        for kind in kinds:
            same = [finding for finding in findings if finding[:2] == (severity, kind)]
            lines += [printable(f"{severity}: {finding.about}: {finding.what}") for finding in same[:max_lines]]
            if len(same) > max_lines:
                lines.append(f"{severity}: ... and {len(same) - max_lines} more of this kind ({kind})")
    return lines
