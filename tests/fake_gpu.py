"""A GPU that need not be there: fake tensors of device "cuda" have no values, and refuse to meet those of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
ops = torch.ops.aten
COPIES = {ops._to_copy.default: 0, ops.copy_.default: 1}
"""Operations that copy, and which argument they copy from."""
INDEXING = (ops.index.Tensor, ops.index_put.default, ops.index_put_.default)
READ = "value read"


class FakeGpu(TorchDispatchMode):
    """While it is entered, tensors are fake. waits: what the host would have waited for the device for, in order.

    It waits where a value is read (the answer is then "true" or 0), where a copy is not asked to go on in the
    background, and where an index lies on the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)  # such as a count on the CPU, made before
        self.waits: list[str] = []

    def __enter__(self) -> FakeGpu:
        self.fake.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ops._local_scalar_dense.default and args[0].is_cuda:
            self.waits.append(READ)
            return args[0].dtype == torch.bool
        if func is ops._unique2.default:  # as if all values were different
            self.waits.append(str(func))
            return args[0], *(torch.empty_like(args[0], dtype=torch.int64) for _ in range(2))
        result = func(*args, **kwargs)
        if func in COPIES:
            in_background = kwargs.get("non_blocking") or (func is ops.copy_.default and len(args) > 2 and args[2])
            if {args[COPIES[func]].device.type, result.device.type} == {"cpu", "cuda"} and not in_background:
                self.waits.append(str(func))
        elif func in INDEXING and args[0].is_cuda:
            self.waits += [str(func) for index in args[1] if index is not None and not index.is_cuda]
        return result

    def copy(self, tensor: Tensor) -> Tensor:
        """A stand-in on the GPU with the shape, strides and dtype of a tensor."""
        return self.fake.from_tensor(tensor).to(GPU, non_blocking=True).detach()

    def move(self, module: nn.Module) -> None:
        """Put stand-ins for parameters and buffers on the GPU, and nothing else: what `module.to` would miss stays."""
        moved = {
            parameter: nn.Parameter(self.copy(parameter), parameter.requires_grad) for parameter in module.parameters()
        }
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = moved[parameter]
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.copy(buffer)
        if isinstance(module, pl.LightningModule):
            module._device = GPU


def take_steps(
    module: pl.LightningModule, batch: Any, precision: str, monkeypatch: pytest.MonkeyPatch, clip: float | None = None
) -> torch.optim.Optimizer:
    """Two training steps on a `FakeGpu`, by the module's own hooks in Lightning's order; returns the optimiser.

    precision: "32", "bf16" or "fp16", the last with a gradient scaler.
    """
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda: None, query=lambda: False))
    for name in ("log", "log_dict"):
        monkeypatch.setattr(module, name, lambda *_arguments, **_options: None)
    scaler = torch.amp.GradScaler("cpu") if precision == "fp16" else None  # "cuda" asks for a real one
    trainer: Any = SimpleNamespace(
        current_epoch=0, global_step=0, global_rank=0, estimated_stepping_batches=4, gradient_clip_val=clip,
        precision_plugin=SimpleNamespace(scaler=scaler),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=0)),
    )  # fmt: skip
    module._trainer = trainer
    found: Any = module.configure_optimizers()
    optimizer, scheduler = found["optimizer"], found["lr_scheduler"]["scheduler"]
    trainer.optimizers = [optimizer]
    for batch_idx in range(2):
        with _autocast(precision):
            loss = module.training_step(batch, batch_idx)
        assert loss.device == GPU
        optimizer.zero_grad()
        run_backward(loss if scaler is None else scaler.scale(loss))
        if scaler is not None and not getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        module.on_before_optimizer_step(optimizer)
        if clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        scheduler.step()
    return optimizer


@torch.no_grad()
def run_backward(loss: Tensor) -> None:
    """What `loss.backward()` does, node by node: autograd's engine asks the driver for streams, and there is none."""
    gradients: dict[Any, list[Tensor | None]] = {loss.grad_fn: [torch.ones_like(loss)]}
    while gradients:
        node = max(gradients, key=lambda node: node._sequence_nr())  # made last; those that accumulate come first
        outer = gradients.pop(node)
        if hasattr(node, "variable"):
            known = node.variable.grad
            node.variable.grad = outer[0] if known is None else known + outer[0]
            continue
        inner = node(*outer)
        gradients_of_inputs = inner if isinstance(inner, tuple) else (inner,)
        for (behind, place), gradient in zip(node.next_functions, gradients_of_inputs, strict=True):
            if behind is not None and gradient is not None:
                expected = behind._input_metadata[place]
                gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)
                assert gradient.device == expected.device, behind
                so_far = gradients.setdefault(behind, [None] * len(behind._input_metadata))
                so_far[place] = gradient if so_far[place] is None else so_far[place] + gradient


@contextmanager
def _autocast(precision: str) -> Iterator[None]:
    """Autocast of "cuda", which `torch.autocast` turns off where there is none."""
    if precision == "32":
        yield
        return
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_dtype("cuda", {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
