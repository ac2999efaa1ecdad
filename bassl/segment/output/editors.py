"""Write timelines for editors: `scenes.edl`, `scenes.otio` and `scenes.fcpxml`, one event or clip per scene.

OpenTimelineIO and FCPXML come from PySceneDetect's writers, corrected afterwards: clips are called scenes, and the
media is as long as the film, starts with its timecode, and has its sound. The EDL is ours: PySceneDetect divides clock
time into hours to frames, which at 23.976 and 29.97 frames per second is not the timecode that editors count.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bassl.console import pluralize, printable
from bassl.segment.scenes import Segmentation
from bassl.video import pyscenedetect

REEL = "AX"  # "auxiliary": a file, no tape
TITLE_LENGTH = 70


def write_edl(path: Path, segmentation: Segmentation) -> None:
    """Write a CMX 3600 edit decision list in the film's own timecode; beyond 999 events numbers have four digits."""
    name = printable(segmentation.film.name)
    lines = [
        f"TITLE: {name[:TITLE_LENGTH]}",
        f"FCM: {'DROP FRAME' if segmentation.track.drop else 'NON-DROP FRAME'}",
        "",
    ]
    for scene in segmentation.scenes:
        span = f"{scene.start.timecode} {scene.end.timecode}"
        lines.append(f"{scene.number:03d}  {REEL:8} V     C        {span} {span}")
        lines.append(f"* FROM CLIP NAME: {name}")
        lines.append(f"* COMMENT: SCENE {scene.number}, {pluralize(scene.num_shots, 'shot').upper()}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_otio(path: Path, segmentation: Segmentation) -> None:
    """Write OpenTimelineIO's JSON; times are whole frames at a rate that the format stores as a float."""
    spans = _spans(segmentation)
    from scenedetect.output import write_scene_list_otio

    film = segmentation.film
    write_scene_list_otio(path, spans, film.path, film.times.rate, printable(film.path.stem), film.has_audio)
    timeline = json.loads(path.read_bytes())
    first, num_frames = float(segmentation.track.first), float(segmentation.scenes[-1].end.position)
    timeline["global_start_time"]["value"] = first
    for track in timeline["tracks"]["children"]:
        for scene, clip in zip(segmentation.scenes, track["children"], strict=True):
            clip["name"] = f"Scene {scene.number}"
            media = clip["media_references"]["DEFAULT_MEDIA"]
            media["target_url"] = film.path.absolute().as_uri()
            available = media["available_range"]
            available["start_time"]["value"], available["duration"]["value"] = first, num_frames
            span = clip["source_range"]
            for time in (span["start_time"], span["duration"]):
                time["value"] = float(round(time["value"]))  # whole frames went in
    path.write_text(json.dumps(timeline, indent=1) + "\n", encoding="ascii")


def write_fcpxml(path: Path, segmentation: Segmentation) -> None:
    """Write FCPXML 1.9; times are exact fractions of a second."""
    film, rate, track = segmentation.film, segmentation.times.rate, segmentation.track
    spans = _spans(segmentation)
    from scenedetect.output import write_scene_list_fcpx

    write_scene_list_fcpx(path, spans, film.path, rate, (film.width, film.height), printable(film.path.stem))
    root = ElementTree.fromstring(path.read_bytes())
    asset, sequence = root.find("resources/asset"), root.find(".//sequence")
    assert asset is not None
    assert sequence is not None
    start = _seconds(track.first / rate)
    asset.set("start", start)
    asset.set("duration", _seconds(segmentation.scenes[-1].end.position / rate))
    if film.has_audio:
        asset.attrib.update(hasAudio="1", audioSources="1", audioChannels="2")
    sequence.attrib.update(tcStart=start, tcFormat="DF" if track.drop else "NDF")
    for scene, clip in zip(segmentation.scenes, root.iter("asset-clip"), strict=True):
        clip.set("name", f"Scene {scene.number}")
    text = ElementTree.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}\n', encoding="utf-8")


def _spans(segmentation: Segmentation) -> list[tuple[Any, Any]]:
    """Return start and end of each scene as PySceneDetect's timecodes, whole frames counted as the film counts."""
    timecode, rate, first = pyscenedetect().FrameTimecode, segmentation.times.rate, segmentation.track.first
    return [
        (timecode(first + scene.start.position, rate), timecode(first + scene.end.position, rate))
        for scene in segmentation.scenes
    ]


def _seconds(value: Fraction) -> str:
    return f"{value.numerator}s" if value.denominator == 1 else f"{value.numerator}/{value.denominator}s"
