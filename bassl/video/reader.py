"""Read the frames of a video file in order, small and upright, with their display times.

Memory holds one frame, and eight bytes per frame for its time. FFmpeg decodes, through PyAV.
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from bassl.errors import InputError
from bassl.video.timing import FrameTimes, measure_times

log = logging.getLogger(__name__)

KEYFRAME_LINES = 240
"""Pixels of a key-frame's short side, as MovieNet's."""
MAX_ASPECT = 8  # wider pictures are squeezed to this, so that no header can exhaust memory
SMALL_FORMAT = "yuv420p"  # half the memory of RGB, with the colour resolution of JPEG key-frames
DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)
MICROSECOND = Fraction(1, 1_000_000)

RgbImage = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """Frame `index` of a film, scaled down but not yet turned upright."""

    index: int
    small: VideoFrame
    rotation: int

    def rgb(self) -> RgbImage:
        """Return the upright picture, (H, W, 3)."""
        image = self.small.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(image, self.rotation // 90))


class FilmReader:
    """A video file, open for one pass through its frames; a context manager.

    Attributes:
        size: (width, height) in pixels as shown: upright and square.
        rotation: degrees counter-clockwise to turn the stored picture by: 0, 90, 180 or 270.
        rate: frames per second by the header.
        num_frames: by the header, 0 if unknown.
        codec: FFmpeg's name.
        timecode: of the first frame, if the file has one.
        is_timed: whether frames have display times, in units of `time_base` seconds; a raw stream's have none.
        ticks: display time of each frame read so far; its number if not timed.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and decode its first frame.

        Raises:
            InputError: if the file is missing, holds no video, or cannot be decoded.
        """
        self.path = Path(path)
        self._container = _open(self.path)
        try:
            self._stream = _video_stream(self._container, self.path)
            self._stream.thread_type = "AUTO"
            self.codec = str(self._stream.codec_context.name)
            self.has_audio = bool(self._container.streams.audio)
            self.timecode = self._stream.metadata.get("timecode") or self._container.metadata.get("timecode")
            self.ticks = array("q")
            self.num_damaged = self.num_corrupt_packets = self.num_corrupt_frames = 0
            self.stopped: str | None = None
            self._scale = VideoReformatter()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise InputError(
                    f"{self.path} holds no frame that can be decoded ({self.codec}); it is damaged or "
                    "incomplete: copy or convert it again"
                )
        except BaseException:
            self._container.close()
            raise
        self._first: VideoFrame | None = first
        self._last_duration = 0
        self.is_timed = first.pts is not None
        self.rotation = first.rotation % 360 if first.rotation % 90 == 0 else 0
        self._small_size, self.size = _sizes(first, self._stream.sample_aspect_ratio, self.rotation)
        self.time_base = Fraction(first.time_base or Fraction(1))
        self.rate = likely_rate(self._stream.guessed_rate, self._stream.average_rate)
        self.num_frames = self._stream.frames or round(self._header_seconds() * self.rate)

    def __enter__(self) -> FilmReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def pictures(self) -> Iterator[Picture]:
        """Yield every frame in display order, once. Damaged parts are skipped and counted."""
        assert not self.ticks, "the film has been read already"
        assert self._first is not None
        yield self._picture(self._first)
        self._first = None
        for frame in self._decoded:
            yield self._picture(frame)

    def pictures_from(self, tick: int) -> Iterator[tuple[int, Picture]]:
        """Yield frames with their times, from the last complete picture at or before a time.

        Yields nothing if seeking fails. The numbers of these pictures are meaningless.
        """
        try:
            self._container.seek(tick, stream=self._stream)
        except FFmpegError:
            return
        self._decoded = self._decode()
        for frame in self._decoded:
            if frame.pts is not None:
                yield frame.pts, Picture(-1, self._shrunk(frame), self.rotation)

    def scanned_times(self) -> FrameTimes:
        """Return the times of all frames from the packets, without decoding; the reader cannot be read afterwards."""
        ticks: list[int | None] = []
        with _open(self.path) as container:
            try:
                for packet in container.demux(container.streams[self._stream.index]):
                    if packet.size and not packet.is_discard:
                        ticks.append(packet.pts if packet.pts is not None else packet.dts)
            except FFmpegError as error:
                log.debug("%s: scanning stopped: %s", self.path, error)
        known = {tick for tick in ticks if tick is not None}
        self.is_timed = self.is_timed and len(known) == len(ticks)
        self.ticks = array("q", sorted(known) if self.is_timed else range(len(ticks)))
        return self.times()

    def times(self) -> FrameTimes:
        """Return the times of the frames read so far; of the whole film after `pictures`."""
        if not self.is_timed:
            return measure_times(range(len(self.ticks)), 1 / self.rate, [self.rate])
        guesses = (_known_rate(self._stream.guessed_rate), _known_rate(self._stream.average_rate))
        return measure_times(
            np.asarray(self.ticks), self.time_base, guesses, self._start(), self._last_duration or None
        )

    def warnings(self) -> list[str]:
        """Return what was wrong with the file, in sentences; call it after `pictures`."""
        warnings = []
        if self.num_damaged:
            warnings.append(f"{self.num_damaged} damaged pieces of the video were skipped")
        corrupt = [(self.num_corrupt_packets, "packet"), (self.num_corrupt_frames, "picture")]
        if parts := [f"{number} {what}{'s' * (number != 1)}" for number, what in corrupt if number]:
            warnings.append(f"damage in the video ({', '.join(parts)}): used as far as it can be decoded")
        if self.stopped:
            warnings.append(f"reading stopped early ({self.stopped})")
        times = self.times()
        end, expected = float(times.start + times.duration), float(self._expected_end(times.start))
        if expected - end > max(2.0, 0.05 * expected):
            warnings.append(f"its frames end at {end:.1f} s, its header says {expected:.1f} s: it may be cut off")
        return warnings

    def _decode(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self.stopped = str(error.strerror)
                packet = None
            self.num_corrupt_packets += packet is not None and packet.is_corrupt
            try:
                for frame in self._stream.decode(None) if packet is None else packet.decode():
                    self.num_corrupt_frames += frame.is_corrupt
                    yield frame
            except FFmpegError:
                self.num_damaged += packet is not None
            if packet is None:
                return

    def _picture(self, frame: VideoFrame) -> Picture:
        index = len(self.ticks)
        tick = frame.pts if self.is_timed and frame.pts is not None else None
        if index and (tick is None or tick <= self.ticks[-1]):
            tick = self.ticks[-1] + 1  # no time, or an earlier one: keep the order
        self.ticks.append(tick or 0)
        self._last_duration = frame.duration or 0
        return Picture(index, self._shrunk(frame), self.rotation)

    def _shrunk(self, frame: VideoFrame) -> VideoFrame:
        width, height = self._small_size
        method = "AREA" if frame.height > height else "BICUBIC"
        return self._scale.reformat(frame, width=width, height=height, format=SMALL_FORMAT, interpolation=method)

    def _start(self) -> Fraction:
        """Return the seconds of frame 0 on the clock of players, which count from the start of the file."""
        first = self.ticks[0] * self.time_base
        whole = self._container.start_time
        if whole is None:
            return Fraction(0)
        begin = max(whole * MICROSECOND, min(Fraction(0), first))
        return first - begin if first - begin > 2 * MICROSECOND else Fraction(0)

    def _expected_end(self, start: Fraction) -> Fraction:
        """Return the seconds on the clock of players at which the video should end; sound may be longer."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return start + self._header_seconds()
        tag = DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))  # Matroska's, from the start of the file
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3]) if tag else self._header_seconds()

    def _header_seconds(self) -> Fraction:
        stream = self._stream
        if stream.duration and stream.time_base:
            return stream.duration * Fraction(stream.time_base)
        return (self._container.duration or 0) * MICROSECOND


