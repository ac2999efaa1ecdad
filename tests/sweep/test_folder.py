from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bassl import files
from bassl.errors import InputError
from bassl.sweep.folder import DONE, FAILED, WAITING, StepRecord, SweepFolder, annotation_hashes
from bassl.sweep.runs import Run
from tests.sweep.pretend import pretended_run


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "anno.test.ndjson"
    path.write_text("0 1 0\n")
    return path


def begun(sweep: SweepFolder, settings: dict, status: str, row: str = "a", annotations: tuple[Path, ...] = ()) -> Run:
    """Begin a sweep, and record that its first step was started under some settings."""
    run = pretended_run(sweep.root, row, [], settings=settings, annotations=annotations)
    step = run.steps[0]
    sweep.begin("mine", [run])
    record = StepRecord(status, 1, 2.0, settings=step.settings, annotations=annotation_hashes(step))
    sweep.write_record(run.name, step.name, record)
    return run


def test_a_done_step_is_refused_under_other_settings_by_the_key_that_changed(sweep: SweepFolder) -> None:
    begun(sweep, {"config.A": [1, 2], "config.B": 3, "config.OLD": 1}, DONE)
    for seed in (0, 1):  # another seed of the row, too
        other = pretended_run(sweep.root, "a", [], seed, settings={"config.A": [1, 2], "config.B": 4})
        with pytest.raises(InputError, match=r"a-seed0 in .* made with config\.B=3 \(pretrain\), now it is 4; name an"):
            sweep.begin("mine", [other])
        assert sweep.known_runs() == [("a", 0)]
        same = pretended_run(sweep.root, "a", [], seed, settings={"config.B": 3, "config.A": (1, 2), "config.NEW": 1})
        sweep.begin("mine", [same])
    begun(sweep, {"config.B": 4}, DONE, row="b")
    assert sweep.known_runs() == [("a", 0), ("a", 1), ("b", 0)]


def test_a_step_may_change_its_settings_and_annotations_until_it_leaves_something(
    sweep: SweepFolder, labels: Path
) -> None:
    run = begun(sweep, {"config.B": 3}, FAILED, annotations=(labels,))
    other = pretended_run(sweep.root, "a", [], settings={"config.B": 4})
    sweep.begin("mine", [other])
    labels.write_text("1 0 0\n")
    sweep.begin("mine", [run])
    run.steps[0].output.write_text("half of it")
    with pytest.raises(InputError, match=r"config\.B=3"):
        sweep.begin("mine", [other])
    with pytest.raises(InputError, match="has changed since a-seed0"):
        sweep.begin("mine", [run])


@pytest.mark.parametrize(("row", "seed"), [("a", 0), ("a", 1), ("b", 0)])
def test_changed_annotations_are_refused_for_every_run_of_the_table(
    sweep: SweepFolder, labels: Path, row: str, seed: int
) -> None:
    begun(sweep, {}, DONE, annotations=(labels,))
    begun(sweep, {}, DONE, row="earlier")  # of a version that did not record annotations
    again = pretended_run(sweep.root, row, [], seed, settings={}, annotations=(labels,))
    sweep.begin("mine", [again])
    labels.write_text("1 0 0\n")
    with pytest.raises(InputError, match=r"anno\.test\.ndjson has changed since a-seed0 in .* \(pretrain\); restore"):
        sweep.begin("mine", [again])
    labels.write_text("0 1 0\n")
    sweep.begin("mine", [again])


def test_another_experiment_and_a_folder_of_other_things_are_refused_and_left_alone(
    sweep: SweepFolder, tmp_path: Path
) -> None:
    run = begun(sweep, {}, DONE)
    with pytest.raises(InputError, match="holds the experiment mine, not yours"):
        sweep.begin("yours", [run])
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("you")
    with pytest.raises(InputError, match=re.escape("holds other things (dear.txt)")), SweepFolder(letters).hold():
        pass
    assert [path.name for path in letters.iterdir()] == ["dear.txt"]


def test_a_second_sweep_is_refused_while_the_first_is_at_work(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.0)
    with sweep.hold(), pytest.raises(InputError, match="another sweep works in"), sweep.hold():
        pass
    with sweep.hold():
        pass


def test_the_remaining_steps_start_with_the_first_that_is_not_done(sweep: SweepFolder) -> None:
    run = begun(sweep, {}, DONE)
    assert sweep.remaining(run) == [run.steps[1]]
    sweep.write_record(run.name, "extract", StepRecord(DONE, 1, 1.0))
    assert sweep.remaining(run) == []
    sweep.write_record(run.name, "pretrain", StepRecord(FAILED, 1, 1.0))
    assert sweep.remaining(run) == list(run.steps)


DAMAGED = ["{", "[]", '{"foo": 1}', '{"status": "perhaps"}', '{"status": "done", "attempts": "many"}', "\xff"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_names_itself_and_without_it_the_step_is_run_again(sweep: SweepFolder, text: str) -> None:
    run = begun(sweep, {}, DONE)
    path = sweep.record_path("a-seed0", "pretrain")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))} is damaged \(.*\); remove it"):
        sweep.begin("mine", [run])
    path.unlink()
    sweep.begin("mine", [run])
    assert sweep.remaining(run) == list(run.steps)


def test_a_record_of_a_later_version_is_read_as_far_as_it_is_known(sweep: SweepFolder) -> None:
    run = begun(sweep, {}, DONE)
    path = sweep.record_path("a-seed0", "pretrain")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "new"}))
    assert sweep.remaining(run) == [run.steps[1]]


@pytest.mark.parametrize("stored", [
    [], {"experiment": "mine"}, {"experiment": "mine", "runs": [1]}, {"experiment": "mine", "runs": [["a", "0"]]},
])  # fmt: skip
def test_a_damaged_list_of_runs_is_refused_and_without_it_it_is_made_from_the_records(
    sweep: SweepFolder, stored: Any
) -> None:
    runs = [begun(sweep, {}, WAITING), begun(sweep, {}, DONE, row="b-seed7")]
    path = sweep.root / "sweep.json"
    before = path.read_text()
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"sweep\.json is damaged \(.*\); remove it, and it is made"):
        sweep.begin("mine", runs)
    path.unlink()
    sweep.begin("mine", runs)
    assert path.read_text() == before
