"""The table of injected faults in tests/README.md: how often each is done is what pytest collects for its command."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.documents import ROOT, table

ROWS = table("tests/README.md", "fault")
COMMAND = re.compile(r"`((?:[a-z_]+/)*(?:test_\w+\.py|[a-z]+))(?: -k (?:\"([^\"]+)\"|(\w+)))?`")
NOT_COUNTED = {"300 in one soak, see below", "100 each", "50 and 40"}  # kills, and examples that one case draws


def commands(row: list[str]) -> list[tuple[str, list[str]]]:
    """File or folder below tests/, and the words of -k, one of which a case has to have; no words: every case."""
    found = [(file, (several or one).split(" or ")) for file, several, one in COMMAND.findall(row[-1])]
    assert found, row
    return found


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """Node ids of all tests in the files of the table, collected once."""
    paths = sorted({f"tests/{file}" for row in ROWS for file, _ in commands(row)})
    assert [path for path in paths if not (ROOT / path).exists()] == []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_each_fault_is_injected_as_often_as_the_table_says(collected: list[str]) -> None:
    told = {row[0]: row[1] for row in ROWS if row[1] not in NOT_COUNTED}
    assert len(ROWS) - len(told) == len(NOT_COUNTED)
    counted = {}
    for row in ROWS:
        counts = [num_cases(collected, file, words) for file, words in commands(row)]
        assert all(counts), (row, counts)  # every command selects something
        counted[row[0]] = sum(counts)
    assert {fault: int(number.split(" (")[0]) for fault, number in told.items()} == {
        fault: counted[fault] for fault in told
    }


def num_cases(collected: list[str], file: str, words: list[str]) -> int:
    """As pytest's -k: a word is anywhere in the names of the file, the function and its parameters."""
    ids = [line.removeprefix("tests/") for line in collected]
    names = [(line.split("::")[0].rsplit("/", 1)[-1] + line.partition("::")[2]).lower() for line in ids]
    return sum(
        node.startswith((f"{file}::", f"{file}/")) and any(word.lower() in name for word in words)
        for node, name in zip(ids, names, strict=True)
    )


def test_examples_that_one_case_draws_are_as_many_as_the_table_says() -> None:
    told = {number: [file for file, _ in commands(row)] for row in ROWS if (number := row[1]) in NOT_COUNTED}
    drawn = {
        number: [re.findall(r"max_examples=(\d+)", (ROOT / "tests" / file).read_text()) for file in files]
        for number, files in told.items()
        if "test_soak.py" not in files
    }
    assert drawn == {"100 each": [[], []], "50 and 40": [["50", "40"]]}  # Hypothesis draws 100 unless told otherwise
