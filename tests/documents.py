"""The Markdown of the repository taken apart, and what it means to understand a command that stands in it."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

from bassl import cli
from bassl.config import load
from bassl.config.locations import PRETRAINED
from bassl.config.resolve import resolve_extract, resolve_finetune, resolve_pretrain

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    "benchmarks/README.md",
    "tests/README.md",
    "bassl/data/big_buck_bunny/README.md",
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = (
    *("bash", "bassl", "cd", "mkdir", "mypy", "pip", "python", "python3", "ruff", "sbatch", "source", "tar"),
    "tensorboard",
)
ENTRY_POINTS = {
    "bassl/pretrain/main.py": "pretrain",
    "bassl/pretrain/extract_shot_repr.py": "extract",
    "bassl/finetune/main.py": "finetune",
    "bassl.pretrain.main": "pretrain",
    "bassl.pretrain.extract_shot_repr": "extract",
    "bassl.finetune.main": "finetune",
}
RESOLVE = {"pretrain": resolve_pretrain, "extract": resolve_extract, "finetune": resolve_finetune}
OWN_FILES = {"my_loss.py": "pretrain"}  # of docs/extending.md; those not here are called with the job, or plainly
PACKAGES = {"onnxruntime"}  # that may be installed beside our own


@cache
def read(page: str) -> str:
    """A page by its path from the repository's root."""
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(page: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return [body for name, body in FENCE.findall(read(page)) if name == language]


def code(page: str) -> str:
    """What stands in fenced and in indented blocks, with continued lines joined."""
    text = read(page)
    indented = re.findall(r"^ {4,}(.*)$", FENCE.sub("", text), re.MULTILINE)
    other = [body for name, body in FENCE.findall(text) if name != "python"]
    return "\n".join([*other, "\n".join(indented)]).replace("\\\n", " ")


def commands(page: str) -> list[str]:
    """Every line of code that begins with a program, or with what is put into its environment."""
    start = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:{'|'.join(PROGRAMS)}) ")
    lines = [line.strip() for line in code(page).splitlines()]
    found = [part.strip() for line in lines if start.match(line) for part in line.split(" && ")]
    return [line for line in found if "[--" not in line]  # a synopsis


def spans(page: str) -> list[str]:
    """What stands between single backticks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", read(page)))]


def slugs(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: str) -> list[str]:
    """Targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(page)))


def addresses(page: str) -> list[str]:
    """Every web address that a page names, as a link or not."""
    return re.findall(r"https?://[^\s)>\]`\"]+", read(page))


