"""Draw a finished run: `python3 -m bassl.diagnostics.main --run bassl/finetune/logs/<EXPR_NAME>`.

The run's `config.json` names what it read and wrote; overrides such as `config.DATA_PATH=...` say where data has
moved to.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started by path: the repository root belongs on the path, this folder does not
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from bassl.console import run_command
from bassl.errors import InputError
from bassl.files import refuse_unwritable

log = logging.getLogger(__name__)
EVENTS_SUFFIX = ".diagnostics"  # marks our TensorBoard files, so that no other is ever replaced
ABOUT = """Draw a finished run into <run>/diagnostics, as PNG and as images for TensorBoard.

Fine-tuning: timelines of the test films, precision over recall, loss, nearest neighbours in the feature store,
pseudo-boundaries. Pre-training: loss terms, k-NN precision and, after extraction, the last two. A picture whose
data is missing is left out, with the reason."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_intermixed_args(argv)

    def work() -> int:
        draw(**vars(arguments))
        return 0

    return run_command(work, "draw again")


def draw(
    run: Path,
    *,
    out: Path | None = None,
    features: Path | None = None,
    film: str | None = None,
    examples: int = 6,
    max_films: int = 20,
    overrides: Sequence[str] = (),
) -> list[Path]:
    """Draw every picture that the run has the data for and return the files.

    Raises InputError where there is no run, no such film, or nothing to draw.

    Args:
        run: log folder of the run.
        out: folder for the pictures; default `<run>/diagnostics`.
        features: feature store; default the run's.
        film: film of the sheets; default the first test film.
        examples: rows of a sheet.
        max_films: timelines at most.
        overrides: of the run's configuration.
    """
    from bassl.console import setup_logging
    from bassl.diagnostics.pictures import draw_timelines, pictures_of
    from bassl.diagnostics.run import FinishedRun
    from bassl.plots.style import optional_picture, save_figure

    # 1. check what was asked for
    setup_logging()
    if examples < 1 or max_films < 1:
        raise InputError(f"--examples {examples} and --max-films {max_films} must be 1 or more")
    out = out or run / "diagnostics"
    finished = FinishedRun(run, tuple(overrides), features)
    films = finished.annotations.films
    refuse_unwritable(out, "--out")
    if film is not None and film not in films:
        raise InputError(f"--film {film} is not one of the {len(films)} test films, such as {films[0]}")
    # 2. draw what there is data for
    written: list[Path] = []
    for name, make_figure in pictures_of(finished, films.index(film) if film else 0, examples).items():
        path = out / f"{name}.png"
        with optional_picture(path):
            try:
                save_figure(path, make_figure())
                written.append(path)
            except InputError as error:
                log.info("left out %s: %s", path.name, error)
    try:
        written += draw_timelines(finished, out, max_films)
    except InputError as error:
        log.info("left out timeline.png: %s", error)
    if not written:
        raise InputError(f"{run} holds nothing to draw; the lines above say what is missing")
    # 3. the same pictures for TensorBoard
    add_to_tensorboard(out, written)
    log.info("%d pictures: %s", len(written), out)
    return written


def add_to_tensorboard(folder: Path, pictures: Sequence[Path]) -> None:
    """Write pictures as TensorBoard images into their folder, replacing those of an earlier call."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    for previous in folder.glob(f"events.out.tfevents.*{EVENTS_SUFFIX}"):
        previous.unlink()
    with SummaryWriter(str(folder), filename_suffix=EVENTS_SUFFIX) as writer:
        for path in pictures:
            with Image.open(path) as image:
                tag = path.relative_to(folder).with_suffix("").as_posix()
                writer.add_image(f"diagnostics/{tag}", np.asarray(image.convert("RGB")), 0, dataformats="HWC")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.diagnostics.main",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, help="log folder of a fine-tuning or pre-training run")
    add("--out", type=Path, help="folder for the pictures; default: <run>/diagnostics")
    add("--features", type=Path, help="feature store; default: the run's")
    add("--film", help="film of the sheets; default: the first test film")
    add("--examples", type=int, default=6, help="rows of each sheet; default: %(default)s")
    add("--max-films", type=int, default=20, help="timelines at most; default: %(default)s")
    add("overrides", nargs="*", metavar="config.KEY=value", help="change the run's configuration, such as DATA_PATH")
    return parser


if __name__ == "__main__":
    sys.exit(main())
