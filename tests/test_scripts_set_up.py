"""Scripts that set the environment up first: which one they take, what they install, and the commands that follow."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.documents import ENTRY_POINTS, compose
from tests.test_scripts import RECORDER, ROOT, make_stand_ins, recorded

NAMED = RECORDER.replace('$(basename "$0")', "$0")


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    return make_stand_ins(tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the scripts need of the repository, in a folder with a blank in its name."""
    root = tmp_path / "a clone"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copyfile(ROOT / name, root / name)
    return root


def environment(folder: Path) -> Path:
    """A stand-in for an environment of Python: its interpreter writes down how it is called."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(NAMED)
    (folder / "bin" / "python").chmod(0o755)
    return folder


def quickstart(clone: Path, stand_ins: Path, cwd: Path, *arguments: str) -> list[list[str]]:
    """The commands of a quickstart in an active environment, without the name of the interpreter and the check."""
    active = clone.parent / "active"
    commands = recorded(
        stand_ins, clone / "scripts" / "quickstart.sh", *arguments, cwd=cwd, VIRTUAL_ENV=str(active), CDPATH=str(cwd)
    )
    assert {command[0] for command in commands} == {f"{active}/bin/python"}
    return [command[1:] for command in commands if "--cfg" not in command]


def test_the_quickstart_runs_three_commands_whose_every_key_is_known(clone, stand_ins, tmp_path):
    environment(tmp_path / "active")
    commands = quickstart(clone, stand_ins, tmp_path, "config.TRAINER.max_epochs=2")
    assert commands[0][:3] == ["-m", "pip", "install"]
    assert commands[0][-4:] == ["-r", f"{clone}/requirements.txt", "-e", str(clone)]
    entries = ["bassl/pretrain/main.py", "bassl/pretrain/extract_shot_repr.py", "bassl/finetune/main.py"]
    assert [command[0] for command in commands[1:]] == [f"{clone}/{entry}" for entry in entries]
    assert commands[-1][-1] == "config.TRAINER.max_epochs=2"
    for entry, command in zip(entries, commands[1:], strict=True):
        overrides = [word.replace(f"={clone}/bassl", f"={ROOT}/bassl") for word in command[1:]]
        compose(ENTRY_POINTS[entry], overrides)  # raises for a key or a value that is wrong
        with pytest.raises(ValueError, match="did you mean config"):
            compose(ENTRY_POINTS[entry], [*overrides[1:], overrides[0].replace("DATA_PATH", "DATA_PAHT")])


def test_the_quickstarts_steps_hand_their_files_on(clone, stand_ins, tmp_path):
    environment(tmp_path / "active")
    keys = [
        dict(word.lstrip("+").split("=", 1) for word in words[1:])
        for words in quickstart(clone, stand_ins, tmp_path)[1:]
    ]
    pretrain, extract, finetune = keys
    out = f"{clone}/outputs/quickstart"
    assert len({found["config.DATA_PATH"] for found in keys}) == 1
    assert (ROOT / Path(extract["config.DATA_PATH"]).relative_to(clone) / "anno").is_dir()
    assert pretrain["config.CKPT_PATH"] == extract["config.CKPT_PATH"] == finetune["config.PRETRAINED_CKPT_PATH"]
    assert pretrain["config.EXPR_NAME"] == extract["config.LOAD_FROM"] == finetune["config.PRETRAINED_LOAD_FROM"]
    assert extract["config.FEATURE_PATH"] == finetune["config.FEATURE_PATH"]
    assert finetune["config.LOG_PATH"] == f"{out}/finetune/logs"


def test_the_quickstart_starts_from_another_folder_and_again(clone, stand_ins, tmp_path):
    """A second run makes everything anew and installs nothing."""
    environment(tmp_path / "active")
    (tmp_path / "elsewhere").mkdir()
    first = quickstart(clone, stand_ins, tmp_path / "elsewhere")
    left, kept = clone / "outputs" / "quickstart" / "pretrain", clone / "outputs" / "mine"
    left.mkdir(parents=True)
    kept.mkdir()
    second = quickstart(clone, stand_ins, clone / "scripts")
    assert second == first[1:]
    assert not left.exists() and kept.exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (clone / "requirements.txt").write_text("other\n")
    assert quickstart(clone, stand_ins, tmp_path) == first


def test_a_step_that_fails_ends_the_quickstart(clone, stand_ins, tmp_path):
    python = environment(tmp_path / "active") / "bin" / "python"
    python.write_text(NAMED + 'case "$1" in *extract_shot_repr.py) exit 3;; esac\n')
    with pytest.raises(Exception, match="exit status 3"):
        quickstart(clone, stand_ins, tmp_path)
    assert (stand_ins / "record").read_text().count("\x1e") == 4  # installation, check, pre-training, extraction


def test_wrong_settings_cost_no_earlier_quickstart(clone, stand_ins, tmp_path):
    python = environment(tmp_path / "active") / "bin" / "python"
    kept = clone / "outputs" / "quickstart" / "pretrain"
    kept.mkdir(parents=True)
    (command,) = quickstart(clone, stand_ins, tmp_path, "--help")[1:]
    assert (command[0], command[-1]) == (f"{clone}/bassl/finetune/main.py", "--help")
    python.write_text(NAMED + 'case "$*" in *--cfg*) exit 2;; esac\n')
    with pytest.raises(Exception, match="exit status 2"):
        quickstart(clone, stand_ins, tmp_path, "config.TRAINER.max_epoch=2")
    assert kept.exists()


def test_the_tests_are_run_in_the_repository_with_everything_installed(clone, stand_ins, tmp_path):
    active = environment(tmp_path / "active")
    script = clone / "scripts" / "test.sh"
    install, tests = recorded(stand_ins, script, "-k", "a or b", cwd=tmp_path, VIRTUAL_ENV=str(active))
    assert install[-1] == f"{clone}[dev,video]"
    assert tests[:3] == [f"{active}/bin/python", "-m", "pytest"]
    assert tests[-2:] == ["-k", "a or b"]


def test_without_an_active_environment_one_is_made_in_the_repository(clone, stand_ins, tmp_path):
    (stand_ins / "recorder").write_text(
        f'{NAMED}if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
    )
    script = clone / "scripts" / "test.sh"
    made, *others = recorded(stand_ins, script, cwd=tmp_path)
    assert made == [f"{stand_ins}/recorder", "-m", "venv", f"{clone}/.venv"]
    assert [command[0] for command in others] == [f"{clone}/.venv/bin/python"] * 2
    assert recorded(stand_ins, script, cwd=tmp_path) == others[1:]


@pytest.mark.parametrize(
    ("name", "has_python", "has_virtual", "taken"),
    [
        ("films", True, False, "conda"),
        ("films", True, True, "active"),
        ("films", False, False, "a clone/.venv"),  # conda makes environments without Python as well
        ("base", True, False, "a clone/.venv"),
        (None, True, False, "a clone/.venv"),
    ],
)
def test_an_active_conda_environment_is_used_unless_it_is_the_base(
    name, has_python, has_virtual, taken, clone, stand_ins, tmp_path
):
    for folder in ("active", "a clone/.venv", *(["conda"] if has_python else [])):
        environment(tmp_path / folder)
    environ = {"CONDA_PREFIX": str(tmp_path / "conda")}
    environ |= {"CONDA_DEFAULT_ENV": name} if name else {}
    environ |= {"VIRTUAL_ENV": str(tmp_path / "active")} if has_virtual else {}
    commands = recorded(stand_ins, clone / "scripts" / "test.sh", cwd=tmp_path, **environ)
    assert [command[0] for command in commands] == [f"{tmp_path}/{taken}/bin/python"] * 2
    assert (tmp_path / taken / ".bassl-installed[dev,video]").is_file()


def test_the_quickstart_ends_by_naming_a_section_that_the_readme_has() -> None:
    named = re.findall(r'README, "([^"]+)"', (ROOT / "scripts" / "quickstart.sh").read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert set(named) <= set(headings)
