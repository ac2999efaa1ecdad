"""Pre-training samples: decoding and augmenting the 19 views of a window."""

from __future__ import annotations

from torch import Tensor

from bassl.dataset.augmentation import AugmentationSettings
from bassl.dataset.device_augmentation import augment
from bassl.dataset.movienet import PretrainBatch, PretrainShots, collate_pretrain
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import decode_keyframe
from benchmarks import reference_augmentation
from benchmarks.data import sample_keyframes
from benchmarks.measure import Row, Settings, compared, in_turns, one_thread, timed

WINDOW = 17


def run(settings: Settings) -> list[Row]:
    """Compare on one core: what a worker does if a device does the rest, and the whole sample."""
    data = dataset(settings.pick(quick=32, full=224))
    keys = [SampleKey(0, row) for row in range(20, 20 + settings.pick(quick=1, full=8))]
    sides = {
        "worker": lambda: [data[key] for key in keys],
        "whole": lambda: [whole_sample(data, key) for key in keys],
        "reference": lambda: [reference_augmentation.pretrain_sample(data, key) for key in keys],
        "decoding": lambda: [_decode_window(data, key) for key in keys],
    }
    with one_thread():
        seconds = in_turns(sides, settings)
    per, reference = len(keys), seconds["reference"]
    worker = {"ours": seconds["worker"], "reference": reference, "floor": seconds["decoding"]}
    whole = {"ours": seconds["whole"], "reference": reference, "floor": seconds["worker"]}
    note = "worker core; floor: decoding alone"
    rows = [compared("pre-training sample for a GPU", worker, per=per, unit="ms a sample", goal=5, note=note)]
    note = "one core; floor: decoding and cropping"
    rows += [compared("pre-training sample on the CPU", whole, per=per, unit="ms a sample", goal=1, note=note)]
    return rows + ([_on_device(data, keys, settings)] if settings.on_gpu else [])


def dataset(size: int) -> PretrainShots:
    """Return windows of the shipped film, as bassl samples them."""
    return PretrainShots(sample_keyframes(), AugmentationSettings(size=size), seed=0)


def whole_sample(data: PretrainShots, key: SampleKey) -> tuple[Tensor, Tensor]:
    """Return one sample, ready for the encoder: the views (V, 3, size, size) and the mask (S,)."""
    batch = collate_pretrain([data[key]])
    return augment(batch.keyframes, batch.draws)[0], batch.mask[0]


def _decode_window(data: PretrainShots, key: SampleKey) -> list[Tensor]:
    return [decode_keyframe(data.keyframes.path(0, shot, 1)) for shot in range(key.row, key.row + WINDOW)]


def _on_device(data: PretrainShots, keys: list[SampleKey], settings: Settings) -> Row:
    batch = collate_pretrain([data[key] for key in keys] * 4)
    on_device = PretrainBatch(batch.keyframes.to(settings.device), batch.draws, batch.mask)
    augment(on_device.keyframes, on_device.draws)
    seconds = timed(lambda: augment(on_device.keyframes, on_device.draws), settings)
    note = "flip, jitter, blur and normalisation of a batch of 32 samples"
    return Row("views on the device", "ms a sample", 1e3 * seconds / len(batch.mask), note=note)
