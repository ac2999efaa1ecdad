"""Draw the beginning of a film at several difficulties: one row per scene, one key-frame per shot.

`python3 -m bassl.procedural.contact_sheet FILE` draws difficulty 0, 0.5 and 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.console import run_command
from bassl.errors import InputError
from bassl.files import refuse_unwritable
from bassl.procedural.shot_plan import Film, plan_film

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT, GAP, CAPTION = 112, 63, 3, 26  # pixels
NUM_COLUMNS, NUM_SHOTS = 11, 60
FORMATS = (".jpg", ".png")


def contact_sheet(films: Sequence[tuple[str, Film]], num_scenes: int) -> Figure:
    """Draw the first scenes of films below their captions; a scene is cut after NUM_COLUMNS shots."""
    from bassl.plots.style import add_text
    from bassl.plots.tiles import SHEET_HEAD, draw_tile, new_sheet
    from bassl.procedural.picture import Camera

    scenes = [
        [[shot for shot, _ in group] for _, group in groupby(enumerate(film.shots), lambda pair: pair[1].scene)]
        for _, film in films
    ]
    num_rows = sum(min(len(found), num_scenes) for found in scenes)
    size = (32 + NUM_COLUMNS * (WIDTH + GAP), SHEET_HEAD + len(films) * CAPTION + num_rows * (HEIGHT + GAP) + 8)
    figure, axes = new_sheet("Drawn films", "one row per scene; the middle key-frame of each shot", *size)
    top = SHEET_HEAD
    for (caption, film), found in zip(films, scenes, strict=True):
        camera = Camera(film, WIDTH, HEIGHT)
        add_text(figure, 16, top + 4, caption, size=12)
        top += CAPTION
        for shots in found[:num_scenes]:
            for column, shot in enumerate(shots[:NUM_COLUMNS]):
                draw_tile(axes, camera.keyframes(shot)[1], 16 + column * (WIDTH + GAP), top, WIDTH, HEIGHT)
            top += HEIGHT + GAP
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _write(arguments), "write again")


def _write(arguments: argparse.Namespace) -> int:
    from bassl.plots.style import save_figure

    if arguments.file.suffix.lower() not in FORMATS or arguments.scenes < 1:
        raise InputError(
            f"{arguments.file} with --scenes {arguments.scenes} is invalid; give a file in {' or '.join(FORMATS)} and "
            "1 scene or more"
        )
    refuse_unwritable(arguments.file.parent, "file")
    films = [(f"difficulty {d:g}", plan_film(arguments.seed, 0, NUM_SHOTS, d)) for d in arguments.difficulty]
    save_figure(arguments.file, contact_sheet(films, arguments.scenes))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m bassl.procedural.contact_sheet", description=__doc__)
    parser.add_argument("file", type=Path, help="picture to write, .jpg or .png")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--difficulty", type=float, nargs="+", default=[0, 0.5, 1], help="default: 0 0.5 1")
    parser.add_argument("--scenes", type=int, default=4, help="per film; default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
