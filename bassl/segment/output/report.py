"""`report.html`: a film's scenes as rows of key-frames, and the probability of a boundary after every shot.

One file that needs no network and no server. Without JavaScript it can be read; with it, and with the film
where it was when the report was written, a click on a key-frame or on the curve jumps there.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

from bassl import __version__
from bassl.console import pluralize, printable
from bassl.segment.output.curve import curve_svg
from bassl.segment.output.marks import SIGNS, WORDS, is_boundary, jump_seconds, scale, verdict
from bassl.segment.scenes import KINDS, Scene, Segmentation, Shot
from bassl.video.timecode import short_clock

FILES = Path(__file__).parent / "report_files"
PLACE = re.compile(r"\{\{(\w+)\}\}")
SHOWN_METRICS = ("AP", "AUC", "F1", "F1_best", "Recall@3s", "mIoU")


def write_report(path: Path, segmentation: Segmentation) -> None:
    """Write the report; the film is linked relative to the report's folder."""
    script = (FILES / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    film, times, scenes = segmentation.film, segmentation.times, segmentation.scenes
    link = film_link(film.path, path.parent)
    parts = {
        "title": escape(printable(film.name)),
        "script": script,
        "script_hash": f"sha256-{digest}",
        "style": (FILES / "style.css").read_text(encoding="utf-8"),
        "film": escape(link),
        "num_scenes": pluralize(len(scenes), "scene"),
        "num_shots": pluralize(len(segmentation.shots), "shot"),
        "duration": short_clock(times.duration),
        "facts": _facts(segmentation),
        "curve": curve_svg(segmentation),
        "legend": _legend() if segmentation.labels is not None else "",
        "scenes": "\n".join(_scene(segmentation, scene, link) for scene in scenes),
        "version": escape(__version__),
    }
    page = (FILES / "page.html").read_text(encoding="utf-8")
    path.write_text(PLACE.sub(lambda place: parts[place[1]], page), encoding="utf-8")


def film_link(film: Path, folder: Path) -> str:
    """URL of the film relative to a folder; a whole one where they lie on different drives."""
    try:
        relative = os.path.relpath(film.absolute(), folder.absolute())
    except ValueError:
        return film.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in Path(relative).parts)


def _legend() -> str:
    signs = (f'<span class="mark {name}">{SIGNS[name]}</span> {WORDS[name]}' for name in WORDS)
    return f'<p class="legend">{" &ensp; ".join(signs)}</p>'


def _facts(segmentation: Segmentation) -> str:
    """What was done, as a description list."""
    film, times, model = segmentation.film, segmentation.times, segmentation.model
    rate = f"{float(times.rate):.6g} frames a second" + (", variable" if times.is_variable else "")
    facts = [
        ("Film", f"{film.width} x {film.height}, {rate}, {film.codec}"),
        ("Model", f"{model.name}, {KINDS[model.kind]}; features of {model.encoder}"),
        ("Threshold", f"{segmentation.threshold.value:.4g}, {segmentation.threshold.origin}"),
        ("Shots", _shots_from(segmentation)),
        *(("Warning", warning) for warning in segmentation.warnings),
        *(
            (
                f"Against labels: {name}",
                ", ".join(f"{key} {100 * values[key]:.1f}" for key in SHOWN_METRICS if key in values),
            )
            for name, values in segmentation.evaluation.items()
        ),
    ]
    return "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(printable(text))}</dd></div>" for name, text in facts)


def _shots_from(segmentation: Segmentation) -> str:
    detector = segmentation.detector
    if detector["name"] == "given":
        return f"as listed in {detector['file']}"
    return f"{detector['name']} detector, threshold {detector['threshold']:g}"


def _scene(segmentation: Segmentation, scene: Scene, link: str) -> str:
    shots = "\n".join(_shot(segmentation, scene, shot, link) for shot in scene.shots)
    begin, end = short_clock(scene.start.seconds), short_clock(scene.end.seconds)
    return f"""<section class="scene" id="scene-{scene.number}" aria-labelledby="title-{scene.number}">
<h2 id="title-{scene.number}">Scene {scene.number}
<small>{begin}&#8202;&ndash;&#8202;{end} &middot; {short_clock(scene.seconds)} long &middot;
{pluralize(scene.num_shots, "shot")}<span class="code"> &middot; from {scene.start.timecode}</span></small></h2>
<ol class="shots">
{shots}
</ol>
</section>"""


def _shot(segmentation: Segmentation, scene: Scene, shot: Shot, link: str) -> str:
    image = base64.b64encode(segmentation.analysed.thumbnails[shot.number]).decode()
    seconds = jump_seconds(segmentation, shot)
    level, width = "the film ends", 0.0
    if shot.probability is not None:
        level = _level(segmentation, shot.probability)
        width = min(1.0, shot.probability / scale(segmentation))
    return (
        f'<li class="shot{" cut" if is_boundary(scene, shot) else ""}">'
        f'<a href="{escape(link)}#t={seconds:.3f}" data-seconds="{seconds:.6f}" data-shot="{shot.number}">'
        f'<img src="data:image/jpeg;base64,{image}" alt="Shot {shot.number + 1}" decoding="async">'
        f'<span class="caption"><span>{short_clock(shot.start.seconds)}</span><span class="level">{level}</span></span>'
        f'<span class="bar"><span style="width:{width:.1%}"></span></span></a>'
        f"{_mark(verdict(segmentation, scene, shot))}</li>"
    )


def _mark(found: str | None) -> str:
    if found is None:
        return ""
    words = WORDS[found]
    return f'<span class="mark {found}" title="{words}" role="img" aria-label="{words}">{SIGNS[found]}</span>'


def _level(segmentation: Segmentation, probability: float) -> str:
    return f"{probability:.2f}" if scale(segmentation) > 0.1 else f"{probability:.3g}"
