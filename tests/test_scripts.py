"""The shell scripts and the README: every command that they run or show is valid."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bassl import cli
from bassl.config.load import load
from tests.runs import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.sh"))
SET_UP = {"quickstart.sh", "test.sh", "audit.sh"}  # these install packages first
SLURM = "slurm_pretrain.sh"
JOBS = {"pretrain/main.py": "pretrain", "extract_shot_repr.py": "extract", "finetune/main.py": "finetune"}
RECORDER = """\
#!/usr/bin/env bash
{ printf '%s\\x1f' "$(basename "$0")" "$@"; printf '\\x1e'; } >> "$RECORD"
if [ -n "$BASSL_SEED" ]; then echo "$BASSL_SEED" > "$RECORD.seed"; fi
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """Programs that record how they are called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("recorder", "srun", "python3"):
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)
    return folder


def recorded(stand_ins: Path, name: str, *arguments: str, cwd: Path, **environ: str) -> list[list[str]]:
    """Run a script and return the commands that it ran, without the program's name."""
    record, script = stand_ins / "record", ROOT / "scripts" / name
    record.unlink(missing_ok=True)
    shell = {"PATH": f"{stand_ins}:{os.environ['PATH']}", "RECORD": str(record), "PYTHON": f"{stand_ins}/recorder"}
    if name == SLURM:  # SLURM runs a copy of the script and remembers what was submitted
        spooled = stand_ins.parent / "slurm_script"
        shutil.copyfile(script, spooled)
        (stand_ins / "scontrol").write_text(f"#!/usr/bin/env bash\necho '   Command={script} config.SEED=1'\n")
        (stand_ins / "scontrol").chmod(0o755)
        script, job = spooled, {"JOB_ID": "7", "JOB_NUM_NODES": "2", "NTASKS_PER_NODE": "8", "CPUS_PER_TASK": "6"}
        shell |= {f"SLURM_{key}": value for key, value in job.items()} | {"SLURM_SUBMIT_DIR": str(cwd)}
    subprocess.run(["bash", script, *arguments], cwd=cwd, env=shell | environ, check=True)
    return [command.split("\x1f")[1:-1] for command in record.read_text().split("\x1e")[:-1]]


def configuration(command: list[str]) -> Any:
    """Return the configuration that a recorded command loads; fails for a wrong key or value."""
    (place,) = (number for number, word in enumerate(command) if word.endswith(tuple(JOBS)))
    (job,) = (job for script, job in JOBS.items() if command[place].endswith(script))
    return load(job, [word for word in command[place + 1 :] if word != "--cfg"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_the_house_form(name: str) -> None:
    path = ROOT / "scripts" / name
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert f"scripts/{name}" in " ".join(line for line in lines[:4] if line.startswith("#"))
    assert next(line for line in lines if not line.startswith("#")) == "set -euo pipefail"
    assert '"$@"' in "".join(lines) and os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in SET_UP])
def test_a_script_runs_valid_commands_from_anywhere_and_passes_arguments_on(
    name: str, stand_ins: Path, tmp_path: Path
) -> None:
    (tmp_path / "[1]").touch()  # would match below, if the shell expanded it
    more = ["config.SEED=1", "config.EXPR_NAME=a b"]
    commands = recorded(stand_ins, name, *more, cwd=tmp_path)
    assert commands[-1][-2:] == more
    if name not in ("ablation.sh", "download_movienet_data.sh"):
        assert configuration(commands[-1]).EXPR_NAME == "a b"
        assert all(configuration(command) for command in commands)


