"""Films made here: coloured shots with something that moves, and on every frame its own number, to be read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

COLOURS = ((200, 40, 40), (40, 90, 210), (50, 180, 60), (210, 200, 50), (150, 50, 190), (40, 190, 190))
NUM_BITS = 10
SIZE = (160, 96)  # width, height
NTSC_FILM, NTSC_VIDEO = Fraction(24000, 1001), Fraction(30000, 1001)


def picture(number: int, colour: tuple[int, int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Frame `number` of a shot of one colour, (H, W, 3): a square that moves, and below the number in Gray code.

    From frame to frame one block of it changes, so that only a new colour looks like a cut.
    """
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[:] = colour
    left = 2 * number % (width - width // 8)
    image[height // 8 : height // 4, left : left + width // 8] = 255 - np.array(colour, np.uint8)
    for bit in range(NUM_BITS):
        block = slice(width * bit // NUM_BITS, width * (bit + 1) // NUM_BITS)
        image[height * 5 // 6 :, block] = 200 if (number ^ number >> 1) >> bit & 1 else 50
    return image


def read_number(image: np.ndarray) -> int:
    """The number on a frame, however large and however badly coded."""
    height, width = image.shape[:2]
    middle = [round(width * (bit + 0.5) / NUM_BITS) for bit in range(NUM_BITS)]
    code = sum(int(image[height * 11 // 12, x].mean() > 125) << bit for bit, x in enumerate(middle))
    number = 0
    while code:
        number, code = number ^ code, code >> 1
    return number


def frames_of(shots: Sequence[int], size: tuple[int, int] = SIZE) -> Iterator[np.ndarray]:
    """All frames of a film with shots of these lengths."""
    number = 0
    for shot, length in enumerate(shots):
        for _ in range(length):
            yield picture(number, COLOURS[shot % len(COLOURS)], size)
            number += 1


def write_clip(
    path: Path,
    shots: Sequence[int] = (24, 30, 26),
    rate: Fraction = Fraction(24),
    size: tuple[int, int] = SIZE,
    *,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int | None = None,
    pixel_aspect: Fraction | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    audio_seconds: float = 0.0,
    timecode: str | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Write a film. ticks: when each frame is shown, in `time_base` seconds, for a variable rate."""
    with av.open(str(path), "w", options=container or {}) as film:
        video = film.add_stream(codec, rate=rate, options=options or {"g": "24", "preset": "ultrafast"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p" if codec != "libx264rgb" else "rgb24"
        if time_base is not None:
            video.codec_context.time_base = time_base
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            video.set_display_rotation(rotation)
        if timecode is not None:
            video.metadata["timecode"] = timecode
        sound = film.add_stream("aac", rate=8000) if audio_seconds else None
        for number, image in enumerate(frames_of(shots, size)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = 1 / rate if time_base is None else time_base
            for packet in video.encode(frame):
                film.mux(packet)
        for packet in video.encode(None):
            film.mux(packet)
        if sound is not None:
            for packet in _silence(sound, audio_seconds):
                film.mux(packet)
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound only."""
    with av.open(str(path), "w") as film:
        for packet in _silence(film.add_stream("aac", rate=8000), seconds):
            film.mux(packet)
    return path


def spans(shots: Sequence[int]) -> list[tuple[int, int]]:
    """First and last frame of shots of these lengths."""
    ends = np.cumsum(shots).tolist()
    return [(end - length, end - 1) for end, length in zip(ends, shots, strict=True)]


def _silence(stream: av.AudioStream, seconds: float) -> Iterator[av.Packet]:
    for block in range(max(1, round(8000 * seconds / 1024))):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 1024 * block, Fraction(1, 8000)
        yield from stream.encode(frame)
    yield from stream.encode(None)
