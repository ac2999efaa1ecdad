"""The shell scripts: their form, and the very commands that they run, recorded by a stand-in for Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bassl.config import load

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.sh"))
SET_UP = {"quickstart.sh", "test.sh", "audit.sh"}  # in test_scripts_set_up.py and test_scripts_launching.py
RECORDER = """\
#!/usr/bin/env bash
{ printf '%s\\x1f' "$(basename "$0")" "$@"; printf '\\x1e'; } >> "$RECORD"
"""
SPOOLED = "scripts/slurm_pretrain.sh"
EXTRA = ["config.SEED=1", "config.X='a b [1, *]'"]


def pretrain(method: str, num_nodes: int = 1, num_processes: int = 8) -> list[str]:
    return [
        "{root}/bassl/pretrain/main.py",
        f"+method={method}",
        f"config.EXPR_NAME={method}",
        f"config.DISTRIBUTED.NUM_NODES={num_nodes}",
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={num_processes}",
        "config.TRAIN.BATCH_SIZE.effective_batch_size=256",
    ]


def extract(load_from: str, *more: str) -> list[str]:
    return [
        "{root}/bassl/pretrain/extract_shot_repr.py",
        "config.DISTRIBUTED.NUM_NODES=1",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        f"+config.LOAD_FROM={load_from}",
        *more,
    ]


def finetune(load_from: str, prefix: str, base_lr: str) -> list[str]:
    return [
        "{root}/bassl/finetune/main.py",
        "config.TRAIN.BATCH_SIZE.effective_batch_size=1024",
        f"config.EXPR_NAME={prefix}_{load_from}",
        "config.DISTRIBUTED.NUM_NODES=1",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        f"config.TRAIN.OPTIMIZER.lr.base_lr={base_lr}",
        f"+config.PRETRAINED_LOAD_FROM={load_from}",
    ]


def torchrun(num_nodes: int, rank: int, num_processes: int, endpoint: str | None = None) -> list[str]:
    return [
        *("-m", "torch.distributed.run", f"--nnodes={num_nodes}", f"--node-rank={rank}"),
        f"--nproc-per-node={num_processes}",
        *(["--rdzv-backend=static", f"--rdzv-endpoint={endpoint}"] if endpoint else ["--standalone"]),
    ]


PYTHON = "recorder"
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_CPUS_PER_TASK": "6",
}
SRUN = ["--cpus-per-task=6", "--kill-on-bad-exit=1"]
COMMANDS = {
    "run_pretrain_bassl.sh": [[PYTHON, *pretrain("bassl")]],
    "run_pretrain_bassl+shotcol.sh": [[PYTHON, *pretrain("bassl_shotcol")]],
    "run_pretrain_instance.sh": [[PYTHON, *pretrain("instance")]],
    "run_pretrain_shotcol.sh": [[PYTHON, *pretrain("shotcol")]],
    "run_pretrain_temporal.sh": [[PYTHON, *pretrain("temporal")]],
    "finetune_bassl.sh": [
        [PYTHON, *finetune("bassl", "transfer_finetune", "0.0000025"), "--cfg"],
        [PYTHON, *extract("bassl")],
        [PYTHON, *finetune("bassl", "transfer_finetune", "0.0000025")],
    ],
    "finetune_shot-level_baseline.sh": [
        [PYTHON, *finetune("Simclr_NN", "finetune_scratch", "0.000025"), "--cfg"],
        [PYTHON, *extract("Simclr_NN")],  # as the authors' archive and document call it
        [PYTHON, *finetune("Simclr_NN", "finetune_scratch", "0.000025")],
    ],
    "torchrun_pretrain.sh": [[PYTHON, *torchrun(1, 0, 8), *pretrain("bassl")]],
    "slurm_pretrain.sh": [
        ["srun", *SRUN, "{bin}/recorder", *pretrain("bassl", 2), "config.RESUME=false"],
    ],
    "ablation.sh": [[PYTHON, "-m", "bassl.sweep.main"]],
    "download_movienet_data.sh": [[PYTHON, "-m", "bassl.download.main"]],
}


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    return make_stand_ins(tmp_path)


def make_stand_ins(tmp_path: Path) -> Path:
    """A folder with stand-ins that write down how they are called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("recorder", "srun", "python3"):
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)
    return folder


def recorded(stand_ins: Path, script: Path, *arguments: str, cwd: Path, **environ: str) -> list[list[str]]:
    """Run a script and return the commands that it ran, each with the name of its program first."""
    record = stand_ins / "record"
    record.unlink(missing_ok=True)
    kept = {
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "RECORD": str(record),
        "PYTHON": f"{stand_ins}/recorder",
    }
    subprocess.run(["bash", script, *arguments], cwd=cwd, env=kept | environ, check=True)
    return [command.split("\x1f")[:-1] for command in record.read_text().split("\x1e")[:-1]]


def expected(name: str, stand_ins: Path, root: Path) -> list[list[str]]:
    return [[word.format(root=root, bin=stand_ins) for word in command] for command in COMMANDS[name]]


