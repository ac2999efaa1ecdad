"""Networks and checkpoints. The names below are found without importing torch."""

LAST, BEST = "last.ckpt", "best.ckpt"
CHECKPOINT_NAMES = (BEST, LAST, "model-v1.ckpt")
"""Preferred first: the epoch that validation chose, whose scores the run reported; the last epoch; the reference's."""
