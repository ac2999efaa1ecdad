from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.video.reader import FilmReader, likely_rate, scan_times
from tests.video.clips import NTSC_FILM, NTSC_VIDEO, picture, read_number, write_clip, write_sound


def read(path):
    """All numbers on the frames, the reader's times, and the first picture."""
    with FilmReader(path) as reader:
        images = [shot.rgb() for shot in reader.pictures()]
        return [read_number(image) for image in images], reader.times(), images[0], reader.warnings()


@pytest.mark.parametrize(("suffix", "rate"), [("mp4", NTSC_FILM), ("mkv", NTSC_VIDEO), ("ts", Fraction(25))])
def test_every_frame_comes_once_in_order_with_its_exact_time(tmp_path, suffix, rate):
    numbers, times, image, warnings = read(write_clip(tmp_path / f"a.{suffix}", (20, 20), rate))
    assert numbers == list(range(40))
    assert (times.rate, times.is_variable, times.num_frames) == (rate, False, 40)
    assert times.seconds(40) - times.seconds(0) == 40 / rate
    assert image.shape == (240, 400, 3)
    assert warnings == []


def test_variable_frame_rate_keeps_each_frames_time(tmp_path):
    ticks = np.cumsum([0, *([20, 45, 33] * 13)]).tolist()
    path = write_clip(tmp_path / "phone.mp4", (20, 20), Fraction(30), ticks=ticks, time_base=Fraction(1, 1000))
    numbers, times, _, _ = read(path)
    assert numbers == list(range(40))
    assert times.is_variable
    assert [times.seconds(n) for n in range(40)] == [Fraction(tick, 1000) for tick in ticks]


@pytest.mark.parametrize(("size", "expected"), [
    ((174, 98), (240, 426)), ((66, 118), (430, 240)), ((64, 64), (240, 240)), ((426, 240), (240, 426)),
])  # fmt: skip
def test_the_short_side_has_240_pixels_whatever_the_size(tmp_path, size, expected):
    _, _, image, _ = read(write_clip(tmp_path / "a.mp4", (3,), size=size))
    assert image.shape[:2] == expected


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = write_clip(tmp_path / "a.mp4", (3,), size=(720, 576), pixel_aspect=Fraction(64, 45))
    with FilmReader(path) as reader:
        assert reader.size == (1024, 576)
        assert next(reader.pictures()).rgb().shape == (240, 426, 3)


