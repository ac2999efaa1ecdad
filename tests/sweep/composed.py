"""What a step of a run would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bassl.config.load import load
from bassl.sweep.runs import Run


def composed(run: Run, job: str, resolve: Callable[..., Any]) -> Any:
    """The plan that a job's command resolves to."""
    (step,) = (step for step in run.steps if step.name == job)
    return resolve(load("finetune" if job == "zero_shot" else job, step.arguments))
