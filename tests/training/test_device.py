"""Which device and precision a run gets on which machine."""

from __future__ import annotations

import logging

import pytest
import torch

from bassl.config.load import load
from bassl.errors import InputError
from bassl.training import device as devices
from bassl.training.device import choose_device


def config(accelerator: str = "auto", precision: str = "auto", processes: int = 1):
    return load(
        "pretrain",
        [
            f"config.TRAINER.accelerator={accelerator}",
            f"config.TRAINER.precision={precision}",
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
        ],
    )


def pretend(monkeypatch: pytest.MonkeyPatch, gpus: int, bfloat16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")


@pytest.mark.parametrize(
    ("gpus", "processes", "accelerator", "remedy"),
    [
        (1, 8, "auto", "config.DISTRIBUTED.NUM_PROC_PER_NODE=1"),
        (4, 8, "cuda", "config.DISTRIBUTED.NUM_PROC_PER_NODE=4"),
        (0, 8, "auto", "config.DISTRIBUTED.NUM_PROC_PER_NODE=1 or config.TRAINER.accelerator=cpu"),
        (0, 1, "cuda", "config.TRAINER.accelerator=cpu"),
    ],
)
def test_more_processes_than_gpus_are_refused_with_a_setting_that_works(
    gpus: int, processes: int, accelerator: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, gpus)
    with pytest.raises(InputError, match=rf"NUM_PROC_PER_NODE={processes} .* has {gpus}; set {remedy}$"):
        choose_device(config(accelerator, processes=processes), half=True)


def test_several_processes_may_share_a_cpu_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 1)
    assert choose_device(config("cpu", processes=8), half=True).kind == "cpu"


@pytest.mark.parametrize(
    ("gpus", "bfloat16", "half", "cpu_bfloat16", "expected"),
    [
        (1, True, True, False, ("cuda", "bf16", "bf16-mixed", torch.bfloat16)),
        (1, False, True, True, ("cuda", "fp16", "16-mixed", torch.float16)),
        (1, True, False, True, ("cuda", "32", "32-true", torch.float32)),
        (0, False, True, True, ("cpu", "bf16", "bf16-mixed", torch.bfloat16)),
        (0, False, True, False, ("cpu", "32", "32-true", torch.float32)),
        (0, False, False, True, ("cpu", "32", "32-true", torch.float32)),  # fine-tuning, as the reference
    ],
)
def test_auto_is_the_fastest_precision_of_the_device(
    gpus: int, bfloat16: bool, half: bool, cpu_bfloat16: bool, expected: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    pretend(monkeypatch, gpus, bfloat16)
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: cpu_bfloat16)
    with caplog.at_level(logging.INFO):
        device = choose_device(config(), half=half)
    assert (device.kind, device.precision, device.lightning_precision, device.dtype) == expected
    assert [f"precision {expected[1]}" in message for message in caplog.messages] == [True]


def test_a_given_precision_wins_and_fp16_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 1)
    assert choose_device(config(precision="32"), half=True).precision == "32"
    with pytest.raises(InputError, match="precision=fp16 needs a GPU; set bf16 or 32"):
        choose_device(config("cpu", "fp16"), half=True)


def test_float32_is_ieee_also_in_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    pretend(monkeypatch, 1)
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        choose_device(config(precision="32"), half=True)
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
