"""The files of docs/extending.md, run with tiny settings."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.dataset.features import FeatureStore
from bassl.finetune import main as finetune
from bassl.model.checkpoint import read_checkpoint
from bassl.prepare import check
from bassl.pretrain import main as pretrain
from bassl.pretrain.losses import scene_embeddings
from tests.reference import data
from tests.runs import ROOT, extract_overrides, finetune_overrides, pretrain_overrides, typed

PAGE = "docs/extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / PAGE).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
FILES = {re.match(r'"""([\w.]+): ', block)[1]: block for block in BLOCKS}  # type: ignore[index]
ONE_EPOCH = ["config.TRAINER.max_epochs=1"]
NO_VALIDATION = ["config.TEST.KNN_VALIDATION=false"]
TWO_PROCESSES = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls a file of the page by its name, with arguments, in a folder where all of them lie."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def called(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            runpy.run_path(name, run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            sys.modules.pop("my_encoder", None)
        return 0

    return called


def test_the_loss_prefers_a_shots_own_side_and_has_its_value_by_hand() -> None:
    namespace: dict[str, object] = {"__name__": "my_loss"}
    exec(FILES["my_loss.py"], namespace)
    side_matching: Callable[..., torch.Tensor] = namespace["side_matching"]  # type: ignore[assignment]
    dense = torch.nn.functional.normalize(data(0, (3, 17, 5)), dim=-1)
    boundary = torch.tensor([0, 7, 15])
    scenes = scene_embeddings(dense, boundary)
    likeness = scenes[:, 0].mul(scenes[:, 1]).sum(1).double() / 0.1  # of the two scenes of each window
    own = 10 - torch.logaddexp(torch.full_like(likeness, 10.0), likeness)
    torch.testing.assert_close(side_matching(scenes, dense, boundary, 0.1).double(), -own.mean(), rtol=1e-5, atol=1e-6)
    swapped = side_matching(scenes.flip(1), dense, boundary, 0.1)
    assert swapped > side_matching(scenes, dense, boundary, 0.1)


@pytest.mark.slow
def test_the_loss_is_trained_beside_the_others(run: Run, tiny_movienet: Path, tmp_path: Path) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *NO_VALIDATION, "+method=bassl"]
    assert run("my_loss.py", *overrides) == 0
    stored = read_checkpoint(tmp_path / "pretrain" / "ckpt" / "devel")
    assert stored.metadata["bassl"]["terms"] == ["ssm", "cgm", "pp", "msm", "sides"]
    assert pretrain.main([*overrides, "config.EXPR_NAME=plain"]) == 0
    plain = read_checkpoint(tmp_path / "pretrain" / "ckpt" / "plain")
    name = "shot_encoder.conv1.weight"
    assert set(plain.state_dict) == set(stored.state_dict), "the term has no parameters"
    assert not torch.equal(plain.state_dict[name], stored.state_dict[name]), "it has an effect"


@pytest.mark.slow
def test_a_file_of_ones_own_runs_in_two_processes(run: Run, tiny_movienet: Path, tmp_path: Path) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *NO_VALIDATION, *TWO_PROCESSES]
    done = typed(["my_encoder.py", "pretrain", *overrides], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 process(es)" in done.stderr
    weights = read_checkpoint(tmp_path / "pretrain" / "ckpt" / "devel").state_dict
    assert weights["loss.head_nce.model.0.weight"].shape[1] == 576, "both had the encoder of the file"


@pytest.mark.slow
def test_another_encoder_is_pre_trained_extracted_and_fine_tuned(run: Run, tiny_movienet: Path, tmp_path: Path) -> None:
    overrides = [text for text in pretrain_overrides(tiny_movienet, tmp_path) if "resnet" not in text]
    assert run("my_encoder.py", "pretrain", *overrides, "config.TEST.BATCH_SIZE.effective_batch_size=60") == 0
    extract = extract_overrides(tiny_movienet, tmp_path)
    assert run("my_encoder.py", "extract", *extract, "config.LOAD_FROM=devel") == 0
    assert FeatureStore.open(tmp_path / "features").dimension == 576
    tune = [*finetune_overrides(tiny_movienet, tmp_path), *ONE_EPOCH]
    assert finetune.main([*tune, "config.PRETRAINED_LOAD_FROM=devel"]) == 0
    weights = read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel").state_dict
    assert weights["crn.shot_embedding.shot_embedding.weight"].shape == (32, 576)


@pytest.mark.slow
def test_a_frozen_encoder_from_elsewhere_is_extracted(run: Run, tiny_movienet: Path, tmp_path: Path) -> None:
    assert run("my_frozen_encoder.py") == 0
    extract = [text for text in extract_overrides(tiny_movienet, tmp_path) if "CKPT_PATH" not in text]
    assert run("my_encoder.py", "extract", *extract, "config.LOAD_FROM=frozen/last.ckpt") == 0
    values = FeatureStore.open(tmp_path / "features").film("tt0000001")
    assert values.shape == (40, 576)
    assert np.ptp(values, axis=0).max() > 0


@pytest.mark.slow
def test_a_data_set_of_features_is_fine_tuned(run: Run, tmp_path: Path) -> None:
    assert run("my_features.py") == 0
    shared = [text for text in finetune_overrides(tmp_path, tmp_path) if "DATA_PATH" not in text]
    own = ["config.DATA_PATH=my_features", "config.FEATURE_PATH=my_features/features/arrays", *ONE_EPOCH]
    assert finetune.main([*(text for text in shared if "FEATURE_PATH" not in text), *own]) == 0
    scores = json.loads((tmp_path / "finetune" / "logs" / "devel" / "all_score.json").read_text())
    assert 0 < scores["test"]["AP"] <= 1


@pytest.mark.slow
def test_a_data_set_of_keyframes_is_sound_and_pre_trained_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("my_keyframes.py") == 0
    assert check.main(["my_keyframes", "--strict"]) == 0, capsys.readouterr().out
    overrides = [text for text in pretrain_overrides(tmp_path, tmp_path) if "DATA_PATH" not in text]
    assert pretrain.main([*overrides, *NO_VALIDATION, "config.DATA_PATH=my_keyframes", "config.DRY_RUN=true"]) == 0
