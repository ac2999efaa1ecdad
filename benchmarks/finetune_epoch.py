"""An epoch of fine-tuning: feeding, CRN, loss and optimiser over windows of shot features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bassl.dataset.annotation import Annotations
from bassl.dataset.datamodule import loader
from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import LabelledWindows, WindowBatch
from bassl.dataset.sampler import EpochSampler, SampleKey
from bassl.finetune.losses import balanced_cross_entropy
from bassl.finetune.module import on_device_if_it_fits
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.crn import ContextualRelationNetwork
from bassl.training.device import cpu_has_bfloat16
from benchmarks import relation_network_in_full
from benchmarks.feeding import sample_from_files
from benchmarks.material import DIMENSION, film_sizes, write_annotations, write_shot_by_shot, write_store
from benchmarks.measure import Row, Settings, compared, in_turns, timed

LEARNING_RATE = 1e-5
FULL_EPOCH = 300_000  # labelled windows of MovieNet-SSeg's train films


@dataclass(frozen=True)
class Material:
    """The same windows for both sides: as rows of a table, and as a file a shot."""

    rows: Annotations
    table: FeatureTable
    files: Path
    batch_size: int

    @property
    def num_windows(self) -> int:
        """Windows of an epoch; the incomplete last batch is dropped."""
        return len(self.rows) // self.batch_size * self.batch_size


def run(settings: Settings) -> list[Row]:
    """32 bit and bfloat16, each against 32 bit in full; on CUDA also how long a full epoch would take.

    A CPU that only emulates bfloat16 takes many times as long in it, so there it is left out.
    """
    material = prepared(settings)
    ours, reference = scorer(settings), scorer(settings)
    sides: dict[str, Callable[[], object]] = {
        "reference": lambda: in_full(reference, material, settings),
        "32": lambda: epoch(ours, material, settings, torch.float32),
    }
    precisions = [("32", torch.float32, 1.5)]
    if settings.device.type == "cuda" or cpu_has_bfloat16():
        sides["bf16"] = lambda: epoch(ours, material, settings, torch.bfloat16)
        precisions.append(("bf16", torch.bfloat16, 3.0))
    seconds = in_turns(sides, settings, rounds=settings.pick(quick=1, full=3))
    rows = []
    for name, precision, goal in precisions:
        pair = {
            "ours": seconds[name],
            "reference": seconds["reference"],
            "floor": [_multiplying(material, settings, precision)],
        }
        goal_here = goal if settings.device.type == "cpu" else None
        note = f"batches of {material.batch_size}; reference: 32 bit, a file a shot; floor: the matrix products alone"
        rows.append(
            compared(f"epoch of fine-tuning, {name}", pair, material.num_windows, "ms a window", goal_here, note)
        )
    if settings.device.type == "cuda":
        full = rows[0].ours * FULL_EPOCH / 1e3 if rows[0].ours else None
        rows.append(Row("epoch of 300,000 windows, 32", "s", full, note="from the row above"))
    return rows


def prepared(settings: Settings) -> Material:
    """Films with labels, their features in one table and in a file a shot."""
    batch_size = settings.pick(quick=16, full=256)
    num_batches = settings.pick(quick=2, full=4 if settings.device.type == "cpu" else 40)
    sizes = film_sizes(2, batch_size * num_batches + 2 + batch_size // 2)
    store = write_store(settings.folder / "features", sizes, dimension=dimension(settings))
    rows = write_annotations(settings.folder / "anno.ndjson", sizes).with_num_shots(sizes, "the store")
    table = store.table(list(sizes))
    table.values = on_device_if_it_fits(table.values, settings.device)
    return Material(rows, table, write_shot_by_shot(settings.folder / "files", store), batch_size)


def dimension(settings: Settings) -> int:
    """Features a shot."""
    return settings.pick(quick=64, full=DIMENSION)


def scorer(settings: Settings, dropout: float = 0.1) -> BoundaryScorer:
    """CRN and head, the same weights each time."""
    torch.manual_seed(0)
    hidden, wide = settings.pick(quick=(32, 64), full=(768, 3072))
    network = ContextualRelationNetwork(dimension(settings), hidden, intermediate_dim=wide, dropout=dropout)
    return BoundaryScorer(network).to(settings.device)


def epoch(model: BoundaryScorer, material: Material, settings: Settings, precision: torch.dtype) -> list[Tensor]:
    """The package's way; the losses of its steps."""
    sampler = EpochSampler(len(material.rows), material.batch_size, rank=0, world_size=1, seed=0)
    windows = LabelledWindows(material.rows, material.table.first)
    on_gpu = settings.device.type == "cuda"
    batches: Iterable[WindowBatch] = loader(
        windows, 0, sampler=sampler, batch_size=material.batch_size, drop_last=True, pin_memory=on_gpu
    )
    fed = ((material.table.gather(batch.shots, settings.device), batch.label) for batch in batches)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, LEARNING_RATE, fused=True)
    return _steps(fed, model, balanced_cross_entropy, optimizer, settings, precision)


def in_full(model: BoundaryScorer, material: Material, settings: Settings) -> list[Tensor]:
    """The reference's way; the losses of its steps."""
    network, head = model.crn, model.head_sbd
    assert network is not None
    assert head is not None
    sampler = EpochSampler(len(material.rows), material.batch_size, rank=0, world_size=1, seed=0)
    windows = WindowFiles(material.files, material.rows)
    batches = DataLoader(
        windows, material.batch_size, sampler=sampler, drop_last=True, num_workers=settings.num_workers
    )
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    return _steps(
        batches,
        lambda shots: head(relation_network_in_full.center_token(network, shots)),
        two_class_loss,
        optimizer,
        settings,
        torch.float32,
    )


class WindowFiles(Dataset[tuple[Tensor, int]]):
    """Windows read from a file a shot."""

    def __init__(self, folder: Path, rows: Annotations) -> None:
        self.folder, self.rows = folder, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, int]:
        return sample_from_files(self.folder, self.rows, key.row)


def two_class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Each class weighs one half, as the formula stands: (B, 2), (B,) -> scalar."""
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    positive, negative = (labels == 1).float(), (labels == 0).float()
    weights = 0.5 * positive / (positive.sum() + 1e-5) + 0.5 * negative / (negative.sum() + 1e-5)
    return (weights * losses).sum()


def _steps(
    batches: Iterable[tuple[Tensor, Tensor]],
    logits_of: Callable[[Tensor], Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    precision: torch.dtype,
) -> list[Tensor]:
    kind, losses = settings.device.type, []
    for features, labels in batches:
        features, labels = features.to(settings.device), labels.to(settings.device)
        optimizer.zero_grad()
        with torch.autocast(kind, precision, enabled=precision != torch.float32):
            logits = logits_of(features)
        loss = loss_of(logits.float(), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def _multiplying(material: Material, settings: Settings, precision: torch.dtype) -> float:
    """Seconds of the epoch's matrix products alone, at the rate of one product of that shape."""
    network = scorer(settings).crn
    assert network is not None
    tokens, width = network.num_shots + 1, network.hidden_dim
    wide = 4 * width
    layer = 4 * width * width + 2 * width * wide
    embedding = network.num_shots * network.input_dim * width
    products = 3 * (embedding + (tokens + 1) * layer) - embedding  # nothing flows back into the features
    left = torch.rand(material.batch_size * tokens, width, device=settings.device).to(precision)
    right = torch.rand(width, wide, device=settings.device).to(precision)
    left @ right
    seconds = min(timed(lambda: left @ right, settings) for _ in range(5))
    return seconds / (len(left) * width * wide) * products * material.num_windows
