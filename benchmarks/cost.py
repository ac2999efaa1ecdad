"""Hours that pre-training will take: `python3 -m benchmarks.cost --films 1100 --gpus 8 --images-per-second 2000`.

What a machine can do is read from `results/inputs-cuda.json` or `results/inputs-cpu.json`, which
`python3 -m benchmarks.main --only cost_check --device cuda|cpu` measures and checks against runs, or given on the
command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SHOTS_A_FILM = 1455  # 1.6 million shots in the 1,100 films of MovieNet
VIEWS, READ = 19, 17  # images that a sample is encoded as, and key-frames that it reads (bassl)
VALIDATED = 3 * 106_000  # key-frames of the 64 test films
HOUR = 3600.0
LINK, LATENCY, STORAGE = 50e9, 1e-3, 500e6
"""What is assumed where nothing is measured or given: bytes a second, seconds, bytes a second."""
POSITIVE = ("films", "shots_per_film", "epochs", "batch", "gpus", "link", "storage", "images_per_second")


@dataclass(frozen=True)
class Inputs:
    """What one device and one worker core do, in seconds and bytes.

    sample_seconds: a worker core, to decode and crop a sample. image_seconds: a device, to augment an image and take it
    forward and backward. step_seconds: a device, what a step takes whatever its size. encode_seconds: a device, to
    encode a key-frame in validation. keyframe_bytes: on disk. gradient_bytes: exchanged a step. separate_cores: False
    on a CPU, where workers and model share the cores, so that their times add up. link, latency, storage: as of `Run`,
    None where they could not be measured.
    """

    sample_seconds: float
    image_seconds: float
    step_seconds: float
    encode_seconds: float
    keyframe_bytes: float
    gradient_bytes: float
    separate_cores: bool
    link: float | None = None
    latency: float | None = None
    storage: float | None = None


@dataclass(frozen=True)
class Run:
    """What is to be done, and with what.

    workers: of each device. link: bytes a second that a device exchanges with the others; latency: seconds that each
    exchange adds. storage: bytes a second that all workers together read; every epoch reads, as if nothing were cached.
    validated: key-frames of a validation.
    """

    samples: int
    epochs: int
    batch: int
    devices: int
    workers: int
    link: float
    storage: float
    latency: float = LATENCY
    validated: int = VALIDATED


@dataclass(frozen=True)
class Cost:
    """Seconds of each part, each as if it had the machine to itself, and of the whole."""

    decode: float
    compute: float
    exchange: float
    storage: float
    validation: float
    total: float

    @property
    def limit(self) -> str:
        """The part that the others wait for."""
        parts = {"decode": self.decode, "compute": self.compute + self.exchange, "storage": self.storage}
        return max(parts, key=lambda name: parts[name])


def predict(inputs: Inputs, run: Run) -> Cost:
    """The model. Workers run ahead of the device, so the slowest of decoding, reading and computing sets the pace.

    Gradients are exchanged by a ring, each device sending and receiving 2 (N - 1) / N of them; counted as if nothing of
    it were hidden behind the backward pass.
    """
    steps = run.epochs * (run.samples // run.batch)
    seen = steps * run.batch
    decode = seen * inputs.sample_seconds / (run.devices * max(run.workers, 1))
    compute = steps * inputs.step_seconds + seen * VIEWS * inputs.image_seconds / run.devices
    ring = 2 * (run.devices - 1) / run.devices * inputs.gradient_bytes / run.link
    exchange = steps * (ring + run.latency) if run.devices > 1 else 0.0
    storage = seen * READ * inputs.keyframe_bytes / run.storage
    validation = run.epochs * run.validated * inputs.encode_seconds / run.devices
    if inputs.separate_cores:
        total = max(decode, storage, compute + exchange)
    else:
        total = max(decode * max(run.workers, 1) + compute + exchange, storage)
    return Cost(decode, compute, exchange, storage, validation, total + validation)


def read_inputs(path: Path) -> Inputs:
    """Measured inputs."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Inputs(**{field.name: stored[field.name] for field in fields(Inputs) if field.name in stored})


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    measured = [file for kind in ("cuda", "cpu") if (file := RESULTS / f"inputs-{kind}.json").is_file()]
    path = arguments.inputs or next(iter(measured), None)
    for name in POSITIVE:
        if (value := getattr(arguments, name)) is not None and not value > 0:
            sys.stderr.write(f"error: --{name.replace('_', '-')} {value} is nothing to plan for; give more than 0\n")
            return 2
    if arguments.inputs is not None and not arguments.inputs.is_file():
        sys.stderr.write(f"error: there is no file {arguments.inputs}; name one that benchmarks.main wrote\n")
        return 2
    if path is None:
        sys.stderr.write("error: nothing is measured yet; run `python3 -m benchmarks.main --only cost_check` first\n")
        return 2
    inputs = read_inputs(path)
    if not inputs.separate_cores and not arguments.cpu:
        if not arguments.images_per_second:
            sys.stderr.write(
                f"error: {path.name} was measured without a GPU; give --images-per-second of one GPU (forward and "
                "backward of the encoder), or --cpu to plan for the CPU\n"
            )
            return 2
        inputs = replace(inputs, separate_cores=True, step_seconds=0.0, link=None, latency=None, storage=None)
    if arguments.images_per_second:
        rate = arguments.images_per_second
        inputs = replace(inputs, image_seconds=1 / rate, encode_seconds=1 / (3 * rate))
    link, link_is = chosen(arguments.link and arguments.link * 1e9, inputs.link, LINK)
    storage, storage_is = chosen(arguments.storage and arguments.storage * 1e6, inputs.storage, STORAGE)
    run = Run(
        arguments.films * arguments.shots_per_film,
        arguments.epochs,
        arguments.batch,
        arguments.gpus,
        arguments.workers,
        link,
        storage,
        inputs.latency or LATENCY,
    )
    sys.stdout.write(report(run, predict(inputs, run), link_is, storage_is) + "\n")
    return 0


