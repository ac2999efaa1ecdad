"""Types and ranges of every public key, as dataclasses that mirror the YAML files.

The values and their meanings stand in `pretrain.yaml`, `extract.yaml` and `finetune.yaml`. `bassl.config.load`
fills these classes from YAML and command line, so that a run receives one typed and checked object: `Pretrain`,
`Extract` or `Finetune`. A type `X | None` marks a key that may be `null`: it then follows from other keys.
"""

# ruff: noqa: RUF009 (fields are declared by functions)
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from bassl.errors import InputError

# --- ranges ---------------------------------------------------------------------------------------------------------


def between(low: float, high: float = math.inf) -> Any:
    """Declare a finite number from `low` to `high`, both included."""
    return field(metadata={"low": low, "high": high})


def above(low: float) -> Any:
    """Declare a finite number greater than `low`."""
    return field(metadata={"above": low})


def one_of(*choices: Any) -> Any:
    """Declare a value out of a list."""
    return field(metadata={"choices": choices})


def interval() -> Any:
    """Declare two positive numbers, the smaller first."""
    return field(metadata={"interval": True})


def check_ranges(config: Any, prefix: str = "config") -> None:
    """Raise InputError for the first value outside its range, by its full key."""
    for entry in fields(config):
        name, value = f"{prefix}.{entry.name}", getattr(config, entry.name)
        if is_dataclass(value):
            check_ranges(value, name)
        elif isinstance(value, Mapping):
            for key, below in value.items():
                check_ranges(below, f"{name}.{key}")
        elif value is not None:
            _check(name, value, entry)


def _check(name: str, value: Any, entry: Field[Any]) -> None:
    allowed = entry.metadata
    if "choices" in allowed and value not in allowed["choices"]:
        raise InputError(f"{name}={value} is unknown; choose one of {', '.join(map(str, allowed['choices']))}")
    if "above" in allowed and not allowed["above"] < value < math.inf:
        raise InputError(f"{name}={value} must be a number above {allowed['above']:g}")
    if "low" in allowed and not (allowed["low"] <= value <= allowed["high"] and math.isfinite(value)):
        limit = "" if allowed["high"] == math.inf else f" and at most {allowed['high']}"
        raise InputError(f"{name}={value} must be at least {allowed['low']}{limit}")
    if "interval" in allowed and (len(value) != 2 or not 0 < value[0] <= value[1] < math.inf):
        raise InputError(f"{name}={value} must be two numbers above 0, the smaller first")


# --- sections that several jobs share -------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Distributed:
    """Processes."""

    NUM_NODES: int = between(1)
    NUM_PROC_PER_NODE: int = between(1)


@dataclass(kw_only=True)
class BatchSize:
    """Samples over all processes."""

    effective_batch_size: int = between(1)


@dataclass(kw_only=True)
class CorruptKeyframes:
    """Missing and broken key-frames."""

    strict: bool
    max_share: float = between(0, 1)


@dataclass(kw_only=True)
class TestSize:
    """Resize and centre crop at test time."""

    resize: int = between(1)
    crop: int = between(1)


@dataclass(kw_only=True)
class TestTransform:
    """Transforms of a job that does not augment."""

    test: TestSize


@dataclass(kw_only=True)
class Data:
    """Where data and checkpoints lie."""

    DATA_PATH: str | None
    ANNO_PATH: str | None
    IMG_PATH: str | None
    CKPT_PATH: str | None
    DATA_FAULTS: CorruptKeyframes


@dataclass(kw_only=True)
class Run(Data):
    """A training run."""

    LOG_PATH: str | None
    EXPR_NAME: str
    SEED: int | None = between(-1, 2**32 - 1)
    DRY_RUN: bool
    RESUME: str | None
    SAVE_OPTIMIZER: bool

    @property
    def evaluates(self) -> bool:
        """Whether the job scores a model without training."""
        return False


@dataclass(kw_only=True)
class Device:
    """What a job computes on."""

    accelerator: str = one_of("auto", "cuda", "cpu")
    precision: str = one_of("auto", "32", "bf16", "fp16")
    progress_bar: bool


@dataclass(kw_only=True)
class Trainer(Device):
    """The training loop."""

    max_epochs: int = between(0)
    max_steps: int | None = between(1)
    accumulate_grad_batches: int = between(1)
    gradient_clip_val: float | None = above(0)
    log_every_n_steps: int = between(1)
    limit_train_batches: int | None = between(1)
    limit_val_batches: int | None = between(1)
    checkpoint_every_n_steps: int | None = between(1)
    checkpoint_every_n_minutes: float | None = above(0)


