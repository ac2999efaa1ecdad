"""Pictures of a finished run: `python3 -m bassl.diagnostics.main --run bassl/finetune/logs/<EXPR_NAME>`.

A run's own `config.json` says what it read and wrote, so its log folder is all that has to be named; where
data has moved, overrides such as `config.DATA_PATH=...` are put on top. There is nothing here to configure
for training, hence no job of its own in bassl/config.
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
EVENTS = ".diagnostics"  # how our TensorBoard files end, so that no other is ever replaced
ABOUT = """Draw what a finished run did, into <run>/diagnostics and, as images, into TensorBoard files there.

Of a fine-tuning run: timelines of the test films, precision over recall, the loss, nearest neighbours in the
feature store, pseudo-boundaries. Of a pre-training run: its loss terms, k-NN
precision and, after extraction, the last three. What a run has no data for is left out, with the reason."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status (see `bassl.endings`)."""
    given = _parser().parse_intermixed_args(argv)
    return run_command(lambda: _draw(given), "draw again")


def _draw(given: argparse.Namespace) -> int:
    draw(given.run, given.out, given.features, given.film, given.examples, given.max_films, given.overrides)
    return 0


def draw(
    folder: Path,
    out: Path | None = None,
    features: Path | None = None,
    film: str | None = None,
    num_examples: int = 6,
    max_films: int = 20,
    overrides: Sequence[str] = (),
) -> list[Path]:
    """Make every picture that the run has the data for; returns the files.

    folder: its logs; out: by default `diagnostics` in there. features: the feature store, film: the film of
    the sheets, where they are not the run's own and the first. num_examples: rows of a sheet. max_films:
    timelines. overrides: of the run's configuration. Raises InputError where there is no run, no such film,
    or nothing to draw.
    """
    from bassl.console import setup_logging
    from bassl.diagnostics.pictures import pictures_of, timelines
    from bassl.diagnostics.run import FinishedRun
    from bassl.plots.figure import save_figure

    setup_logging()
    if num_examples < 1 or max_films < 1:
        raise InputError(f"--examples {num_examples} and --max-films {max_films} must be 1 or more")
    out = folder / "diagnostics" if out is None else out
    run = FinishedRun(folder, tuple(overrides), features)
    films = run.annotations.films
    refuse_unwritable(out, "--out")
    if film is not None and film not in films:
        raise InputError(f"--film {film} is none of the {len(films)} test films, such as {films[0]}")
    index = films.index(film) if film is not None else 0
    written: list[Path] = []
    for name, picture in pictures_of(run).items():
        try:
            save_figure(out / f"{name}.png", picture(run, index, num_examples))
            written.append(out / f"{name}.png")
        except InputError as error:
            log.info("left out %s.png: %s", name, error)
    try:
        written += timelines(run, out, max_films)
    except InputError as error:
        log.info("left out timeline.png: %s", error)
    if not written:
        raise InputError(f"{folder} holds nothing to draw; the lines above say what was looked for")
    add_to_tensorboard(out, written)
    log.info("%d pictures: %s", len(written), out)
    return written


def add_to_tensorboard(folder: Path, pictures: Sequence[Path]) -> None:
    """Write pictures as images for TensorBoard into their folder; those of an earlier call are replaced."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    for earlier in folder.glob(f"events.out.tfevents.*{EVENTS}"):
        earlier.unlink()
    with SummaryWriter(str(folder), filename_suffix=EVENTS) as writer:
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
    parser.add_argument("--run", type=Path, required=True, help="log folder of a fine-tuning or pre-training run")
    parser.add_argument("--out", type=Path, help="where the pictures go; <run>/diagnostics unless told otherwise")
    parser.add_argument("--features", type=Path, help="feature store; the run's own unless told otherwise")
    parser.add_argument("--film", help="film of the sheets, by name; the first test film unless told otherwise")
    parser.add_argument("--examples", type=int, default=6, help="rows of each sheet (default 6)")
    parser.add_argument("--max-films", type=int, default=20, help="timelines at most (default 20)")
    parser.add_argument(
        "overrides", nargs="*", metavar="config.KEY=value", help="on top of the run's own: DATA_PATH, TEST.THRESHOLD"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
