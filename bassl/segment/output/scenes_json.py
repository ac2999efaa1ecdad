"""Write `scenes.json`, everything about a film's scenes. docs/video.md documents its fields."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bassl import __version__
from bassl.segment.scenes import Moment, Segmentation

FORMAT, VERSION = "bassl-scenes", 1
"""Readers of version 1 can read all later files of version 1: fields are only ever added."""
LABELS = (0, 1, -1)


def as_document(segmentation: Segmentation) -> dict[str, Any]:
    """Return the document as plain values."""
    film, times, threshold = segmentation.film, segmentation.times, segmentation.threshold
    labels = segmentation.labels
    scene_of = {shot.number: scene.number for scene in segmentation.scenes for shot in scene.shots}
    return {
        "format": FORMAT,
        "version": VERSION,
        "generator": f"bassl {__version__}",
        "film": {
            "name": film.name,
            "path": str(film.path.absolute()),
            "width": film.width,
            "height": film.height,
            "codec": film.codec,
            "num_frames": times.num_frames,
            "frame_rate": f"{times.rate.numerator}/{times.rate.denominator}",
            "has_variable_frame_rate": times.is_variable,
            "seconds": float(times.duration),
            "timecode": segmentation.track.text(0),
        },
        "model": {**asdict(segmentation.model), "about": segmentation.model.about},
        "settings": {
            "threshold": threshold.value,
            "threshold_origin": threshold.origin,
            "shots": dict(film.detector),
        },
        "warnings": list(segmentation.warnings),
        "evaluation": {name: dict(values) for name, values in segmentation.evaluation.items()},
        "scenes": [
            {
                "scene": scene.number,
                "start": _moment(scene.start),
                "end": _moment(scene.end),
                "first_shot": scene.shots[0].number,
                "last_shot": scene.shots[-1].number,
                "probability": scene.probability,
            }
            for scene in segmentation.scenes
        ],
        "shots": [
            {
                "shot": shot.number,
                "scene": scene_of[shot.number],
                "start": _moment(shot.start),
                "end": _moment(shot.end),
                "keyframes": list(shot.keyframes),
                "probability": shot.probability,
                "label": None if labels is None or labels[shot.number] not in LABELS else int(labels[shot.number]),
            }
            for shot in segmentation.shots
        ],
    }


def write_json(path: Path, segmentation: Segmentation) -> None:
    """Write the document in ASCII, so that no file name can spoil it."""
    path.write_text(json.dumps(as_document(segmentation), indent=1, allow_nan=False) + "\n", encoding="ascii")


def _moment(moment: Moment) -> dict[str, Any]:
    exact = moment.seconds
    return {
        "frame": moment.frame,
        "seconds": float(exact),
        "exact_seconds": f"{exact.numerator}/{exact.denominator}",
        "timecode": moment.timecode,
    }
