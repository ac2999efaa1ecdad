"""Pre-training samples: decoding and augmenting the 19 views of a window."""

from __future__ import annotations

import torch
from torch import Tensor

from bassl.dataset.augmentation import AugmentationSettings
from bassl.dataset.device_augmentation import augment
from bassl.dataset.movienet import PretrainBatch, PretrainShots, collate_pretrain
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import decode_keyframe
from benchmarks import pictures_one_by_one
from benchmarks.material import sample_film
from benchmarks.measure import Row, Settings, compared, in_turns, timed

WINDOW = 17


def run(settings: Settings) -> list[Row]:
    """Both on one core: what a worker does when a device does the rest, and the whole sample."""
    data = dataset(settings.pick(quick=32, full=224))
    keys = [SampleKey(0, row) for row in range(20, 20 + settings.pick(quick=1, full=8))]
    sides = {
        "worker": lambda: [data[key] for key in keys],
        "whole": lambda: [whole_sample(data, key) for key in keys],
        "reference": lambda: [pictures_one_by_one.sample(data, key) for key in keys],
        "decoding": lambda: [decode_window(data, key) for key in keys],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = in_turns(sides, settings)
    finally:
        torch.set_num_threads(threads)
    theirs = seconds["reference"]
    worker = {"ours": seconds["worker"], "reference": theirs, "floor": seconds["decoding"]}
    whole = {"ours": seconds["whole"], "reference": theirs, "floor": seconds["worker"]}
    per = len(keys)
    rows = [
        compared("pre-training sample for a GPU", worker, per, "ms a sample", 5, "worker core; floor: decoding alone"),
        compared(
            "pre-training sample on the CPU", whole, per, "ms a sample", 1, "one core; floor: decoding and cropping"
        ),
    ]
    return rows + ([_on_device(data, keys, settings)] if settings.device.type == "cuda" else [])


def dataset(size: int) -> PretrainShots:
    """Windows of the shipped film, as bassl samples them."""
    _, keyframes = sample_film()
    return PretrainShots(keyframes, AugmentationSettings(size=size), seed=0)


def whole_sample(data: PretrainShots, key: SampleKey) -> tuple[Tensor, Tensor]:
    """One sample, ready for the encoder: the views (V, 3, size, size) and the mask (S,)."""
    batch = collate_pretrain([data[key]])
    return augment(batch.keyframes, batch.draws)[0], batch.mask[0]


def decode_window(data: PretrainShots, key: SampleKey) -> list[Tensor]:
    """As many key-frames as a window has."""
    return [decode_keyframe(data.keyframes.path(0, shot, 1)) for shot in range(key.row, key.row + WINDOW)]


def _on_device(data: PretrainShots, keys: list[SampleKey], settings: Settings) -> Row:
    batch = collate_pretrain([data[key] for key in keys] * 4)
    on_device = PretrainBatch(batch.keyframes.to(settings.device), batch.draws, batch.mask)
    work = lambda: augment(on_device.keyframes, on_device.draws)  # noqa: E731
    work()
    seconds = timed(work, settings)
    note = "flip, jitter, blur and normalisation of a batch of 32 samples"
    return Row("views on the device", "ms a sample", 1e3 * seconds / len(batch.mask), note=note)
