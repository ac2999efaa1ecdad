"""Choose the device and the precision of a run. Knows nothing of Lightning."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bassl.config.schema import Config
from bassl.errors import InputError

log = logging.getLogger(__name__)
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LIGHTNING_NAMES = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Device:
    """What a process computes on.

    Attributes:
        kind: "cuda" or "cpu".
        precision: "32", "bf16" or "fp16".
    """

    kind: str
    precision: str

    @property
    def lightning_precision(self) -> Any:
        """The Trainer's name of the precision."""
        return LIGHTNING_NAMES[self.precision]

    @property
    def dtype(self) -> torch.dtype:
        """The encoder's dtype."""
        return DTYPES[self.precision]


def choose_device(config: Config, *, half: bool) -> Device:
    """Choose device and precision, check them against the machine, and log them.

    Args:
        half: whether precision "auto" means half precision where the device is fast at it; False in fine-tuning, which
            trains in float32 as the reference does.

    Raises:
        InputError: the machine has fewer GPUs than processes, or the CPU is to compute in fp16.
    """
    kind = choose_kind(config, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    disable_tf32()
    precision, why = config.TRAINER.precision, "as set"
    if precision == "auto":
        precision, why = fastest_precision(kind) if half else ("32", "as the reference")
    if precision == "fp16" and kind == "cpu":
        raise InputError("config.TRAINER.precision=fp16 needs a GPU; set bf16 or 32 on the CPU")
    name = torch.cuda.get_device_name(0) if kind == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    num_processes = config.DISTRIBUTED.NUM_NODES * config.DISTRIBUTED.NUM_PROC_PER_NODE
    log.info("computing on %s, %d process(es), precision %s (%s)", name, num_processes, precision, why)
    return Device(kind, precision)


def choose_kind(config: Config, num_gpus: int) -> str:
    """Return "cuda" or "cpu"; raise InputError if the processes of this machine need more GPUs than it has."""
    accelerator, processes = config.TRAINER.accelerator, config.DISTRIBUTED.NUM_PROC_PER_NODE
    kind = accelerator if accelerator != "auto" else ("cuda" if num_gpus else "cpu")
    if processes > num_gpus and (kind == "cuda" or (accelerator == "auto" and processes > 1)):
        remedies = []
        if num_gpus or accelerator == "auto":
            remedies.append(f"config.DISTRIBUTED.NUM_PROC_PER_NODE={max(num_gpus, 1)}")
        if not num_gpus:
            remedies.append("config.TRAINER.accelerator=cpu")
        raise InputError(
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes} needs as many GPUs, this machine has {num_gpus}; set "
            f"{' or '.join(remedies)}"
        )
    return kind


def fastest_precision(kind: str) -> tuple[str, str]:
    """Return the precision that a device computes fastest in, and why."""
    if kind == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU has no bfloat16"
    if cpu_has_bfloat16():
        return "bf16", "the CPU computes in it"
    return "32", "fastest on this CPU"


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); emulation is slower than float32."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.is_file() else []
    return any({"avx512_bf16", "amx_bf16"} & set(line.split()) for line in lines if line.startswith("flags"))


def disable_tf32() -> None:
    """Compute float32 in IEEE precision on GPUs as well; PyTorch defaults to TF32 for convolutions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*new API settings to control TF32.*")  # since torch 2.9; 2.8 has no other
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
