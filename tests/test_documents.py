"""What all pages promise: commands that are understood, links that lead somewhere, keys and options that exist."""

from __future__ import annotations

import ast
import doctest
import importlib
import re

import pytest

from bassl import cli
from bassl.config.load import GROUPS, choices, known_keys
from bassl.config.schema import JOBS, shown
from bassl.finetune import main as finetune
from bassl.finetune.metrics import METRIC_DEFINITIONS
from tests.documents import (
    ENTRY_POINTS,
    FENCE,
    PAGES,
    PROGRAMS,
    ROOT,
    addresses,
    code,
    commands,
    fenced,
    links,
    read,
    slugs,
    spans,
    table,
    understand,
)

EXTERNAL = {
    "https://arena.kakaocdn.net/brainrepo/bassl/checkpoints/Simclr_NN.tar.gz",
    "https://arena.kakaocdn.net/brainrepo/bassl/checkpoints/Simclr_instance.tar.gz",
    "https://arena.kakaocdn.net/brainrepo/bassl/checkpoints/Simclr_temporal.tar.gz",
    "https://arena.kakaocdn.net/brainrepo/bassl/checkpoints/bassl.tar.gz",
    "https://arena.kakaocdn.net/brainrepo/bassl/checkpoints/bassl_40epoch.tar.gz",
    "https://arxiv.org/abs/2201.05277",
    "https://modelscope.cn/models/damo/cv_resnet50-bert_video-scene-segmentation_movienet/summary",
    "https://creativecommons.org/licenses/by/3.0/",
    "https://hydra.cc",
}
NO_KEYS = {"config.KEY", "config.json", "config.md", "config.yaml", "config.reference"}
KEYS = {name for job in JOBS for name in known_keys(job)}
NUM_COMMANDS = 50  # at least, on all pages together


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page: str) -> None:
    for line in commands(page):
        try:
            understand(line)
        except SystemExit as stop:
            pytest.fail(f"{page}: {line} ends with {stop.code}")


def test_the_commands_are_found() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= NUM_COMMANDS
    for block in (block for page in PAGES for block in fenced(page, "bash")):
        for line in block.replace("\\\n", " ").splitlines():
            assert re.match(rf"(?:[A-Z_]+=\S+ )*(?:{'|'.join(PROGRAMS)}) ", line), line


@pytest.mark.parametrize(
    "line",
    [
        "make all",
        "bash scripts/nowhere.sh",
        "python3 -m bassl.nowhere",
        "python3 nowhere.py",
        "python3 bassl/pretrain/main.py config.EXPR_NAM=x",
        "bassl segmnt film.mp4",
        "bassl segment film.mp4 --modle x",
        "bash scripts/run_pretrain_bassl.sh config.NOTHING=1",
        "NOBODY=1 bash scripts/finetune_bassl.sh",
        "bash scripts/finetune_bassl.sh config.LOSS.simclr.enabled=true",
        "bash scripts/quickstart.sh config.SPLIT=test",
        "pip install -e .[audio]",
        "source venv/bin/activate",
        "source .venv/bin",
        "mkdir ckpt",
        "tar -xzf unknown.tar.gz -C bassl/pretrain/ckpt",
        "tar -xzf bassl.tar.gz -C bassl/ckpt",
    ],
)
def test_a_command_that_would_not_start_is_noticed(line: str) -> None:
    with pytest.raises((AssertionError, ValueError, KeyError, ImportError, SystemExit)):
        understand(line)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_within_the_text_exists(page: str) -> None:
    for span in spans(page):
        words = span.split()
        if words[0] in ("bash", "sbatch") and len(words) > 1:
            assert (ROOT / words[1]).is_file(), (page, span)
        elif words[0] == "bassl" and len(words) > 1:
            assert set(words[1].split("|")) <= set(cli.COMMANDS), (page, span)
        elif words[:2] == ["python3", "-m"] and words[2] not in ENTRY_POINTS and words[2] != "pytest":
            importlib.import_module(words[2])


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in links(page):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), (page, link)
        if anchor:
            assert anchor in slugs(path.resolve().relative_to(ROOT).as_posix()), (page, link)


def test_every_address_of_the_web_is_one_that_was_looked_at() -> None:
    assert {address for page in PAGES for address in addresses(page)} == EXTERNAL


@pytest.mark.parametrize("page", PAGES)
def test_every_key_that_is_named_exists(page: str) -> None:
    for name in re.findall(r"\bconfig\.[A-Za-z][\w.+]*", read(page)):
        name = name.rstrip(".")
        if name not in NO_KEYS and not name.startswith("config.reference"):
            assert name in KEYS or any(key.startswith(f"{name}.") for key in KEYS), (page, name)


