"""A film at a glance: a row a scene, the middle key-frame of each of its shots.

`python3 -m bassl.procedural.contact_sheet FILE` draws the beginning of one film at difficulty 0, 0.5 and 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw

from bassl.console import run_command
from bassl.errors import InputError
from bassl.files import refuse_unwritable, write_atomically
from bassl.procedural.picture import Camera
from bassl.procedural.screenplay import Film, write_screenplay

GAP, HEAD = 3, 16  # pixels
PAPER, INK = (255, 255, 255), (40, 40, 40)
SHOWN_SHOTS = 60
PICTURES = (".jpg", ".png")


def contact_sheet(
    films: Sequence[tuple[str, Film]], num_scenes: int = 4, num_columns: int = 11, width: int = 112, height: int = 63
) -> Image.Image:
    """The first scenes of some films with their captions; longer scenes are cut off after `num_columns` shots."""
    rows: list[list[Image.Image] | str] = []
    for caption, film in films:
        camera = Camera(film, width, height)
        rows.append(caption)
        for scene, members in groupby(enumerate(film.shots), key=lambda numbered: numbered[1].scene):
            if scene < num_scenes:
                shown = [number for number, _ in members][:num_columns]
                rows.append([Image.fromarray(camera.keyframes(number)[1]) for number in shown])
    full = sum(HEAD if isinstance(row, str) else height + GAP for row in rows)
    sheet = Image.new("RGB", (num_columns * (width + GAP) - GAP, full), PAPER)
    pen, top = ImageDraw.Draw(sheet), 0
    for row in rows:
        if isinstance(row, str):
            pen.text((2, top + 2), row, INK)
            top += HEAD
            continue
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * (width + GAP), top))
        top += height + GAP
    return sheet


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _write(arguments), "write again")


def _write(arguments: argparse.Namespace) -> int:
    if arguments.file.suffix.lower() not in PICTURES:
        raise InputError(f"{arguments.file} is no picture by its name; end it in {' or '.join(PICTURES)}")
    if arguments.scenes < 1:
        raise InputError(f"--scenes {arguments.scenes} draws nothing; give 1 or more")
    refuse_unwritable(arguments.file.parent, "file")
    films = [
        (f"difficulty {number:g}", write_screenplay(arguments.seed, 0, SHOWN_SHOTS, number))
        for number in arguments.difficulty
    ]
    sheet = contact_sheet(films, arguments.scenes)
    write_atomically(arguments.file, lambda temporary: sheet.save(temporary, quality=80))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m bassl.procedural.contact_sheet", description=__doc__)
    parser.add_argument("file", type=Path, help="picture to write, .jpg or .png")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--difficulty", type=float, nargs="+", default=[0, 0.5, 1], help="default: 0 0.5 1")
    parser.add_argument("--scenes", type=int, default=4, help="a film; default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
