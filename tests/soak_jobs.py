"""What `tests.soak` runs: the four jobs at a tiny size, what a result of each is, and in which phase a process is."""

from __future__ import annotations

import json
import mmap
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import bassl.finetune.train
import bassl.pretrain.train  # noqa: F401
from bassl.dataset.features import FeatureWriter
from bassl.files import TEMPORARY
from bassl.finetune import main as finetune
from bassl.finetune import train as finetune_train
from bassl.model.checkpoint import read_checkpoint
from bassl.prepare import main as prepare
from bassl.pretrain import extract as extraction
from bassl.pretrain import extract_shot_repr as extract
from bassl.pretrain import main as pretrain
from bassl.training.checkpointing import AtomicCheckpointIO
from tests.movienet import write_movienet
from tests.runs import extract_overrides, finetune_overrides, pretrain_overrides
from tests.video.clips import write_clip

START = 0
PHASES = (
    "starting up",
    "between steps",
    "in a step",
    "in a validation",
    "while a checkpoint was written",
    "while features were written",
    "in the final report",
    "in a film",
)
phase = mmap.mmap(-1, 1)  # of the process that was forked last
FILMS = {f"tt{number:07d}": 20 + number for number in range(6)}


def trace() -> None:
    """Have every run say which phase it is in; what it does stays as it is."""
    for owner, name, number in (
        (pl.Trainer, "fit", 1),
        (extraction.Extractor, "on_predict_start", 1),
        (pl.LightningModule, "optimizer_step", 2),
        (extraction.Extractor, "predict_step", 2),
        (_EvaluationLoop, "run", 3),
        (AtomicCheckpointIO, "save_checkpoint", 4),
        (FeatureWriter, "write", 5),
        (finetune_train, "write_report", 6),
    ):
        _traced(owner, name, number)


def _traced(owner: Any, name: str, number: int) -> None:
    whole = getattr(owner, name)
    stays = name == "on_predict_start"

    @wraps(whole)
    def run(*arguments: Any, **options: Any) -> Any:
        before = phase[0]
        phase[0] = number
        try:
            return whole(*arguments, **options)
        finally:
            phase[0] = number if stays else before

    setattr(owner, name, run)


@dataclass(frozen=True)
class Job:
    """A job that is killed. resumed: arguments of every start but the first; variants: some of one of them each."""

    name: str
    main: Callable[[list[str]], int]
    data: Callable[[Path], Path]
    arguments: Callable[[Path, Path], list[str]]
    results: Callable[[Path], dict[str, Any]]
    resumed: list[str]
    variants: list[list[str]]
    needs: Callable[[Path, Path], None] = lambda data, out: None

    def place(self, out: Path) -> str:
        """Where the process is."""
        in_a_film = any(out.glob("data/240P_frames/.partial-*"))  # which processes of its own work on
        return PHASES[7 if in_a_film else phase[0]]

    def has_half_written(self, out: Path) -> bool:
        """Whether a kill left a file or film under a temporary name."""
        return any(TEMPORARY.fullmatch(path.name) or path.name.startswith(".partial-") for path in out.rglob(".*"))

    def remove(self, out: Path) -> None:
        """Remove a run."""
        shutil.rmtree(out)


def prepared(job: Job, out: Path) -> Path:
    """The folder of a run, with what the job starts from."""
    out.mkdir()
    job.needs(job.data(out.parent), out)
    return out


@cache
def movienet(folder: Path) -> Path:
    """The data set of the first three jobs."""
    return write_movienet(folder / "movienet", FILMS)


@cache
def clips(folder: Path) -> Path:
    """The films of the last."""
    (folder / "clips").mkdir()
    for number in range(3):
        write_clip(folder / "clips" / f"film {number}.mp4", [24 + number, 40, 31, 50, 28] * 3)
    return folder / "clips"


LONGER = [
    "config.TRAINER.max_epochs=3",
    "config.TRAINER.limit_train_batches=4",
    "config.TRAINER.accumulate_grad_batches=2",
    "config.TRAINER.checkpoint_every_n_steps=1",
]


