"""Scripts for several machines and the audit: how processes meet, jobs that come back, programs that are removed."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.test_scripts import RECORDER, ROOT, SPOOLED, make_stand_ins, recorded, slurm, torchrun


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    return make_stand_ins(tmp_path)


def test_torchrun_on_one_machine_takes_any_free_port_unless_told_which(stand_ins, tmp_path):
    script = ROOT / "scripts" / "torchrun_pretrain.sh"
    (command,) = recorded(stand_ins, script, cwd=tmp_path, MASTER_PORT="1234")
    assert command[1:8] == torchrun(1, 0, 8, "localhost:1234")
    (command,) = recorded(stand_ins, script, cwd=tmp_path)
    assert command[1:7] == torchrun(1, 0, 8)


@pytest.mark.parametrize("name", ["torchrun_pretrain.sh", "slurm_pretrain.sh"])
def test_all_processes_of_a_script_get_one_seed_which_is_kept_where_it_is_set(name, stand_ins, tmp_path):
    script, environ = slurm(stand_ins, ROOT, str(ROOT / SPOOLED)) if "slurm" in name else (ROOT / "scripts" / name, {})
    for program in ("recorder", "srun"):
        (stand_ins / program).write_text('#!/usr/bin/env bash\necho "${BASSL_SEED-unset}" > "$RECORD"\n')
    seeds = []
    for more in ({}, {}, {"BASSL_SEED": "5"}, {"NUM_NODES": "2"}):
        recorded(stand_ins, script, cwd=tmp_path, **environ, **more)
        seeds.append((stand_ins / "record").read_text().strip())
    assert seeds[0].isdigit() and seeds[1].isdigit() and seeds[0] != seeds[1]
    assert seeds[2] == "5"
    assert (seeds[3] == "unset") == ("torchrun" in name), "SLURM's batch script runs once, the other on each machine"


@pytest.mark.parametrize(("restarts", "resume"), [(None, "false"), ("0", "false"), ("1", "true"), ("12", "true")])
def test_a_slurm_job_goes_on_when_it_comes_back_out_of_the_queue(restarts, resume, stand_ins):
    script, environ = slurm(stand_ins, ROOT, str(ROOT / SPOOLED))
    if restarts is not None:
        environ |= {"SLURM_RESTART_COUNT": restarts}
    (command,) = recorded(stand_ins, script, "config.SEED=1", cwd=ROOT, **environ)
    assert command[-2:] == [f"config.RESUME={resume}", "config.SEED=1"]


def test_slurm_signals_before_the_time_limit_requeues_and_keeps_its_log():
    lines = (ROOT / SPOOLED).read_text().splitlines()
    assert {"#SBATCH --signal=USR1@300", "#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(lines)


@pytest.mark.parametrize("given", [None, "12000"])
def test_slurm_processes_meet_where_nothing_listens_yet(given, stand_ins, tmp_path):
    """Rank zero runs on the machine of the script; two neighbouring ports are taken, as by other jobs."""
    (stand_ins / "srun").write_text('#!/usr/bin/env bash\necho "$MASTER_PORT" > "$RECORD"\n')
    script, environ = slurm(stand_ins, ROOT, str(ROOT / SPOOLED))
    with ExitStack() as listeners:
        first = taken_pair(listeners)
        environ |= {"MASTER_PORT": str(first)} if given else {"SLURM_JOB_ID": str(40000 + first - 15000)}
        recorded(stand_ins, script, cwd=ROOT, **environ)
    assert int((stand_ins / "record").read_text()) == first + 2


def taken_pair(listeners):
    """The first of two neighbouring ports that are listened on; the one after them is free."""
    for first in range(15100, 24990, 7):
        with ExitStack() as attempt:
            try:
                pair = [attempt.enter_context(socket.socket()) for _ in range(3)]
                for number, listener in enumerate(pair):
                    listener.bind(("", first + number))
                    listener.listen()
            except OSError:
                continue
            pair[2].close()
            listeners.push(attempt.pop_all())
            return first
    raise AssertionError("no three neighbouring ports are free")


def test_an_audit_looks_at_the_installed_packages_with_a_program_of_its_own_that_is_removed(stand_ins, tmp_path):
    (stand_ins / "recorder").write_text(
        f'{RECORDER}echo "$PIPAPI_PYTHON_LOCATION" > "$(dirname "$RECORD")/looked_at"\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python3"; fi\n'
    )
    commands = recorded(stand_ins, ROOT / "scripts" / "audit.sh", "--format=json", cwd=tmp_path, TMPDIR=str(tmp_path))
    folder = Path(commands[0][3])
    assert [command[0] for command in commands] == ["recorder", "python3", "python3"]
    assert commands[0][1:3] == ["-m", "venv"]
    assert commands[1][1:] == ["-m", "pip", "install", "--quiet", "pip-audit"]
    assert commands[2][1:] == ["-m", "pip_audit", "--strict", "--skip-editable", "--format=json"]
    assert (stand_ins / "looked_at").read_text() == f"{stand_ins}/recorder\n"
    assert folder.parent == tmp_path and not folder.exists()
