"""The command `bassl segment`: cut films into scenes. Imports neither torch nor PyAV before they are needed."""

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
from bassl.segment.api import FilmResult, Options
from bassl.segment.batch import segment_films
from bassl.segment.cache import default_folder
from bassl.segment.inputs import find_films, result_folders, shots_for
from bassl.segment.model_files import DECODERS, find_model
from bassl.segment.output.results import CLIPS, DEFAULT, FORMATS, left_over, parse_formats, table_of_formats
from bassl.segment.scenes import FOUND, MISSED, SCORERS
from bassl.segment.threshold import check_threshold
from bassl.video.settings import THRESHOLDS, TRANSNET, DetectorSettings, ShotSettings

LISTED = 10  # scenes to list before the rest is only counted
SHOWN_METRICS = ("AP", "AUC", "F1", "F1_best", "Recall", "Recall@3s", "mIoU")
EPILOG = f"""\
formats:
{table_of_formats()}

encoders, for films without --model:
  colour             colour histograms; needs no download
  imagenet           torchvision's ResNet-50
  NAME or PATH       a checkpoint of ours
  timm:NAME          a pretrained model of timm (pip install 'bassl[timm]')
  module:factory     your own torch.nn.Module, images (N, 3, 224, 224) to features (N, D)
The default is imagenet if its weights are cached or can be downloaded, else colour.

docs/video.md documents files, formats and the Python API."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: children are ended and nothing is left half-written."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0 done, 1 some films failed, 2 invalid input, 130 interrupted, 143 SIGTERM.
    """
    arguments = _parser().parse_args(argv)
    setup_logging(logging.WARNING if arguments.quiet else logging.INFO)
    logging.getLogger("bassl.model.checkpoint").setLevel(logging.WARNING)  # tensors that each part leaves unused

    def work() -> int:
        try:
            with _sigterm_interrupts():
                return _run(arguments)
        except Terminated:
            print_final("terminated")
            return 128 + signal.SIGTERM

    return run_command(work)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # signals cannot be caught there
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: argparse.Namespace) -> int:
    films = _options(arguments)
    num_failed = 0
    for result in segment_films(films, _devices(arguments.device, films)):
        num_failed += result.error is not None
        _report(result)
    if num_failed and len(films) > 1:
        sys.stderr.write(f"{num_failed} of {len(films)} films failed\n")
    return 1 if num_failed else 0


def _options(arguments: argparse.Namespace) -> list[Options]:
    """Check all that can be checked before any film is read, and return the options of each film."""
    # 1. films
    if arguments.keyframes is not None:
        from bassl.segment.keyframe_folder import find_keyframe_films

        if arguments.split or arguments.shots or arguments.transnetv2:
            raise InputError("--split, --shots and --transnetv2 need a video; leave them out with --keyframes")
        films = find_keyframe_films(arguments.keyframes, arguments.films)
    elif arguments.films:
        films = find_films([Path(film) for film in arguments.films], arguments.output)
    else:
        raise InputError("no film is named; give video files or folders of them, or --keyframes DATA_FOLDER")
    # 2. settings of all films
    _check_writable(arguments.output)
    check_threshold(arguments.threshold, arguments.num_scenes)
    detector = DetectorSettings(
        name=TRANSNET if arguments.transnetv2 else arguments.detector,
        threshold=arguments.shot_threshold,
        min_seconds=arguments.shortest_shot,
        network=arguments.transnetv2,
    )
    formats = parse_formats(arguments.formats)
    ffmpeg = None
    if arguments.split:
        from bassl.segment.output.clips import find_ffmpeg

        ffmpeg = find_ffmpeg()
    # 3. lists that belong to each film
    folders = result_folders(films, arguments.output)
    shots = [ShotSettings(detector, shots_for(arguments.shots, film, len(films))) for film in films]
    labels = [_labels(arguments, film, len(films)) for film in films]
    for path, folder in zip(labels, folders, strict=True):
        if path is not None and path.resolve() in {(folder / FORMATS[name].file).resolve() for name in formats}:
            raise InputError(f"--labels {path} would be overwritten by this call; copy it to another place first")
    # 4. the model, last because looking for ImageNet weights may take seconds
    model = find_model(arguments.model, arguments.encoder, arguments.scorer, arguments.decoder)
    return [
        Options(
            film=film,
            model=model,
            folder=folders[number],
            shots=shots[number],
            labels=labels[number],
            threshold=arguments.threshold,
            num_scenes=arguments.num_scenes,
            formats=formats,
            ffmpeg=ffmpeg,
            cache=None if arguments.no_cache else arguments.cache or default_folder(),
            show_progress=sys.stderr.isatty() and not arguments.quiet,
        )
        for number, film in enumerate(films)
    ]


def _labels(arguments: argparse.Namespace, film: Path, num_films: int) -> Path | None:
    if arguments.labels is not None:
        from bassl.segment.ground_truth import labels_for

        return labels_for(arguments.labels, film, num_films)
    if arguments.keyframes is not None:
        from bassl.segment.keyframe_folder import labels_beside

        return labels_beside(film)
    return None