@dataclass(kw_only=True)
class LearningRate:
    """Learning rate for 256 samples."""

    base_lr: float = above(0)


@dataclass(kw_only=True)
class Scheduler:
    """Linear warm-up, then cosine decay."""

    warmup: float = between(0, 1)


@dataclass(kw_only=True)
class Neighbors:
    """Window of shots."""

    neighbor_size: int = between(1)
    neighbor_interval: int = between(1)


@dataclass(kw_only=True)
class Trn:
    """The transformer of the contextual relation network."""

    hidden_size: int = between(1)
    num_hidden_layers: int = between(1)
    num_attention_heads: int = between(1)
    intermediate_size: int = between(1)
    hidden_dropout_prob: float = between(0, 1)
    pooling_method: str = one_of("center", "cls", "avg", "max")


@dataclass(kw_only=True)
class TrnParams:
    """Parameters by the network's name."""

    trn: Trn


# --- pre-training ---------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class PretrainTrainer(Trainer):
    """The training loop of pre-training."""

    compile: bool


@dataclass(kw_only=True)
class PretrainOptimizer:
    """LARS or SGD."""

    name: str = one_of("lars", "sgd")
    momentum: float = between(0, 1)
    weight_decay: float = between(0)
    trust_coefficient: float = above(0)
    eps: float = between(0)
    lr: LearningRate
    scheduler: Scheduler


@dataclass(kw_only=True)
class PretrainTrain:
    """Training samples and optimiser."""

    BATCH_SIZE: BatchSize
    NUM_WORKERS: int = between(0)
    OPTIMIZER: PretrainOptimizer


@dataclass(kw_only=True)
class PretrainTest:
    """Validation."""

    KNN_VALIDATION: bool
    VAL_FREQ: int = between(1)
    VAL_FIRST: bool
    BATCH_SIZE: BatchSize


@dataclass(kw_only=True)
class ResNetParams:
    """Initialisation."""

    zero_init_residual: bool


@dataclass(kw_only=True)
class ResNet:
    """The shot encoder's backbone."""

    depth: int = one_of(18, 34, 50, 101, 152)
    use_imagenet_pretrained: bool
    params: ResNetParams


@dataclass(kw_only=True)
class ShotEncoder:
    """The shot encoder."""

    resnet: ResNet


@dataclass(kw_only=True)
class Crn:
    """The contextual relation network."""

    enabled: bool | None
    name: str = one_of("trn")
    params: TrnParams


@dataclass(kw_only=True)
class PretrainModel:
    """Networks."""

    use_sync_bn: bool
    shot_encoder: ShotEncoder
    contextual_relation_network: Crn


@dataclass(kw_only=True)
class SamplingMethod:
    """The pre-training method, and the window of each."""

    name: str = one_of("bassl", "bassl+shotcol", "shotcol", "temporal", "instance")
    params: dict[str, Neighbors]


@dataclass(kw_only=True)
class ContrastiveLoss:
    """SSM, or the contrastive loss of a shot-level method."""

    enabled: bool | None
    temperature: float = above(0)


@dataclass(kw_only=True)
class GroupMatchingLoss:
    """CGM."""

    enabled: bool | None


@dataclass(kw_only=True)
class BoundaryLoss:
    """PP."""

    enabled: bool | None
    num_neg_sample: int = between(1)


@dataclass(kw_only=True)
class MaskedShotLoss:
    """MSM."""

    enabled: bool | None
    masking_prob: float = between(0, 1)


@dataclass(kw_only=True)
class PretrainLoss:
    """Loss terms."""

    sampling_method: SamplingMethod
    shot_scene_matching: ContrastiveLoss
    contextual_group_matching: GroupMatchingLoss
    pseudo_boundary_prediction: BoundaryLoss
    masked_shot_modeling: MaskedShotLoss
    simclr: ContrastiveLoss


@dataclass(kw_only=True)
class ColorJitter:
    """Random colour jitter."""

    p: float = between(0, 1)
    brightness: float = between(0, 1)
    contrast: float = between(0, 1)
    saturation: float = between(0, 1)
    hue: float = between(0, 0.5)
    consistent: bool


