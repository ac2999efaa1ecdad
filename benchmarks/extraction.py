"""Extraction of shot features, end to end: key-frames on disk to features on disk."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bassl.config.plan import ExtractPlan
from bassl.config.resolve import resolve_extract
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bassl.config.load import load
from bassl.dataset.features import FeatureStore
from bassl.dataset.keyframes import NUM_KEYFRAMES
from bassl.model.checkpoint import load_weights, read_checkpoint
from bassl.model.shot_encoder import ShotEncoder, for_inference
from bassl.pretrain.extract import extract
from bassl.training.device import cpu_has_bfloat16
from benchmarks import pictures_one_by_one
from benchmarks.material import write_film_copies
from benchmarks.measure import Row, Settings, compared, in_turns, timed

SHOTS_A_BATCH = 64  # the reference's way


def run(settings: Settings) -> list[Row]:
    """Shots a second on the CPU; on CUDA the images a second beside those of the bare encoder too."""
    num_shots, num_films = settings.pick(quick=4, full=136), settings.pick(quick=1, full=1)
    plan = prepared(settings, num_films, num_shots)
    mine, theirs = (settings.folder / side for side in ("ours", "reference"))
    sides = {
        "ours": lambda: extract(replace(plan, features=fresh(mine)), {}),
        "reference": lambda: one_by_one(plan, fresh(theirs), settings),
    }
    seconds = in_turns(sides, settings, rounds=settings.pick(quick=1, full=2), warm_up=False)
    seconds["floor"] = [_bare_encoder(plan, settings, num_shots)]
    note = f"{num_shots} shots from start to end, {settings.num_workers} data workers; floor: the bare encoder"
    goal = 3 if settings.device.type == "cpu" else None
    rows = [compared("extraction", seconds, num_films * num_shots, "ms a shot", goal, note)]
    return rows + ([_share_of_the_encoder(settings)] if settings.device.type == "cuda" else [])


def prepared(settings: Settings, num_films: int, num_shots: int) -> ExtractPlan:
    """The plan of an extraction from the first shots of the shipped film, which stands in for several."""
    data = write_film_copies(settings.folder / "data", num_films, num_shots)
    checkpoint = settings.folder / "model.ckpt"
    if not checkpoint.is_file():
        torch.manual_seed(0)
        encoder = ShotEncoder.build(settings.pick(quick=18, full=50))
        torch.save({"state_dict": encoder.state_dict(prefix="shot_encoder.")}, checkpoint)
    size = settings.pick(quick=["config.TRANSFORM.test.resize=32", "config.TRANSFORM.test.crop=32"], full=[])
    return resolve_extract(
        load(
            "extract",
            [
                *size,
                f"config.LOAD_FROM={checkpoint}",
                f"config.DATA_PATH={data}",
                f"config.FEATURE_PATH={settings.folder / 'ours'}",
                f"config.TRAINER.accelerator={settings.device.type}",
                f"config.TRAIN.NUM_WORKERS={settings.num_workers}",
                "config.TRAINER.progress_bar=false",
            ],
        )
    )


def fresh(folder: Path) -> Path:
    """A folder that does not exist yet, named after the given one."""
    return folder.with_name(f"{folder.name}-{time.monotonic_ns()}")


class OneShotAtATime(Dataset[Tensor]):
    """Shots as (K, 3, H, W), an image at a time."""

    def __init__(self, plan: ExtractPlan) -> None:
        self.size = plan.test_transform
        frames = sorted(plan.data.keyframes.glob("*/shot_*_img_0.jpg"))
        rows = (plan.data.annotations / f"anno.{plan.split}.ndjson").read_text(encoding="utf-8").count("\n")
        films = len(list(plan.data.keyframes.iterdir()))
        self.shots = [path for path in frames if int(path.name[5:9]) < rows // films]

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> Tensor:
        first = self.shots[index]
        paths = [first.with_name(first.name.replace("img_0", f"img_{k}")) for k in range(NUM_KEYFRAMES)]
        return pictures_one_by_one.shot_views(paths, self.size.resize, self.size.crop)


@torch.no_grad()
def one_by_one(plan: ExtractPlan, folder: Path, settings: Settings) -> None:
    """The reference's way: three passes in 32 bit, channels first, and a file a shot."""
    checkpoint = read_checkpoint(plan.checkpoint)
    encoder = ShotEncoder.build(settings.pick(quick=18, full=50))
    load_weights(encoder, checkpoint.state_dict, prefix="shot_encoder.")
    encoder.to(settings.device).eval()
    shots = OneShotAtATime(plan)
    number = 0
    for batch in DataLoader(
        shots, SHOTS_A_BATCH, num_workers=settings.num_workers, pin_memory=settings.device.type == "cuda"
    ):
        images = batch.to(settings.device)
        features = sum(encoder(images[:, k].contiguous()) for k in range(NUM_KEYFRAMES)) / NUM_KEYFRAMES
        for shot in features.cpu().numpy():
            path = shots.shots[number]
            (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
            np.save(folder / path.parent.name / f"shot_{path.name[5:9]}.npy", shot)
            number += 1


def largest_difference(ours: Path, theirs: Path) -> float:
    """Between two stores of the same films, relative to the length of a shot's features."""
    mine, reference = FeatureStore.open(ours), FeatureStore.open(theirs)
    assert mine.num_shots == reference.num_shots, (mine.num_shots, reference.num_shots)
    worst = 0.0
    for film in mine.num_shots:
        difference = np.linalg.norm(mine.film(film) - reference.film(film), axis=1)
        worst = max(worst, float((difference / np.linalg.norm(reference.film(film), axis=1)).max()))
    return worst


def _bare_encoder(plan: ExtractPlan, settings: Settings, num_shots: int) -> float:
    """Seconds that the encoder alone takes for the key-frames of so many shots, images at hand."""
    encoder, images = _encoder_and_images(plan, settings)
    with torch.inference_mode():
        encoder(images)
        return timed(lambda: encoder(images), settings) / len(images) * NUM_KEYFRAMES * num_shots


def _encoder_and_images(plan: ExtractPlan, settings: Settings) -> tuple[torch.nn.Module, Tensor]:
    on_gpu = settings.device.type == "cuda"
    half = on_gpu or cpu_has_bfloat16()
    encoder = ShotEncoder.build(settings.pick(quick=18, full=50))
    frozen = for_inference(encoder, torch.bfloat16 if half else torch.float32).to(settings.device)
    size = plan.test_transform.crop
    images = torch.rand(settings.pick(quick=6, full=256 if on_gpu else 32), 3, size, size, device=settings.device)
    return frozen, images.contiguous(memory_format=torch.channels_last)


def _share_of_the_encoder(settings: Settings) -> Row:
    """Images a second between a short and a long extraction, so that the start does not count; the encoder's own."""
    seconds = []
    few, many = settings.pick(quick=(1, 2), full=(40, 200))
    for films in (few, many):
        plan = prepared(replace(settings, folder=settings.folder / f"{films}"), films, 136)
        start = time.perf_counter()
        extract(replace(plan, features=fresh(settings.folder / "long")), {})
        seconds.append(time.perf_counter() - start)
    ours = (many - few) * 136 * NUM_KEYFRAMES / (seconds[1] - seconds[0])
    encoder, images = _encoder_and_images(plan, settings)
    with torch.inference_mode():
        encoder(images)
        bare = len(images) / min(timed(lambda: encoder(images), settings) for _ in range(5))
    note = f"bfloat16, {settings.num_workers} data workers"
    share = ours / bare
    return Row(
        "extraction beside the bare encoder",
        "images/s",
        ours,
        None,
        share,
        "0.85 of the floor",
        share >= 0.85,
        bare,
        note,
    )