@pytest.mark.parametrize("name", ["finetune_bassl.sh", "finetune_shot-level_baseline.sh"])
def test_fine_tuning_checks_its_settings_then_extracts_from_the_same_model_and_data(
    name: str, stand_ins: Path, tmp_path: Path
) -> None:
    given = ["config.DATA_PATH=/my films", "config.PRETRAINED_CKPT_PATH=/zoo", "config.CKPT_PATH=/mine"]
    environ = {"LOAD_FROM": "other", "EXTRACT_ARGS": "config.TRAIN.NUM_WORKERS=3"}
    check, extraction, tuning = recorded(stand_ins, name, *given, cwd=tmp_path, **environ)
    assert "--cfg" in check and [word for word in check if word != "--cfg"] == tuning
    extract, finetune = configuration(extraction), configuration(tuning)
    assert (extract.LOAD_FROM, extract.CKPT_PATH, extract.DATA_PATH) == ("other", "/zoo", "/my films")
    assert extract.TRAIN.NUM_WORKERS == 3
    assert (finetune.PRETRAINED_LOAD_FROM, finetune.CKPT_PATH) == ("other", "/mine")


def test_a_failing_step_ends_a_script(stand_ins: Path, tmp_path: Path) -> None:
    (stand_ins / "recorder").write_text(f'{RECORDER}case "$1" in *extract_shot_repr.py) exit 3;; esac\n')
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        recorded(stand_ins, "finetune_bassl.sh", cwd=tmp_path)
    assert (stand_ins / "record").read_text().count("\x1e") == 2, "no fine-tuning after it"


def test_torchrun_reads_its_place_from_the_environment(stand_ins: Path, tmp_path: Path) -> None:
    place = {"METHOD": "shotcol", "NUM_NODES": "4", "NODE_RANK": "3", "NUM_PROC_PER_NODE": "2", "BASSL_SEED": "5"}
    (command,) = recorded(stand_ins, "torchrun_pretrain.sh", cwd=tmp_path, **place, MASTER_ADDR="host", MASTER_PORT="9")
    assert {"--nnodes=4", "--node-rank=3", "--nproc-per-node=2", "--rdzv-endpoint=host:9"} <= set(command)
    config = configuration(command)
    assert (config.DISTRIBUTED.NUM_NODES, config.DISTRIBUTED.NUM_PROC_PER_NODE) == (4, 2)
    assert config.LOSS.sampling_method.name == "shotcol"
    assert (stand_ins / "record.seed").read_text() == "5\n", "the ranks share one seed"


def test_processes_of_one_machine_get_one_drawn_seed(stand_ins: Path, tmp_path: Path) -> None:
    recorded(stand_ins, "torchrun_pretrain.sh", cwd=tmp_path)
    assert (stand_ins / "record.seed").read_text().strip().isdigit()


@pytest.mark.parametrize(("restarts", "resume"), [(None, "false"), ("0", "false"), ("12", "true")])
def test_a_requeued_slurm_job_resumes(restarts: str | None, resume: str, stand_ins: Path) -> None:
    environ = {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    (command,) = recorded(stand_ins, SLURM, "config.SEED=1", cwd=ROOT, **environ)
    assert command[-2:] == [f"config.RESUME={resume}", "config.SEED=1"]
    lines = (ROOT / "scripts" / SLURM).read_text().splitlines()
    assert {"#SBATCH --signal=USR1@300", "#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(lines)


# --- the README -----------------------------------------------------------------------------------------------------


def readme_commands() -> list[str]:
    blocks = re.findall(
        r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


class Parsed(Exception):
    """Raised when a command has parsed its arguments."""


def test_every_command_of_the_readme_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = argparse.ArgumentParser.parse_known_args

    def parse(self: argparse.ArgumentParser, *arguments: Any) -> Any:
        whole(self, *arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    commands = readme_commands()
    assert len(commands) >= 5
    for line in commands:
        words = shlex.split(line, comments=True)
        words = words[next((n for n, word in enumerate(words) if not re.match(r"[A-Z_]+=", word)), 0) :]
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file(), line
        elif words[0] == "bassl" and words[1] in ("pretrain", "extract", "finetune", "evaluate"):
            load("finetune" if words[1] == "evaluate" else words[1], words[2:])
        elif words[0] == "bassl":
            with pytest.raises(Parsed):
                cli.main(words[1:])
