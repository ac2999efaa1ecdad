"""Where a job reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bassl
from bassl.config.paths import (
    check_name,
    data_paths,
    evaluated_checkpoint,
    expand,
    feature_folder,
    locate,
    output_folders,
    pretrained_checkpoint,
    run_name,
)
from bassl.errors import InputError
from bassl.files import LONGEST_NAME
from tests.config.test_load import loaded

PACKAGE = Path(bassl.__file__).parent


def test_in_a_checkout_everything_lies_below_the_package() -> None:
    pretrain, extract, finetune = (loaded(job) for job in ("pretrain", "extract", "finetune"))
    root = PACKAGE / "data" / "movienet"
    for config in (pretrain, extract, finetune):
        paths = data_paths(config)
        assert (paths.root, paths.annotations, paths.keyframes) == (root, root / "anno", root / "240P_frames")
        assert paths.shots == root / "scene318" / "shot_movie318"
    for config, job in ((pretrain, "pretrain"), (finetune, "finetune")):
        assert output_folders(config, job, "x") == (PACKAGE / job / "ckpt" / "x", PACKAGE / job / "logs" / "x")
    for reader in (extract, finetune):
        assert pretrained_checkpoint(reader) == PACKAGE / "pretrain" / "ckpt" / "bassl"
        assert feature_folder(reader) == root / "features" / "bassl"
    assert evaluated_checkpoint(finetune) is None


def test_every_folder_can_be_set() -> None:
    keys = ["CKPT_PATH", "FEATURE_PATH", "ANNO_PATH", "IMG_PATH", "SHOT_PATH"]
    extract = loaded("extract", "config.DATA_PATH=/d", *(f"config.{key}=/{key}" for key in keys))
    paths = data_paths(extract)
    assert [paths.annotations, paths.keyframes, paths.shots] == [
        Path("/ANNO_PATH"),
        Path("/IMG_PATH"),
        Path("/SHOT_PATH"),
    ]
    assert (pretrained_checkpoint(extract), feature_folder(extract)) == (
        Path("/CKPT_PATH/bassl"),
        Path("/FEATURE_PATH"),
    )
    tune = ["config.DATA_PATH=/d", "config.CKPT_PATH=/c", "config.LOG_PATH=/l", "config.PRETRAINED_CKPT_PATH=/p"]
    finetune = loaded("finetune", *tune, "config.LOAD_FROM=tuned")
    assert output_folders(finetune, "finetune", "x") == (Path("/c/x"), Path("/l/x"))
    assert (pretrained_checkpoint(finetune), evaluated_checkpoint(finetune)) == (Path("/p/bassl"), Path("/c/tuned"))
    assert feature_folder(finetune) == Path("/d/features/bassl")


def test_a_checkpoint_may_be_a_run_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere" / "my_run"
    folder.mkdir(parents=True)
    (tmp_path / "bassl").mkdir()
    monkeypatch.chdir(tmp_path)
    found = {
        "bassl": Path("/ckpt/bassl"),  # a folder of the working directory does not hide a run of its name
        "./bassl": tmp_path / "bassl",
        "elsewhere/my_run/": folder,
        f"{folder}/epoch=9-step=100.ckpt": folder / "epoch=9-step=100.ckpt",
    }
    assert {typed: locate("config.LOAD_FROM", typed, Path("/ckpt")) for typed in found} == found
    store = feature_folder(loaded("extract", f"config.LOAD_FROM={folder}/last.ckpt"))
    assert store == PACKAGE / "data" / "movienet" / "features" / "my_run"
    for wrong in ("no/such/run", "a/" + "b" * 5000):
        with pytest.raises(InputError, match="neither the name of a run nor an existing path"):
            locate("config.LOAD_FROM", wrong, Path("/ckpt"))


def test_a_path_is_absolute_and_its_home_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("here", Path("/other")) == tmp_path / "here"
    assert expand("~/movienet", None) == Path("/home/me/movienet")
    assert (expand(None, Path("/other")), expand(None, None)) == (Path("/other"), None)
    with pytest.raises(InputError, match="the path '~nobody_here/x' cannot be read"):
        expand("~nobody_here/x", None)


@pytest.mark.parametrize(("overrides", "name"), [
    (["config.LOAD_FROM=/ckpt/tuned/best.ckpt"], "tuned_evaluation"),
    (["config.ZERO_SHOT=true"], "bassl_evaluation"),
    (["config.LOAD_FROM=tuned", "config.EXPR_NAME=mine"], "mine"),
    ([], "devel"),
])  # fmt: skip
def test_an_evaluation_is_named_after_its_checkpoint_unless_it_has_a_name(overrides: list[str], name: str) -> None:
    assert run_name(loaded("finetune", *overrides)) == name


@settings(max_examples=50)
@given(
    st.text(max_size=20)
    | st.sampled_from(["..", ".x", "-x", "a/b", "a\\b", "a\nb", "a:b", "~", "a" * (LONGEST_NAME + 1)])
)
def test_no_accepted_name_leaves_its_folder(name: str) -> None:
    try:
        folder = Path("/runs") / check_name("config.EXPR_NAME", name)
    except InputError:
        return
    assert (folder.parent, folder.name) == (Path("/runs"), name)
    assert name[0] not in ".-~" and not set(name) & set("\\:*\n") and len(name.encode()) <= LONGEST_NAME


def test_ordinary_names_are_accepted() -> None:
    for name in ("devel", "bassl+shotcol", "a.b", "run 2", "lr=0.3", "_x", "007", "über", "a" * LONGEST_NAME):
        assert check_name("config.EXPR_NAME", name) == name
