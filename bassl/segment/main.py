"""The command `bassl segment`: films in, scenes out. Neither torch nor PyAV is imported before they are needed."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bassl.console import pluralize, print_final, printable, run_command, setup_logging
from bassl.errors import InputError
from bassl.segment.cache import default_folder
from bassl.segment.companions import labels_of, shots_of
from bassl.segment.films import find_films, result_folders
from bassl.segment.output.clips import find_ffmpeg
from bassl.segment.output.formats import DEFAULT, FORMATS, parse_formats, table_of_formats
from bassl.segment.reference import find_model
from bassl.segment.results import CLIPS, left_over
from bassl.segment.run import Options, Outcome, Task, segment_films
from bassl.video.settings import THRESHOLDS, TRANSNET, DetectorSettings, ShotSettings

LISTED = 10  # scenes that are listed before the rest is only counted
EPILOG = f"""\
formats:
{table_of_formats()}

Without --model boundaries are scored by how little the shots before resemble those after, over torchvision's
ImageNet ResNet-50 or the --encoder of a checkpoint. docs/video.md documents files, formats and Python API."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the command as Ctrl-C does: children are ended, nothing is left half-written."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status.

    0 done, 1 some films failed, 2 the user's mistake, 130 interrupted, 143 SIGTERM.
    """
    arguments = _parser().parse_args(argv)
    setup_logging(logging.WARNING if arguments.quiet else logging.INFO)
    logging.getLogger("bassl.model.checkpoint").setLevel(logging.WARNING)  # which tensors each part leaves unused
    return run_command(lambda: _work(arguments))


def _work(arguments: argparse.Namespace) -> int:
    try:
        with _sigterm_interrupts():
            return _run(arguments)
    except Terminated:
        print_final("terminated")
        return 128 + signal.SIGTERM


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be caught
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: argparse.Namespace) -> int:
    films = find_films(arguments.films, arguments.output)
    _check_writable(arguments.output)
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise InputError(f"threshold {arguments.threshold} is not between 0 and 1")
    if arguments.num_scenes is not None and arguments.num_scenes < 1:
        raise InputError(f"a film cannot be cut into {arguments.num_scenes} scenes; give 1 or more")
    detector = DetectorSettings(
        TRANSNET if arguments.transnetv2 else arguments.detector,
        arguments.shot_threshold,
        arguments.shortest_shot,
        arguments.transnetv2,
    )
    options = Options(
        reference=find_model(arguments.model, arguments.encoder),
        device=arguments.device,
        cache=None if arguments.no_cache else arguments.cache or default_folder(),
        formats=parse_formats(arguments.formats),
        threshold=arguments.threshold,
        num_scenes=arguments.num_scenes,
        ffmpeg=find_ffmpeg() if arguments.split else None,
        show_progress=sys.stderr.isatty() and not arguments.quiet,
    )
    tasks = []
    for film, folder in zip(films, result_folders(films, arguments.output), strict=True):
        shots = shots_of(arguments.shots, film, len(films))
        labels = labels_of(arguments.labels, film, len(films))
        _check_not_overwritten(labels, folder, options.formats)
        tasks.append(Task(film, folder, ShotSettings(detector, shots), labels))
    failed = 0
    for outcome in segment_films(tasks, options, _devices(arguments.device, len(tasks))):
        failed += outcome.error is not None
        _tell(outcome, options.num_scenes is None)
    if failed and len(tasks) > 1:
        sys.stderr.write(f"{failed} of {len(tasks)} films failed\n")
    return 1 if failed else 0


def _tell(outcome: Outcome, hint: bool) -> None:
    """Say what came of a film. hint: also how to get other scenes, where there is one, or each shot is one."""
    found = outcome.segmentation
    if found is None:
        sys.stderr.write(f"error: {printable(str(outcome.error))}\n")
        return
    lines = [
        f"{found.film.name}: {pluralize(len(found), 'scene')} in {pluralize(len(found.shots), 'shot')}",
        f"  threshold {found.threshold.value:.4g}: {found.threshold.origin}",
    ]
    scores = [shot.probability for shot in found.shots if shot.probability is not None]
    if hint and scores and len(found) == 1:
        lines.append(f"  no boundary reaches it, the highest is {max(scores):.4g}: give --threshold or --num-scenes")
    elif hint and scores and len(found) == len(found.shots):
        lines.append(f"  every boundary reaches it, the lowest is {min(scores):.4g}: give --threshold or --num-scenes")
    listed = found.scenes if len(found) <= LISTED + 1 else found.scenes[:LISTED]
    lines += [f"  {scene}" for scene in listed]
    if len(listed) < len(found):
        table = next((path for path in outcome.written if path.name == FORMATS["csv"].file), outcome.written[0])
        lines.append(f"  ... and {len(found) - len(listed):,} more in {table.name}")
    lines += [f"  {name}: {_percent(values)}" for name, values in found.evaluation.items()]
    lines += [f"  {path}" for path in outcome.written if path.parent == outcome.task.folder]
    if any(path.parent != outcome.task.folder for path in outcome.written):
        lines.append(f"  {outcome.task.folder / CLIPS}/")
    if outcome.removed:
        lines.append(f"  of an earlier call with other scenes, removed: {', '.join(outcome.removed)}")
    if left := left_over(outcome.written, outcome.task.folder):
        lines.append(f"  of an earlier call, not made anew: {', '.join(left)}")
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")
    sys.stdout.flush()


def _check_writable(folder: Path) -> None:
    """Raise InputError where results could not be written in the end."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        what = "is read-only" if nearest.is_dir() else "is a file"
        raise InputError(f"{folder} cannot be written ({nearest} {what}); name another --output")


