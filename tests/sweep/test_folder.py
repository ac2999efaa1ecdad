from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.sweep.folder import DONE, FAILED, StepRecord, SweepFolder
from tests.sweep.pretend import pretended_run


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def begun(sweep: SweepFolder, settings: dict, status: str, row: str = "a"):
    """A sweep one step of which was started under some settings."""
    run = pretended_run(sweep.root, row, [], settings=settings)
    with sweep.taken():
        sweep.begin("mine", [run])
        sweep.note(run, run.steps[0], StepRecord(status, 1, 2.0, settings=run.steps[0].settings))
    return run


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


def test_a_damaged_record_is_one_clear_error(sweep: SweepFolder) -> None:
    run = begun(sweep, {}, DONE)
    (sweep.root / "steps" / "a-seed0.pretrain.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        sweep.remaining(run)
