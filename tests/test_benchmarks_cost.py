from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import cost
from benchmarks.cost import Inputs, Run, main, predict

GPU = Inputs(0.01, 0.001, 0.1, 0.0005, 20_000, 100e6, separate_cores=True)
RUN = Run(samples=1000, epochs=2, batch=100, devices=1, workers=4, link=1e9, storage=1e9, latency=0.0, validated=600)


def test_parts_have_their_hand_values() -> None:
    found = predict(GPU, RUN)
    assert found.decode == pytest.approx(2000 * 0.01 / 4)
    assert found.compute == pytest.approx(20 * 0.1 + 2000 * 19 * 0.001)
    assert found.exchange == 0
    assert found.storage == pytest.approx(2000 * 17 * 20_000 / 1e9)
    assert found.validation == pytest.approx(2 * 600 * 0.0005)
    assert found.total == pytest.approx(40 + 0.6)
    assert found.limit == "compute"


def test_gradients_are_exchanged_by_a_ring() -> None:
    found = predict(GPU, replace(RUN, devices=4, latency=0.002))
    assert found.exchange == pytest.approx(20 * (2 * 3 / 4 * 100e6 / 1e9 + 0.002))
    assert found.compute == pytest.approx(20 * 0.1 + 2000 * 19 * 0.001 / 4)
    assert found.total == pytest.approx(found.compute + found.exchange + found.validation)


def test_the_slowest_part_sets_the_pace() -> None:
    slow_disk = predict(GPU, replace(RUN, storage=1e6))
    assert slow_disk.limit == "storage"
    assert slow_disk.total == pytest.approx(slow_disk.storage + slow_disk.validation)
    one_worker = predict(replace(GPU, sample_seconds=1.0), RUN)
    assert one_worker.limit == "decode"


def test_on_a_cpu_decoding_and_computing_add_up() -> None:
    found = predict(replace(GPU, separate_cores=False), RUN)
    assert found.total == pytest.approx(2000 * 0.01 + 40 + 0.6)


def test_an_incomplete_last_batch_is_dropped() -> None:
    assert predict(GPU, replace(RUN, samples=1099)) == predict(GPU, replace(RUN, samples=1000))


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cost, "RESULTS", tmp_path)
    (tmp_path / "inputs-cpu.json").write_text(json.dumps({**asdict(replace(GPU, separate_cores=False)), "depth": 50}))
    return tmp_path


def test_hours_are_printed_part_by_part(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--films", "1100", "--gpus", "8", "--epochs", "10", "--images-per-second", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1,600,500 samples an epoch, 10 epochs"
    assert [line[:18].strip() for line in lines[1:]] == [
        "decode", "compute", "gradient exchange", "storage", "validation", "all"
    ]  # fmt: skip
    hours = 10 * 1_600_256 * 19 / 2000 / 8 / 3600  # whole batches
    assert float(lines[2][18:].split()[0]) == pytest.approx(hours, abs=0.01)


def test_link_and_storage_are_given_or_measured_or_assumed(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    known = replace(GPU, link=2e9, latency=0.5, storage=1e6)
    for name, inputs, more in (
        ("assumed", GPU, []),
        ("measured", known, []),
        ("given", known, ["--link", "4", "--storage", "3"]),
    ):
        (measured / "inputs-cuda.json").write_text(json.dumps(asdict(inputs)))
        assert (
            main(["--films", "1", "--shots-per-film", "1000", "--batch", "100", "--epochs", "1", "--gpus", "2", *more])
            == 0
        )
        said[name] = capsys.readouterr().out
        assert said[name].count(f"({name})") == 2
    assert "50 GB/s" in said["assumed"]
    assert "500 MB/s" in said["assumed"]
    assert "2 GB/s" in said["measured"]
    assert "1 MB/s" in said["measured"]
    assert "4 GB/s" in said["given"]
    assert "3 MB/s" in said["given"]


def test_the_latency_of_an_exchange_is_the_measured_one(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (measured / "inputs-cuda.json").write_text(json.dumps(asdict(replace(GPU, link=100e6, latency=35.0))))
    assert main(["--films", "1", "--shots-per-film", "1000", "--batch", "100", "--epochs", "1", "--gpus", "2"]) == 0
    exchanged = capsys.readouterr().out.splitlines()[3]
    assert exchanged.split()[:3] == ["gradient", "exchange", "0.10"]  # ten steps of 1 s and 35 s


def test_link_and_disk_of_a_machine_without_gpu_say_nothing_of_one_with_gpus(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = replace(GPU, separate_cores=False, link=1e9, storage=2e6)
    (measured / "inputs-cpu.json").write_text(json.dumps(asdict(cpu)))
    assert main(["--images-per-second", "2000"]) == 0
    said = capsys.readouterr().out
    assert "50 GB/s a device (assumed)" in said
    assert "500 MB/s (assumed)" in said
    assert main(["--cpu", "--gpus", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 GB/s a device (measured)" in said
    assert "2 MB/s (measured)" in said


def test_inputs_stored_before_link_and_storage_were_measured_serve(tmp_path: Path) -> None:
    stored = asdict(GPU)
    for name in ("link", "latency", "storage"):
        del stored[name]
    (tmp_path / "inputs.json").write_text(json.dumps(stored))
    assert cost.read_inputs(tmp_path / "inputs.json") == GPU


def test_a_measured_gpu_comes_before_a_cpu(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (measured / "inputs-cuda.json").write_text(json.dumps(asdict(GPU)))
    assert main([]) == 0
    assert "8 devices" in capsys.readouterr().out


def test_without_a_gpu_its_rate_is_asked_for(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--images-per-second" in capsys.readouterr().err
    assert main(["--cpu", "--gpus", "1"]) == 0


def test_the_measurement_in_the_repository_serves_as_the_pages_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(cost.RESULTS / "inputs-cpu.json", tmp_path)  # and not what was measured on this machine since
    monkeypatch.setattr(cost, "RESULTS", tmp_path)
    assert main(["--gpus", "8"]) == 2
    assert "--images-per-second" in capsys.readouterr().err
    assert main(["--gpus", "8", "--images-per-second", "2000"]) == 0
    assert main(["--cpu", "--gpus", "1"]) == 0


def test_the_page_that_plans_for_gpus_has_one_measured() -> None:
    text = (cost.RESULTS.parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert text.count("benchmarks.main --only cost_check") == text.count("--only cost_check --device cuda") == 1


def test_without_a_measurement_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "RESULTS", tmp_path)
    assert main([]) == 2
    assert "--only cost_check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--gpus", "0", "--images-per-second", "2000"], "--gpus 0 is nothing to plan for"),
        (["--images-per-second", "0"], "--images-per-second 0.0 is nothing"),
        (["--link", "nan"], "--link nan is nothing"),
        (["--inputs", "nope"], "there is no file nope"),
    ],
)
def test_numbers_that_plan_nothing_are_one_sentence(
    typed: list[str], said: str, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