def scan_times(path: Path) -> FrameTimes:
    """Return the times of a film's frames without decoding them. Errors as of `FilmReader`."""
    with FilmReader(path) as reader:
        return reader.scanned_times()


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; give a video file")
    try:
        # a plain local file: no name and no playlist can make FFmpeg open anything else
        return av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"})
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read as a video ({reason}); it is damaged or no video") from error


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """Return the first picture track that is not a cover."""
    for stream in container.streams.video:
        is_cover = stream.disposition & av.stream.Disposition.attached_pic
        if not is_cover and stream.codec_context is not None:
            return stream
    kinds = sorted({stream.type for stream in container.streams} - {"video"})
    raise InputError(f"{path} holds no video ({'only ' + ', '.join(kinds) if kinds else 'nothing'}); give a film")


def _sizes(frame: VideoFrame, pixel_aspect: Fraction | None, rotation: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (width, height) of key-frames before rotation, and of the film as shown."""
    aspect = Fraction(pixel_aspect) if pixel_aspect else Fraction(1)
    if not Fraction(1, 10) <= aspect <= 10:
        aspect = Fraction(1)
    width, height = round(frame.width * aspect), frame.height
    shape = min(max(Fraction(max(width, 1), max(height, 1)), Fraction(1, MAX_ASPECT)), Fraction(MAX_ASPECT))
    long_side = 2 * round(KEYFRAME_LINES * max(shape, 1 / shape) / 2)
    small = (long_side, KEYFRAME_LINES) if shape >= 1 else (KEYFRAME_LINES, long_side)
    return small, ((height, width) if rotation % 180 else (width, height))


def likely_rate(guessed: Fraction | None, average: Fraction | None) -> Fraction:
    """Return frames per second from FFmpeg's guess and the average; 25 if both are absurd.

    The guess is exact for a constant rate. For a variable one it may be that of the finest time step, such as 1000.
    """
    guess, mean = _known_rate(guessed), _known_rate(average)
    if guess is not None and mean is not None and guess > 2 * mean:
        return mean
    return guess or mean or Fraction(25)


def _known_rate(*rates: Fraction | None) -> Fraction | None:
    return next((Fraction(rate) for rate in rates if rate is not None and 0 < rate <= 1000), None)