def _report(result: FilmResult) -> None:
    """Print what became of a film, and how to get other scenes if there is one, or each shot is one."""
    options, found = result.options, result.segmentation
    if found is None:
        sys.stderr.write(f"error: {printable(str(result.error))}\n")
        return
    lines = [
        f"{found.film.name}: {pluralize(len(found), 'scene')} in {pluralize(len(found.shots), 'shot')}",
        f"  threshold {found.threshold.value:.4g}: {found.threshold.origin}",
    ]
    scores = [shot.probability for shot in found.shots if shot.probability is not None]
    if options.num_scenes is None and scores and len(found) == 1:
        lines.append(f"  no boundary reaches it, the highest is {max(scores):.4g}: give --threshold or --num-scenes")
    elif options.num_scenes is None and scores and len(found) == len(found.shots):
        lines.append(f"  every boundary reaches it, the lowest is {min(scores):.4g}: give --threshold or --num-scenes")
    listed = found.scenes if len(found) <= LISTED + 1 else found.scenes[:LISTED]
    lines += [f"  {scene}" for scene in listed]
    if len(listed) < len(found):
        table = next((path for path in result.files if path.name == FORMATS["csv"].file), result.files[0])
        lines.append(f"  ... and {len(found) - len(listed):,} more in {table.name}")
    if found.labels is not None:
        verdicts = found.verdicts()
        num_found, num_missed = verdicts.count(FOUND), verdicts.count(MISSED)
        lines.append(f"  labels: {num_found} of {num_found + num_missed} scene ends found")
    lines += [f"  {name}: {_percent(values)}" for name, values in found.evaluation.items()]
    lines += [f"  {path}" for path in result.files if path.parent == options.folder]
    assert options.folder is not None
    if any(path.parent != options.folder for path in result.files):
        lines.append(f"  {options.folder / CLIPS}/")
    if result.removed:
        lines.append(f"  of an earlier call with other scenes, removed: {', '.join(result.removed)}")
    if left := left_over(result.files, options.folder):
        lines.append(f"  of an earlier call, not written again: {', '.join(left)}")
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")
    sys.stdout.flush()


def _check_writable(folder: Path) -> None:
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        reason = "is read-only" if nearest.is_dir() else "is a file"
        raise InputError(f"{folder} cannot be written ({nearest} {reason}); name another --output")


def _percent(values: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {100 * values[name]:.1f}" for name in SHOWN_METRICS if name in values)
    return shown or "nothing to measure: no boundary in the labels"


def _devices(given: str, films: Sequence[Options]) -> tuple[str, ...]:
    """Return the devices to share several films out over; for one film the model chooses, if one is loaded."""
    if len(films) == 1 or given == "cpu" or not films[0].model.needs_torch:
        return (given,)
    from bassl.segment.networks import device_names

    return device_names(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl segment",
        description="Cut films into scenes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("films", nargs="*", metavar="FILM", help="video files, or folders of them; with --keyframes names of films")
    add("--keyframes", type=Path, metavar="DATA_FOLDER", help="films as key-frames: DATA_FOLDER/240P_frames/<film>/")
    add("-o", "--output", type=Path, default=Path("scenes"), help="results go to OUTPUT/<film>/ (default: scenes)")
    add("--model", help="name of a trained model (its EXPR_NAME), or path of its checkpoint or folder")
    add("--encoder", help="shot encoder for a model without one, or to score without a model; see below")
    add("--scorer", choices=SCORERS, default=SCORERS[0], help=f"without a model (default: {SCORERS[0]})")
    add("--decoder", choices=DECODERS, help="refine a model's scores by the scene posterior (default: the model's)")
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--threshold", type=float, help="probability from which a shot ends a scene")
    how_many.add_argument("--num-scenes", type=int, metavar="N", help="cut at the N - 1 highest boundaries instead")
    add("--formats", default=",".join(DEFAULT), help=f"list of formats, or all (default: {','.join(DEFAULT)})")
    add("--split", action="store_true", help="also cut the film into a file per scene (needs ffmpeg)")
    add("--labels", type=Path, metavar="FILE", help="true scenes, to show and to measure against (or a folder)")
    add("--shots", type=Path, metavar="FILE", help="scene list of PySceneDetect, or MovieNet shot file (or a folder)")
    add("--detector", choices=["adaptive", "content"], default="adaptive", help="of PySceneDetect (default: adaptive)")
    add("--transnetv2", type=Path, metavar="ONNX", help="find shots with TransNetV2 (needs onnxruntime)")
    thresholds = ", ".join(f"{name} {value:g}" for name, value in THRESHOLDS.items())
    add("--shot-threshold", type=float, metavar="T", help=f"of the detector (defaults: {thresholds})")
    add("--shortest-shot", type=float, default=0.6, metavar="S", help="seconds (default: 0.6)")
    add("--device", default="auto", help="auto (all GPUs, or the CPU), cpu, cuda:1, or several with commas")
    add("--cache", type=Path, metavar="FOLDER", help=f"kept for the next call (default: {default_folder()})")
    add("--no-cache", action="store_true", help="keep nothing, and compute everything again")
    add("-q", "--quiet", action="store_true", help="warnings and results only, no progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
