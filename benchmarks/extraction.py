"""Extraction of shot features, end to end: key-frames on disk to features on disk."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bassl.config.load import load
from bassl.config.paths import data_paths, pretrained_checkpoint
from bassl.config.schema import Extract
from bassl.dataset.features import FeatureStore
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.model.checkpoint import read_checkpoint
from bassl.model.loading import load_encoder
from bassl.model.shot_encoder import ShotEncoder, for_inference
from bassl.pretrain.extract import extract, films_to_extract
from bassl.training.device import cpu_has_bfloat16
from benchmarks.data import SAMPLE_SHOTS, write_film_copies
from benchmarks.measure import Row, Settings, compared, in_turns, marginal_seconds, timed
from benchmarks.reference_augmentation import views_at_test_time

REFERENCE_BATCH = 64  # shots
MIN_SHARE = 0.85


def run(settings: Settings) -> list[Row]:
    """Compare milliseconds per shot; on CUDA also the images per second with those of the bare encoder."""
    num_shots = settings.pick(quick=4, full=SAMPLE_SHOTS)
    config = prepare(settings, num_films=1, num_shots=num_shots)
    sides = {
        "ours": lambda: extract(replace(config, FEATURE_PATH=str(_new_folder(settings)))),
        "reference": lambda: extract_per_shot(config, _new_folder(settings), settings),
    }
    seconds = in_turns(sides, settings, rounds=2, warm_up=False)
    seconds["floor"] = [num_shots * NUM_KEYFRAMES / _bare_rate(config, settings)]
    note = f"{num_shots} shots from start to end, {settings.num_workers} data workers; floor: the bare encoder"
    goal = None if settings.on_gpu else 3
    row = compared("extraction", seconds, per=num_shots, unit="ms a shot", goal=goal, note=note)
    return [row, *([_share_of_the_encoder(settings)] if settings.on_gpu else [])]


def prepare(settings: Settings, num_films: int, num_shots: int, *more: str) -> Extract:
    """Return the configuration of an extraction from copies of the first shots of the shipped film."""
    data = write_film_copies(settings.folder / "data", num_films, num_shots)
    checkpoint = settings.folder / "model.ckpt"
    if not checkpoint.is_file():
        torch.manual_seed(0)
        encoder = ShotEncoder.build(settings.pick(quick=18, full=50))
        torch.save({"state_dict": encoder.state_dict(prefix="shot_encoder.")}, checkpoint)
    size = settings.pick(quick=["config.TRANSFORM.test.resize=32", "config.TRANSFORM.test.crop=32"], full=[])
    overrides = [
        *size,
        f"config.LOAD_FROM={checkpoint}",
        f"config.DATA_PATH={data}",
        f"config.FEATURE_PATH={settings.folder / 'features'}",
        f"config.TRAINER.accelerator={settings.device.type}",
        f"config.TRAIN.NUM_WORKERS={settings.num_workers}",
        "config.TRAINER.progress_bar=false",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        *more,
    ]
    config: Extract = load("extract", overrides)
    return config


class ShotViews(Dataset[Tensor]):
    """The key-frames of each shot, (K, 3, H, W), one image at a time."""

    def __init__(self, config: Extract) -> None:
        self.keyframes = Keyframes(data_paths(config).keyframes, films_to_extract(config))
        num_shots = self.keyframes.annotations.num_shots.tolist()
        self.shots = [(film, shot) for film, count in enumerate(num_shots) for shot in range(count)]
        self.size = config.TRANSFORM.test

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> Tensor:
        paths = [self.keyframes.path(*self.shots[index], k) for k in range(NUM_KEYFRAMES)]
        return views_at_test_time(paths, self.size.resize, self.size.crop)


@torch.no_grad()
def extract_per_shot(config: Extract, folder: Path, settings: Settings) -> None:
    """Extract the reference's way: one pass per key-frame in 32 bit, channels first, and a file per shot."""
    source = pretrained_checkpoint(config)
    assert source is not None
    encoder = load_encoder(read_checkpoint(source)).to(settings.device).eval()
    data = ShotViews(config)
    batches = DataLoader(data, REFERENCE_BATCH, num_workers=settings.num_workers, pin_memory=settings.on_gpu)
    shots = iter(data.shots)
    for batch in batches:
        images = batch.to(settings.device)
        features = sum(encoder(images[:, k].contiguous()) for k in range(NUM_KEYFRAMES)) / NUM_KEYFRAMES
        for values in features.cpu().numpy():
            film, shot = next(shots)
            path = folder / data.keyframes.annotations.films[film] / f"shot_{shot:04d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)


def largest_difference(ours: Path, theirs: Path) -> float:
    """Return the largest difference between two stores of the same films, relative to the length of the features."""
    our_store, their_store = FeatureStore.open(ours), FeatureStore.open(theirs)
    assert our_store.num_shots == their_store.num_shots, (our_store.num_shots, their_store.num_shots)
    pairs = [(our_store.film(film), their_store.film(film)) for film in our_store.num_shots]
    norm = np.linalg.norm
    return max(float((norm(a - b, axis=1) / norm(b, axis=1)).max()) for a, b in pairs)


def _new_folder(settings: Settings) -> Path:
    return settings.folder / f"features-{time.monotonic_ns()}"


def _bare_rate(config: Extract, settings: Settings) -> float:
    """Return the images per second of the encoder alone."""
    is_half = settings.on_gpu or cpu_has_bfloat16()
    encoder = ShotEncoder.build(settings.pick(quick=18, full=50))
    frozen = for_inference(encoder, torch.bfloat16 if is_half else torch.float32).to(settings.device)
    size = config.TRANSFORM.test.crop
    count = settings.pick(quick=6, full=256 if settings.on_gpu else 32)
    images = torch.rand(count, 3, size, size, device=settings.device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        frozen(images)
        return count / min(timed(lambda: frozen(images), settings) for _ in range(settings.pick(quick=1, full=5)))


def _share_of_the_encoder(settings: Settings) -> Row:
    """Compare images per second of a long extraction with those of the bare encoder."""
    few, many = settings.pick(quick=(1, 2), full=(40, 200))
    configs = {}
    for films in (few, many):
        folder = settings.folder / f"{films}-films"
        folder.mkdir()
        configs[films] = prepare(replace(settings, folder=folder), films, SAMPLE_SHOTS)
    seconds = marginal_seconds(lambda films: extract(configs[films]), few, many)
    ours = SAMPLE_SHOTS * NUM_KEYFRAMES / seconds
    bare = _bare_rate(configs[few], settings)
    return Row(
        "extraction beside the bare encoder",
        "images/s",
        ours,
        ratio=ours / bare,
        goal=f"{MIN_SHARE} of the floor",
        reached=ours / bare >= MIN_SHARE,
        floor=bare,
        note=f"bfloat16, {settings.num_workers} data workers",
    )
