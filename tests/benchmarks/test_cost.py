"""The cost model has its hand values, and its rates are measured in real processes and on real files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import cost, cost_check, processes, storage
from benchmarks.cost import Inputs, Run, main, predict

GPU = Inputs(0.01, 0.001, 0.1, 0.0005, 20_000, 100e6, separate_cores=True)
RUN = Run(samples=1000, epochs=2, batch=100, devices=1, workers=4, link=1e9, storage=1e9, latency=0.0, validated=600)
MEBI = 2**20


def test_parts_have_their_hand_values() -> None:
    parts = predict(GPU, RUN)
    assert parts.decode == pytest.approx(2000 * 0.01 / 4)
    assert parts.compute == pytest.approx(20 * 0.1 + 2000 * 19 * 0.001)
    assert parts.exchange == 0
    assert parts.storage == pytest.approx(2000 * 17 * 20_000 / 1e9)
    assert parts.validation == pytest.approx(2 * 600 * 0.0005)
    assert parts.total == pytest.approx(40 + 0.6)
    assert parts.limit == "compute"


def test_gradients_are_exchanged_by_a_ring() -> None:
    parts = predict(GPU, replace(RUN, devices=4, latency=0.002))
    assert parts.exchange == pytest.approx(20 * (2 * 3 / 4 * 100e6 / 1e9 + 0.002))
    assert parts.compute == pytest.approx(20 * 0.1 + 2000 * 19 * 0.001 / 4)
    assert parts.total == pytest.approx(parts.compute + parts.exchange + parts.validation)


def test_the_slowest_part_sets_the_pace() -> None:
    parts = predict(GPU, replace(RUN, storage=1e6))
    assert parts.limit == "storage"
    assert parts.total == pytest.approx(parts.storage + parts.validation)
    assert predict(replace(GPU, sample_seconds=1.0), RUN).limit == "decode"


def test_on_a_cpu_decoding_and_computing_add_up() -> None:
    assert predict(replace(GPU, separate_cores=False), RUN).total == pytest.approx(2000 * 0.01 + 40 + 0.6)


def test_an_incomplete_last_batch_is_dropped() -> None:
    assert predict(GPU, replace(RUN, samples=1099)) == predict(GPU, RUN)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results with inputs of a CPU."""
    monkeypatch.setattr(cost, "RESULTS", tmp_path)
    inputs = replace(GPU, separate_cores=False, link=1e9, storage=2e6)
    (tmp_path / "inputs-cpu.json").write_text(json.dumps({**asdict(inputs), "depth": 50}))
    return tmp_path


def test_hours_are_printed_part_by_part(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--films", "1100", "--gpus", "8", "--epochs", "10", "--images-per-second", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1,600,500 samples")
    names = ["decode", "compute", "gradient exchange", "storage", "validation", "all"]
    assert [line[:18].strip() for line in lines[1:]] == names
    hours = 10 * 1_600_256 * 19 / 2000 / 8 / 3600  # whole batches
    assert float(lines[2][18:].split()[0]) == pytest.approx(hours, abs=0.01)


@pytest.mark.parametrize(
    ("inputs", "more", "expected"),
    [
        (GPU, [], ["50 GB/s per device (assumed)", "500 MB/s (assumed)", "exchange      0.00 h"]),
        (
            replace(GPU, link=100e6, latency=35.0, storage=1e6),
            [],
            [
                "0.1 GB/s per device (measured)",
                "1 MB/s (measured)",
                "exchange      0.10 h",
            ],  # ten steps of 1 s and 35 s
        ),
        (GPU, ["--link", "4", "--storage", "3"], ["4 GB/s per device (given)", "3 MB/s (given)"]),
    ],
)
def test_rates_are_given_or_measured_or_assumed(
    inputs: Inputs, more: list[str], expected: list[str], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "inputs-cuda.json").write_text(json.dumps(asdict(inputs)))
    run = ["--films", "1", "--shots-per-film", "1000", "--batch", "100", "--epochs", "1", "--gpus", "2"]
    assert main([*run, *more]) == 0
    stdout = capsys.readouterr().out
    assert [text for text in expected if text not in stdout] == []


def test_inputs_of_a_cpu_say_nothing_about_links_and_disks_of_gpus(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--images-per-second", "2000"]) == 0
    assert capsys.readouterr().out.count("(assumed)") == 2
    assert main(["--cpu", "--gpus", "2"]) == 0
    assert capsys.readouterr().out.count("(measured)") == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "--images-per-second"),
        (["--gpus", "0", "--images-per-second", "2000"], "--gpus 0 must be greater than 0"),
        (["--link", "nan"], "--link nan must"),
        (["--inputs", "missing"], "missing does not exist"),
    ],
)
def test_a_run_that_cannot_be_predicted_is_refused(
    typed: list[str], message: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ") and message in stderr


def test_the_stored_inputs_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", str(cost.RESULTS / "inputs-cpu.json"), "--images-per-second", "2000"]) == 0
    assert "8 devices" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("measured", "ratio", "reached"), [(2.0, 1.0, True), (1.0, 2.0, False), (4.0, 0.5, False), (-1.0, None, False)]
)
def test_a_prediction_is_compared_with_the_measurement(measured: float, ratio: float | None, reached: bool) -> None:
    row = cost_check.prediction("a run", 2.0, measured)
    assert (row.ratio, row.reached) == (ratio, reached)


def test_measurements_of_several_processes_are_averaged() -> None:
    first = Inputs(0.01, 0.1, 1.0, 0.2, 5.0, 100.0, separate_cores=False)
    second = replace(first, sample_seconds=0.03, image_seconds=0.3, step_seconds=2.0, encode_seconds=0.4)
    expected = replace(first, sample_seconds=0.02, image_seconds=0.2, step_seconds=1.5, encode_seconds=0.3)
    assert list(asdict(cost_check.mean([first, second])).values()) == pytest.approx(list(asdict(expected).values()))


def test_the_rate_of_an_exchange_predicts_the_exchange_it_was_measured_on() -> None:
    link = processes.exchange_of(4, 100e6, full=0.35, empty=0.05)
    assert link.link == pytest.approx(2 * 3 / 4 * 100e6 / 0.3)
    run = replace(RUN, epochs=1, devices=4, link=link.link, latency=link.latency)
    assert predict(GPU, run).exchange == pytest.approx(10 * 0.35)


@pytest.mark.parametrize(
    ("counts", "from_disk"),
    [([0, 3 * MEBI, 3 * MEBI, 6 * MEBI], True), ([0, 3 * MEBI, 3 * MEBI, 3 * MEBI], False), ([None] * 4, None)],
)
def test_a_rate_is_the_disks_if_the_bytes_came_from_it(
    counts: list[int | None], from_disk: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_bytes(os.urandom(MEBI))
    dropped = []
    monkeypatch.setattr(storage, "bytes_from_disk", lambda: counts.pop(0))
    monkeypatch.setattr(storage, "drop_from_cache", dropped.append)
    reading = storage.read_rate(files, num_readers=2, rounds=2)
    assert not counts and dropped == files * 2
    assert reading.from_disk is from_disk
    assert reading.rate > 0


def test_a_folder_is_read_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "shot_0000_img_0.jpg").write_bytes(os.urandom(MEBI))
    assert storage.main([str(tmp_path)]) == 0
    assert " MB/s, 1 files; " in capsys.readouterr().out
    assert storage.main([str(tmp_path / "missing")]) == 2
    assert "no files in" in capsys.readouterr().err
