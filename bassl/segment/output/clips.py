"""A file a scene, cut to the frame by FFmpeg: encoded again, since only then can a cut lie anywhere."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from fractions import Fraction
from functools import partial
from pathlib import Path

from tqdm import tqdm

from bassl.errors import InputError
from bassl.files import write_atomically
from bassl.segment.scenes import Scene, Segmentation
from bassl.training.processes import signal_on_parent_exit

ENCODING = (
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "18",
    "-pix_fmt",
    "yuv420p",
    "-c:a",
    "aac",
    "-b:a",
    "192k",
)
RUN_UP = 5  # seconds to jump ahead of a clip and to decode: in MPEG streams FFmpeg's jumps land late
CLIP = re.compile(r"scene-\d{3,}\.mp4")
EVEN_SIZE = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 has no odd sizes


def find_ffmpeg() -> str:
    """Path of the program. Raises InputError where there is none."""
    found = shutil.which("ffmpeg")
    if found is None:
        raise InputError(
            "splitting needs the program ffmpeg, which is not on the PATH; install it or leave --split out"
        )
    return found


def write_clips(segmentation: Segmentation, folder: Path, ffmpeg: str, show_progress: bool = False) -> list[Path]:
    """Write `scene-001.mp4`, ... into a folder, each whole or not at all; returns their paths.

    Clips of an earlier call with more scenes are removed, so that the folder holds one cut of the film.

    Raises:
        InputError: FFmpeg cannot write a clip.
    """
    written = []
    digits = max(3, len(str(len(segmentation))))
    title = f"{segmentation.film.name[:40]}: splitting"
    for scene in tqdm(segmentation.scenes, desc=title, unit=" scenes", disable=not show_progress):
        path = folder / f"scene-{scene.number:0{digits}d}.mp4"
        write_atomically(path, partial(_cut, ffmpeg, segmentation, scene))
        written.append(path)
    for path in folder.glob("scene-*.mp4"):
        if CLIP.fullmatch(path.name) and path not in written:
            path.unlink()
    return written


def cut_command(ffmpeg: str, segmentation: Segmentation, scene: Scene, target: Path) -> list[str]:
    """Arguments of the call; none of them is seen by a shell, and no file name can be taken for an option."""
    times, first, end = segmentation.times, scene.start.frame, scene.end.frame
    # A quarter of a frame early at both ends, so that no rounding can take a frame in or leave one out.
    before = times.seconds(first - 1) if first else max(Fraction(0), times.start - 1 / times.rate)
    start = times.seconds(first) - (times.seconds(first) - before) / 4
    stop = times.seconds(end) - (times.seconds(end) - times.seconds(end - 1)) / 4
    early = max(0, math.floor(start) - RUN_UP)
    return [
        ffmpeg, "-nostdin", "-v", "error", "-y",
        "-ss", str(early), "-i", f"file:{segmentation.film.path.absolute()}",
        "-ss", f"{float(start - early):.6f}", "-t", f"{float(stop - start):.6f}",
        "-map", "0:V:0", "-map", "0:a?", "-map_chapters", "-1", "-vf", EVEN_SIZE, *ENCODING,
        *(("-vsync", "passthrough") if times.is_variable else ()),
        "-f", "mp4", "-movflags", "+faststart", f"file:{target.absolute()}",
    ]  # fmt: skip


def _cut(ffmpeg: str, segmentation: Segmentation, scene: Scene, target: Path) -> None:
    done = subprocess.run(  # which kills the program when this process is interrupted
        cut_command(ffmpeg, segmentation, scene, target),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=signal_on_parent_exit(),
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise InputError(f"ffmpeg could not cut scene {scene.number} of {segmentation.film.path}: {reason}")
