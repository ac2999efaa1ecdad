"""Device, precision and seeds of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from bassl.config.load import load
from bassl.config.plan import ComputePlan
from bassl.config.resolve import resolve_pretrain
from bassl.errors import InputError
from bassl.training import trainer as runtime
from bassl.training.trainer import Device, build_trainer, choose_device, derived_seed, draw_seed
from tests.training.test_launching import LAUNCHERS


def compute(processes: int = 1, accelerator: str = "auto", precision: str = "auto") -> ComputePlan:
    return ComputePlan(1, processes, accelerator, precision, 4, 4, 1, 0)


def with_gpus(monkeypatch: pytest.MonkeyPatch, number: int, bfloat16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")


@pytest.mark.parametrize(
    ("gpus", "processes", "accelerator", "words"),
    [
        (1, 8, "auto", ["8 processes", "has 1;", "config.DISTRIBUTED.NUM_PROC_PER_NODE=1"]),
        (4, 8, "cuda", ["8 processes", "has 4;", "config.DISTRIBUTED.NUM_PROC_PER_NODE=4"]),
        (0, 8, "auto", ["8 processes", "has none", "NUM_PROC_PER_NODE=1", "config.TRAINER.accelerator=cpu"]),
        (0, 1, "cuda", ["has 0;", "config.TRAINER.accelerator=cpu"]),
    ],
)
def test_more_processes_than_gpus_are_refused_with_the_override_that_works(
    gpus: int, processes: int, accelerator: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(monkeypatch, gpus)
    with pytest.raises(InputError) as refusal:
        choose_device(compute(processes, accelerator), half=True)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("gpus", "bfloat16", "half", "cpu_bfloat16", "expected"),
    [
        (1, True, True, False, ("cuda", "bf16")),
        (1, False, True, True, ("cuda", "fp16")),
        (1, True, False, True, ("cuda", "32")),
        (1, False, False, False, ("cuda", "32")),
        (0, False, True, True, ("cpu", "bf16")),
        (0, False, True, False, ("cpu", "32")),
        (0, False, False, True, ("cpu", "32")),  # fine-tuning, as the reference
    ],
)
def test_the_precision_is_the_best_of_the_device_and_said_in_one_line(
    gpus: int, bfloat16: bool, half: bool, cpu_bfloat16: bool, expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with_gpus(monkeypatch, gpus, bfloat16)
    monkeypatch.setattr(runtime, "cpu_has_bfloat16", lambda: cpu_bfloat16)
    with caplog.at_level(logging.INFO, logger="bassl.training.trainer"):
        device = choose_device(compute(), half)
    assert (device.kind, device.precision) == expected
    assert len(caplog.messages) == 1
    assert f"precision {expected[1]}" in caplog.messages[0]


def test_a_precision_that_is_set_wins_and_half_floats_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    assert choose_device(compute(precision="32"), half=True).precision == "32"
    with pytest.raises(InputError, match="precision=fp16 needs a GPU; set bf16 or 32"):
        choose_device(compute(accelerator="cpu", precision="fp16"), half=True)


@pytest.fixture
def tf32_allowed() -> Iterator[None]:
    """As PyTorch would have it for convolutions, and for matrix products as well."""
    before = (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.usefixtures("tf32_allowed")
@pytest.mark.parametrize("gpus", [0, 1])
def test_32_bit_is_ieee_float32_also_for_convolutions(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, gpus)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_device(compute(precision="32"), half=True)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_cudnn_looks_for_the_fastest_convolution_on_a_gpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resolve_pretrain(load("pretrain", ["config.EXPR_NAME=x", "config.DRY_RUN=true"]))
    given: dict[str, Any] = {}

    def trainer(**arguments: Any) -> None:
        given.update(arguments)
        raise InterruptedError

    monkeypatch.setattr("bassl.training.trainer.pl.Trainer", trainer)
    with pytest.raises(InterruptedError):
        build_trainer(plan.run, compute(), plan.loop, Device(kind, "32"), [], "training")
    assert given["benchmark"] is (kind == "cuda")


def test_a_seed_is_kept_zero_included_and_an_unset_one_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runtime.SEED_VARIABLE, raising=False)
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    assert draw_seed(0, compute(2)) == 0
    assert runtime.SEED_VARIABLE not in runtime.os.environ
    monkeypatch.setenv(runtime.SEED_VARIABLE, "7")  # as Lightning's other processes find it
    assert draw_seed(None, compute(2)) == 7
    monkeypatch.delenv(runtime.SEED_VARIABLE)
    drawn = draw_seed(None, compute(2))
    assert 0 <= drawn < 2**32
    assert draw_seed(None, compute(2)) == drawn


@pytest.mark.parametrize(
    ("num_nodes", "launched"),
    [
        (1, {"LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "GROUP_RANK": "0"}),
        (1, {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}),
        (1, {"LOCAL_RANK": "1"}),
        (2, {}),
    ],
    ids=["torchrun", "slurm", "by_hand", "several_machines"],
)
def test_processes_that_others_started_need_a_seed_that_they_share(
    num_nodes: int, launched: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*LAUNCHERS, runtime.SEED_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    plan = replace(compute(2), num_nodes=num_nodes)
    with pytest.raises(InputError, match=r"config\.SEED is unset.*set config\.SEED, or BASSL_SEED .* on all machines"):
        draw_seed(None, plan)
    assert draw_seed(3, plan) == 3, "given, or that of the run which is gone on with"
    monkeypatch.setenv(runtime.SEED_VARIABLE, "7")
    assert draw_seed(None, plan) == 7


def test_a_shared_seed_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.SEED_VARIABLE, "seven")
    with pytest.raises(InputError, match="BASSL_SEED=seven is no whole number; set one"):
        draw_seed(None, compute())


def test_derived_seeds_differ_with_every_part_and_stay_the_same() -> None:
    seeds = {derived_seed(seed, epoch, batch) for seed in range(3) for epoch in range(3) for batch in range(3)}
    assert len(seeds) == 27
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, 2, 3) == derived_seed(1, 2, 3)