def slurm(stand_ins: Path, submitted_from: Path, typed: str) -> tuple[Path, dict[str, str]]:
    """What SLURM does with a script: runs a copy of it from its spool folder and remembers what was typed."""
    spooled = stand_ins.parent / "slurm_script"
    shutil.copyfile(ROOT / SPOOLED, spooled)
    (stand_ins / "scontrol").write_text(
        f"#!/usr/bin/env bash\necho '   JobId=7'\necho '   Command={typed} config.SEED=1'\n"
    )
    (stand_ins / "scontrol").chmod(0o755)
    return spooled, SLURM | {"SLURM_SUBMIT_DIR": str(submitted_from)}


def test_every_script_is_known_here():
    assert set(SCRIPTS) - SET_UP == set(COMMANDS)
    assert len(COMMANDS) == 11


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_the_house_form(name):
    path = ROOT / "scripts" / name
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert f"scripts/{name}" in " ".join(line for line in lines[:4] if line.startswith("#"))
    assert next(line for line in lines if not line.startswith("#")) == "set -euo pipefail"
    if name == "quickstart.sh":  # its last step takes them; then it says where everything lies
        assert lines.count('"${finetune[@]}" "$@"') == 1
    else:
        assert lines[-1].endswith('"$@"')
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("folder", ["elsewhere", "bassl"])
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_script_runs_exactly_its_command_from_anywhere_and_passes_arguments_on(name, folder, stand_ins, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    cwd = {"elsewhere": tmp_path / "elsewhere", "bassl": ROOT / "bassl"}[folder]
    script, environ = Path(os.path.relpath(ROOT / "scripts" / name, cwd)), {}
    if name == "slurm_pretrain.sh":
        script, environ = slurm(stand_ins, cwd, str(script))
    commands = recorded(stand_ins, script, *EXTRA, cwd=cwd, **environ)
    wanted = expected(name, stand_ins, ROOT)
    checks = [[*command, *EXTRA] for command in wanted if command[-1] == "--cfg"]  # that the settings can be
    assert commands == [*checks, *wanted[len(checks) : -1], [*wanted[-1], *EXTRA]]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"download_movienet_data.sh", "ablation.sh"}))
def test_every_setting_of_a_script_is_a_known_one(name):
    jobs = {"pretrain/main.py": "pretrain", "extract_shot_repr.py": "extract", "finetune/main.py": "finetune"}
    for command in COMMANDS[name]:
        (place,) = (number for number, word in enumerate(command) if word.startswith("{root}"))
        (job,) = (job for script, job in jobs.items() if command[place].endswith(script))
        load(job, [word for word in command[place + 1 :] if word != "--cfg"])  # raises for an unknown one


def test_fine_tuning_takes_another_model_and_arguments_for_the_extraction(stand_ins, tmp_path):
    (tmp_path / "[1]").write_text("")  # would match below, if the shell looked
    commands = recorded(
        stand_ins,
        ROOT / "scripts" / "finetune_bassl.sh",
        "config.A=1",
        cwd=tmp_path,
        LOAD_FROM="bassl_40epoch",
        EXTRACT_ARGS="config.B=2  config.C=* [1]",
    )
    first = [PYTHON, *extract("bassl_40epoch", "config.B=2", "config.C=*", "[1]")]
    second = [PYTHON, *finetune("bassl_40epoch", "transfer_finetune", "0.0000025"), "config.A=1"]
    assert commands[1:] == [[word.format(root=ROOT) for word in words] for words in (first, second)]


def test_a_shot_level_method_is_fine_tuned_under_the_name_that_it_was_pre_trained_with(stand_ins, tmp_path):
    """By the script's own pre-training, and by default: the README's pre-training line, the model zoo's archive."""
    script, readme = "finetune_shot-level_baseline.sh", (ROOT / "README.md").read_text()
    (pretraining,) = recorded(stand_ins, ROOT / "scripts" / "run_pretrain_shotcol.sh", cwd=tmp_path)
    assert f"config.EXPR_NAME={load_from(stand_ins, script, tmp_path, LOAD_FROM='shotcol')}" in pretraining
    assert f"LOAD_FROM=shotcol bash scripts/{script}" in readme
    default = load_from(stand_ins, script, tmp_path)
    assert f"+method=shotcol config.EXPR_NAME={default} " in readme
    assert f"/checkpoints/{default}.tar.gz" in readme


def load_from(stand_ins: Path, script: str, cwd: Path, **environ: str) -> str:
    """The pre-trained run that a fine-tuning script reads, the same in both of its steps."""
    _, first, second = recorded(stand_ins, ROOT / "scripts" / script, cwd=cwd, **environ)
    name = first[-1].removeprefix("+config.LOAD_FROM=")
    assert second[-1] == f"+config.PRETRAINED_LOAD_FROM={name}"
    return name


@pytest.mark.parametrize(("failing", "commands"), [("finetune/main.py", 1), ("extract_shot_repr.py", 2)])
def test_nothing_follows_on_wrong_settings_or_an_extraction_that_fails(failing, commands, stand_ins, tmp_path):
    (stand_ins / "recorder").write_text(f'{RECORDER}case "$1" in *{failing}) exit 3;; esac\n')
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        recorded(stand_ins, ROOT / "scripts" / "finetune_bassl.sh", cwd=tmp_path)
    assert (stand_ins / "record").read_text().count("\x1e") == commands


