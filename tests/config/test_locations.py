from __future__ import annotations

from pathlib import Path

import pytest
from bassl.config.locations import checked_path, folder_name, located, store_name
from hypothesis import given
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.files import LONGEST_NAME

GOOD_NAMES = [
    "devel",
    "bassl+shotcol",
    "a.b",
    "run 2",
    "run@home",
    "lr=0.3",
    "_x",
    "007",
    "über",
    "a" * LONGEST_NAME,
]
BAD_NAMES = [
    "",
    ".",
    "..",
    "a..b",
    ".x",
    "-x",
    "a/b",
    "a\\b",
    "a\nb",
    "a:b",
    "a*b",
    "~",
    "a" * (LONGEST_NAME + 1),
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_name_is_kept(name: str) -> None:
    assert folder_name("config.EXPR_NAME", name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_name_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        folder_name("config.EXPR_NAME", name)
    assert str(refusal.value).startswith(f"config.EXPR_NAME={name!r} cannot name a folder")


@given(st.text())
def test_no_accepted_name_leaves_its_folder(name: str) -> None:
    root = Path("/root/runs")
    try:
        folder = root / folder_name("config.EXPR_NAME", name)
    except InputError:
        return
    assert folder.parent == root
    assert folder.name == name
    assert len(name.encode()) <= LONGEST_NAME


def test_a_path_is_absolute_and_the_default_only_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checked_path("here", tmp_path / "other") == tmp_path / "here"
    assert checked_path(None, tmp_path / "other") == tmp_path / "other"
    assert checked_path(None, None) is None


def test_a_folder_of_the_working_directory_does_not_hide_a_run_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bassl").mkdir()
    monkeypatch.chdir(tmp_path)
    assert located("config.LOAD_FROM", "bassl", Path("/ckpt")) == Path("/ckpt/bassl")
    assert located("config.LOAD_FROM", "./bassl", Path("/ckpt")) == tmp_path / "bassl"
    assert located("config.LOAD_FROM", str(tmp_path / "bassl"), Path("/ckpt")) == tmp_path / "bassl"


@pytest.mark.parametrize("path", ["no/such/run", "./none", "a/" + "b" * 5000])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="is neither the name of a run nor a path that exists"):
        located("config.LOAD_FROM", path, Path("/ckpt"))


@pytest.mark.parametrize(("checkpoint", "store"), [
    ("/ckpt/bassl", "bassl"), ("/ckpt/bassl/last.ckpt", "bassl"), ("/ckpt/v1.2", "v1.2"),
])  # fmt: skip
def test_a_store_is_named_after_the_run(checkpoint: str, store: str) -> None:
    assert store_name(Path(checkpoint)) == store