@pytest.mark.parametrize("page", PAGES)
def test_every_choice_of_a_group_exists(page: str) -> None:
    known = {group: choices(job, group) for job, groups in GROUPS.items() for group in groups}
    for group, typed in re.findall(r"\+(method|preset)=([\w|]+)", read(page)):
        assert set(typed.split("|")) <= set(known[group]), (page, typed)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_ours_that_is_named_exists(page: str) -> None:
    made = ("ckpt", "logs", "data/movienet", "results/")  # by runs
    for span in spans(page):
        if re.fullmatch(r"(?:bassl|scripts|tests|docs|benchmarks)/[\w./+-]+", span) and not any(
            part in span for part in made
        ):
            assert (ROOT / span).exists(), (page, span)


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_imports_what_there_is(page: str) -> None:
    for block in fenced(page, "python"):
        if ">>>" in block:
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bassl"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    if not hasattr(module, name.name):
                        importlib.import_module(f"{node.module}.{name.name}")


def test_no_page_names_a_machine_of_ours() -> None:
    for page in [*PAGES, "CHANGELOG.md"]:
        assert not re.search(r"/(work|root|home|tmp)/", read(page)), page


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(links("docs/README.md"))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed


def test_the_metrics_are_those_of_the_code_and_of_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert dict(table("docs/metrics.md", "name | definition")) == METRIC_DEFINITIONS
    assert finetune.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name}: {meaning}" in printed for name, meaning in METRIC_DEFINITIONS.items())


def test_the_worked_example_of_the_metrics_prints_what_it_says() -> None:
    text = "\n".join(fenced("docs/metrics.md", "python"))
    example = doctest.DocTestParser().get_doctest(text, {}, "docs/metrics.md", "docs/metrics.md", 0)
    assert len(example.examples) == 7
    assert doctest.DocTestRunner(verbose=False).run(example) == doctest.TestResults(failed=0, attempted=7)


def test_the_worked_example_has_the_values_by_hand() -> None:
    by_hand = {
        "AP": 1 / 3 * 1 + 2 / 3 * 3 / 5,
        "mAP": ((1 / 2 * 1 + 1 / 2 * 2 / 3) + 1 / 2) / 2,
        "AUC": (9 + 7 + 7) / (3 * 9),
        "F1": 2 * 1 / (3 + 3),
        "Accuracy": 8 / 12,
        "Accuracy0": 7 / 9,
        "Accuracy1": 1 / 3,
        "Recall": (1 / 2 + 0) / 2,
        "Recall@3s": (1 + 0) / 2,
        "mIoU": ((1 + 95 / 143) / 2 + 95 / 191) / 2,
        "mIoU_shots": ((1 + 2 / 3 + 2 / 3) / 3 + 1 / 2) / 2,
    }
    assert list(by_hand) == list(METRIC_DEFINITIONS)
    first = fenced("docs/metrics.md", "python")[0]
    for name, value in by_hand.items():
        assert f"\n{name:10} {value:.4f}\n" in first, name
    explained = {row[0] for row in table("docs/metrics.md", "name | by hand")}
    assert explained == set(by_hand) - {"Accuracy0", "Accuracy1"}  # in the row of Accuracy


def test_the_defaults_in_the_table_of_scaling_are_those_of_the_schema() -> None:
    for key, *defaults in table("docs/scaling.md", "key"):
        name = re.findall(r"`(config[^`]+)`", key)[0]
        assert defaults == [shown(known_keys(job)[name]) for job in ("pretrain", "finetune")], name


def test_what_contributing_says_of_the_code_is_so() -> None:
    text = " ".join(read("CONTRIBUTING.md").split())
    (columns,) = re.findall(r"^line-length = (\d+)$", read("pyproject.toml"), re.MULTILINE)
    assert f"Lines end at {columns} columns" in text
    long = [path for path in (ROOT / "bassl").rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 300]
    assert "past 300 lines think again (only the list of keys, `bassl/config/schema.py`, is longer)" in text
    assert long == [ROOT / "bassl" / "config" / "schema.py"]
    for path in (ROOT / "tests").rglob("*.py"):  # waiting is done in loops, a moment at a time
        moments = [float(moment) for moment in re.findall(r"\bsleep\(([\d.]+)\)", path.read_text(encoding="utf-8"))]
        assert all(moment <= 0.05 for moment in moments), (path, moments)


def test_fenced_blocks_are_closed() -> None:
    for page in PAGES:
        assert "```" not in FENCE.sub("", read(page)), page
    assert code("README.md")
