"""Cut a file per scene with FFmpeg, exact to the frame and therefore encoded again."""

from __future__ import annotations

import math
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

VIDEO = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"]
AUDIO = ["-c:a", "aac", "-b:a", "192k"]
RUN_UP = 5  # seconds to decode before a clip: in MPEG streams FFmpeg seeks too far
EVEN_SIZE = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 has no odd sizes


def find_ffmpeg() -> str:
    """Return the path of the program. Raise InputError if there is none."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise InputError(
            "splitting needs the program ffmpeg, which is not on the PATH; install it or leave out --split"
        )
    return program


def write_clips(segmentation: Segmentation, folder: Path, ffmpeg: str, show_progress: bool = False) -> list[Path]:
    """Write `scene-001.mp4`, ... into a folder, each atomically, and return their paths.

    Raises:
        InputError: if FFmpeg cannot write a clip.
    """
    written = []
    digits = max(3, len(str(len(segmentation))))
    title = f"{segmentation.film.name[:40]}: splitting"
    for scene in tqdm(segmentation.scenes, desc=title, unit=" scenes", disable=not show_progress):
        path = folder / f"scene-{scene.number:0{digits}d}.mp4"
        write_atomically(path, partial(_cut, ffmpeg, segmentation, scene))
        written.append(path)
    return written


def cut_command(ffmpeg: str, segmentation: Segmentation, scene: Scene, target: Path) -> list[str]:
    """Return the arguments of the call; no file name can be taken for an option."""
    times, first, end = segmentation.times, scene.start.frame, scene.end.frame
    # a quarter of a frame early at both ends, so that rounding neither adds nor loses a frame
    before = times.seconds(first - 1) if first else max(Fraction(0), times.start - 1 / times.rate)
    start = times.seconds(first) - (times.seconds(first) - before) / 4
    stop = times.seconds(end) - (times.seconds(end) - times.seconds(end - 1)) / 4
    early = max(0, math.floor(start) - RUN_UP)
    return [
        ffmpeg, "-nostdin", "-v", "error", "-y",
        "-ss", str(early), "-i", f"file:{segmentation.film.path.absolute()}",
        "-ss", f"{float(start - early):.6f}", "-t", f"{float(stop - start):.6f}",
        "-map", "0:V:0", "-map", "0:a?", "-map_chapters", "-1", "-vf", EVEN_SIZE, *VIDEO, *AUDIO,
        *(("-vsync", "passthrough") if times.is_variable else ()),
        "-f", "mp4", "-movflags", "+faststart", f"file:{target.absolute()}",
    ]  # fmt: skip


def _cut(ffmpeg: str, segmentation: Segmentation, scene: Scene, target: Path) -> None:
    done = subprocess.run(  # kills the program when this process is interrupted
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