def table(page: str, first_cell: str) -> list[list[str]]:
    """The rows below the head that begins with a cell."""
    lines = read(page).splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith(f"| {first_cell} |")]
    assert len(heads) == 1, (page, first_cell, heads)
    rows = []
    for line in lines[heads[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows, (page, first_cell)
    return rows


def understand(line: str) -> None:
    """Fail unless the command is one that would start: its program, file, options and keys are all known."""
    words = shlex.split(re.sub(r"\$\{?\w+\}?", "1", line), comments=True)
    if ">" in words:
        words = words[: words.index(">")]
    environment = [word.split("=")[0] for word in words if re.match(r"[A-Z_]+=", word)]
    program, *arguments = words[len(environment) :]
    assert program in PROGRAMS, f"a command of an unknown kind: {line}"
    if environment:
        text = (ROOT / arguments[0]).read_text(encoding="utf-8")
        assert [name for name in environment if name not in text] == [], line
    KINDS[program](arguments)


def compose(job: str, overrides: list[str]) -> None:
    """Read the keys of a job, and decide what it would do."""
    if "--help" not in overrides:
        RESOLVE[job](load(job, [word for word in overrides if word != "--cfg"]))


def parse(module: str, arguments: list[str]) -> None:
    """Give the arguments to the parser of a command."""
    parser = importlib.import_module(module)._parser()
    if "--help" not in arguments:
        parser.parse_args(arguments)


def _python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        _module(arguments[1], arguments[2:])
    elif arguments[0] in ENTRY_POINTS:
        compose(ENTRY_POINTS[arguments[0]], arguments[1:])
    else:
        name, *rest = arguments
        assert f'"""{name}: ' in read("docs/extending.md"), f"{name} is neither an entry point nor in docs/extending.md"
        if name in OWN_FILES:
            compose(OWN_FILES[name], rest)
        elif rest:
            compose(rest[0], rest[1:])


def _module(module: str, arguments: list[str]) -> None:
    if module in ENTRY_POINTS:
        compose(ENTRY_POINTS[module], arguments)
    elif module == "pytest":
        for option, word in zip(["", *arguments], arguments, strict=False):
            assert word.startswith("-") or option in ("-k", "-m") or (ROOT / word).exists(), word
    elif module in ("bassl.config.reference", "benchmarks.readme", "benchmarks.table"):
        assert all((ROOT / word).is_file() for word in arguments)
        importlib.import_module(module)
    else:
        parse(module, arguments)


def _bassl(arguments: list[str]) -> None:
    assert arguments[0] in cli.COMMANDS, arguments
    module, _ = cli.COMMANDS[arguments[0]]
    if module in ENTRY_POINTS:
        compose(ENTRY_POINTS[module], arguments[1:])
    else:
        parse(module, arguments[1:])


def _script(arguments: list[str]) -> None:
    """A script hands its arguments on to the last of our programs that it names."""
    script, *rest = arguments
    assert (ROOT / script).is_file(), script
    text = (ROOT / script).read_text(encoding="utf-8")
    text = re.sub(r'source .*/(finetune\.bash)"', lambda found: (ROOT / "scripts" / found[1]).read_text(), text)
    if array := re.search(r"finetune=\((?s:.*?)\)", text):  # run again at the end
        text += array[0]
    programs = re.findall(r'-m (bassl\.[\w.]+)|"\$root/(bassl/[\w/]+\.py)"', text)
    if "python -m pytest" in text:
        _module("pytest", rest)
    elif not programs:
        assert not rest, arguments
    elif (program := "".join(programs[-1])) in ENTRY_POINTS:
        load(ENTRY_POINTS[program], rest)
    else:
        parse(program, rest)


def _sbatch(arguments: list[str]) -> None:
    _script(arguments[[word.startswith("scripts/") for word in arguments].index(True) :])


def _pip(arguments: list[str]) -> None:
    assert arguments[0] == "install", arguments
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for word in arguments[1:]:
        extra = re.fullmatch(r"\.\[(\w+)\]", word)
        if extra:
            assert re.search(rf"^{extra[1]} = \[", project, re.MULTILINE), word
        else:
            assert word in {"-e", "-r", ".", *PACKAGES} or (ROOT / word).is_file(), word


def _source(arguments: list[str]) -> None:
    """What is activated is what the set-up makes."""
    (file,) = arguments
    folder = file.removesuffix("/bin/activate")
    assert file != folder and f'-m venv "$root/{folder}"' in read("scripts/environment.bash"), file


def _mkdir(arguments: list[str]) -> None:
    """A page makes one folder, that of pre-trained checkpoints."""
    assert arguments[0] == "-p" and [ROOT / word for word in arguments[1:]] == [PRETRAINED], arguments


def _tar(arguments: list[str]) -> None:
    """An archive of the model zoo is unpacked there."""
    option, archive, to, folder = arguments
    assert option == "-xzf" and any(link.endswith(f"/checkpoints/{archive}") for link in links("README.md")), arguments
    assert to == "-C" and ROOT / folder == PRETRAINED, arguments


def _any(_arguments: list[str]) -> None:
    """A tool of others, called without anything of ours."""


KINDS: dict[str, Callable[[list[str]], None]] = {
    "bash": _script,
    "bassl": _bassl,
    "cd": _any,
    "mkdir": _mkdir,
    "mypy": _any,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    "ruff": _any,
    "sbatch": _sbatch,
    "source": _source,
    "tar": _tar,
    "tensorboard": _any,
}
