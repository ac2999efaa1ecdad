from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.dataset.annotation import read_annotations
from bassl.dataset.features import FeatureStore
from bassl.errors import InputError
from bassl.prepare.arrays import FilmArrays, main, read_npz, write_arrays
from bassl.prepare.check import main as check
from tests.prepare.making import rows_of, shot_frames, tree_bytes


def film(num_shots: int = 5, dimension: int = 4, seed: int = 0) -> FilmArrays:
    rng = np.random.default_rng(seed)
    labels = np.zeros(num_shots, int)
    labels[[1, -1]] = 1
    return FilmArrays(shot_frames(num_shots), rng.standard_normal((num_shots, dimension)), labels)


def save(path: Path, arrays: FilmArrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, shots=arrays.shots, boundary=arrays.labels, f_net=arrays.features)
    return path


def test_arrays_become_a_feature_store_with_annotations(tmp_path: Path) -> None:
    films = {"a": film(), "b": film(7, seed=1)}
    folder = write_arrays(tmp_path, films, {"train": ["a"], "test": ["b"]}, "net")
    store = FeatureStore.open(folder)
    assert dict(store.num_shots) == {"a": 5, "b": 7}
    np.testing.assert_array_equal(store.film("b"), np.asarray(films["b"].features, np.float32))
    rows = read_annotations(tmp_path / "anno" / "anno.test.ndjson")
    assert rows.shot.tolist() == [0, 1, 2, 3, 4, 5]  # the last shot is left out
    assert rows.label.tolist() == [0, 1, 0, 0, 0, 0]
    first = (tmp_path / "scene318" / "shot_movie318" / "a.txt").read_text().splitlines()[0]
    assert first == "0 99 24 48 72"
    assert not (tmp_path / "anno" / "anno.pretrain.ndjson").exists()


def test_the_command_does_the_same_and_can_be_repeated(tmp_path: Path) -> None:
    files = [save(tmp_path / "npz" / f"ep_{number}.npz", film(seed=number)) for number in range(1, 5)]
    command = [*map(str, files), "--target", str(tmp_path / "data"), "--features", "f_net"]
    command += ["--train", "ep_[12]", "--val", "ep_3", "--test", "ep_4"]
    assert main(command) == 0
    before = tree_bytes(tmp_path / "data", hidden=True)
    assert {row["video_id"] for row in rows_of(tmp_path / "data" / "anno" / "anno.train.ndjson")} == {"ep_1", "ep_2"}
    assert main(command) == 0
    assert tree_bytes(tmp_path / "data", hidden=True) == before
    assert check([str(tmp_path / "data")]) == 0


def test_a_store_grows_and_its_films_are_not_written_again(tmp_path: Path) -> None:
    folder = write_arrays(tmp_path, {"a": film()}, {"test": ["a"]})
    written = (folder / "a.npy").stat()
    write_arrays(tmp_path, {"a": film(), "b": film(7, seed=1)}, {"test": ["a", "b"]})
    assert (folder / "a.npy").stat().st_ino == written.st_ino
    assert dict(FeatureStore.open(folder).num_shots) == {"a": 5, "b": 7}


@pytest.mark.parametrize("other", [film(seed=1), film(6)])
def test_other_features_of_a_stored_film_are_refused_before_anything_is_written(
    other: FilmArrays, tmp_path: Path
) -> None:
    folder = write_arrays(tmp_path, {"a": film()}, {"test": ["a"]})
    before = tree_bytes(tmp_path, hidden=True)
    with pytest.raises(InputError) as refusal:
        write_arrays(tmp_path, {"b": film(), "a": other}, {"test": ["a", "b"]})
    said = f"{folder / 'a.npy'} holds other features of film a; write to another store, or remove the file"
    assert str(refusal.value) == said
    assert tree_bytes(tmp_path, hidden=True) == before
    (folder / "a.npy").unlink()
    write_arrays(tmp_path, {"a": other}, {"test": ["a"]})
    np.testing.assert_array_equal(FeatureStore.open(folder).film("a"), np.asarray(other.features, np.float32))


