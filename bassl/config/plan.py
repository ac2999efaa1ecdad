"""What a job will do, decided: frozen records without any "unset", made by `bassl.config.resolve`.

The entry points read these and hand plain arguments on; nothing is added to a plan later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MethodPlan:
    """A pre-training method with its losses.

    sampling: "window" (dense window and sparse views), "instance" or "temporal" (two views).
    sparse: positions of the window that get a second view, in the order in which the losses read them.
    terms: the summed loss terms, by name: ssm, shotcol, cgm, pp, msm, simclr.
    """

    name: str
    sampling: str
    sparse: tuple[int, ...]
    terms: tuple[str, ...]
    neighbor_size: int
    neighbor_interval: int
    temperature: float
    num_negatives: int
    masking_probability: float

    @property
    def num_shots(self) -> int:
        """Length of the dense window, in shots."""
        return 2 * self.neighbor_size + 1

    @property
    def center(self) -> int:
        """Position of the centre shot in the window, also where the window was shifted."""
        return self.neighbor_size

    @property
    def uses_crn(self) -> bool:
        """Whether a loss reads the contextual relation network."""
        return bool({"cgm", "pp", "msm"} & set(self.terms))


@dataclass(frozen=True)
class RunPlan:
    """Name and folders of a run. seed None: to be drawn.

    resume: a checkpoint or its folder to go on from, True for the run's own last one if there is one, False for none.
    """

    name: str
    seed: int | None
    dry_run: bool
    resume: Path | bool
    checkpoint_folder: Path
    log_folder: Path


@dataclass(frozen=True)
class DataPlan:
    """Where the data lies, and how much of it may be broken (see `bassl.dataset.keyframes`)."""

    root: Path
    annotations: Path
    keyframes: Path
    strict: bool = False
    max_faulty_share: float = 0.001


@dataclass(frozen=True)
class ComputePlan:
    """Processes and how they share a batch. `batch_size` and `eval_batch_size` are per process and micro-batch."""

    num_nodes: int
    num_processes: int
    accelerator: str
    precision: str
    batch_size: int
    eval_batch_size: int
    accumulate: int
    num_workers: int

    @property
    def world_size(self) -> int:
        """Processes over all machines."""
        return self.num_nodes * self.num_processes


@dataclass(frozen=True)
class LoopPlan:
    """How long training lasts and what it writes on the way. None: no limit, or not at all."""

    max_epochs: int
    max_steps: int | None
    gradient_clip: float | None
    log_every_steps: int
    limit_train_batches: int | None
    limit_eval_batches: int | None
    eval_every_epochs: int
    checkpoint_every_steps: int | None
    checkpoint_every_minutes: float | None
    progress_bar: bool


@dataclass(frozen=True)
class OptimizerPlan:
    """The optimiser. `lr` is the peak learning rate, already scaled to the effective batch."""

    name: str
    lr: float
    weight_decay: float
    warmup: float
    momentum: float = 0.0
    trust_coefficient: float = 0.0
    eps: float = 1e-8


@dataclass(frozen=True)
class EncoderPlan:
    """The shot encoder."""

    depth: int
    zero_init_residual: bool
    imagenet_pretrained: bool


@dataclass(frozen=True)
class CrnPlan:
    """Sizes of a contextual relation network that is built afresh."""

    hidden_dim: int
    num_layers: int
    num_heads: int
    intermediate_dim: int
    dropout: float
    pooling: str


@dataclass(frozen=True)
class TestTransformPlan:
    """Short side and centre crop of a key-frame at test time, in pixels."""

    resize: int
    crop: int


@dataclass(frozen=True)
class PretrainPlan:
    """One pre-training run. `augmentation` holds the arguments of AugmentationSettings."""

    run: RunPlan
    data: DataPlan
    compute: ComputePlan
    loop: LoopPlan
    optimizer: OptimizerPlan
    method: MethodPlan
    encoder: EncoderPlan
    crn: CrnPlan | None
    augmentation: Mapping[str, Any]
    test_transform: TestTransformPlan
    knn_validation: bool
    validate_first: bool
    sync_bn: bool
    compile: bool


@dataclass(frozen=True)
class ExtractPlan:
    """One extraction of shot features."""

    checkpoint: Path
    features: Path
    shots: Path
    data: DataPlan
    compute: ComputePlan
    split: str
    dtype: str
    test_transform: TestTransformPlan
    dry_run: bool
    progress_bar: bool


@dataclass(frozen=True)
class FinetunePlan:
    """One fine-tuning run, or (with `evaluate`) the evaluation of one.

    pretrained: the pre-trained checkpoint or folder, None where features alone are given.
    zero_shot: evaluate `pretrained` by its pseudo-boundary head.
    scorer: "crn", "similarity" or "crn+similarity".
    raw: read key-frames instead of features.
    features: the feature store, None where it follows from the fine-tuned model; own_features: given by its path.
    transfer: whether to start from the pre-trained CRN; None: when there is one.
    """

    run: RunPlan
    data: DataPlan
    compute: ComputePlan
    loop: LoopPlan
    optimizer: OptimizerPlan
    crn: CrnPlan
    pretrained: Path | None
    evaluate: Path | None
    zero_shot: bool
    scorer: str
    similarity_hidden_dim: int
    similarity_dropout: float
    raw: bool
    features: Path | None
    own_features: bool
    shots: Path
    transfer: bool | None
    neighbor_size: int
    neighbor_interval: int
    select_on: str
    threshold: float | None
    uncertain: str
    fps: float
    test_transform: TestTransformPlan