@pytest.mark.parametrize("rotation", [90, 180])
def test_turned_phone_video_is_shown_upright(tmp_path, rotation):
    upright = read(write_clip(tmp_path / "a.mp4", (2,)))[2]
    with FilmReader(write_clip(tmp_path / "b.mp4", (2,), rotation=rotation)) as reader:
        image = next(reader.pictures()).rgb()
        assert reader.size == ((96, 160) if rotation % 180 else (160, 96))
    assert np.array_equal(image, np.rot90(upright, rotation // 90))


def test_colours_are_right(tmp_path):
    _, _, image, _ = read(write_clip(tmp_path / "a.mp4", (2,), options={"crf": "5"}))
    assert np.abs(image[5, 200].astype(int) - picture(0, (200, 40, 40))[2, 80]).max() < 12


@pytest.mark.parametrize(("guessed", "average", "expected"), [
    (NTSC_FILM, NTSC_FILM, NTSC_FILM), (30, Fraction(2987, 100), 30), (1000, 30, 30), (90000, None, 25), (None, 24, 24),
    (25, 0, 25), (50, 25, 50),
])  # fmt: skip
def test_the_likely_rate_is_not_fooled_by_fine_time_steps(guessed, average, expected):
    assert likely_rate(guessed, average) == expected


def test_seconds_count_from_where_the_file_starts_as_players_do(tmp_path):
    """A transport stream starts at some odd time, and a film may start after its sound."""
    _, times, _, _ = read(write_clip(tmp_path / "a.ts", (10,), Fraction(25)))
    assert times.start == 0
    late = write_clip(
        tmp_path / "b.mkv",
        (10,),
        Fraction(25),
        ticks=range(500, 900, 40),
        time_base=Fraction(1, 1000),
        audio_seconds=1.0,
    )
    _, times, _, _ = read(late)
    assert (times.start, times.is_variable) == (Fraction(1, 2), False)


def test_scanning_returns_the_times_that_reading_returns(tmp_path):
    ticks = np.cumsum([0, *([20, 45, 33] * 13)]).tolist()
    for path in (
        write_clip(tmp_path / "a.mp4", (20, 21), NTSC_FILM),
        write_clip(tmp_path / "b.mkv", (20, 20), Fraction(30), ticks=ticks, time_base=Fraction(1, 1000)),
        write_clip(tmp_path / "c.h264", (20, 20), Fraction(25)),
    ):
        scanned, times = scan_times(path), read(path)[1]
        assert (scanned.num_frames, scanned.rate, scanned.is_variable) == (
            times.num_frames,
            times.rate,
            times.is_variable,
        )
        assert [scanned.seconds(n) for n in range(40)] == [times.seconds(n) for n in range(40)]


def test_a_film_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    whole = write_clip(tmp_path / "a.mp4", (120, 120), container={"movflags": "+faststart"}).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    numbers, times, _, warnings = read(path)
    assert 60 < len(numbers) < 220
    assert numbers[:60] == list(range(60))
    assert times.num_frames == len(numbers)
    assert "cut off" in " ".join(warnings)


def test_damage_that_the_decoder_hides_is_reported(tmp_path):
    whole = write_clip(tmp_path / "a.ts", (60, 60), size=(640, 384), options={"g": "12", "preset": "ultrafast"})
    content, path = whole.read_bytes(), tmp_path / "b.ts"
    middle = len(content) // 2 // 188 * 188
    path.write_bytes(content[:middle] + content[middle + 188 :])  # a packet of the stream is lost
    numbers, _, _, warnings = read(path)
    assert len(numbers) == 120
    assert warnings == ["damage in the video (1 packet, 1 picture): used as far as it can be decoded"]
    assert read(whole)[3] == []


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_sound_that_is_longer_and_a_late_start_do_not_look_cut_off(tmp_path, suffix):
    ticks = range(60, 60 + 96)
    path = write_clip(tmp_path / f"a.{suffix}", (48, 48), Fraction(24), ticks=ticks, audio_seconds=12.0)
    _, times, _, warnings = read(path)
    assert float(times.start) == pytest.approx(2.5, abs=0.05)
    assert warnings == []


def _write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("make", "message"), [
    (lambda folder: folder / "nowhere.mp4", "does not exist"),
    (lambda folder: folder, "is a folder"),
    (lambda folder: _write(folder / "a.mp4", b""), "cannot be read as a video"),
    (lambda folder: _write(folder / "a.mp4", b"no video at all" * 50), "cannot be read as a video"),
    (lambda folder: write_sound(folder / "a.m4a"), "holds no video"),
    (lambda folder: _write(folder / "b.mp4", write_clip(folder / "a.mp4").read_bytes()[:2000]), "cannot be read"),
])  # fmt: skip
def test_what_is_no_film_is_one_clear_error(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(InputError, match=message):
        FilmReader(path)


def test_a_playlist_cannot_make_it_open_other_files(tmp_path):
    write_clip(tmp_path / "secret.ts", (10,))
    playlist = tmp_path / "innocent.mp4"
    address = f"http://127.0.0.1:9/{tmp_path.name}.ts"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        FilmReader(playlist)


@pytest.mark.parametrize("name", ["-i.mp4", "concat:a|b.mp4", "%03d.mp4"])
def test_no_file_name_is_taken_for_anything_else(tmp_path, name):
    path = write_clip(tmp_path / "plain.mp4", (5,)).rename(tmp_path / name)
    assert read(path)[0] == [0, 1, 2, 3, 4]
