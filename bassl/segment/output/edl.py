"""`scenes.edl`: a CMX 3600 edit decision list, an event a scene.

Not PySceneDetect's writer: it divides clock time into hours to frames, which at 23.976 and 29.97 frames a
second is no timecode that an editor counts (a frame off after half a minute, 3.6 s after an hour), and it
knows no drop-frame.
"""

from __future__ import annotations

from pathlib import Path

from bassl.console import pluralize, printable
from bassl.segment.scenes import Segmentation

REEL = "AX"  # "auxiliary": a file, no tape
TITLE_LENGTH = 70


def write_edl(path: Path, segmentation: Segmentation) -> None:
    """Source and record columns carry the film's own timecode; event numbers have four digits beyond 999."""
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