def chosen(given: float | None, measured: float | None, assumed: float) -> tuple[float, str]:
    """The rate to count with, and what it is: given on the command line, else measured, else assumed."""
    rates = {"given": given, "measured": measured, "assumed": assumed}
    return next((rate, kind) for kind, rate in rates.items() if rate is not None)


def report(run: Run, cost: Cost, link_is: str, storage_is: str) -> str:
    """The parts and the whole, a line each."""
    read = run.epochs * run.samples * READ
    hours = {
        "decode": (cost.decode, f"{run.devices * run.workers} worker cores"),
        "compute": (cost.compute, f"{run.devices} devices, batch {run.batch}"),
        "gradient exchange": (cost.exchange, f"{run.link / 1e9:.3g} GB/s a device ({link_is})"),
        "storage": (cost.storage, f"{read:,} key-frames read at {run.storage / 1e6:.3g} MB/s ({storage_is})"),
        "validation": (cost.validation, f"{run.epochs} times {run.validated:,} key-frames"),
        "all": (cost.total, f"{cost.limit} sets the pace; the other parts are done meanwhile, validation is not"),
    }
    lines = [f"{name:<18}{seconds / HOUR:>9.2f} h   {about}" for name, (seconds, about) in hours.items()]
    return "\n".join([f"{run.samples:,} samples an epoch, {run.epochs} epochs", *lines])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.cost", description=__doc__)
    parser.add_argument("--films", type=int, default=1100)
    parser.add_argument("--shots-per-film", type=int, default=SHOTS_A_FILM)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256, help="effective batch size")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--workers", type=int, default=8, help="data workers of a GPU, a core each")
    parser.add_argument(
        "--link", type=float, help=f"GB a second that a GPU exchanges with the others (as measured, or {LINK / 1e9:g})"
    )
    parser.add_argument(
        "--storage", type=float, help=f"MB a second that all workers read together (as measured, or {STORAGE / 1e6:g})"
    )
    parser.add_argument(
        "--images-per-second", type=float, help="of one GPU, forward and backward; instead of the measured rate"
    )
    parser.add_argument("--cpu", action="store_true", help="plan for CPUs: --gpus is then the number of machines")
    parser.add_argument("--inputs", type=Path, help="file of measured inputs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
