"""`scenes.otio` and `scenes.fcpxml`: timelines with a clip a scene, by PySceneDetect's writers.

What those leave out is put in behind them: clips are called scenes, the media is as long as the film (they
write 1,980 frames into OpenTimelineIO), starts with the film's own timecode, and has its sound.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from bassl.console import printable
from bassl.segment.output.handover import at_positions
from bassl.segment.scenes import Segmentation


def write_otio(path: Path, segmentation: Segmentation) -> None:
    """OpenTimelineIO's JSON; times in frames, whole, at a rate that the format has only as a float."""
    spans = at_positions(segmentation, segmentation.scenes, segmentation.track.first)
    from scenedetect.output import write_scene_list_otio

    film, times = segmentation.film, segmentation.times
    write_scene_list_otio(path, spans, film.path, times.rate, printable(film.path.stem), film.has_audio)
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
    """FCPXML 1.9; times are exact fractions of a second."""
    film, times, track = segmentation.film, segmentation.times, segmentation.track
    spans = at_positions(segmentation, segmentation.scenes, track.first)
    from scenedetect.output import write_scene_list_fcpx

    write_scene_list_fcpx(path, spans, film.path, times.rate, (film.width, film.height), printable(film.path.stem))
    root = ElementTree.fromstring(path.read_bytes())
    asset, sequence = root.find("resources/asset"), root.find(".//sequence")
    assert asset is not None
    assert sequence is not None
    start = _seconds(track.first / times.rate)
    asset.set("start", start)
    asset.set("duration", _seconds(segmentation.scenes[-1].end.position / times.rate))
    if film.has_audio:
        asset.attrib.update(hasAudio="1", audioSources="1", audioChannels="2")
    sequence.attrib.update(tcStart=start, tcFormat="DF" if track.drop else "NDF")
    for scene, clip in zip(segmentation.scenes, root.iter("asset-clip"), strict=True):
        clip.set("name", f"Scene {scene.number}")
    text = ElementTree.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}\n', encoding="utf-8")


def _seconds(value: Fraction) -> str:
    return f"{value.numerator}s" if value.denominator == 1 else f"{value.numerator}/{value.denominator}s"
