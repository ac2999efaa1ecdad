"""What a pre-trained model knows before it has seen a label: k-NN precision of its features, and zero-shot
AP.

python3 -m bassl.sweep.measure --checkpoint CKPT --features FOLDER --annotations anno.test.ndjson --output
FILE
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bassl.console import speak
from bassl.errors import InputError

if TYPE_CHECKING:
    from bassl.dataset.annotation import Annotations
    from bassl.dataset.features import FeatureStore
    from bassl.model.checkpoint import Checkpoint

log = logging.getLogger(__name__)
WINDOWS_AT_ONCE = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    speak()
    try:
        measure(
            arguments.checkpoint,
            arguments.features,
            arguments.annotations,
            arguments.output,
            arguments.device,
            arguments.uncertain,
        )
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def measure(
    checkpoint: Path, features: Path, annotations: Path, output: Path, device: str = "auto", uncertain: str = "positive"
) -> dict[str, Any]:
    """Measure the labelled rows of an annotation file and write what comes out as JSON.

    `knn`: precision at k by k, in percent (see `bassl.pretrain.knn`), None without a query. `zero_shot`: AP
    and mAP, as fractions, of the boundary (PP) head of pre-training; None where the checkpoint has none.
    Raises InputError where checkpoint, features and annotations do not belong together.
    """
    from bassl.dataset.annotation import read_annotations
    from bassl.dataset.features import FeatureStore
    from bassl.files import write_json
    from bassl.model.checkpoint import read_checkpoint

    model, store = read_checkpoint(checkpoint), FeatureStore.open(features)
    if store.model and store.model.get("sha256") != model.sha256:
        raise InputError(f"the features in {features} were made by another checkpoint than {checkpoint}")
    notes = read_annotations(annotations).with_num_shots(store.num_shots, f"the feature store {features}")
    found = {"knn": knn_precision(store, notes), "zero_shot": zero_shot(model, store, notes, device, uncertain)}
    write_json(output, found)
    log.info("measured: %s", output)
    return found


def knn_precision(store: FeatureStore, notes: Annotations) -> dict[str, float | None]:
    """Share in percent of same-scene shots among the k nearest, by k as text."""
    import numpy as np
    import torch

    from bassl.dataset.movienet import scene_numbers
    from bassl.pretrain.knn import KS, FilmwisePrecision

    scenes, precision = scene_numbers(notes), FilmwisePrecision()
    for film, name in enumerate(notes.films):
        rows = np.flatnonzero(notes.film == film)
        rows = rows[np.argsort(notes.shot[rows])]
        values = torch.from_numpy(np.array(store.film(name)[notes.shot[rows]], dtype=np.float32))
        precision.update(values, torch.from_numpy(scenes[rows]))
    return {str(k): _number(value) for k, value in zip(KS, precision.compute().tolist(), strict=True)}


def zero_shot(
    model: Checkpoint, store: FeatureStore, notes: Annotations, device: str, uncertain: str
) -> dict[str, float | None] | None:
    """AP and mAP of the PP head on the labelled rows."""
    import numpy as np
    import torch

    from bassl.builders import zero_shot_scorer
    from bassl.dataset.window import clipped_windows
    from bassl.finetune.metrics import ShotPredictions, scene_metrics

    scorer = zero_shot_scorer(model)
    if scorer is None:
        return None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = scorer.eval().to(device)
    interval, probability = window_interval(model), np.zeros(len(notes))
    with torch.inference_mode():
        for film, name in enumerate(notes.films):
            shots = torch.from_numpy(np.array(store.film(name), dtype=np.float32)).to(device)
            rows = np.flatnonzero(notes.film == film)
            for start in range(0, len(rows), WINDOWS_AT_ONCE):
                part = rows[start : start + WINDOWS_AT_ONCE]
                lengths = np.full(len(part), len(shots))
                windows = clipped_windows(notes.shot[part], lengths, scorer.num_shots // 2, interval)
                logits = scorer(shots[torch.from_numpy(windows).to(device)])
                probability[part] = logits.float().softmax(1)[:, 1].cpu().numpy()
    results = scene_metrics(
        ShotPredictions(notes.film, notes.shot, probability, notes.label), None, uncertain=uncertain
    )
    return {name: _number(results[name]) for name in ("AP", "mAP")}


def window_interval(model: Checkpoint) -> int:
    """Shots from one position of the pre-training window to the next, as stored with the model; 1 where it is
    not."""
    stored = model.metadata.get("bassl", {})
    try:
        return int(stored["config"]["LOSS"]["sampling_method"]["params"][stored["method"]]["neighbor_interval"])
    except (KeyError, TypeError):
        return 1


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m bassl.sweep.measure", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="pre-trained checkpoint, or its folder")
    add("--features", type=Path, required=True, help="feature store extracted with it")
    add("--annotations", type=Path, required=True, help="labelled rows, such as anno/anno.test.ndjson")
    add("--output", type=Path, required=True, help="JSON file to write")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--uncertain", choices=("positive", "masked"), default="positive", help="what a label of -1 is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
