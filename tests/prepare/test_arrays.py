from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bassl.dataset.annotation import read_annotations
from bassl.dataset.features import FeatureStore
from bassl.errors import InputError
from bassl.prepare.arrays import FilmArrays, main, read_npz, write_arrays
from bassl.prepare.check import main as check
from tests.prepare.making import labels_of, shot_frames, tree_bytes


def film(num_shots: int = 5, dimension: int = 4, seed: int = 0) -> FilmArrays:
    labels = np.zeros(num_shots, int)
    labels[[1, -1]] = 1
    features = np.random.default_rng(seed).standard_normal((num_shots, dimension))
    return FilmArrays(shot_frames(num_shots), features, labels)


def save(path: Path, arrays: FilmArrays) -> Path:
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
    files = [str(save(tmp_path / f"ep_{number}.npz", film(seed=number))) for number in range(1, 5)]
    command = [*files, "--output", str(tmp_path / "data"), "--features", "f_net", "--keep-last"]
    command += ["--train", "ep_[12]", "--val", "ep_3", "--test", "ep_4"]
    assert main(command) == 0
    before = tree_bytes(tmp_path / "data", hidden=True)
    assert labels_of(tmp_path / "data", "train") == {"ep_1": [0, 1, 0, 0, 1], "ep_2": [0, 1, 0, 0, 1]}
    assert main(command) == 0
    assert tree_bytes(tmp_path / "data", hidden=True) == before
    assert check([str(tmp_path / "data"), "--jobs", "1"]) == 0


def test_a_store_grows_and_its_films_are_not_written_again(tmp_path: Path) -> None:
    folder = write_arrays(tmp_path, {"a": film()}, {"test": ["a"]})
    inode = (folder / "a.npy").stat().st_ino
    write_arrays(tmp_path, {"a": film(), "b": film(7, seed=1)}, {"test": ["a", "b"]})
    assert (folder / "a.npy").stat().st_ino == inode
    assert dict(FeatureStore.open(folder).num_shots) == {"a": 5, "b": 7}


@pytest.mark.parametrize("other", [film(seed=1), film(6)])
def test_other_features_of_a_stored_film_are_refused_before_anything_is_written(
    other: FilmArrays, tmp_path: Path
) -> None:
    write_arrays(tmp_path, {"a": film()}, {"test": ["a"]})
    before = tree_bytes(tmp_path, hidden=True)
    with pytest.raises(InputError, match="other features of film a"):
        write_arrays(tmp_path, {"b": film(), "a": other}, {"test": ["a", "b"]})
    assert tree_bytes(tmp_path, hidden=True) == before


def test_unlabelled_arrays_are_stored_too(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", film())
    assert main([str(path), "--target", str(tmp_path / "data"), "--features", "f_net", "--labels", "none"]) == 0
    assert FeatureStore.open(tmp_path / "data" / "features" / "f_net").num_shots == {"a": 5}
    assert not (tmp_path / "data" / "anno" / "anno.trainvaltest.ndjson").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": shot_frames(4)}, "features of a"),
        ({"shots": shot_frames(5).astype(float)}, "integer frame numbers"),
        ({"shots": shot_frames(5)[::-1]}, "not in order"),
        ({"shots": np.array([[5, 2]] * 5)}, "before it starts"),
        ({"shots": shot_frames(5) - 1}, "frame numbers from 0 to"),
        ({"features": np.full((5, 4), np.nan)}, "NaN"),
        ({"features": np.full((5, 4), 1e300)}, "infinity"),
        ({"features": np.zeros(5)}, "features of a"),
        ({"labels": np.array([0, 1, 2, 0, 0])}, "labels of a"),
        ({"labels": np.array([0, 1])}, "labels of a"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_arrays(tmp_path, {"a": replace(film(), **change)}, {})
    with pytest.raises(InputError, match="b have 3 numbers"):
        write_arrays(tmp_path, {"a": film(), "b": film(dimension=3)}, {})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "<a>"])
def test_names_cannot_leave_the_data_set(tmp_path: Path, name: str) -> None:
    for films, store in (({name: film()}, "net"), ({"a": film()}, name)):
        with pytest.raises(InputError, match="cannot name a folder"):
            write_arrays(tmp_path / "data", films, {}, store=store)
    assert not any(tmp_path.iterdir())


def test_files_that_cannot_be_read_are_refused_and_no_pickle_is_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "boom",))

    np.savez(tmp_path / "bomb.npz", shots=np.array([Bomb()], dtype=object), f=np.zeros(1))
    (tmp_path / "text.npz").write_bytes(b"text")
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04 broken")
    for name in ("bomb.npz", "text.npz", "zip.npz"):
        with pytest.raises(InputError, match=rf"{name} is not an \.npz file of numbers, or is damaged; write it"):
            read_npz(tmp_path / name, "shots", "f", None)
    with pytest.raises(InputError, match=r"none\.npz cannot be read \(No such file"):
        read_npz(tmp_path / "none.npz", "shots", "f", None)
    with pytest.raises(InputError, match="no array 'boundary'; it has shots, f"):
        read_npz(tmp_path / "bomb.npz", "shots", "f", "boundary")
    assert not (tmp_path / "boom").exists()
