from __future__ import annotations

import json
import os
import stat
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.segment.output.clips import cut_command, find_ffmpeg, write_clips
from bassl.segment.output.results import write_results
from bassl.video.timing import FrameTimes
from tests.segment.models import segmentation

PROGRAM = """\
#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
target = pathlib.Path(arguments[-1].removeprefix("file:"))
target.write_text("half a clip")
if {fail!r}:
    sys.stderr.write("some chatter\\nNo space left on device\\n")
    sys.exit(1)
target.write_text("a clip")
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A program of that name that writes down what it is told to do."""

    def install(fail=False):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "ffmpeg"
        program.write_text(PROGRAM.format(python=sys.executable, log=str(tmp_path / "log"), fail=fail))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
        return find_ffmpeg()

    return install


def calls(tmp_path):
    return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


VARIABLE = FrameTimes(
    Fraction(30),
    Fraction(1, 3),
    250,
    np.cumsum([0, *np.random.default_rng(0).integers(1, 90, 249)]),
    Fraction(1, 1000),
    9,
)


@pytest.mark.parametrize("film", [*({"rate": Fraction(n, 1001)} for n in (24000, 30000, 25025)), {"times": VARIABLE}])
def test_a_clip_takes_in_its_scenes_frames_and_no_other(film):
    found = segmentation(**film)
    for scene in found.scenes:
        command = cut_command("ffmpeg", found, scene, Path("/x/scene.mp4"))
        jump, rest = (Fraction(value) for option, value in pairwise(command) if option == "-ss")
        start, length = jump + rest, Fraction(command[command.index("-t") + 1])
        assert command.index("-ss") < command.index("-i") < command.index("-t")
        assert jump == 0 or rest >= 5  # FFmpeg's jumps land late in some files, so one is made early
        shown = [n for n in range(250) if start <= found.times.seconds(n) < start + length]
        assert shown == list(range(scene.start.frame, scene.end.frame))
        assert ("passthrough" in command) is found.times.is_variable


def test_a_file_a_scene_is_written(tmp_path, ffmpeg):
    written = write_clips(segmentation(), tmp_path / "clips", ffmpeg())
    assert [path.name for path in written] == ["scene-001.mp4", "scene-002.mp4", "scene-003.mp4"]
    assert [path.read_text() for path in written] == ["a clip"] * 3
    assert len(calls(tmp_path)) == 3


def test_clips_of_an_earlier_call_are_removed_and_nothing_else(tmp_path, ffmpeg):
    folder = tmp_path / "out" / "clips"
    folder.mkdir(parents=True)
    for name in ("scene-004.mp4", "scene-1000.mp4", "scene-best.mp4", "scene-004.mp4.txt", "mine.mp4"):
        (folder / name).touch()
    write_results(segmentation(), tmp_path / "out", ("json",))
    assert len(list(folder.iterdir())) == 5
    write_results(segmentation(), tmp_path / "out", ("json",), ffmpeg=ffmpeg())
    kept = ["mine.mp4", "scene-004.mp4.txt", "scene-best.mp4"]
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(["scene-001.mp4", "scene-002.mp4", "scene-003.mp4", *kept])


@pytest.mark.parametrize("name", ["-y.mp4", "a; rm $(id).mp4", "concat:a|b.mp4", "%d.mp4"])
def test_no_file_name_is_taken_for_an_option_or_a_command(tmp_path, ffmpeg, name):
    film = tmp_path / name
    write_clips(segmentation(film), tmp_path / "clips", ffmpeg())
    for arguments in calls(tmp_path):
        assert arguments[arguments.index("-i") + 1] == f"file:{film}"
        assert arguments[-1].startswith(f"file:{tmp_path / 'clips'}/.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "clips", "log"]


def test_a_clip_that_fails_leaves_nothing_and_says_why(tmp_path, ffmpeg):
    with pytest.raises(InputError, match=r"scene 1 of .*No space left on device"):
        write_clips(segmentation(), tmp_path / "clips", ffmpeg(fail=True))
    assert list((tmp_path / "clips").iterdir()) == []
