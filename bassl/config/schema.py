"""Every public key: type, default and meaning. The command line and the YAML files set these and no others.

`Pretrain`, `Extract` and `Finetune` are the trees below `config.` of the three jobs. A default of None behind
an `Optional` type means "follow what the rest of the configuration implies"; `bassl.config.resolve` decides.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, Optional  # OmegaConf reads the annotations at run time

# ruff: noqa: UP045 (Optional[...] is what OmegaConf understands on every Python version)
# ruff: noqa: RUF009 (key and tree make fields)
# ruff: noqa: E501 (a key and its meaning share a line)
# fmt: off


def key(default: Any, meaning: str) -> Any:
    """A field with its meaning, which `--help` and docs/config.md print."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


def shown(entry: Field[Any]) -> str:
    """The default of a key as one would type it."""
    default = entry.default_factory() if callable(entry.default_factory) else entry.default
    if default is None:
        return "unset"
    return str(default).lower() if isinstance(default, bool) else str(default).replace(" ", "")


def tree(kind: type) -> Any:
    """A field that holds a sub-tree."""
    return field(default_factory=kind)


@dataclass
class Distributed:
    NUM_NODES: int = key(1, "machines that take part; start the command on each (torchrun, SLURM)")
    NUM_PROC_PER_NODE: int = key(1, "processes on each machine, one GPU each (on CPU: processes over gloo)")


@dataclass
class PretrainDistributed(Distributed):
    NUM_PROC_PER_NODE: int = key(8, "processes on each machine, one GPU each (on CPU: processes over gloo)")


@dataclass
class Trainer:
    max_epochs: int = key(10, "passes over the training shots")
    max_steps: Optional[int] = key(None, "stop after this many optimiser steps, or max_epochs, whichever comes first; the schedule ends there")
    accelerator: str = key("auto", "auto (CUDA where there is a GPU, else CPU), cuda or cpu")
    precision: str = key("auto", "auto (the half precision that the device computes in, else 32), 32, bf16 or fp16")
    accumulate_grad_batches: int = key(1, "micro-batches per optimiser step; the effective batch is shared out over them too, and an epoch drops what fills no whole step")
    gradient_clip_val: Optional[float] = key(None, "largest gradient norm; unset: no clipping, as in the reference")
    log_every_n_steps: int = key(10, "steps between two TensorBoard points")
    limit_train_batches: Optional[int] = key(None, "training batches per epoch at most; unset: all")
    limit_val_batches: Optional[int] = key(None, "validation batches at most; unset: all")
    checkpoint_every_n_steps: Optional[int] = key(None, "also save last.ckpt every so many steps, beside the end of each epoch")
    checkpoint_every_n_minutes: Optional[float] = key(None, "also save last.ckpt every so many minutes")
    progress_bar: bool = key(True, "show progress bars")


@dataclass
class PretrainTrainer(Trainer):
    max_epochs: int = key(10, "passes over the training shots; 0: validate and save the untrained weights, as a baseline")
    compile: bool = key(False, "torch.compile the shot encoder (pays off on CUDA in long runs)")


@dataclass
class FinetuneTrainer(Trainer):
    max_epochs: int = key(20, "passes over the labelled training shots")
    precision: str = key("auto", "auto (32 on every device, as the reference), 32, bf16 or fp16")


@dataclass
class BatchSize:
    effective_batch_size: int = key(256, "samples per optimiser step over all processes and accumulated micro-batches")


@dataclass
class LargeBatchSize:
    effective_batch_size: int = key(1024, "samples per optimiser step over all processes and accumulated micro-batches")


@dataclass
class KeyframeBatchSize:
    effective_batch_size: int = key(256, "key-frames that are encoded at a time, over all processes")


@dataclass
class WindowBatchSize:
    effective_batch_size: int = key(1024, "windows that are scored at a time, over all processes")


@dataclass
class PretrainLearningRate:
    base_lr: float = key(0.3, "learning rate for 256 samples; scaled by effective_batch_size / 256")


@dataclass
class FinetuneLearningRate:
    base_lr: float = key(2.5e-06, "learning rate for 256 samples; scaled by effective_batch_size / 256 (bassl 2.5e-6, shot-level methods 2.5e-5)")


@dataclass
class Scheduler:
    warmup: float = key(0.1, "share of all steps during which the learning rate rises linearly from zero")


@dataclass
class FinetuneScheduler(Scheduler):
    warmup: float = key(0.0, "share of all steps during which the learning rate rises linearly from zero")


