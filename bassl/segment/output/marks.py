"""What the report shows about a shot: how high its probability stands, and whether labels agree with the cut."""

from __future__ import annotations

from fractions import Fraction

from bassl.labels.label_files import NO_LABEL
from bassl.segment.scenes import FINETUNED, Scene, Segmentation, Shot

HIT, MISSED, FALSE = "hit", "missed", "false"
WORDS = {HIT: "true scene end, found", MISSED: "true scene end, missed", FALSE: "cut where no scene ends"}
SIGNS = {HIT: "&#9670;", MISSED: "&#9671;", FALSE: "&#10005;"}
SMALL = 1e-6


def verdict(segmentation: Segmentation, scene: Scene, shot: Shot) -> str | None:
    """A key of WORDS: what the labels say to the end of this shot, None where they agree that nothing ends."""
    labels = segmentation.labels
    if labels is None or labels[shot.number] == NO_LABEL:
        return None
    is_true, is_cut = labels[shot.number] != 0, is_boundary(scene, shot)
    if is_true:
        return HIT if is_cut else MISSED
    return FALSE if is_cut else None


def is_boundary(scene: Scene, shot: Shot) -> bool:
    """Whether the scene was cut off behind this shot; the film's end is no cut."""
    return shot is scene.shots[-1] and shot.probability is not None


def scale(segmentation: Segmentation) -> float:
    """Probability at the top of the curve: 1 where it is calibrated, else the film's highest."""
    if segmentation.model.kind == FINETUNED:
        return 1.0
    highest = max((shot.probability for shot in segmentation.shots if shot.probability is not None), default=0.0)
    return max(highest, SMALL)


def jump_seconds(segmentation: Segmentation, shot: Shot) -> float:
    """Where to jump to see its first frame: a quarter of a frame in, past all rounding."""
    return float(shot.start.seconds + Fraction(1, 4) / segmentation.times.rate)
