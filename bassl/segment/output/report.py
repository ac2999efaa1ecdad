"""Write `report.html`: a film's scenes as rows of key-frames, and the probability of a boundary after every shot.

One file that needs no network and no server. It can be read without JavaScript. With it, and with the film where it
was when the report was written, a click on a key-frame or on the curve jumps there.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bassl import __version__
from bassl.console import pluralize, printable
from bassl.segment.scenes import FINETUNED, FOUND, MISSED, WRONG, Segmentation, Shot
from bassl.video.timecode import short_clock

FILES = Path(__file__).parent / "report_files"
SHOWN_METRICS = ("AP", "AUC", "F1", "F1_best", "Recall@3s", "mIoU")
VERDICTS = {
    FOUND: ("\N{BLACK DIAMOND}", "true scene end, found"),
    MISSED: ("\N{WHITE DIAMOND}", "true scene end, missed"),
    WRONG: ("\N{MULTIPLICATION X}", "cut where no scene ends"),
}
WIDTH, HEIGHT = 1000, 100  # of the curve
NUM_TIMES = 5
LOWEST_SCALE = 1e-6


def write_report(path: Path, segmentation: Segmentation) -> None:
    """Write the report; the film is linked relative to the report's folder."""
    script = (FILES / "script.js").read_text(encoding="utf-8")
    film = segmentation.film
    environment = Environment(loader=FileSystemLoader(FILES), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("page.html").render(
        title=printable(film.name),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=(FILES / "style.css").read_text(encoding="utf-8"),
        film=film_link(film.path, path.parent) if film.has_video else "",
        num_scenes=pluralize(len(segmentation), "scene"),
        num_shots=pluralize(len(segmentation.shots), "shot"),
        duration=short_clock(film.times.duration),
        facts=[(name, printable(text)) for name, text in _facts(segmentation)],
        curve=_curve(segmentation),
        verdicts=VERDICTS,
        has_labels=segmentation.labels is not None,
        scenes=_scenes(segmentation),
        version=__version__,
    )
    path.write_text(page, encoding="utf-8")


def film_link(film: Path, folder: Path) -> str:
    """Return the URL of the film relative to a folder; an absolute one if they lie on different drives."""
    try:
        relative = os.path.relpath(film.absolute(), folder.absolute())
    except ValueError:
        return film.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in Path(relative).parts)


def _facts(segmentation: Segmentation) -> Iterable[tuple[str, str]]:
    film, times, detector = segmentation.film, segmentation.times, segmentation.film.detector
    rate = f"{float(times.rate):.6g} frames per second" + (", variable" if times.is_variable else "")
    yield "Film", f"{film.width} x {film.height}, {rate}, {film.codec}"
    yield "Model", segmentation.model.sentence
    yield "Threshold", f"{segmentation.threshold.value:.4g}, {segmentation.threshold.origin}"
    if detector["name"] == "given":
        yield "Shots", f"as listed in {detector['file']}"
    else:
        yield "Shots", f"{detector['name']} detector, threshold {detector['threshold']:g}"
    for warning in segmentation.warnings:
        yield "Warning", warning
    for name, values in segmentation.evaluation.items():
        shown = ", ".join(f"{key} {100 * values[key]:.1f}" for key in SHOWN_METRICS if key in values)
        yield f"Against labels: {name}", shown


def _scenes(segmentation: Segmentation) -> list[dict[str, Any]]:
    cuts, verdicts, scale = segmentation.boundaries, segmentation.verdicts(), _scale(segmentation)

    def view(shot: Shot) -> dict[str, Any]:
        level, height = "the film ends", 0.0
        if shot.probability is not None:
            level = f"{shot.probability:.2f}" if scale > 0.1 else f"{shot.probability:.3g}"
            height = min(1.0, shot.probability / scale)
        return {
            "number": shot.number,
            "is_cut": shot.number in cuts,
            # a quarter of a frame into its first frame, so that no rounding shows the one before
            "seconds": float(shot.start.seconds + Fraction(1, 4) / segmentation.times.rate),
            "image": base64.b64encode(segmentation.film.thumbnails[shot.number]).decode(),
            "begin": short_clock(shot.start.seconds),
            "level": level,
            "height": f"{height:.1%}",
            "verdict": verdicts[shot.number],
        }

    return [
        {
            "number": scene.number,
            "begin": short_clock(scene.start.seconds),
            "end": short_clock(scene.end.seconds),
            "length": short_clock(scene.seconds),
            "num_shots": pluralize(scene.num_shots, "shot"),
            "timecode": scene.start.timecode,
            "shots": [view(shot) for shot in scene.shots],
        }
        for scene in segmentation.scenes
    ]


def _curve(segmentation: Segmentation) -> dict[str, Any]:
    """Return the drawing of a stem per shot, at its end, with the threshold, the verdicts above and times below."""
    times, cuts, scale = segmentation.times, segmentation.boundaries, _scale(segmentation)

    def left(shot: Shot) -> float:
        return float((shot.end.seconds - times.start) / times.duration * WIDTH)

    def top(probability: float) -> float:
        return HEIGHT * (1 - min(1.0, probability / scale))

    def stems(shots: list[Shot]) -> str:
        return "".join(f"M{left(shot):.2f} {HEIGHT}V{top(shot.probability or 0.0):.2f}" for shot in shots)

    def stroke(usual: float, room: int, shots: list[Shot]) -> str:
        """Pixels of a stem, thinner if there are so many that they would touch on a phone."""
        return f"{max(0.5, min(usual, room / max(1, len(shots)))):.2f}"

    decided = [shot for shot in segmentation.shots if shot.probability is not None]
    at_cuts = [shot for shot in decided if shot.number in cuts]
    others = [shot for shot in decided if shot.number not in cuts]
    verdicts = segmentation.verdicts()
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "begin": f"{float(times.start):.6f}",
        "length": f"{float(times.duration):.6f}",
        "num_cuts": len(at_cuts),
        "stems": stems(others),
        "stroke": stroke(1.5, 600, others),
        "cuts": stems(at_cuts),
        "cut_stroke": stroke(2.5, 240, at_cuts),
        "threshold": f"{top(min(segmentation.threshold.value, 1.0)):.2f}",
        "marks": [(verdicts[shot.number], f"{left(shot) / WIDTH:.3%}") for shot in decided if verdicts[shot.number]],
        "times": [short_clock(times.start + times.duration * step / (NUM_TIMES - 1)) for step in range(NUM_TIMES)],
    }


def _scale(segmentation: Segmentation) -> float:
    """Return the probability at the top of the curve: 1 if calibrated, else the film's highest."""
    if segmentation.model.kind == FINETUNED:
        return 1.0
    return max((shot.probability or 0.0 for shot in segmentation.shots), default=0.0) or LOWEST_SCALE
