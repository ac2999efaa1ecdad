"""What the README promises beside what all pages do (`test_documents.py`): it is short, its numbers have a source."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from bassl.config import load
from bassl.config.resolve import resolve_extract
from bassl.config.schema import FinetuneTest
from bassl.errors import InputError, Preempted
from benchmarks import readme
from tests.documents import ROOT, commands, fenced, read, table

README = read("README.md")
RESULTS = read("docs/results.md")
MAX_LINES = 265
PUBLISHED = {  # rows of the experiment that repeats them
    "SimCLR instance / temporal / NN (ShotCoL)": ("simclr_instance", "simclr_temporal", "simclr_nn"),
    "BaSSL, 10 epochs / 40 epochs": ("bassl", "bassl_40_epochs"),
}
MACHINE = {"processor": "some CPU, 2 cores", "gpu": None, "torch": "2.9.0", "date": "2026-01-02T03:04+00:00"}
MEASURED = {
    "work": "decoding", "unit": "ms", "ours": 2.0, "reference": 9.0, "ratio": 4.5, "goal": "5 x", "reached": False,
}  # fmt: skip


def test_it_is_read_in_a_minute_at_the_top_and_does_not_grow() -> None:
    lines = README.splitlines()
    assert len(lines) <= MAX_LINES
    top = "\n".join(lines[:20])
    assert "![" in top
    assert "bash scripts/quickstart.sh" in top and "bash scripts/test.sh" in top
    shown = [line.split("  ")[0] for line in commands("README.md")]
    assert shown[:4] == [  # the quickstart leaves .venv inactive and does not install [video]
        "bash scripts/quickstart.sh",
        "bash scripts/test.sh",
        "source .venv/bin/activate",
        "pip install -e '.[video]'",
    ]


def test_it_shows_a_command_of_every_kind() -> None:
    shown = "\n".join(commands("README.md"))
    for kind in ("quickstart.sh", "test.sh", "run_pretrain_bassl.sh", "finetune_bassl.sh", "pretrain/main.py"):
        assert kind in shown, kind
    for kind in ("extract_shot_repr.py", "finetune/main.py", "bassl segment", "bassl prepare", "bassl check-data"):
        assert kind in shown, kind
    assert len(commands("README.md")) >= 18


def test_published_numbers_are_the_authors_here_and_in_the_results() -> None:
    known = yaml.safe_load((ROOT / "bassl/config/experiment/published.yaml").read_text())["published_ap"]
    assert sorted(known.values()) == [50.05, 51.17, 51.51, 56.26, 57.40]  # the authors' README, "Model Zoo"
    rows = {what: " / ".join(f"{known[row]:.2f}" for row in names) for what, names in PUBLISHED.items()}
    assert {row[0]: row[1] for row in table("README.md", "MovieNet-SSeg test, AP | published")} == rows
    assert dict(table("docs/results.md", "MovieNet-SSeg test, AP | published")) == rows


def test_an_archive_of_the_model_zoo_is_unpacked_to_where_fine_tuning_looks(tmp_path: Path) -> None:
    """As the authors' document implies, an archive is a folder with the run's name, to be moved to `pretrain/ckpt`."""
    (block,) = (block for block in fenced("README.md", "bash") if "tar -xzf" in block)
    unpack, finetune = block.splitlines()
    assert finetune.split("  ")[0] == "bash scripts/finetune_bassl.sh"
    (tmp_path / "bassl").mkdir()
    for name in ("model-v1.ckpt", "config.json"):
        (tmp_path / "bassl" / name).write_text(name)
    with tarfile.open(tmp_path / "bassl.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "bassl", "bassl")
    for _ in range(2):
        subprocess.run(["bash", "-euc", unpack], cwd=tmp_path, check=True)
    read_from = resolve_extract(load("extract", ["+config.LOAD_FROM=bassl"])).checkpoint.relative_to(ROOT)
    assert sorted(path.name for path in (tmp_path / read_from).iterdir()) == ["config.json", "model-v1.ckpt"]
    assert f"reads {read_from}/model-v1.ckpt" in finetune


def test_means_in_the_results_are_means_and_the_readme_repeats_them() -> None:
    means = {}
    for what, seeds, mean, _ in table("docs/results.md", "what scores"):
        numbers = [float(number) for number in re.findall(r"0\.\d+", seeds)]
        means[what] = float(mean.strip("*"))
        assert means[what] == pytest.approx(statistics.mean(numbers), abs=0.00051), what
    named = {"authors' fine-tuning": "authors", "the same here": "scratch", "small_data": "small", "free": "free"}
    found = {short: mean for part, short in named.items() for what, mean in means.items() if part in what}
    shown = [
        row[1:] for row in table("README.md", "trained on eight BBC episodes, AP on three others, mean of three seeds")
    ]
    recipe = table("README.md", "trained on eight BBC episodes, AP on three others, mean of three seeds")[0][0]
    assert recipe == "CRN from scratch: Adam 2e-4, batch 128, 10 epochs"  # not the published one
    assert "Rows 1 and 2: Adam 2e-4 (`base_lr` 4e-4 at batch 128), 10 epochs" in RESULTS
    assert shown == [
        [f"{100 * found['authors']:.1f}", f"{100 * found['scratch']:.1f}"],
        ["", f"{100 * found['small']:.1f}"],
        ["", f"{100 * found['free']:.1f}"],
    ]


def test_sizes_follow_from_the_counts() -> None:
    shots, uncertain, labels, positives = 507_530, 838, 105_976, 7_272
    assert f"{shots * 2048 * 4 / 1e9:.1f} GB for all of MovieNet-SSeg in 32 bit" in README
    for page in ("README.md", "docs/scaling.md"):  # each of 8 processes holds all of them
        assert f"{8 * shots * 2048 * 4 / 1e9:.0f} GB" in read(page)
    data = read("docs/data.md")
    assert f"{100 * (positives + uncertain) / labels:.2f} % with it" in data
    assert f"{100 * positives / labels:.2f} % without" in data
    assert f"{(positives + uncertain) / labels:.4f} on MovieNet-SSeg's test split" in read("docs/metrics.md")


def test_status_and_threshold_are_those_of_the_code() -> None:
    assert f"exit with status {Preempted.EXIT_STATUS}" in README
    assert f"**Which threshold?** {FinetuneTest().THRESHOLD} by default" in README


def test_the_lower_bounds_that_ran_are_those_of_the_requirements() -> None:
    required = dict(re.findall(r"^([\w-]+)>=([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    head = next(line for line in README.splitlines() if line.startswith("| | Python |"))
    bounds = next(line for line in README.splitlines() if line.startswith("| lower bounds"))
    ran = dict(zip((cell.strip() for cell in head.split("|")[3:-1]), bounds.split("|")[3:-1], strict=True))
    ran |= dict(re.findall(r"(numpy|pillow|tensorboard|matplotlib) ([\d.]+)", bounds))
    assert len(ran) == 9
    for name, version in ran.items():
        assert version.strip().startswith(required[name]), name
    assert "Python 3.10 or newer" in README
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text()


def test_the_table_of_speed_is_that_of_the_stored_results() -> None:
    found = readme.PLACE.search(README)
    assert found is not None
    stored = json.loads(readme.STORED.read_text(encoding="utf-8"))
    assert found[2] == readme.speed_table(stored), "run `python3 -m benchmarks.readme`"
    assert found[2].count("MISSED") == sum(row["reached"] is False for part in stored.values() for row in part["rows"])


def test_a_missed_goal_is_shown_and_a_row_without_ratio_and_goal_is_not() -> None:
    rows = [MEASURED, {**MEASURED, "work": "a size", "reference": None, "ratio": None, "goal": "", "reached": None}]
    shown = readme.speed_table({"samples": {"machine": MACHINE, "rows": rows}})
    assert shown == (
        "some CPU, 2 cores, torch 2.9.0, 2026-01-02.\n\n"
        "| work | unit | here | reference's way | ratio | goal |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| decoding | ms | 2 | 9 | 4.5 | 5 x (MISSED) |\n"
    )
    share = {**MEASURED, "reference": None, "ratio": 0.001, "goal": "below 0.01", "reached": True}
    size = {**MEASURED, "reference": None, "ratio": None, "goal": "6 GiB or less", "reached": True}
    help_text = {"machine": MACHINE, "rows": [{**MEASURED, "reached": True}]}
    shown = readme.speed_table({"memory": {"machine": MACHINE, "rows": [share, size]}, "cold_start": help_text})
    assert shown.endswith("| --- |\n| decoding | ms | 2 |  |  | 6 GiB or less (reached) |\n")
    late = {"machine": MACHINE, "rows": [MEASURED]}
    assert "(MISSED)" in readme.speed_table({"cold_start": late})
    placed = readme.in_place(README, shown)
    assert readme.in_place(placed, "") == readme.in_place(README, "")
    assert shown in placed


def test_a_readme_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="0 places"):
        readme.in_place("nothing here", "")


def test_the_scores_on_drawn_films_are_those_of_the_table() -> None:
    rows = [
        line.split(" | ")
        for line in RESULTS.splitlines()
        if (line.startswith("| ") and "→" in line) or "| random |" in line
    ]
    training_free = {row[0].removeprefix("| "): float(row[4].split()[0]) for row in rows}
    assert len(training_free) == 6
    said = re.search(
        r"from (\d+) to (\d+) \(temporal\), (\d+) \(bassl\), (\d+) \(shotcol\) and (\d+) \(instance, bassl\+shotcol\)"
        r": .*films ends at (\d+) to (\d+), ",
        README.replace("\n", " "),
    )
    assert said is not None
    *means, low, high = map(int, said.groups())
    names = ("random", "temporal", "bassl", "shotcol", "instance", "bassl+shotcol")
    assert [*means, means[-1]] == [round(training_free[name]) for name in names]
    tuned = [float(row[1].split()[0]) for row in rows[-6:]]
    assert (low, high) == (round(min(tuned)), round(max(tuned)))