@dataclass
class PretrainOptimizer:
    name: str = key("lars", "lars or sgd")
    momentum: float = key(0.9, "momentum of lars and sgd")
    weight_decay: float = key(1e-6, "weight decay of every parameter whose name contains neither bn nor bias")
    trust_coefficient: float = key(0.001, "layer-wise trust coefficient of lars")
    eps: float = key(1e-8, "added to the denominator of the lars trust ratio")
    lr: PretrainLearningRate = tree(PretrainLearningRate)
    scheduler: Scheduler = tree(Scheduler)


@dataclass
class FinetuneOptimizer:
    name: str = key("adam", "adam or adamw")
    weight_decay: float = key(0.0, "weight decay of adam (L2) or adamw (decoupled)")
    lr: FinetuneLearningRate = tree(FinetuneLearningRate)
    scheduler: FinetuneScheduler = tree(FinetuneScheduler)


@dataclass
class PretrainTrain:
    BATCH_SIZE: BatchSize = tree(BatchSize)
    NUM_WORKERS: int = key(8, "data workers per process; capped at the cores there are")
    OPTIMIZER: PretrainOptimizer = tree(PretrainOptimizer)


@dataclass
class FinetuneTrain:
    BATCH_SIZE: LargeBatchSize = tree(LargeBatchSize)
    NUM_WORKERS: int = key(8, "data workers per process when key-frames are read (USE_RAW_SHOT), capped at the cores there are and at the batches that memory holds; features need none")
    OPTIMIZER: FinetuneOptimizer = tree(FinetuneOptimizer)


@dataclass
class PretrainTest:
    KNN_VALIDATION: bool = key(True, "validate with the k-NN precision of same-scene shots on the test rows")
    VAL_FREQ: int = key(1, "epochs between two validations")
    VAL_FIRST: bool = key(False, "also validate before the first step; always done with max_epochs=0")
    BATCH_SIZE: KeyframeBatchSize = tree(KeyframeBatchSize)


@dataclass
class FinetuneTest:
    VAL_FREQ: int = key(1, "epochs between two evaluations")
    BATCH_SIZE: WindowBatchSize = tree(WindowBatchSize)
    SELECT_ON: str = key("last", "last: report the last epoch on test, as the reference; val: keep the epoch with the best AP on val, then test once")
    THRESHOLD: Any = key(0.5, "probability from which a shot counts as a boundary, for F1, Recall and mIoU; val: the best F1 on val, with SELECT_ON=val")
    UNCERTAIN_LABEL: str = key("positive", "label -1: positive (counts as 1, the benchmark's rule) or masked (left out of loss and metrics)")
    FPS: float = key(24.0, "frames per second, for Recall@3s")


@dataclass
class ResNetParams:
    zero_init_residual: bool = key(True, "start each residual branch at zero")


@dataclass
class ResNet:
    depth: int = key(50, "18, 34, 50, 101 or 152")
    use_imagenet_pretrained: bool = key(False, "start from torchvision's ImageNet weights instead of from scratch")
    params: ResNetParams = tree(ResNetParams)


@dataclass
class ShotEncoderConfig:
    resnet: ResNet = tree(ResNet)


@dataclass
class Trn:
    hidden_size: int = key(768, "width of the tokens")
    num_hidden_layers: int = key(2, "transformer layers")
    num_attention_heads: int = key(8, "attention heads")
    intermediate_size: int = key(3072, "width of the feed-forward layers")
    hidden_dropout_prob: float = key(0.1, "dropout after the embedding, on attention and after each output layer")
    pooling_method: str = key("center", "token that stands for the window: center, cls, avg or max")


@dataclass
class CrnParams:
    trn: Trn = tree(Trn)


@dataclass
class Crn:
    enabled: Optional[bool] = key(None, "train the contextual relation network; unset: when a loss uses it")
    name: str = key("trn", "trn, a transformer (the only one)")
    params: CrnParams = tree(CrnParams)


@dataclass
class Model:
    use_sync_bn: bool = key(True, "batch statistics over all processes")
    shot_encoder: ShotEncoderConfig = tree(ShotEncoderConfig)
    contextual_relation_network: Crn = tree(Crn)


@dataclass
class Neighbors:
    neighbor_size: int = key(8, "shots on either side of the centre")
    neighbor_interval: int = key(1, "shots from one position of the window to the next")


@dataclass
class SamplingMethod:
    name: str = key("bassl", "bassl, bassl+shotcol, shotcol, temporal or instance")
    params: dict[str, Neighbors] = field(
        default_factory=lambda: {
            name: Neighbors() for name in ("bassl", "bassl+shotcol", "shotcol", "temporal", "instance")
        },
        metadata={"meaning": "neighbourhood of each method, by its name"},
    )


