from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from bassl.config.plan import DataPlan

from bassl.dataset.annotation import read_annotations
from bassl.dataset.faults import FEW, Faults
from bassl.errors import InputError
from bassl.model.loading import keyframes_of

BROKEN = [Path(f"/film/shot_{shot:04d}_img_0.jpg") for shot in range(8)]


def note_all(list_file: Path, paths: list[Path]) -> None:
    """What a data worker does that meets broken key-frames, in each of its two data sets."""
    for faults in (Faults(list_file=list_file), Faults(list_file=list_file)):
        for path in paths:
            faults.note(path, InputError(f"key-frame {path} does not exist"))


def test_each_broken_file_is_listed_once_by_all_processes_and_data_sets(tmp_path: Path) -> None:
    list_file = tmp_path / "logs" / "broken.txt"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=note_all, args=(list_file, paths)) for paths in (BROKEN, BROKEN[::-1], BROKEN[3:])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    listed = list_file.read_text().splitlines()
    assert sorted(listed) == [str(path) for path in BROKEN]
    note_all(list_file, BROKEN)
    assert list_file.read_text().splitlines() == listed, "a resumed run lists nothing again"


def test_a_broken_file_is_named_once_and_counted_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    list_file = tmp_path / "broken.txt"
    Faults(list_file=list_file).report()
    Faults().report()
    assert not caplog.records, "nothing was broken"
    note_all(list_file, BROKEN[:2])
    Faults(list_file=list_file).report()
    assert [record.getMessage() for record in caplog.records] == [
        f"key-frame {BROKEN[0]} does not exist; another key-frame of the shot stands in",
        f"key-frame {BROKEN[1]} does not exist; another key-frame of the shot stands in",
        f"2 key-frames were missing or broken and others stood in; they are listed in {list_file}",
    ]


def borne(num_read: int, **settings: Any) -> int:
    """How many broken key-frames are borne before the run ends."""
    faults = Faults(num_read=num_read, **settings)
    with pytest.raises(InputError, match=f"of the first {min(num_read, faults.num_files or num_read)} key-frames"):
        note_each(faults, 100)
    return len(faults.broken) - 1


def note_each(faults: Faults, num_broken: int) -> None:
    for number in range(num_broken):
        faults.note(Path(f"{number}.jpg"), InputError("broken"))


def test_as_many_are_borne_as_the_share_says_at_least_a_few_and_none_at_zero() -> None:
    assert borne(20, max_share=0.001) == FEW == 10
    assert borne(20_000, max_share=0.001) == 20
    assert borne(20, max_share=0.0) == 0
    assert borne(20_000, max_share=0.0) == 0


def test_reading_them_again_in_later_epochs_bears_no_more() -> None:
    assert borne(80_000, max_share=0.001, num_files=20_000) == 20


def test_the_key_frames_of_a_run_are_counted_by_its_annotations(tiny_movienet: Path) -> None:
    data = DataPlan(tiny_movienet, tiny_movienet / "anno", tiny_movienet / "240P_frames", False, 0.5)
    notes = read_annotations(tiny_movienet / "anno" / "anno.pretrain.ndjson")
    faults = keyframes_of(data, notes, None).faults
    assert (faults.max_share, faults.num_files) == (0.5, 3 * sum(notes.num_shots.tolist()))
