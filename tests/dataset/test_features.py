from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bassl.dataset.features import FeatureStore, FeatureTable, FeatureWriter
from bassl.errors import InputError

DIM = 4
FILMS = {"b_film": 5, "a_film": 3}
IDENTITY = {"model": {"name": "bassl", "sha256": "abc"}, "transform": {"resize": 256, "crop": 224}}


def features_of(film: str) -> np.ndarray:
    rng = np.random.default_rng(len(film) + FILMS[film])
    return rng.standard_normal((FILMS[film], DIM)).astype(np.float32)


def writer_for(folder: Path, dtype: str = "float32", dimension: int = DIM, **changes: Any) -> FeatureWriter:
    return FeatureWriter(folder, dimension, dtype, {**IDENTITY, **changes})


def written_store(folder: Path, dtype: str = "float32") -> Path:
    writer = writer_for(folder, dtype)
    writer.begin()
    for film in FILMS:
        writer.write(film, features_of(film))
    writer.finish(FILMS)
    return folder


def write_per_shot(folder: Path, name: str = "shot_{:04d}.npy", shape: tuple[int, ...] = (DIM,)) -> Path:
    """The reference's layout."""
    for film in FILMS:
        (folder / film).mkdir(parents=True)
        for shot, values in enumerate(features_of(film)):
            np.save(folder / film / name.format(shot), values.reshape(shape))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_written_features_are_read(dtype: str, tmp_path: Path) -> None:
    store = FeatureStore.open(written_store(tmp_path / "store", dtype))
    assert (store.dimension, store.num_shots, store.model) == (DIM, FILMS, IDENTITY["model"])
    assert sorted(content(store.folder)) == ["a_film.npy", "b_film.npy", "index.json"]
    for film in FILMS:
        assert store.film(film).dtype == dtype
        np.testing.assert_array_equal(store.film(film), features_of(film).astype(dtype))
    expected = {"format": "bassl-features", "version": 1, "dimension": DIM, "dtype": dtype, **IDENTITY, "films": FILMS}
    assert json.loads((store.folder / "index.json").read_text()) == expected


