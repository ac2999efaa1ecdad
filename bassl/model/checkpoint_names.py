"""What the checkpoints of a run's folder are called; imports nothing, so that a name is found without torch."""

from __future__ import annotations

LAST, BEST = "last.ckpt", "best.ckpt"
NAMES = (BEST, LAST, "model-v1.ckpt")
"""The preferred first: the epoch that validation chose, whose scores the run reported; the last; the reference's."""
