from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from bassl.errors import InputError
from bassl.sweep.folder import DONE, FAILED, WAITING, StepRecord, SweepFolder, annotation_hashes
from tests.sweep.pretend import pretended_run


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def begun(sweep: SweepFolder, settings: dict, status: str, row: str = "a", annotations: tuple[Path, ...] = ()):
    """A sweep one step of which was started under some settings."""
    run = pretended_run(sweep.root, row, [], settings=settings, annotations=annotations)
    step = run.steps[0]
    with sweep.taken():
        sweep.begin("mine", [run])
        record = StepRecord(status, 1, 2.0, settings=step.settings, annotations=annotation_hashes(step))
        sweep.note(run, step, record)
    return run


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "anno.test.ndjson"
    path.write_text("0 1 0\n")
    return path


def test_a_done_step_under_other_settings_is_refused_by_the_key_that_changed(sweep: SweepFolder) -> None:
    begun(sweep, {"config.A": [1, 2], "config.B": 3}, DONE)
    other = pretended_run(sweep.root, "a", [], settings={"config.A": [1, 2], "config.B": 4})
    with (
        sweep.taken(),
        pytest.raises(InputError, match=r"made with config\.B=3 \(pretrain\), now it is 4; name another"),
    ):
        sweep.begin("mine", [other])
    same = pretended_run(sweep.root, "a", [], settings={"config.B": 3, "config.A": (1, 2)})
    with sweep.taken():
        sweep.begin("mine", [same])


def test_a_step_that_left_nothing_may_be_tried_under_other_settings_and_one_that_did_may_not(
    sweep: SweepFolder,
) -> None:
    run = begun(sweep, {"config.B": 3}, FAILED)
    other = pretended_run(sweep.root, "a", [], settings={"config.B": 4})
    with sweep.taken():
        sweep.begin("mine", [other])
        run.steps[0].output.write_text("half of it")
        with pytest.raises(InputError, match=r"config\.B=3"):
            sweep.begin("mine", [other])


def test_a_key_that_came_or_went_with_a_version_refuses_nothing(sweep: SweepFolder) -> None:
    begun(sweep, {"config.OLD": 1, "config.B": 3}, DONE)
    with sweep.taken():
        sweep.begin("mine", [pretended_run(sweep.root, "a", [], settings={"config.NEW": 1, "config.B": 3})])


def test_rows_and_seeds_may_be_added(sweep: SweepFolder) -> None:
    begun(sweep, {"config.B": 3}, DONE)
    begun(sweep, {"config.B": 4}, DONE, row="b")
    assert sweep.known_runs() == [("a", 0), ("b", 0)]


def test_another_seed_of_a_row_that_is_done_is_refused_under_other_settings(sweep: SweepFolder) -> None:
    begun(sweep, {"config.B": 3}, DONE)
    other = pretended_run(sweep.root, "a", [], seed=1, settings={"config.B": 4})
    with pytest.raises(InputError, match=r"a-seed0 in .* was made with config\.B=3 \(pretrain\), now it is 4"):
        sweep.begin("mine", [other])
    assert sweep.known_runs() == [("a", 0)]
    sweep.begin("mine", [pretended_run(sweep.root, "a", [], seed=1, settings={"config.B": 3})])
    assert sweep.known_runs() == [("a", 0), ("a", 1)]


@pytest.mark.parametrize(("row", "seed"), [("a", 0), ("a", 1), ("b", 0)])
def test_annotations_that_have_changed_are_refused_for_every_run_of_the_table(
    sweep: SweepFolder, labels: Path, row: str, seed: int
) -> None:
    begun(sweep, {}, DONE, annotations=(labels,))
    again = pretended_run(sweep.root, row, [], seed, settings={}, annotations=(labels,))
    sweep.begin("mine", [again])
    labels.write_text("1 0 0\n")
    with pytest.raises(InputError, match=r"anno\.test\.ndjson has changed since a-seed0 in .* \(pretrain\); put the"):
        sweep.begin("mine", [again])
    labels.write_text("0 1 0\n")
    sweep.begin("mine", [again])


def test_annotations_may_change_under_a_step_that_left_nothing_and_under_one_that_did_not_say(
    sweep: SweepFolder, labels: Path
) -> None:
    """The second is a record of an earlier version."""
    run = begun(sweep, {}, WAITING, annotations=(labels,))
    begun(sweep, {}, DONE, row="earlier")
    labels.write_text("1 0 0\n")
    sweep.begin("mine", [run])
    run.steps[0].output.write_text("half of it")
    with pytest.raises(InputError, match="has changed since a-seed0"):
        sweep.begin("mine", [run])


