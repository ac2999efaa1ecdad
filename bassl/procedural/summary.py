"""Print what the quickstart found: `python -m bassl.procedural.summary outputs/quickstart`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

CREDITS = "Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0; key-frames resized"


def summary(folder: Path) -> str:
    """Return a table of AP on unseen drawn films, and the scene ends found in the real film.

    Args:
        folder: Output of `scripts/quickstart.sh`.
    """
    untrained = _read(folder / "finetune/logs/untrained/all_score.json")
    finetuned = _read(folder / "finetune/logs/finetuned/all_score.json")
    labels = (folder / "films/anno/anno.test.ndjson").read_text(encoding="utf-8").splitlines()
    chance = sum(json.loads(line)["boundary_label"] for line in labels) / len(labels)
    rows = {
        "chance": chance,
        "untrained encoder, training-free scorer": untrained["test"]["AP"],
        "pre-trained by BaSSL, training-free scorer": finetuned["training_free"]["AP"],
        "pre-trained, fine-tuned on 12 labelled films": finetuned["test"]["AP"],
    }
    table = "\n".join(f"  {name:46}{100 * value:5.1f}" for name, value in rows.items())
    scenes = _read(folder / "scenes/big_buck_bunny/scenes.json")
    found, labelled, cut = count_ends(scenes)
    return f"""
How well scene ends are found in 8 unseen drawn films (average precision, %):

{table}

Real film, cut by colour without training: {found} of {labelled} labelled scene ends found, {cut + 1} scenes in all.

  look at it   {folder / "scenes/big_buck_bunny/report.html"}
  scores       {folder / "finetune/logs/finetuned/all_score.json"}
  timelines    {folder / "finetune/logs/finetuned/timeline.png"}
  curves       tensorboard --logdir {folder}

Next: your own video, by `bassl segment film.mp4` (README, "Cut your own video").
{CREDITS}
"""


def count_ends(scenes: dict[str, Any]) -> tuple[int, int, int]:
    """Return scene ends found, labelled and cut, of a scenes.json with labels."""
    shots = scenes["shots"]
    is_end = [before["scene"] != after["scene"] for before, after in pairwise(shots)]
    is_labelled = [bool(shot.get("label")) for shot in shots[:-1]]
    return sum(map(min, is_end, is_labelled)), sum(is_labelled), sum(is_end)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    (folder,) = sys.argv[1:] if argv is None else argv
    sys.stdout.write(summary(Path(folder)))
    return 0


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
