"""Rates of link and storage have their hand values, and are measured in real processes and on real files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from benchmarks import processes, storage
from benchmarks.cost import Inputs, Run, predict
from benchmarks.cost_check import mean
from benchmarks.measure import Settings

MEBI = 2**20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, quick=True, threads=2)


def test_the_rate_of_an_exchange_predicts_the_exchange_it_was_measured_on() -> None:
    link = processes.exchange_of(4, 100e6, full=0.35, nothing=0.05)
    assert link.link == pytest.approx(2 * 3 / 4 * 100e6 / 0.3)
    inputs = Inputs(0.0, 0.0, 0.0, 0.0, 0.0, 100e6, separate_cores=True)
    run = Run(100, 1, 10, 4, 1, link.link, 1e12, link.latency, validated=0)
    assert predict(inputs, run).exchange == pytest.approx(10 * 0.35)


def report_of(settings: Settings, factor: float) -> list[float]:
    """What a process is, and a sum over all of them."""
    total = torch.tensor([factor * dist.get_rank()])
    dist.all_reduce(total)
    return [float(dist.get_rank()), float(total), float(settings.threads), float(torch.get_num_threads())]


@pytest.mark.slow
def test_processes_stand_side_by_side_with_their_share_of_the_cores(settings: Settings) -> None:
    found = processes.in_processes(report_of, settings, 2, 10.0)
    assert found == [[0.0, 10.0, 1.0, 1.0], [1.0, 10.0, 1.0, 1.0]]


@pytest.mark.slow
def test_an_exchange_over_gloo_is_measured(settings: Settings) -> None:
    found = processes.exchange(settings, 8 * MEBI)
    assert found is not None
    assert found.num_processes == 2
    assert 1e6 < found.link < 1e12
    assert 0 < found.latency < 10


def test_a_single_gpu_exchanges_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert processes.exchange(replace(settings, device=torch.device("cuda")), 8 * MEBI) is None


def test_what_several_processes_measured_becomes_their_mean() -> None:
    first = Inputs(0.01, 0.1, 1.0, 0.2, 5.0, 100.0, separate_cores=False)
    second = replace(first, sample_seconds=0.03, image_seconds=0.3, step_seconds=2.0, encode_seconds=0.4)
    found = mean([first, second])
    expected = replace(first, sample_seconds=0.02, image_seconds=0.2, step_seconds=1.5, encode_seconds=0.3)
    assert [getattr(found, name) for name in vars(expected)] == pytest.approx(list(vars(expected).values()))


@pytest.mark.parametrize(
    ("counts", "from_disk"),
    [([0, 3 * MEBI, 3 * MEBI, 6 * MEBI], True), ([0, 3 * MEBI, 3 * MEBI, 3 * MEBI], False), ([None] * 4, None)],
)
def test_a_rate_is_the_disks_where_the_bytes_came_from_it(
    counts: list[int | None], from_disk: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_bytes(os.urandom(MEBI))
    monkeypatch.setattr(storage, "bytes_from_disk", lambda: counts.pop(0))
    found = storage.read_rate(files, num_readers=2, rounds=2)
    assert not counts
    assert found.from_disk is from_disk
    assert found.rate > 0
    assert ("disk is slower" in found.note) == (from_disk is False)


def test_the_cache_of_each_file_is_dropped_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"22")
    asked = []

    def advise(handle: int, offset: int, length: int, advice: int) -> None:
        asked.append((os.fstat(handle).st_size, offset, length, advice))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    storage.read_rate([tmp_path / "a", tmp_path / "b"], num_readers=1, rounds=2)
    assert asked == [(size, 0, 0, os.POSIX_FADV_DONTNEED) for size in (1, 2, 1, 2)]


def test_a_folder_is_read_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "shot_0000_img_0.jpg").write_bytes(os.urandom(MEBI))
    assert storage.main([str(tmp_path)]) == 0
    assert " MB/s, 1 files; " in capsys.readouterr().out
    assert storage.main([str(tmp_path / "nothing")]) == 2
    assert "no files in" in capsys.readouterr().err
