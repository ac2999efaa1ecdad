"""Frames of a video file, one after the other, small and upright, with the times at which they are shown.

Memory holds a frame at a time and eight bytes for the time of each. Decoding is FFmpeg's, through PyAV.
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
"""Pixels of a key-frame's short side: 240 lines for films, as MovieNet's; 240 columns for upright phone video."""
MAX_ASPECT = 8  # wider pictures are squeezed to this, so that no header can ask for more memory than there is
SMALL_FORMAT = "yuv420p"  # half the memory of RGB, and the colour resolution of the JPEGs that models learn from
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
        """(H, W, 3) as it is to be shown."""
        image = self.small.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(image, self.rotation // 90))


class FilmReader:
    """A video file, open for one pass through its frames; a context manager.

    Attributes, from the header unless said otherwise:
        size: (width, height) in pixels as shown: upright, and with square pixels.
        rotation: degrees counter-clockwise to turn the stored picture by; 0, 90, 180 or 270.
        rate: frames a second.
        num_frames: how many frames there should be, 0 where it does not say.
        has_audio: whether there is a sound track.
        codec: FFmpeg's name of the codec.
        timecode: of the first frame, where the file tells.
        is_timed: whether frames say when they are shown (a raw stream's do not), in units of `time_base`
            seconds.
        ticks: when each frame read so far is shown; its number where frames do not say.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and decode its first frame.

        Raises:
            InputError: no such file, no video in it, nothing that can be decoded.
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
        """Let go of the file."""
        self._container.close()

    def pictures(self) -> Iterator[Picture]:
        """Every frame in the order shown; to be called once. Damaged parts are passed over and counted."""
        assert not self.ticks, "the film has been read already"
        assert self._first is not None
        yield self._picture(self._first)
        self._first = None
        for frame in self._decoded:
            yield self._picture(frame)

    def pictures_from(self, tick: int) -> Iterator[tuple[int, Picture]]:
        """Frames with their times, from the last complete picture at or before a time on.

        Nothing if jumping fails. The numbers of these pictures mean nothing.
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
        """Times of all frames as the packets tell them, nothing decoded; this reader cannot be read afterwards."""
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
        """Times of the frames read so far; of the whole film after `pictures`."""
        if not self.is_timed:
            return measure_times(range(len(self.ticks)), 1 / self.rate, [self.rate])
        guesses = (_known_rate(self._stream.guessed_rate), _known_rate(self._stream.average_rate))
        return measure_times(
            np.asarray(self.ticks), self.time_base, guesses, self._start(), self._last_duration or None
        )

    def warnings(self) -> list[str]:
        """What was wrong with the file, in sentences; after `pictures`."""
        found = []
        if self.num_damaged:
            found.append(f"{self.num_damaged} damaged pieces of the video were passed over")
        corrupt = [(self.num_corrupt_packets, "packet"), (self.num_corrupt_frames, "picture")]
        if told := [f"{number} {what}{'s' * (number != 1)}" for number, what in corrupt if number]:
            found.append(f"damage in the video ({', '.join(told)}): used as far as it can be decoded")
        if self.stopped:
            found.append(f"reading stopped early ({self.stopped})")
        times = self.times()
        end, expected = float(times.start + times.duration), float(self._expected_end(times.start))
        if expected - end > max(2.0, 0.05 * expected):
            found.append(f"its frames end at {end:.1f} s, its header says {expected:.1f} s: it may be cut off")
        return found

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
            tick = self.ticks[-1] + 1  # no time, or one that has been: the order counts
        self.ticks.append(tick or 0)
        self._last_duration = frame.duration or 0
        return Picture(index, self._shrunk(frame), self.rotation)

    def _shrunk(self, frame: VideoFrame) -> VideoFrame:
        width, height = self._small_size
        method = "AREA" if frame.height > height else "BICUBIC"
        return self._scale.reformat(frame, width=width, height=height, format=SMALL_FORMAT, interpolation=method)

    def _start(self) -> Fraction:
        """Seconds of frame 0 on the clock of players, which count from where the file starts."""
        first = self.ticks[0] * self.time_base
        whole = self._container.start_time
        if whole is None:
            return Fraction(0)
        begin = max(whole * MICROSECOND, min(Fraction(0), first))
        return first - begin if first - begin > 2 * MICROSECOND else Fraction(0)

    def _expected_end(self, start: Fraction) -> Fraction:
        """Seconds on the clock of players at which the video should end; the sound may go on for longer."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return start + self._header_seconds()
        tag = DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))  # Matroska's, from where the file starts
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3]) if tag else self._header_seconds()

    def _header_seconds(self) -> Fraction:
        stream = self._stream
        if stream.duration and stream.time_base:
            return stream.duration * Fraction(stream.time_base)
        return (self._container.duration or 0) * MICROSECOND


def scan_times(path: Path) -> FrameTimes:
    """Times of a film's frames from its table of contents alone: fast, but nothing has been decoded.

    Raises:
        InputError: as FilmReader.
    """
    with FilmReader(path) as reader:
        return reader.scanned_times()


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist" if not path.exists() else "is no file"
        raise InputError(f"{path} {what}; give a video file")
    try:
        # As a plain local file: no name and no playlist in it can make FFmpeg open anything else.
        return av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"})
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read as a video ({reason}); it is damaged or no video") from error


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The first picture track that is not a cover."""
    for stream in container.streams.video:
        is_cover = stream.disposition & av.stream.Disposition.attached_pic
        if not is_cover and stream.codec_context is not None:
            return stream
    kinds = sorted({stream.type for stream in container.streams} - {"video"})
    raise InputError(f"{path} holds no video ({'only ' + ', '.join(kinds) if kinds else 'nothing'}); give a film")


def _sizes(frame: VideoFrame, pixel_aspect: Fraction | None, rotation: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of key-frames before they are turned, and of the film as shown."""
    aspect = Fraction(pixel_aspect) if pixel_aspect else Fraction(1)
    if not Fraction(1, 10) <= aspect <= 10:
        aspect = Fraction(1)
    width, height = round(frame.width * aspect), frame.height
    shape = min(max(Fraction(max(width, 1), max(height, 1)), Fraction(1, MAX_ASPECT)), Fraction(MAX_ASPECT))
    long_side = 2 * round(KEYFRAME_LINES * max(shape, 1 / shape) / 2)
    small = (long_side, KEYFRAME_LINES) if shape >= 1 else (KEYFRAME_LINES, long_side)
    return small, ((height, width) if rotation % 180 else (width, height))


def likely_rate(guessed: Fraction | None, average: Fraction | None) -> Fraction:
    """Frames a second, of FFmpeg's guess and of the average; 25 where both are absurd.

    The guess is exact for a constant rate. For a variable one it may be that of the finest time step, as 1000.
    """
    guess, mean = _known_rate(guessed), _known_rate(average)
    if guess is not None and mean is not None and guess > 2 * mean:
        return mean
    return guess or mean or Fraction(25)


def _known_rate(*rates: Fraction | None) -> Fraction | None:
    return next((Fraction(rate) for rate in rates if rate is not None and 0 < rate <= 1000), None)