@pytest.mark.parametrize("name", ["shot_{:04d}.npy", "{}.npy"])
@pytest.mark.parametrize("shape", [(DIM,), (1, DIM)])
def test_the_references_layout_is_read(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    store = FeatureStore.open(write_per_shot(tmp_path, name, shape))
    assert (store.dimension, store.num_shots, store.model) == (DIM, FILMS, None)
    for film in FILMS:
        np.testing.assert_array_equal(store.film(film), features_of(film))


def test_shots_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    for shot in range(12):
        np.save(tmp_path / "film" / f"{shot}.npy", np.full(DIM, shot, np.float32))
    assert FeatureStore.open(tmp_path).film("film")[:, 0].tolist() == list(range(12))
    (tmp_path / "film" / "7.npy").unlink()
    with pytest.raises(InputError, match=r"features of film film in .* lack shot 7"):
        FeatureStore.open(tmp_path)


def test_a_folder_without_a_store_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no shot features in .*`bassl extract config\.LOAD_FROM=.* config\.FEAT"):
        FeatureStore.open(tmp_path / "bassl")
    for name in ("b", "a"):
        written_store(tmp_path / name)
    with pytest.raises(InputError, match=r"holds 2 feature store\(s\), a, b; name one"):
        FeatureStore.open(tmp_path)
    with pytest.raises(InputError, match=r"holds no film c_film \(2 others\)"):
        FeatureStore.open(tmp_path / "a").film("c_film")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        ({"version": 2}, "is of format bassl-features 2, not bassl-features 1"),
        ({"dimension": "x"}, "is damaged"),
        ({"films": {"a": None}}, "is damaged"),
        ({"films": {"../outside": 3}}, "names a film '../outside', which is not a file name"),
        ({"films": None}, "has not finished; start the same command again"),
    ],
)
def test_a_damaged_index_is_refused_and_not_overwritten(damage: Any, message: str, tmp_path: Path) -> None:
    index = written_store(tmp_path) / "index.json"
    changed = damage if isinstance(damage, bytes) else json.dumps({**json.loads(index.read_text()), **damage}).encode()
    index.write_bytes(changed)
    with pytest.raises(InputError, match=message):
        FeatureStore.open(tmp_path)
    if damage == b"{":
        with pytest.raises(InputError, match="is damaged"):
            writer_for(tmp_path).begin()
        assert index.read_bytes() == changed


@pytest.mark.parametrize("how", ["truncated", "missing", "pickled", "integers", "another shape"])
def test_a_damaged_film_is_refused_by_its_path(how: str, tmp_path: Path) -> None:
    path = written_store(tmp_path) / "a_film.npy"
    arrays = {
        "pickled": np.array([{"a": 1}], dtype=object),
        "integers": np.zeros((FILMS["a_film"], DIM), np.int64),
        "another shape": np.zeros((FILMS["a_film"] + 1, DIM), np.float32),
    }
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif how == "missing":
        path.unlink()
    else:
        np.save(path, arrays[how], allow_pickle=True)
    with pytest.raises(InputError, match=r"a_film.*extract again"):
        FeatureStore.open(tmp_path).film("a_film")
    np.testing.assert_array_equal(FeatureStore.open(tmp_path).film("b_film"), features_of("b_film"))


# --- tables ---


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_table_holds_the_films_in_the_given_order_and_gathers_in_32_bit(dtype: str, tmp_path: Path) -> None:
    store = FeatureStore.open(written_store(tmp_path, dtype))
    table = store.table(["b_film", "a_film"])
    assert (table.first.tolist(), table.num_shots.tolist()) == ([0, 5], [5, 3])
    expected = np.concatenate([features_of("b_film"), features_of("a_film")]).astype(dtype)
    np.testing.assert_array_equal(table.values.numpy(), expected)
    rows = torch.tensor([[7, 0, 3], [2, 2, 6]])
    gathered = table.gather(rows)
    assert gathered.dtype == torch.float32
    slow = [[expected[row].astype(np.float32).tolist() for row in window] for window in rows.tolist()]
    assert gathered.tolist() == slow
    mean = torch.from_numpy(expected[5:].astype(np.float64).mean(0)).float()
    torch.testing.assert_close(table.mean(table.first[1:], table.num_shots[1:]), mean)
    with pytest.raises(InputError, match="holds no film c_film"):
        store.table(["a_film", "c_film"])


def test_features_travel_to_a_device_in_the_precision_of_the_store() -> None:
    table = FeatureTable(torch.zeros(9, DIM, dtype=torch.float16), np.array([0]), np.array([9]))
    gathered = table.gather(torch.arange(6).reshape(2, 3), torch.device("meta"))
    assert (gathered.device.type, gathered.dtype, gathered.shape) == ("meta", torch.float32, (2, 3, DIM))
    assert set(table._buffers) == {torch.float16}, "no copy in 32 bit on the host"


# --- writing ---


def test_an_interrupted_extraction_resumes_and_a_finished_store_grows(tmp_path: Path) -> None:
    first = writer_for(tmp_path)
    first.begin()
    first.write("a_film", features_of("a_film"))
    with pytest.raises(AssertionError, match="films not written"):
        first.finish(FILMS)
    first.close()
    second = writer_for(tmp_path)
    second.begin()
    assert [second.has("a_film", 3), second.has("a_film", 4), second.has("b_film", 5)] == [True, False, False]
    second.write("b_film", features_of("b_film"))
    second.finish(FILMS)
    third = writer_for(tmp_path)
    third.begin()
    assert FeatureStore.open(tmp_path).num_shots == FILMS
    third.write("c_film", np.ones((2, DIM)))
    third.finish({"c_film": 2})
    assert FeatureStore.open(tmp_path).num_shots == {**FILMS, "c_film": 2}


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"name": "bassl", "sha256": "other"}},
        {"transform": {"resize": 256, "crop": 200}},
        {"dtype": "float16"},
        {"dimension": DIM + 1},
        {"precision": "bf16"},
    ],
)
def test_features_of_another_identity_are_refused_and_left_alone(other: dict[str, Any], tmp_path: Path) -> None:
    before = content(written_store(tmp_path))
    with pytest.raises(InputError, match=rf"made differently \({next(iter(other))}: .*set config\.FEATURE_PATH"):
        writer_for(tmp_path, **other).begin()
    assert content(tmp_path) == before
    writer_for(tmp_path).begin()  # the refused one has unlocked the folder


def test_a_film_with_the_same_features_is_held_and_with_others_refused(tmp_path: Path) -> None:
    writer = writer_for(written_store(tmp_path))
    assert writer.holds("a_film", features_of("a_film"))
    assert not writer.holds("c_film", features_of("a_film"))
    with pytest.raises(InputError, match="holds other features of film a_film"):
        writer.holds("a_film", features_of("a_film") + 1)
    with pytest.raises(AssertionError):
        writer.write("a_film", np.zeros((3, DIM + 1)))


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bassl.files.LOCK_PATIENCE", 0)
    code = (
        "import sys; from pathlib import Path; from bassl.dataset.features import FeatureWriter\n"
        "writer = FeatureWriter(Path(sys.argv[1]), 4, 'float32', {}); writer.begin()\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another process is writing"):
            writer_for(tmp_path).begin()
        other.communicate("")
    FeatureWriter(tmp_path, 4, "float32", {}).begin()


def test_a_film_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_store(tmp_path)
    before, save = content(tmp_path), np.save

    def save_half(path: Path, array: np.ndarray, **options: Any) -> None:
        save(path, array[: len(array) // 2], **options)
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", save_half)
    for film in ("a_film", "c_film"):
        with pytest.raises(OSError, match="disk full"):
            writer_for(tmp_path).write(film, features_of("a_film") + 1)
    assert content(tmp_path) == before