@pytest.mark.parametrize("flag", ["--help", "-h", "--cfg"])
def test_fine_tuning_that_is_asked_for_help_extracts_nothing(flag, stand_ins, tmp_path):
    (command,) = recorded(stand_ins, ROOT / "scripts" / "finetune_bassl.sh", "config.SEED=1", flag, cwd=tmp_path)
    assert command[1] == f"{ROOT}/bassl/finetune/main.py"
    assert command[-2:] == ["config.SEED=1", flag]


def test_the_extraction_before_fine_tuning_is_told_the_same_places(stand_ins, tmp_path):
    shared = [f"config.{key}=/my films/{key}" for key in ("DATA_PATH", "ANNO_PATH", "IMG_PATH", "SHOT_PATH")]
    shared.append("+config.FEATURE_PATH=f")
    given = [*shared, "config.PRETRAINED_CKPT_PATH=/zoo", "config.CKPT_PATH=/mine", "config.SEED=1"]
    script = ROOT / "scripts" / "finetune_bassl.sh"
    _, first, second = recorded(stand_ins, script, *given, cwd=tmp_path, EXTRACT_ARGS="config.DATA_PATH=/other")
    told = [*extract("bassl"), *shared, "config.CKPT_PATH=/zoo", "config.DATA_PATH=/other"]
    assert first[1:] == [word.format(root=ROOT) for word in told]
    assert second[-len(given) :] == given
    load("extract", first[2:])


def test_outside_slurm_its_script_says_how_it_is_started():
    done = subprocess.run(["bash", ROOT / SPOOLED, "--help"], env={"PATH": os.environ["PATH"]}, capture_output=True)
    assert done.returncode != 0
    assert b"SLURM_JOB_ID: is set by SLURM; start this by sbatch" in done.stderr


def test_torchrun_reads_its_place_from_the_environment(stand_ins, tmp_path):
    commands = recorded(
        stand_ins,
        ROOT / "scripts" / "torchrun_pretrain.sh",
        cwd=tmp_path,
        METHOD="shotcol",
        NUM_NODES="4",
        NODE_RANK="3",
        NUM_PROC_PER_NODE="2",
        MASTER_ADDR="first",
        MASTER_PORT="1234",
    )
    words = [PYTHON, *torchrun(4, 3, 2, "first:1234"), *pretrain("shotcol", 4, 2)]
    assert commands == [[word.format(root=ROOT) for word in words]]


def test_slurm_gives_each_gpu_one_task_and_the_method_comes_from_the_environment(stand_ins):
    text = (ROOT / SPOOLED).read_text()
    assert "#SBATCH --ntasks-per-node=8\n#SBATCH --gpus-per-node=8\n" in text
    assert text.index("#SBATCH --cpus-per-task") < text.index("set -euo pipefail")
    script, environ = slurm(stand_ins, ROOT, str(ROOT / SPOOLED))
    (command,) = recorded(stand_ins, script, cwd=ROOT, METHOD="temporal", **environ)
    assert command[4:6] == [f"{ROOT}/bassl/pretrain/main.py", "+method=temporal"]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"slurm_pretrain.sh"}))
@pytest.mark.parametrize("active", ["PYTHON", "VIRTUAL_ENV", ".venv", "PATH"])
def test_the_interpreter_is_the_active_one_else_that_of_the_repository(name, active, stand_ins, tmp_path):
    root = tmp_path / "a clone"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    places = {
        "VIRTUAL_ENV": tmp_path / "active" / "bin" / "python3",
        ".venv": root / ".venv" / "bin" / "python3",
        "PATH": stand_ins / "python3",
    }
    order = ["PYTHON", "VIRTUAL_ENV", ".venv", "PATH"]
    for place in order[max(order.index(active), 1) :]:
        places[place].parent.mkdir(parents=True, exist_ok=True)
        places[place].write_text(RECORDER.replace('$(basename "$0")', "$0"))
        places[place].chmod(0o755)
    environ = {"PYTHON": "", "VIRTUAL_ENV": str(tmp_path / "active"), "CDPATH": str(root)}
    if active == "PYTHON":
        environ["PYTHON"] = f"{stand_ins}/recorder"
    if active in (".venv", "PATH"):
        del environ["VIRTUAL_ENV"]
    commands = recorded(stand_ins, Path("scripts") / name, cwd=root, **environ)
    program = PYTHON if active == "PYTHON" else str(places[active])
    assert [command[0] for command in commands] == [program] * len(COMMANDS[name])
    assert [command[1:] for command in commands] == [command[1:] for command in expected(name, stand_ins, root)]


def test_the_download_script_says_where_to_look_when_it_has_no_address(tmp_path):
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BASSL_")}
    script = ROOT / "scripts" / "download_movienet_data.sh"
    done = subprocess.run(
        ["bash", script, "--target", "data"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no address is given; add --keyframes URL" in done.stderr
    assert list(tmp_path.iterdir()) == []