@dataclass
class ShotSceneMatching:
    enabled: Optional[bool] = key(None, "contrast each edge shot with its scene; unset: on for bassl and bassl+shotcol")
    temperature: float = key(0.1, "temperature of NT-Xent, also of the shotcol term")


@dataclass
class ContextualGroupMatching:
    enabled: Optional[bool] = key(None, "does a shot belong to the centre's group; unset: on for bassl and bassl+shotcol")


@dataclass
class PseudoBoundaryPrediction:
    enabled: Optional[bool] = key(None, "is a shot the pseudo-boundary; unset: on for bassl and bassl+shotcol")
    num_neg_sample: int = key(1, "other shots drawn per window as negatives")


@dataclass
class MaskedShotModeling:
    enabled: Optional[bool] = key(None, "rebuild masked shots; unset: on for bassl and bassl+shotcol")
    masking_prob: float = key(0.15, "probability that a shot is masked (at least one is)")


@dataclass
class SimClr:
    enabled: Optional[bool] = key(None, "contrast two views; unset: on for instance, temporal and shotcol")
    temperature: float = key(0.1, "temperature of NT-Xent")


@dataclass
class Loss:
    sampling_method: SamplingMethod = tree(SamplingMethod)
    shot_scene_matching: ShotSceneMatching = tree(ShotSceneMatching)
    contextual_group_matching: ContextualGroupMatching = tree(ContextualGroupMatching)
    pseudo_boundary_prediction: PseudoBoundaryPrediction = tree(PseudoBoundaryPrediction)
    masked_shot_modeling: MaskedShotModeling = tree(MaskedShotModeling)
    simclr: SimClr = tree(SimClr)


@dataclass
class ColorJitter:
    p: float = key(0.8, "probability for a sequence")
    brightness: float = key(0.2, "strength")
    contrast: float = key(0.2, "strength")
    saturation: float = key(0.2, "strength")
    hue: float = key(0.05, "strength, in turns of the colour circle")
    consistent: bool = key(True, "one draw for the sequence (what the reference's code did); false: one draw an image")


@dataclass
class Augmentation:
    scale: list[float] = key([0.14, 1.0], "share of the picture's area that a crop covers")
    ratio: list[float] = key([0.75, 1.3333333333333333], "aspect ratio of a crop")
    flip: float = key(0.5, "probability of a horizontal flip of a sequence")
    color_jitter: ColorJitter = tree(ColorJitter)
    blur: float = key(0.5, "probability of a Gaussian blur of a sequence")
    blur_sigma: list[float] = key([0.1, 2.0], "radius of the blur in pixels, drawn per image")


@dataclass
class TestTransform:
    resize: int = key(256, "short side of a key-frame before the centre crop, in pixels")
    crop: int = key(224, "side of the centre crop, in pixels")


@dataclass
class PretrainTransform:
    size: int = key(224, "side of an augmented key-frame, in pixels")
    train: Augmentation = tree(Augmentation)
    test: TestTransform = tree(TestTransform)


@dataclass
class ExtractTransform:
    test: TestTransform = tree(TestTransform)


@dataclass
class DataFaults:
    strict: bool = key(False, "end at the first missing or broken key-frame; false: another one of its shot stands in")
    max_share: float = key(0.001, "end when more than this share of the key-frames that a data worker has read is missing or broken; up to ten are borne, unless it is 0")


@dataclass
class Paths:
    DATA_PATH: Optional[str] = key(None, "folder in MovieNet's layout; unset: bassl/data/movienet")
    ANNO_PATH: Optional[str] = key(None, "folder of the annotations; unset: <DATA_PATH>/anno")
    IMG_PATH: Optional[str] = key(None, "folder of the key-frames; unset: <DATA_PATH>/240P_frames")
    CKPT_PATH: Optional[str] = key(None, "folder of this job's checkpoints; unset: bassl/pretrain/ckpt or bassl/finetune/ckpt")
    DATA_FAULTS: DataFaults = tree(DataFaults)


@dataclass
class Common(Paths):
    LOG_PATH: Optional[str] = key(None, "folder of this job's logs; unset: bassl/pretrain/logs or bassl/finetune/logs")
    EXPR_NAME: str = key("devel", "name of the run: the folder of its checkpoints and logs")
    SEED: Optional[int] = key(None, "seed of every random draw, 0 included; unset: drawn, logged and stored")
    DRY_RUN: bool = key(False, "two training steps and one validation batch on the real data, then stop; nothing is written")
    RESUME: Optional[str] = key(None, "true: go on from the run's last.ckpt if there is one; a path: go on from that checkpoint")