def test_unlabelled_arrays_are_stored_too(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", film())
    assert main([str(path), "--target", str(tmp_path / "data"), "--features", "f_net", "--labels", "none"]) == 0
    assert FeatureStore.open(tmp_path / "data" / "features" / "f_net").num_shots == {"a": 5}
    assert not (tmp_path / "data" / "anno" / "anno.trainvaltest.ndjson").exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"shots": shot_frames(4)}, "features of a"),
        ({"shots": shot_frames(5).astype(float)}, "whole frame numbers"),
        ({"shots": shot_frames(5)[::-1]}, "not in order"),
        ({"shots": np.array([[5, 2]] * 5)}, "before it starts"),
        ({"features": np.full((5, 4), np.nan)}, "NaN"),
        ({"features": np.full((5, 4), 1e300)}, "infinity"),
        ({"features": np.zeros(5)}, "features of a"),
        ({"labels": np.array([0, 1, 2, 0, 0])}, "labels of a"),
        ({"labels": np.array([0, 1])}, "labels of a"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict, what: str) -> None:
    given = film()
    arrays = FilmArrays(**{"shots": given.shots, "features": given.features, "labels": given.labels, **change})
    with pytest.raises(InputError, match=what):
        write_arrays(tmp_path, {"a": arrays}, {})
    assert not (tmp_path / "anno").exists()


def test_films_of_different_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="b have 3 numbers"):
        write_arrays(tmp_path, {"a": film(), "b": film(dimension=3)}, {})


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "", ".a", "a\nb", "<a>"])
def test_names_cannot_leave_the_target(tmp_path: Path, name: str) -> None:
    target = tmp_path / "deep" / "data"
    with pytest.raises(InputError, match="cannot name a folder"):
        write_arrays(target, {name: film()}, {})
    with pytest.raises(InputError, match="cannot name a folder"):
        write_arrays(target, {"a": film()}, {}, store=name)
    assert not target.exists()


def test_a_pickle_in_a_npz_is_not_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "boom",))

    np.savez(tmp_path / "a.npz", shots=np.array([Bomb()], dtype=object), f=np.zeros(1), boundary=np.zeros(1))
    with pytest.raises(InputError, match=r"a\.npz is no \.npz file of numbers, or a damaged one; write it") as caught:
        read_npz(tmp_path / "a.npz", "shots", "f", "boundary")
    assert "allow_pickle" not in str(caught.value)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_a_file_that_is_no_npz_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz is no \.npz file") as caught:
        read_npz(tmp_path / "a.npz", "shots", "f", "boundary")
    assert "allow_pickle" not in str(caught.value)
    assert main([str(tmp_path / "a.npz"), "--target", str(tmp_path / "data")]) == 2


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz does not exist; check the path"):
        read_npz(tmp_path / "none.npz", "shots", "f", None)
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_npz(tmp_path, "shots", "f", None)


def test_a_missing_array_is_named_with_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npz", film())
    assert main([str(path), "--target", str(tmp_path / "data")]) == 2
    assert "no array 'features'; it has shots, boundary, f_net" in capsys.readouterr().err


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    shots=st.lists(st.tuples(st.integers(-2, 60), st.integers(-2, 60)), max_size=5),
    labels=st.lists(st.integers(-2, 2), max_size=5),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 3)),
)
def test_any_arrays_are_a_data_set_or_an_input_error(
    tmp_path: Path, shots: list, labels: list[int], shape: tuple[int, int]
) -> None:
    arrays = FilmArrays(np.array(shots, int).reshape(-1, 2), np.ones(shape), np.array(labels, int))
    target = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    try:
        write_arrays(target, {"a": arrays}, {"test": ["a"]})
    except InputError:
        return
    path = target / "anno" / "anno.test.ndjson"
    if path.exists():
        assert read_annotations(path).shot.max() < len(shots)
