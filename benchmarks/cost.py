"""Hours that pre-training will take: `python3 -m benchmarks.cost --films 1100 --gpus 8 --images-per-second 2000`.

The rates of a machine are read from `results/inputs-cuda.json` or `results/inputs-cpu.json`, which
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

from bassl.errors import InputError

RESULTS = Path(__file__).parent / "results"
SHOTS_PER_FILM = 1455  # 1.6 million shots in the 1,100 films of MovieNet
VIEWS, KEYFRAMES = 19, 17  # images that a sample is encoded as, and key-frames that it reads (bassl)
VALIDATED = 3 * 106_000  # key-frames of the 64 test films
HOUR = 3600.0
LINK, LATENCY, STORAGE = 50e9, 1e-3, 500e6
"""Assumed where nothing is measured or given: bytes per second, seconds, bytes per second."""
POSITIVE = ("films", "shots_per_film", "epochs", "batch", "gpus", "link", "storage", "images_per_second")


@dataclass(frozen=True)
class Inputs:
    """What one device and one worker core do, in seconds and bytes.

    Attributes:
        sample_seconds: Of a worker core, to decode and crop a sample.
        image_seconds: Of a device, to augment an image and take it forward and backward.
        step_seconds: Of a device, per step whatever its size.
        encode_seconds: Of a device, to encode a key-frame in validation.
        keyframe_bytes: On disk.
        gradient_bytes: Exchanged per step.
        separate_cores: False on a CPU, where workers and model share the cores, so that their times add up.
        link, latency, storage: As of `Run`; None where they could not be measured.
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

    Attributes:
        workers: Of each device.
        link: Bytes per second that a device exchanges with the others.
        storage: Bytes per second that all workers together read. Every epoch reads, as if nothing were cached.
        latency: Seconds that each exchange adds.
        validated: Key-frames of a validation.
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
    """Seconds of each part, as if it had the machine to itself, and of the whole."""

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
    """Predict the cost of a run.

    Workers run ahead of the device, so the slowest of decoding, reading and computing sets the pace. Gradients are
    exchanged by a ring, in which each of N devices sends and receives 2 (N - 1) / N of them. None of it is assumed to
    be hidden behind the backward pass.
    """
    steps = run.epochs * (run.samples // run.batch)
    samples = steps * run.batch
    decode = samples * inputs.sample_seconds / (run.devices * max(run.workers, 1))
    compute = steps * inputs.step_seconds + samples * VIEWS * inputs.image_seconds / run.devices
    ring = 2 * (run.devices - 1) / run.devices * inputs.gradient_bytes / run.link
    exchange = steps * (ring + run.latency) if run.devices > 1 else 0.0
    storage = samples * KEYFRAMES * inputs.keyframe_bytes / run.storage
    validation = run.epochs * run.validated * inputs.encode_seconds / run.devices
    if inputs.separate_cores:
        total = max(decode, storage, compute + exchange)
    else:
        total = max(decode * max(run.workers, 1) + compute + exchange, storage)
    return Cost(decode, compute, exchange, storage, validation, total + validation)


def read_inputs(path: Path) -> Inputs:
    """Read measured inputs."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Inputs(**{field.name: stored[field.name] for field in fields(Inputs) if field.name in stored})


def main(argv: Sequence[str] | None = None) -> int:
    """Print the hours of a run; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        sys.stdout.write(report(arguments) + "\n")
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def report(arguments: argparse.Namespace) -> str:
    """Return the parts and the whole, one per line; raise InputError if they cannot be computed."""
    # 1. The run, with rates that are given, else measured, else assumed.
    for name in POSITIVE:
        if (value := getattr(arguments, name)) is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} {value} must be greater than 0")
    inputs = _inputs(arguments)
    link, link_is = _rate(arguments.link and arguments.link * 1e9, inputs.link, LINK)
    storage, storage_is = _rate(arguments.storage and arguments.storage * 1e6, inputs.storage, STORAGE)
    run = Run(
        samples=arguments.films * arguments.shots_per_film,
        epochs=arguments.epochs,
        batch=arguments.batch,
        devices=arguments.gpus,
        workers=arguments.workers,
        link=link,
        storage=storage,
        latency=inputs.latency or LATENCY,
    )

    # 2. Its hours.
    cost = predict(inputs, run)
    read = run.epochs * run.samples * KEYFRAMES
    lines = {
        "decode": (cost.decode, f"{run.devices * run.workers} worker cores"),
        "compute": (cost.compute, f"{run.devices} devices, batch {run.batch}"),
        "gradient exchange": (cost.exchange, f"{run.link / 1e9:.3g} GB/s per device ({link_is})"),
        "storage": (cost.storage, f"{read:,} key-frames read at {run.storage / 1e6:.3g} MB/s ({storage_is})"),
        "validation": (cost.validation, f"{run.epochs} times {run.validated:,} key-frames"),
        "all": (cost.total, f"{cost.limit} sets the pace; the other parts run meanwhile, validation does not"),
    }
    hours = [f"{name:<18}{seconds / HOUR:>9.2f} h   {about}" for name, (seconds, about) in lines.items()]
    return "\n".join([f"{run.samples:,} samples per epoch, {run.epochs} epochs", *hours])


def _inputs(arguments: argparse.Namespace) -> Inputs:
    """Return the measured inputs, of a GPU if there are any, with what the command line changes."""
    measured = [file for kind in ("cuda", "cpu") if (file := RESULTS / f"inputs-{kind}.json").is_file()]
    path = arguments.inputs or next(iter(measured), None)
    if path is None:
        raise InputError("no inputs are measured yet; run `python3 -m benchmarks.main --only cost_check` first")
    if not path.is_file():
        raise InputError(f"{path} does not exist; name a file that benchmarks.main wrote")
    inputs, rate = read_inputs(path), arguments.images_per_second
    if not inputs.separate_cores and not arguments.cpu:
        if not rate:
            raise InputError(
                f"{path.name} was measured without a GPU; give --images-per-second of one GPU (forward and backward "
                "of the encoder), or --cpu to plan for the CPU"
            )
        inputs = replace(inputs, separate_cores=True, step_seconds=0.0, link=None, latency=None, storage=None)
    return replace(inputs, image_seconds=1 / rate, encode_seconds=1 / (3 * rate)) if rate else inputs


def _rate(given: float | None, measured: float | None, assumed: float) -> tuple[float, str]:
    """Return the rate to compute with, and where it is from."""
    rates = {"given": given, "measured": measured, "assumed": assumed}
    return next((rate, source) for source, rate in rates.items() if rate is not None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.cost", description=__doc__)
    parser.add_argument("--films", type=int, default=1100)
    parser.add_argument("--shots-per-film", type=int, default=SHOTS_PER_FILM)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256, help="effective batch size")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--workers", type=int, default=8, help="data workers per GPU, one core each")
    link, storage = f"as measured, or {LINK / 1e9:g}", f"as measured, or {STORAGE / 1e6:g}"
    parser.add_argument("--link", type=float, help=f"GB/s that a GPU exchanges with the others ({link})")
    parser.add_argument("--storage", type=float, help=f"MB/s that all workers read together ({storage})")
    parser.add_argument("--images-per-second", type=float, help="of one GPU, forward and backward, if not measured")
    parser.add_argument("--cpu", action="store_true", help="plan for CPUs: --gpus is then the number of machines")
    parser.add_argument("--inputs", type=Path, help="file of measured inputs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