@dataclass
class Pretrain(Common):
    DISTRIBUTED: PretrainDistributed = tree(PretrainDistributed)
    TRAINER: PretrainTrainer = tree(PretrainTrainer)
    TRAIN: PretrainTrain = tree(PretrainTrain)
    TEST: PretrainTest = tree(PretrainTest)
    MODEL: Model = tree(Model)
    LOSS: Loss = tree(Loss)
    TRANSFORM: PretrainTransform = tree(PretrainTransform)


@dataclass
class ExtractTrainer:
    accelerator: str = key("auto", "auto (CUDA where there is a GPU, else CPU), cuda or cpu")
    precision: str = key("auto", "auto (the half precision that the device computes in, else 32), 32, bf16 or fp16")
    progress_bar: bool = key(True, "show progress bars")


@dataclass
class ExtractTrain:
    NUM_WORKERS: int = key(8, "data workers per process, which read and resize key-frames; capped at the cores there are")


@dataclass
class ExtractTest:
    BATCH_SIZE: KeyframeBatchSize = tree(KeyframeBatchSize)


@dataclass
class Extract(Paths):
    LOAD_FROM: Optional[str] = key(None, "pre-trained run (a folder of CKPT_PATH) or a checkpoint's path")
    FEATURE_PATH: Optional[str] = key(None, "where the features go; unset: <DATA_PATH>/features/<LOAD_FROM>")
    SHOT_PATH: Optional[str] = key(None, "folder of the shot files, which tell how many shots a film has; unset: <DATA_PATH>/scene318/shot_movie318")
    SPLIT: str = key("trainvaltest", "annotation file whose films are extracted: trainvaltest, pretrain, train, val or test")
    FEATURE_DTYPE: str = key("float32", "float32 or float16: what is stored")
    DRY_RUN: bool = key(False, "one film, nothing is written")
    DISTRIBUTED: Distributed = tree(Distributed)
    TRAINER: ExtractTrainer = tree(ExtractTrainer)
    TRAIN: ExtractTrain = tree(ExtractTrain)
    TEST: ExtractTest = tree(ExtractTest)
    TRANSFORM: ExtractTransform = tree(ExtractTransform)


@dataclass
class FinetuneCrn:
    transfer: Optional[bool] = key(None, "start from the pre-trained CRN; unset: when pre-training learnt one")
    params: CrnParams = tree(CrnParams)


@dataclass
class Similarity:
    hidden_size: int = key(64, "width of the similarity head's hidden layer")
    dropout: float = key(0.3, "dropout of the similarity head")


@dataclass
class FinetuneModel:
    scorer: str = key("crn", "what scores a window: crn, similarity (for a few labelled films) or crn+similarity")
    similarity: Similarity = tree(Similarity)
    contextual_relation_network: FinetuneCrn = tree(FinetuneCrn)


@dataclass
class FinetuneSampling:
    params: Neighbors = tree(Neighbors)


@dataclass
class FinetuneLoss:
    sampling_method: FinetuneSampling = tree(FinetuneSampling)


@dataclass
class Finetune(Common):
    PRETRAINED_LOAD_FROM: Optional[str] = key(None, "pre-trained run whose features (and CRN, if it learnt one) are fine-tuned")
    LOAD_FROM: Optional[str] = key(None, "fine-tuned run or checkpoint to evaluate; nothing is trained; EXPR_NAME is then <its name>_evaluation")
    ZERO_SHOT: bool = key(False, "evaluate PRETRAINED_LOAD_FROM by the pseudo-boundary head of its pre-training; nothing is trained, no label is seen")
    PRETRAINED_CKPT_PATH: Optional[str] = key(None, "folder of the pre-trained checkpoints; unset: bassl/pretrain/ckpt")
    FEATURE_PATH: Optional[str] = key(None, "feature store; unset: <DATA_PATH>/features/<PRETRAINED_LOAD_FROM>")
    SHOT_PATH: Optional[str] = key(None, "folder of the shot files (frame numbers); unset: <DATA_PATH>/scene318/shot_movie318")
    USE_RAW_SHOT: bool = key(False, "read key-frames through the frozen encoder instead of stored features")
    DISTRIBUTED: Distributed = tree(Distributed)
    TRAINER: FinetuneTrainer = tree(FinetuneTrainer)
    TRAIN: FinetuneTrain = tree(FinetuneTrain)
    TEST: FinetuneTest = tree(FinetuneTest)
    MODEL: FinetuneModel = tree(FinetuneModel)
    LOSS: FinetuneLoss = tree(FinetuneLoss)
    TRANSFORM: ExtractTransform = tree(ExtractTransform)


JOBS: dict[str, type] = {"pretrain": Pretrain, "extract": Extract, "finetune": Finetune}
