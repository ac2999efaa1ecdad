"""The outcome of `bassl check-data`: a table and sentences for people, JSON for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bassl.console import pluralize, printable
from bassl.labels.findings import SEVERITIES, Finding, text_lines


@dataclass
class Report:
    """The outcome. counts: films, shots, positive and uncertain labels by annotation file. keyframes: totals."""

    data: Path
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    keyframes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, severity: str, kind: str, about: object, what: str) -> None:
        """Record a fact."""
        self.findings.append(Finding(severity, kind, str(about), what))


def as_text(report: Report) -> str:
    """The report for people: table, findings, verdict."""
    lines = [f"{'split':<14}{'films':>8}{'shots':>10}{'scene ends':>12}{'uncertain':>11}{'share':>9}"]
    for name, count in report.counts.items():
        ends = count["positive"] + count["uncertain"]
        share = f"{100 * ends / count['shots']:.2f} %" if name != "pretrain" else "-"
        lines.append(
            f"{name:<14}{count['films']:>8}{count['shots']:>10}{count['positive']:>12}{count['uncertain']:>11}"
            f"{share:>9}"
        )
    if found := report.keyframes:
        lines.append(
            f"key-frames: {pluralize(found['films'], 'film')}, {pluralize(found['shots'], 'shot')}, "
            f"{pluralize(found['missing'], 'file')} missing, "
            f"{found['broken']} of {found['looked_at']} looked at broken"
        )
    lines += text_lines(report.findings)
    num = {severity: sum(found.severity == severity for found in report.findings) for severity in SEVERITIES}
    verdict = ", ".join(pluralize(number, severity) for severity, number in num.items())
    lines.append(printable(f"{report.data}: {verdict} in {report.seconds:.0f} s"))
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs; docs/data.md has its format."""
    return {
        "format": "bassl-check",
        "version": 1,
        "data": str(report.data),
        "splits": report.counts,
        "keyframes": report.keyframes,
        "findings": [finding._asdict() for finding in report.findings],
        "seconds": round(report.seconds, 3),
    }