def pretraining(data: Path, out: Path) -> list[str]:
    return [*pretrain_overrides(data, out), *LONGER, "config.TRAIN.BATCH_SIZE.effective_batch_size=4"]


def fine_tuning(data: Path, out: Path) -> list[str]:
    selected = ["+config.PRETRAINED_LOAD_FROM=devel", "config.TEST.SELECT_ON=val"]
    return [*finetune_overrides(data, out), *LONGER, *selected]


def extracting(data: Path, out: Path) -> list[str]:
    return [*extract_overrides(data, out), "+config.LOAD_FROM=devel"]


def preparing(data: Path, out: Path) -> list[str]:
    return [str(data), "--target", str(out / "data"), "--jobs", "2"]


@cache
def _encoder(data: Path) -> Path:
    """A pre-trained checkpoint and its features, made once in a process of their own."""
    import multiprocessing

    out = data.parent / "encoder"
    for main, argv in (
        (pretrain.main, [*pretrain_overrides(data, out), "config.TEST.KNN_VALIDATION=false"]),
        (extract.main, extracting(data, out)),
    ):
        process = multiprocessing.get_context("fork").Process(target=main, args=(argv,))
        process.start()
        process.join()
        assert process.exitcode == 0, f"status {process.exitcode} of {main}"
    return out


def with_encoder(data: Path, out: Path) -> None:
    shutil.copytree(_encoder(data) / "pretrain", out / "pretrain")


def with_features(data: Path, out: Path) -> None:
    with_encoder(data, out)
    shutil.copytree(_encoder(data) / "features", out / "features")


def checkpoints(folder: Path) -> dict[str, Any]:
    """Every tensor and number of a run's checkpoints, as bytes."""
    found: dict[str, Any] = {}
    for path in folder.glob("[!.]*.ckpt"):
        stored = read_checkpoint(path)
        found[f"{path.name} step"] = stored.global_step
        for name, value in stored.state_dict.items():
            found[f"{path.name} {name}"] = value.numpy().tobytes()
        for states in stored.metadata["optimizer_states"]:
            for key, entry in states["state"].items():
                for field, value in entry.items():
                    found[f"{path.name} {key} {field}"] = torch.as_tensor(value).numpy().tobytes()
    return found


def scalars(folder: Path) -> dict[str, Any]:
    """Every scalar that was logged, the last one of a step where a step was done again; no speeds."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("throughput")]
    return {f"{tag} at {event.step}": event.value for tag in tags for event in events.Scalars(tag)}


def files(folder: Path) -> dict[str, Any]:
    """Bytes of every file that is no lock and no record of a run: of these a run that was killed leaves one more."""
    recorded = re.compile(r"\.?lock|(config|environment)(-\d+)?\.json")
    paths = (path for path in folder.rglob("*") if path.is_file() and not recorded.fullmatch(path.name))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def pretrained(out: Path) -> dict[str, Any]:
    return checkpoints(out / "pretrain/ckpt/devel") | scalars(out / "pretrain/logs/devel")


def fine_tuned(out: Path) -> dict[str, Any]:
    logs = out / "finetune/logs/devel"
    scores = json.loads((logs / "all_score.json").read_text())
    del scores["model"]  # its path, and the hash of a file that holds paths, are the folder's
    reports = {"all_score.json": scores, "predictions.csv": (logs / "predictions.csv").read_bytes()}
    return checkpoints(out / "finetune/ckpt/devel") | scalars(logs) | reports


RESUME = ["config.RESUME=true"]
WORKERS: list[list[str]] = [[], [], [], ["config.TRAIN.NUM_WORKERS=1"]]  # which hold a lock for seconds after a kill
JOBS = {
    "pretrain": Job("pretrain", pretrain.main, movienet, pretraining, pretrained, RESUME, WORKERS),
    "finetune": Job(
        "finetune", finetune.main, movienet, fine_tuning, fine_tuned, RESUME, [[]], with_features
    ),
    "extract": Job(
        "extract", extract.main, movienet, extracting, lambda out: files(out / "features"), [], WORKERS, with_encoder
    ),
    "prepare": Job("prepare", prepare.main, clips, preparing, lambda out: files(out / "data"), [], [[]]),
}  # fmt: skip