def _check_not_overwritten(labels: Path | None, folder: Path, formats: Sequence[str]) -> None:
    """Raise InputError where the user's labels, scenes.csv corrected by hand, would be lost to the results."""
    ours = {(folder / FORMATS[name].file).resolve() for name in formats}
    if labels is not None and labels.resolve() in ours:
        raise InputError(f"--labels {labels} is a file that this call writes anew; copy it to another place first")


def _percent(values: Mapping[str, float]) -> str:
    shown = ("AP", "AUC", "F1", "F1_best", "Recall", "Recall@3s", "mIoU")
    told = ", ".join(f"{name} {100 * values[name]:.1f}" for name in shown if name in values)
    return told or "nothing to measure: no boundary in the labels"


def _devices(given: str, num_films: int) -> tuple[str, ...]:
    """Devices to share several films out over; for one film the choice is left to the model, if one is loaded."""
    if num_films == 1:
        return (given,)
    if given == "cpu":
        return ("cpu",)
    from bassl.segment.device import device_names

    return device_names(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl segment",
        description="Cut films into scenes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("films", nargs="+", type=Path, metavar="FILM", help="video files, or folders of them")
    add("-o", "--output", type=Path, default=Path("scenes"), help="results go to OUTPUT/<film>/ (default: scenes)")
    add("--model", help="name of a trained model (its EXPR_NAME), or path of its checkpoint or folder")
    add("--encoder", help="checkpoint of the shot encoder, for a model without one; or imagenet")
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--threshold", type=float, help="probability from which on a shot ends a scene")
    how_many.add_argument("--num-scenes", type=int, metavar="N", help="cut into so many scenes instead")
    add("--formats", default=",".join(DEFAULT), help=f"list of formats, or all (default: {','.join(DEFAULT)})")
    add("--split", action="store_true", help="also cut the film into a file a scene (needs ffmpeg)")
    add("--labels", type=Path, metavar="FILE", help="true scenes, to show and to measure against (or a folder)")
    add("--shots", type=Path, metavar="FILE", help="scene list of PySceneDetect, or MovieNet shot file (or a folder)")
    add("--detector", choices=["adaptive", "content"], default="adaptive", help="of PySceneDetect (default: adaptive)")
    add("--transnetv2", type=Path, metavar="ONNX", help="find shots with TransNetV2 (needs onnxruntime)")
    thresholds = ", ".join(f"{name} {value:g}" for name, value in THRESHOLDS.items())
    add("--shot-threshold", type=float, metavar="T", help=f"of the detector (defaults: {thresholds})")
    add("--shortest-shot", type=float, default=0.6, metavar="S", help="seconds (default: 0.6)")
    add("--device", default="auto", help="auto (all GPUs, or the CPU), cpu, cuda:1, or several with commas")
    add("--cache", type=Path, metavar="FOLDER", help=f"what is kept for the next call (default: {default_folder()})")
    add("--no-cache", action="store_true", help="keep nothing, and compute everything anew")
    add("-q", "--quiet", action="store_true", help="warnings and results only, no progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