@dataclass(kw_only=True)
class Augmentation:
    """Augmentation of a sequence of key-frames."""

    scale: list[float] = interval()
    ratio: list[float] = interval()
    flip: float = between(0, 1)
    color_jitter: ColorJitter
    blur: float = between(0, 1)
    blur_sigma: list[float] = interval()


@dataclass(kw_only=True)
class PretrainTransform:
    """Augmentation, and the test-time transform of validation."""

    size: int = between(1)
    train: Augmentation
    test: TestSize


@dataclass(kw_only=True)
class Pretrain(Run):
    """One pre-training run."""

    DISTRIBUTED: Distributed
    TRAINER: PretrainTrainer
    TRAIN: PretrainTrain
    TEST: PretrainTest
    MODEL: PretrainModel
    LOSS: PretrainLoss
    TRANSFORM: PretrainTransform


# --- extraction -----------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Workers:
    """Data workers."""

    NUM_WORKERS: int = between(0)


@dataclass(kw_only=True)
class ExtractTest:
    """Key-frames at a time."""

    BATCH_SIZE: BatchSize


@dataclass(kw_only=True)
class Extract(Data):
    """One extraction of shot features."""

    LOAD_FROM: str | None
    FEATURE_PATH: str | None
    SHOT_PATH: str | None
    SPLIT: str = one_of("pretrain", "trainvaltest", "train", "val", "test")
    FEATURE_DTYPE: str = one_of("float32", "float16")
    DRY_RUN: bool
    DISTRIBUTED: Distributed
    TRAINER: Device
    TRAIN: Workers
    TEST: ExtractTest
    TRANSFORM: TestTransform


# --- fine-tuning and evaluation -------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class FinetuneOptimizer:
    """Adam or AdamW."""

    name: str = one_of("adam", "adamw")
    weight_decay: float = between(0)
    lr: LearningRate
    scheduler: Scheduler


@dataclass(kw_only=True)
class FinetuneTrain:
    """Labelled samples and optimiser."""

    NUM_FILMS: int | None = between(1)
    BATCH_SIZE: BatchSize
    NUM_WORKERS: int = between(0)
    OPTIMIZER: FinetuneOptimizer


@dataclass(kw_only=True)
class FinetuneTest:
    """Evaluation."""

    VAL_FREQ: int = between(1)
    BATCH_SIZE: BatchSize
    SELECT_ON: str = one_of("last", "val")
    THRESHOLD: int | float | str
    DECODER: str = one_of("none", "posterior")
    UNCERTAIN_LABEL: str = one_of("positive", "masked")
    FPS: float = above(0)


@dataclass(kw_only=True)
class Similarity:
    """The similarity head."""

    hidden_size: int = between(1)
    dropout: float = between(0, 1)


@dataclass(kw_only=True)
class Structure:
    """The structure scorer."""

    strength: float = above(0)


@dataclass(kw_only=True)
class FinetuneCrn:
    """The contextual relation network of fine-tuning."""

    projection: int | None = between(1)
    transfer: bool | None
    params: TrnParams


@dataclass(kw_only=True)
class FinetuneModel:
    """What scores a window."""

    scorer: str = one_of("crn", "similarity", "crn+similarity", "structure")
    similarity: Similarity
    structure: Structure
    contextual_relation_network: FinetuneCrn


@dataclass(kw_only=True)
class FinetuneSampling:
    """Window of shots."""

    params: Neighbors


@dataclass(kw_only=True)
class FinetuneLoss:
    """Named as in pre-training."""

    sampling_method: FinetuneSampling


@dataclass(kw_only=True)
class Finetune(Run):
    """One fine-tuning run or evaluation."""

    PRETRAINED_LOAD_FROM: str | None
    LOAD_FROM: str | None
    ZERO_SHOT: bool
    PRETRAINED_CKPT_PATH: str | None
    FEATURE_PATH: str | None
    SHOT_PATH: str | None
    USE_RAW_SHOT: bool
    DISTRIBUTED: Distributed
    TRAINER: Trainer
    TRAIN: FinetuneTrain
    TEST: FinetuneTest
    MODEL: FinetuneModel
    LOSS: FinetuneLoss
    TRANSFORM: TestTransform

    @property
    def evaluates(self) -> bool:
        """Whether the job scores a model without training."""
        return bool(self.LOAD_FROM) or self.ZERO_SHOT


Config = Pretrain | Extract | Finetune
JOBS: dict[str, type] = {"pretrain": Pretrain, "extract": Extract, "finetune": Finetune}
