"""Values that pre-training hands from its configuration to the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from bassl.config.load import load
from bassl.dataset.augmentation import AugmentationSettings
from bassl.dataset.datamodule import PretrainData
from bassl.dataset.window import WindowSpec
from bassl.pretrain.train import build_data
from bassl.training.run_folder import RunFolder
from tests.runs import pretrain_overrides


@pytest.fixture
def build(tiny_movienet: Path, tmp_path: Path):
    """Build the data of a run with more overrides and seed 7."""

    def data(*more: str) -> PretrainData:
        config = load("pretrain", [*pretrain_overrides(tiny_movienet, tmp_path), *more])
        return build_data(config, RunFolder("devel", tmp_path / "ckpt", tmp_path / "logs", False), 7)

    return data


def test_every_key_of_the_augmentation_reaches_the_training_set(build) -> None:
    jitter = ["p=0.7", "brightness=0.3", "contrast=0.4", "saturation=0.5", "hue=0.1", "consistent=false"]
    keys = ["scale=[0.3,0.9]", "ratio=[0.8,1.2]", "flip=0.4", "blur=0.6", "blur_sigma=[0.2,1.5]"]
    keys = [f"config.TRANSFORM.train.{key}" for key in [*keys, *(f"color_jitter.{key}" for key in jitter)]]
    assert build(*keys, "config.TRANSFORM.size=48").train_set.settings == AugmentationSettings(
        size=48,
        scale=(0.3, 0.9),
        ratio=(0.8, 1.2),
        flip_probability=0.4,
        jitter_probability=0.7,
        brightness=0.3,
        contrast=0.4,
        saturation=0.5,
        hue=0.1,
        jitter_consistent=False,
        blur_probability=0.6,
        blur_sigma=(0.2, 1.5),
    )


def test_samples_follow_the_method_its_window_and_the_masking_probability(build) -> None:
    keys = ["masked_shot_modeling.masking_prob=0.4", "sampling_method.name=bassl+shotcol"]
    keys += [f"sampling_method.params.bassl+shotcol.{key}" for key in ("neighbor_size=3", "neighbor_interval=2")]
    samples = build(*(f"config.LOSS.{key}" for key in keys)).train_set
    assert (samples.sampling, samples.sparse, samples.window) == ("window", [0, 6, 3], WindowSpec(3, 2))
    assert (samples.masking_probability, samples.seed) == (0.4, 7)


def test_validation_films_are_cut_into_chunks_of_the_evaluation_batch_with_the_test_transform(build) -> None:
    keys = ["config.TEST.BATCH_SIZE.effective_batch_size=12", "config.TRANSFORM.test.resize=40"]
    chunks = build(*keys).val_dataloader().dataset
    assert [len(chunk.shots) for chunk in chunks][:2] == [4, 4], "of three key-frames each"
    assert chunks[0].keyframes.shape[2:] == (3, 32, 32)
    assert build("config.TEST.KNN_VALIDATION=false").val_dataloader() == []
