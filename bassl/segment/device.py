"""Where a model computes, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bassl.errors import InputError


@dataclass(frozen=True)
class ComputeDevice:
    """name: "cpu", "cuda:0", ...; dtype: of the encoder's arithmetic."""

    name: str
    dtype: torch.dtype

    @property
    def torch_device(self) -> torch.device:
        """As torch wants it."""
        return torch.device(self.name)


def device_names(given: str) -> tuple[str, ...]:
    """Devices to share films out over: of "auto" all GPUs, or the CPU; else those in a comma-separated list.

    Raises:
        InputError: a name that is none, or a GPU that this machine does not have.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if given == "auto":
        return tuple(f"cuda:{index}" for index in range(num_gpus)) or ("cpu",)
    names = tuple("cuda:0" if name.strip() == "cuda" else name.strip() for name in given.split(","))
    for name in names:
        index = name.removeprefix("cuda:")
        if name != "cpu" and not (name.startswith("cuda:") and index.isdigit()):
            raise InputError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:1, or several with commas")
        if name != "cpu" and int(index) >= num_gpus:
            raise InputError(f"there is no {name}: this machine has {num_gpus} usable GPUs; use --device auto")
    return names


def choose_device(given: str) -> ComputeDevice:
    """The first of `device_names`, with the fastest precision that it computes in."""
    name = device_names(given)[0]
    if name != "cpu":
        is_recent = torch.cuda.is_bf16_supported(including_emulation=False)
        return ComputeDevice(name, torch.bfloat16 if is_recent else torch.float16)
    return ComputeDevice(name, torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32)


def _cpu_multiplies_bfloat16() -> bool:
    """As `bassl.training.device.cpu_has_bfloat16`."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(
        {"avx512_bf16", "amx_bf16"} & set(line.split())
        for line in flags.read_text().splitlines()
        if line[:5] == "flags"
    )
