from __future__ import annotations

import pytest

from bassl.errors import InputError
from bassl.segment.encoders import IMAGENET
from bassl.segment.model_files import find_model


@pytest.fixture
def roots(tmp_path):
    for stage, name, files in (
        ("finetune", "mine", ("last.ckpt", "best.ckpt")),
        ("pretrain", "mine", ("last.ckpt",)),
        ("pretrain", "published", ("model-v1.ckpt",)),
        ("pretrain", "odd", ("only.ckpt",)),
        ("pretrain", "empty", ()),
    ):
        folder = tmp_path / stage / "ckpt" / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_bytes(b"x")
    return tmp_path / "finetune" / "ckpt", tmp_path / "pretrain" / "ckpt"


def test_a_name_means_the_fine_tuned_model_and_the_epoch_that_validation_chose(roots):
    assert find_model("mine", roots=roots).checkpoint == roots[0] / "mine" / "best.ckpt"


def test_an_encoders_name_means_the_pre_trained_model(roots):
    found = find_model("mine", "mine", roots=roots)
    assert found.encoder == roots[1] / "mine" / "last.ckpt"
    assert found.files == (found.checkpoint, found.encoder)
    config = roots[1] / "mine" / "config.json"
    config.write_text("{}")
    assert find_model("mine", "mine", roots=roots).files == (found.checkpoint, found.encoder, config)


def test_published_and_single_checkpoints_are_found(roots):
    assert find_model("published", roots=roots).checkpoint == roots[1] / "published" / "model-v1.ckpt"
    assert find_model("odd", roots=roots).checkpoint == roots[1] / "odd" / "only.ckpt"


def test_paths_of_folders_and_files_work(roots, monkeypatch):
    folder = roots[1] / "mine"
    assert find_model(folder, roots=roots).checkpoint == folder / "last.ckpt"
    assert find_model(str(folder / "last.ckpt"), roots=roots).checkpoint == folder / "last.ckpt"
    monkeypatch.chdir(folder.parent)
    assert find_model("odd/only.ckpt", roots=()).checkpoint == folder.parent / "odd" / "only.ckpt"


def test_a_name_is_not_mistaken_for_a_folder_that_happens_to_lie_here(roots, monkeypatch, tmp_path):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("mine", roots=roots).checkpoint == roots[0] / "mine" / "best.ckpt"


def test_encoders_are_named_or_found(roots):
    assert find_model(None, IMAGENET, roots=roots).files == ()
    for name in ("imagenet", "colour", "timm:resnet18", "my.module:factory"):
        assert find_model(None, name, roots=roots).encoder == name
    assert find_model(None, "color").encoder == "colour"
    assert find_model(None, "published", roots=roots).encoder == roots[1] / "published" / "model-v1.ckpt"
    assert not find_model(None, "my.module:factory").is_known_by_name


@pytest.mark.parametrize(("name", "message"), [
    ("publishd", "known models: published"), ("empty", "folder is empty"), ("no/such.ckpt", "there is no model"),
])  # fmt: skip
def test_an_unknown_model_names_the_nearest(roots, name, message):
    with pytest.raises(InputError, match=message):
        find_model(name, roots=roots)


def test_without_any_model_the_folders_and_a_command_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bassl").mkdir()  # as in a clone of the repository
    with pytest.raises(InputError, match=r"no model 'bassl'.*one and .*two are empty; bassl finetune config\.EXPR"):
        find_model("bassl", roots=(tmp_path / "one", tmp_path / "two"))
