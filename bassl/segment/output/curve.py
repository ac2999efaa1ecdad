"""The probability of a boundary after every shot, drawn over the film's time."""

from __future__ import annotations

from collections.abc import Iterable

from bassl.segment.output.marks import SIGNS, is_boundary, scale, verdict
from bassl.segment.scenes import Segmentation, Shot
from bassl.video.timecode import short_clock

WIDTH, HEIGHT = 1000, 100
NUM_TIMES = 5


def curve_svg(segmentation: Segmentation) -> str:
    """SVG of a stem a shot, at its end, with the threshold, the true boundaries above and times below."""
    pairs = [(scene, shot) for scene in segmentation.scenes for shot in scene.shots if shot.probability is not None]
    cuts = [shot for scene, shot in pairs if is_boundary(scene, shot)]
    others = [shot for scene, shot in pairs if not is_boundary(scene, shot)]
    level = _height(segmentation, min(segmentation.threshold.value, 1.0))
    truth = "".join(
        f'<span class="mark {found}" style="left:{_left(segmentation, shot) / WIDTH:.3%}">{SIGNS[found]}</span>'
        for scene, shot in pairs
        if (found := verdict(segmentation, scene, shot)) is not None
    )
    label = f"Probability of a scene boundary after each of {len(segmentation.shots)} shots; {len(cuts)} are scene ends"
    begin, length = float(segmentation.times.start), float(segmentation.times.duration)
    return f"""<div class="marks" aria-hidden="true">{truth}</div>
<svg id="curve" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}"
 data-start="{begin:.6f}" data-length="{length:.6f}">
<path class="stem" style="stroke-width:{_width(1.5, 600, len(others))}" d="{_stems(segmentation, others)}"/>
<path class="stem cut" style="stroke-width:{_width(2.5, 240, len(cuts))}" d="{_stems(segmentation, cuts)}"/>
<path class="threshold" d="M0 {level:.2f}H{WIDTH}"/>
<path id="playhead" d="M0 0V{HEIGHT}"/>
</svg>
<div class="times" aria-hidden="true">{"".join(_times(segmentation))}</div>"""


def _width(usual: float, room: int, number: int) -> str:
    """Pixels of a stem: thinner where there are so many that they would run into one another on a phone."""
    return f"{max(0.5, min(usual, room / max(1, number))):.2f}"


def _stems(segmentation: Segmentation, shots: Iterable[Shot]) -> str:
    return "".join(
        f"M{_left(segmentation, shot):.2f} {HEIGHT}V{_height(segmentation, shot.probability or 0.0):.2f}"
        for shot in shots
    )


def _left(segmentation: Segmentation, shot: Shot) -> float:
    times = segmentation.times
    return float((shot.end.seconds - times.start) / times.duration * WIDTH)


def _height(segmentation: Segmentation, probability: float) -> float:
    return HEIGHT * (1 - min(1.0, probability / scale(segmentation)))


def _times(segmentation: Segmentation) -> Iterable[str]:
    times = segmentation.times
    for step in range(NUM_TIMES):
        yield f"<span>{short_clock(times.start + times.duration * step / (NUM_TIMES - 1))}</span>"
