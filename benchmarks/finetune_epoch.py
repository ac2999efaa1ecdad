"""An epoch of fine-tuning: feeding, CRN, loss and optimiser over windows of shot features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bassl.dataset.datamodule import loader
from bassl.dataset.movienet import WindowBatch
from bassl.finetune.losses import balanced_cross_entropy
from bassl.finetune.module import on_device_if_it_fits
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.crn import ContextualRelationNetwork
from bassl.training.device import cpu_has_bfloat16
from benchmarks.data import DIMENSION, film_sizes
from benchmarks.feeding import Films, WindowFiles, write_films
from benchmarks.measure import Row, Settings, compared, in_turns, timed
from benchmarks.reference_training import center_token, two_class_loss

LEARNING_RATE = 1e-5
FULL_EPOCH = 300_000  # labelled windows of MovieNet-SSeg's train films


def run(settings: Settings) -> list[Row]:
    """Compare 32 bit and bfloat16 with the reference's way in 32 bit; on CUDA also estimate a full epoch.

    A CPU that only emulates bfloat16 takes many times as long in it, so it is left out there.
    """
    films, model, reference = prepare(settings), scorer(settings), scorer(settings)
    sides: dict[str, Callable[[], object]] = {
        "reference": lambda: reference_epoch(reference, films, settings),
        "32": lambda: epoch(model, films, settings, torch.float32),
    }
    precisions = {"32": (torch.float32, 1.5)}
    if settings.on_gpu or cpu_has_bfloat16():
        sides["bf16"] = lambda: epoch(model, films, settings, torch.bfloat16)
        precisions["bf16"] = (torch.bfloat16, 3.0)
    seconds = in_turns(sides, settings, rounds=3)
    rows = []
    for name, (precision, goal) in precisions.items():
        floor = [_matrix_seconds(films, settings, precision)]
        rows.append(
            compared(
                f"epoch of fine-tuning, {name}",
                {"ours": seconds[name], "reference": seconds["reference"], "floor": floor},
                per=num_windows(films),
                unit="ms a window",
                goal=None if settings.on_gpu else goal,
                note=f"batches of {films.batch_size}; reference: 32 bit, a file a shot; floor: the matrix products alone",
            )
        )
    if settings.on_gpu and rows[0].ours:
        full = rows[0].ours * FULL_EPOCH / 1e3
        rows.append(Row("epoch of 300,000 windows, 32", "s", full, note="from the row above"))
    return rows


def prepare(settings: Settings) -> Films:
    """Write films with labels; their table is on the device if it fits."""
    batch_size = settings.pick(quick=16, full=256)
    num_batches = settings.pick(quick=2, full=40 if settings.on_gpu else 4)
    sizes = film_sizes(2, batch_size * num_batches + 2 + batch_size // 2)
    films = write_films(settings.folder, sizes, batch_size, dimension=_dimension(settings))
    films.table.values = on_device_if_it_fits(films.table.values, settings.device)
    return films


def num_windows(films: Films) -> int:
    """Return the windows of an epoch; the incomplete last batch is dropped."""
    return len(films.rows) // films.batch_size * films.batch_size


def scorer(settings: Settings, dropout: float = 0.1) -> BoundaryScorer:
    """Build CRN and head, with the same weights each time."""
    torch.manual_seed(0)
    hidden, wide = settings.pick(quick=(32, 64), full=(768, 3072))
    network = ContextualRelationNetwork(_dimension(settings), hidden, intermediate_dim=wide, dropout=dropout)
    return BoundaryScorer(network).to(settings.device)


def epoch(model: BoundaryScorer, films: Films, settings: Settings, precision: torch.dtype) -> list[Tensor]:
    """Train an epoch the package's way; return the losses of its steps."""
    options = {"sampler": films.sampler, "batch_size": films.batch_size, "drop_last": True}
    batches: Iterable[WindowBatch] = loader(films.windows, 0, pin_memory=settings.on_gpu, **options)
    samples = ((films.table.gather(batch.shots, settings.device), batch.label) for batch in batches)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, LEARNING_RATE, fused=True)
    return _train(samples, model, balanced_cross_entropy, optimizer, settings, precision)


def reference_epoch(model: BoundaryScorer, films: Films, settings: Settings) -> list[Tensor]:
    """Train an epoch the reference's way; return the losses of its steps."""
    network, head = model.crn, model.head_sbd
    assert network is not None and head is not None
    batches = DataLoader(
        WindowFiles(films), films.batch_size, sampler=films.sampler, drop_last=True, num_workers=settings.num_workers
    )
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    logits = lambda shots: head(center_token(network, shots))  # noqa: E731
    return _train(batches, logits, two_class_loss, optimizer, settings, torch.float32)


def _train(
    batches: Iterable[tuple[Tensor, Tensor]],
    model: Callable[[Tensor], Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    precision: torch.dtype,
) -> list[Tensor]:
    losses = []
    for features, labels in batches:
        features, labels = features.to(settings.device), labels.to(settings.device)
        optimizer.zero_grad()
        with torch.autocast(settings.device.type, precision, enabled=precision != torch.float32):
            logits = model(features)
        loss = loss_of(logits.float(), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def _dimension(settings: Settings) -> int:
    return settings.pick(quick=64, full=DIMENSION)


def _matrix_seconds(films: Films, settings: Settings, precision: torch.dtype) -> float:
    """Return the seconds of the epoch's matrix products alone, at the rate of one product of that shape."""
    network = scorer(settings).crn
    assert network is not None
    tokens, width = network.num_shots + 1, network.hidden_dim
    wide = 4 * width
    layer = 4 * width * width + 2 * width * wide
    embedding = network.num_shots * network.input_dim * width
    products = 3 * (embedding + (tokens + 1) * layer) - embedding  # features get no gradient
    left = torch.rand(films.batch_size * tokens, width, device=settings.device).to(precision)
    right = torch.rand(width, wide, device=settings.device).to(precision)
    left @ right
    seconds = min(timed(lambda: left @ right, settings) for _ in range(5))
    return seconds / (len(left) * width * wide) * products * num_windows(films)
