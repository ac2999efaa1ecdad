"""What is measured on the real sweep, computed again the slow way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.builders import stored_crn
from bassl.model.checkpoint import read_checkpoint
from bassl.sweep import measure
from tests.sweep.conftest import RealSweep
from tests.sweep.test_main import step_average_precision


def labelled_rows(real_sweep: RealSweep) -> dict[str, list[dict[str, int]]]:
    """The labelled test rows of each film, in film order."""
    rows: dict[str, list[dict[str, int]]] = {}
    for line in (real_sweep.data / "anno" / "anno.test.ndjson").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["video_id"], []).append(row)
    return {film: sorted(found, key=lambda row: int(row["shot_id"])) for film, found in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize("row", ["bassl", "random"])
def test_the_nearest_shot_is_of_the_same_scene_as_often_as_counted_by_hand(row: str, real_sweep: RealSweep) -> None:
    right = total = 0
    for film, rows in labelled_rows(real_sweep).items():
        features = np.load(real_sweep.folder / "features" / f"{row}-seed1" / f"{film}.npy").astype(np.float64)
        shots = [int(one["shot_id"]) for one in rows]
        scenes, scene = [], 0
        for one in rows:
            scenes.append(one.get("invideo_scene_id", scene))
            scene += abs(one["boundary_label"])
        unit = features[shots] / np.linalg.norm(features[shots], axis=1, keepdims=True)
        for query in range(len(shots)):
            similar = [unit[query] @ unit[other] if other != query else -np.inf for other in range(len(shots))]
            right += scenes[int(np.argmax(similar))] == scenes[query]
            total += 1
    measured = json.loads((real_sweep.folder / "measures" / f"{row}-seed1.json").read_text())
    assert measured["knn"]["1"] == pytest.approx(100 * right / total)


@pytest.mark.slow
def test_zero_shot_ap_is_that_of_the_boundary_head_over_clipped_windows(real_sweep: RealSweep) -> None:
    model = read_checkpoint(real_sweep.folder / "pretrain" / "ckpt" / "bassl-seed1")
    crn = stored_crn(model).eval()
    weight, bias = (model.state_dict[f"loss.head_pp.{name}"] for name in ("weight", "bias"))
    probability, label = [], []
    for film, rows in labelled_rows(real_sweep).items():
        features = torch.from_numpy(np.load(real_sweep.folder / "features" / "bassl-seed1" / f"{film}.npy"))
        for row in rows:
            center = int(row["shot_id"])
            window = [min(max(center + offset, 0), len(features) - 1) for offset in range(-8, 9)]
            with torch.no_grad():
                logits = crn.pooled(features[window][None])[0] @ weight.T + bias
            probability.append(logits.softmax(0)[1].item())
            label.append(abs(row["boundary_label"]))
    measured = json.loads((real_sweep.folder / "measures" / "bassl-seed1.json").read_text())
    assert measured["zero_shot"]["AP"] == pytest.approx(step_average_precision(probability, label), abs=1e-3)


@pytest.mark.slow
def test_a_shot_level_model_has_no_zero_shot_ap(real_sweep: RealSweep) -> None:
    assert json.loads((real_sweep.folder / "measures" / "random-seed1.json").read_text())["zero_shot"] is None


@pytest.mark.slow
def test_features_of_another_checkpoint_are_refused(
    real_sweep: RealSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "measured.json"
    arguments = [
        f"--checkpoint={real_sweep.folder / 'pretrain' / 'ckpt' / 'random-seed1'}",
        f"--features={real_sweep.folder / 'features' / 'bassl-seed1'}",
        f"--annotations={real_sweep.data / 'anno' / 'anno.test.ndjson'}",
        f"--output={output}",
    ]
    assert measure.main(arguments) == 2
    assert "were made by another checkpoint" in capsys.readouterr().err
    assert not output.exists()
