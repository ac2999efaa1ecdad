"""`bassl segment` that is killed in the middle of its work, as users' machines do it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from bassl.training.processes import signal_on_parent_exit
from tests.video.clips import write_clip

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds
SLEEPING_FFMPEG = """\
#!/bin/sh
for target; do :; done
case "$target" in file:*) ;; *) exit 0 ;; esac  # PySceneDetect asks for its version
echo half > "${{target#file:}}"
echo $$ > {pid}
exec sleep 600
"""


def started(*arguments, **more) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bassl.segment.main", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", **more}
    pipe = subprocess.PIPE
    as_from_a_terminal = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's & has it ignored
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=as_from_a_terminal
    )


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not (done := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(done)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_no_worker_outlives_a_killed_command(model_path, tmp_path, number, status):
    films = [write_clip(tmp_path / "short.mp4", (20,))]
    films += [write_clip(tmp_path / f"{name}.mp4", (400, 400, 400, 400)) for name in "abcdef"]
    process = started(*films, "--device", "cpu,cpu", "--model", model_path, "-o", tmp_path / "out", "--no-cache")
    assert process.stdout is not None
    assert "1 scene" in process.stdout.readline() or process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)  # not before everybody has let go of both pipes
    assert process.returncode == status
    assert "Traceback" not in err
    assert len(list(tmp_path.rglob("scenes.json"))) < len(films)  # it was in the middle of its work


@pytest.mark.slow
@pytest.mark.skipif(signal_on_parent_exit() is None, reason="needs Linux")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_ffmpeg_ends_with_a_killed_command(film, model_path, tmp_path, number, status):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(SLEEPING_FFMPEG.format(pid=tmp_path / "pid"))
    program.chmod(0o755)
    arguments = (film, "--model", model_path, "--device", "cpu", "-o", tmp_path / "out", "--split")
    process = started(*arguments, PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    pid = tmp_path / "pid"
    assert until(lambda: pid.is_file() and pid.read_text().strip())
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert until(lambda: not is_running(int(pid.read_text())))
    left = [path.name for path in (tmp_path / "out" / "a_film" / "clips").iterdir()]
    assert len(left) == (1 if number == signal.SIGKILL else 0)