def test_a_refused_folder_of_other_things_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "dear.txt").write_text("you")
    (tmp_path / ".lock").write_text("mine")
    with pytest.raises(InputError, match=r"holds other things \(dear\.txt\)"), SweepFolder(tmp_path).taken():
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"dear.txt": "you", ".lock": "mine"}


def test_another_experiment_and_a_folder_of_other_things_are_refused(sweep: SweepFolder, tmp_path: Path) -> None:
    run = begun(sweep, {}, DONE)
    with pytest.raises(InputError, match="holds the experiment mine, not yours"):
        sweep.begin("yours", [run])
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("you")
    with pytest.raises(InputError, match=re.escape("holds other things (dear.txt)")):
        SweepFolder(tmp_path / "letters").begin("mine", [])
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_a_second_sweep_is_refused_at_once(sweep: SweepFolder) -> None:
    with sweep.taken(), pytest.raises(InputError, match="another sweep works in"), sweep.taken():
        pass
    with sweep.taken():
        pass


def test_a_step_that_outlives_its_sweep_is_waited_for(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step holds a copy of the descriptor; here it ends while the second sweep waits."""
    with sweep.taken() as lock:
        left_behind = os.dup(lock)
    waited: list[float] = []
    monkeypatch.setattr(
        "bassl.sweep.folder.time.sleep", lambda seconds: waited.append(seconds) or os.close(left_behind)
    )
    with sweep.taken():
        assert len(waited) == 1


def test_a_step_that_never_ends_is_told_of_in_the_end(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with sweep.taken() as lock:
        left_behind = os.dup(lock)
    monkeypatch.setattr("bassl.sweep.folder.PATIENCE", 0.0)
    with pytest.raises(InputError, match="another sweep works in"), sweep.taken():
        pass
    os.close(left_behind)


def test_the_remaining_steps_are_those_from_the_first_that_is_not_done(sweep: SweepFolder) -> None:
    run = begun(sweep, {}, DONE)
    assert sweep.remaining(run) == [run.steps[1]]
    sweep.note(run, run.steps[1], StepRecord(DONE, 1, 1.0))
    assert sweep.remaining(run) == []
    sweep.note(run, run.steps[0], StepRecord(FAILED, 1, 1.0))
    assert sweep.remaining(run) == list(run.steps)


DAMAGED = ["{", "[]", "3", '{"foo": 1}', '{"status": "perhaps"}', '{"status": "done", "attempts": "many"}',
           '{"status": "done", "settings": []}', '{"status": "failed", "error": 7}', "\xff"]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_one_clear_error_and_without_it_the_step_is_done_again(
    sweep: SweepFolder, text: str
) -> None:
    run = begun(sweep, {}, DONE)
    path = sweep.root / "steps" / "a-seed0.pretrain.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))} is damaged \(.*\); remove it, and only that step"):
        sweep.begin("mine", [run])
    path.unlink()
    sweep.begin("mine", [run])
    assert sweep.remaining(run) == list(run.steps)


def test_a_record_of_a_later_version_is_read_as_far_as_it_is_known(sweep: SweepFolder) -> None:
    run = begun(sweep, {}, DONE)
    path = sweep.root / "steps" / "a-seed0.pretrain.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "new"}))
    assert sweep.remaining(run) == [run.steps[1]]


@pytest.mark.parametrize("stored", [
    {}, [], {"experiment": "mine"}, {"experiment": 1, "runs": []}, {"experiment": "mine", "runs": [1]},
    {"experiment": "mine", "runs": [["a", "0"]]},
])  # fmt: skip
def test_a_damaged_list_of_runs_is_one_clear_error_and_without_it_it_is_made_again(
    sweep: SweepFolder, stored: Any
) -> None:
    run = begun(sweep, {}, DONE)
    other = begun(sweep, {}, DONE, row="b-seed7")
    before, path = (sweep.root / "sweep.json").read_text(), sweep.root / "sweep.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"sweep\.json is damaged \(.*\); remove it, and it is made again from"):
        sweep.begin("mine", [run])
    path.unlink()
    with sweep.taken():
        sweep.begin("mine", [run, other])
    assert path.read_text() == before
