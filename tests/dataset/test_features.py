from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bassl.dataset.features import FeatureStore, FeatureTable, FeatureWriter
from bassl.errors import InputError

DIM = 4
FILMS = {"b_film": 5, "a_film": 3}
IDENTITY = {"model": {"name": "bassl", "sha256": "abc"}, "transform": {"resize": 256, "crop": 224}}

Features = npt.NDArray[np.floating[Any]]


def features_of(film: str) -> Features:
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


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def refusal_of(folder: Path, film: str | None = None) -> str:
    with pytest.raises(InputError) as refusal:  # noqa: PT012
        store = FeatureStore.open(folder)
        if film is not None:
            store.film(film)
    return str(refusal.value)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_was_written_is_read(dtype: str, tmp_path: Path) -> None:
    store = FeatureStore.open(written_store(tmp_path / "store", dtype))
    assert (store.dimension, store.num_shots, store.model) == (DIM, FILMS, IDENTITY["model"])
    assert visible(store.folder) == ["a_film.npy", "b_film.npy", "index.json"]
    for film in FILMS:
        assert store.film(film).dtype == dtype
        np.testing.assert_array_equal(store.film(film), features_of(film).astype(dtype))


def test_the_index_says_what_the_store_is(tmp_path: Path) -> None:
    index = json.loads((written_store(tmp_path) / "index.json").read_text())
    assert index == {
        "format": "bassl-features",
        "version": 1,
        "dimension": DIM,
        "dtype": "float32",
        **IDENTITY,
        "films": FILMS,
    }
    assert list(index["films"]) == sorted(FILMS)


@pytest.mark.parametrize("name", ["shot_{:04d}.npy", "{:04d}.npy", "{}.npy"])
@pytest.mark.parametrize("shape", [(DIM,), (1, DIM)])
def test_one_file_a_shot_as_the_reference_has_it_is_read(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    store = FeatureStore.open(write_per_shot(tmp_path, name, shape))
    assert (store.dimension, store.num_shots, store.model) == (DIM, FILMS, None)
    for film in FILMS:
        np.testing.assert_array_equal(store.film(film), features_of(film))


def test_shots_are_in_the_order_of_their_numbers_and_not_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    for shot in range(12):
        np.save(tmp_path / "film" / f"{shot}.npy", np.full(DIM, shot, np.float32))
    assert FeatureStore.open(tmp_path).film("film")[:, 0].tolist() == list(range(12))


def test_a_film_that_lacks_a_shot_is_refused(tmp_path: Path) -> None:
    write_per_shot(tmp_path)
    (tmp_path / "a_film" / "shot_0001.npy").unlink()
    assert f"features of film a_film in {tmp_path} lack shot 1" in refusal_of(tmp_path)


def test_a_shot_of_another_dimension_is_refused(tmp_path: Path) -> None:
    path = write_per_shot(tmp_path) / "b_film" / "shot_0002.npy"
    np.save(path, np.zeros(DIM + 1, np.float32))
    assert refusal_of(tmp_path, "b_film").startswith(f"{path} has shape (5,), others of {tmp_path} hold 4")


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_features_is_refused_with_the_command_that_makes_them(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "bassl"
    if exists:
        folder.mkdir()
    said = refusal_of(folder)
    assert said.startswith(f"no shot features in {folder}; make them with ")
    assert f"bassl extract config.LOAD_FROM=<EXPR_NAME of the pre-training run> config.FEATURE_PATH={folder}`" in said


def test_a_folder_of_stores_is_refused_with_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        written_store(tmp_path / name)
    said = f"{tmp_path} holds 2 feature store(s), a, b; name one, such as {tmp_path / 'a'}"
    assert refusal_of(tmp_path) == said


def test_a_film_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = refusal_of(written_store(tmp_path), "c_film")
    assert said.startswith(f"the feature store {tmp_path} holds no film c_film (2 others); extract the split")


DAMAGED_INDICES = [
    (b"", "is damaged"),
    (b"{", "is damaged"),
    (b"\xff", "is damaged"),
    (b"[]", "is damaged (no object)"),
    (b"[" * 100_000, "is damaged"),
    (b"{}", "is of format None None, not bassl-features 1"),
    ({"version": 2}, "is of format bassl-features 2, not bassl-features 1"),
    ({"dimension": "x"}, "is damaged"),
    ({"dimension": None}, "is damaged"),
    ({"films": []}, "is damaged"),
    ({"films": {"a": "x"}}, "is damaged"),
    ({"films": {"a": None}}, "is damaged"),
    ({"model": ...}, "is damaged"),
    ({"films": None}, "has not finished; start the same command again"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGED_INDICES)
def test_a_damaged_index_is_refused(damage: bytes | dict[str, Any], said: str, tmp_path: Path) -> None:
    index = written_store(tmp_path) / "index.json"
    if isinstance(damage, bytes):
        index.write_bytes(damage)
    else:
        changed = {**json.loads(index.read_text()), **damage}
        index.write_text(json.dumps({key: value for key, value in changed.items() if value is not ...}))
    assert said in refusal_of(tmp_path)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[:-5])
    elif how == "header only":
        path.write_bytes(content[:40])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing":
        path.unlink()
    elif how == "pickled":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif how == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
    elif how == "other shape":
        np.save(path, np.zeros((FILMS["a_film"] + 1, DIM), np.float32))
    elif how == "text":
        np.save(path, np.zeros((FILMS["a_film"], DIM), "<U3"))
    else:
        assert how == "whole numbers"
        np.save(path, np.zeros((FILMS["a_film"], DIM), np.int64))


DAMAGES = [
    "truncated", "header only", "empty", "missing", "pickled", "archive", "other shape", "text", "whole numbers",
]  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_film_is_refused_by_its_path(how: str, tmp_path: Path) -> None:
    path = written_store(tmp_path) / "a_film.npy"
    damage(path, how)
    said = refusal_of(tmp_path, "a_film")
    assert "a_film.npy" in said
    assert "extract again" in said
    np.testing.assert_array_equal(FeatureStore.open(tmp_path).film("b_film"), features_of("b_film"))


@pytest.mark.parametrize("how", ["truncated", "header only", "empty", "pickled", "archive", "text"])
def test_a_damaged_shot_is_refused_by_its_path(how: str, tmp_path: Path) -> None:
    path = write_per_shot(tmp_path) / "b_film" / "shot_0003.npy"
    damage(path, how)
    assert str(path) in refusal_of(tmp_path, "b_film")


@settings(max_examples=60)
@given(st.integers(0, 127 + 4 * DIM * FILMS["a_film"]), st.integers(0, 255), st.booleans())
def test_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, per_shot: bool
) -> None:
    folder = tmp_path_factory.mktemp("store")
    path = write_per_shot(folder) / "a_film" / "shot_0001.npy" if per_shot else written_store(folder) / "a_film.npy"
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    try:
        assert FeatureStore.open(folder).film("a_film").shape == (FILMS["a_film"], DIM)
    except InputError as refusal:
        assert path.name in str(refusal)  # noqa: PT017


def test_a_table_holds_the_films_in_the_given_order(tmp_path: Path) -> None:
    table = FeatureStore.open(written_store(tmp_path)).table(["b_film", "a_film"])
    assert (table.first.tolist(), table.num_shots.tolist()) == ([0, 5], [5, 3])
    expected = np.concatenate([features_of("b_film"), features_of("a_film")])
    np.testing.assert_array_equal(table.values.numpy(), expected)
    rows = torch.tensor([[7, 0], [2, 2]])
    gathered = table.gather(rows)
    assert gathered.dtype == torch.float32
    torch.testing.assert_close(gathered, torch.from_numpy(expected)[rows], rtol=0, atol=0)


@pytest.mark.parametrize(("stored", "kept"), [
    (np.float16, torch.float16), (np.float32, torch.float32), (np.float64, torch.float32),
])  # fmt: skip
def test_a_table_keeps_half_precision_and_gathers_in_32_bit(stored: type, kept: torch.dtype, tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    np.save(tmp_path / "film" / "shot_0000.npy", np.arange(DIM, dtype=stored))
    table = FeatureStore.open(tmp_path).table(["film"])
    assert table.values.dtype == kept
    assert table.gather(torch.zeros(1, 1, dtype=torch.long)).dtype == torch.float32


def test_a_table_of_a_film_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no film c_film"):
        FeatureStore.open(written_store(tmp_path)).table(["a_film", "c_film"])


def test_gathering_equals_reading_row_by_row() -> None:
    table = FeatureTable(torch.randn(9, DIM), np.array([0]), np.array([9]))
    rows = torch.randint(9, (5, 7), generator=torch.Generator().manual_seed(0))
    slow = torch.stack([torch.stack([table.values[row] for row in window]) for window in rows])
    assert torch.equal(table.gather(rows), slow)


class Travelling(torch.Tensor):
    """Rows that note how they are brought to another device."""

    non_blocking: ClassVar[list[bool]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.to:
            cls.non_blocking.append((kwargs or {}).get("non_blocking", False))
        return super().__torch_function__(func, types, args, kwargs)


@pytest.mark.parametrize(("device", "non_blocking"), [("cpu", False), ("meta", True)])
def test_rows_are_waited_for_where_the_host_indexes_with_them(
    device: str, non_blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Travelling, "non_blocking", [])
    table = FeatureTable(torch.zeros(9, DIM, device=device), np.array([0]), np.array([9]))
    rows = torch.arange(6).reshape(2, 3).as_subclass(Travelling)
    assert table.gather(rows).shape == (2, 3, DIM)
    assert Travelling.non_blocking[0] is non_blocking


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_features_in_host_memory_travel_as_they_are_stored_and_rows_stay(
    stored: torch.dtype,
) -> None:
    """From pinned memory to a GPU; here to a device without memory."""
    table = FeatureTable(torch.zeros(9, DIM, dtype=stored), np.array([0]), np.array([9]))
    found = table.gather(torch.arange(6).reshape(2, 3), torch.device("meta"))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (2, 3, DIM))
    assert set(table._gathered) == {stored}, "no copy in 32 bit on the host"


def test_an_extraction_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    first = writer_for(tmp_path)
    first.begin()
    first.write("a_film", features_of("a_film"))
    first.close()
    assert "has not finished" in refusal_of(tmp_path)
    second = writer_for(tmp_path)
    second.begin()
    assert second.has("a_film", FILMS["a_film"])
    assert not second.has("a_film", FILMS["a_film"] + 1)
    assert not second.has("b_film", FILMS["b_film"])
    second.write("b_film", features_of("b_film"))
    second.finish(FILMS)
    assert FeatureStore.open(tmp_path).num_shots == FILMS


def test_a_finished_store_grows_by_another_split(tmp_path: Path) -> None:
    written_store(tmp_path)
    writer = writer_for(tmp_path)
    writer.begin()
    assert FeatureStore.open(tmp_path).num_shots == FILMS
    writer.write("c_film", np.ones((2, DIM)))
    writer.finish({"c_film": 2})
    assert FeatureStore.open(tmp_path).num_shots == {**FILMS, "c_film": 2}


OTHERS: list[dict[str, Any]] = [
    {"model": {"name": "bassl", "sha256": "other"}},
    {"transform": {"resize": 256, "crop": 200}},
    {"dtype": "float16"},
    {"dimension": DIM + 1},
    {"precision": "bf16"},
]


@pytest.mark.parametrize("other", OTHERS)
def test_features_made_differently_are_refused_and_left_alone(other: dict[str, Any], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in written_store(tmp_path).iterdir()}
    with pytest.raises(InputError) as refusal:
        writer_for(tmp_path, **other).begin()
    (key,) = other
    assert f"the features in {tmp_path} were made differently ({key}: " in str(refusal.value)
    assert "set config.FEATURE_PATH to another folder" in str(refusal.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    writer_for(tmp_path).begin()  # the refused one let go of the folder


def test_features_without_an_index_are_refused_and_left_alone(tmp_path: Path) -> None:
    folder = write_per_shot(tmp_path)
    with pytest.raises(InputError, match=r"holds features without an index; set config\.FEATURE_PATH to"):
        writer_for(folder).begin()
    assert visible(folder) == sorted(FILMS)


def test_a_damaged_index_is_not_written_over(tmp_path: Path) -> None:
    (written_store(tmp_path) / "index.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        writer_for(tmp_path).begin()
    assert (tmp_path / "index.json").read_text() == "{"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that does not wait for another."""
    monkeypatch.setattr("bassl.files.LOCK_PATIENCE", 0)


@pytest.mark.usefixtures("impatient")
def test_a_second_writer_of_this_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    first, second = writer_for(tmp_path), writer_for(tmp_path)
    first.begin()
    with pytest.raises(InputError, match=f"another process is writing {tmp_path}; wait for it"):
        second.begin()
    first.close()
    second.begin()
    second.close()


@pytest.mark.usefixtures("impatient")
def test_a_second_writer_of_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys\n"
        "lock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('taken', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        with pytest.raises(InputError, match="another process is writing"):
            writer_for(tmp_path).begin()
        assert visible(tmp_path) == []
        other.communicate("")
    writer = writer_for(tmp_path)
    writer.begin()
    writer.close()


def test_a_film_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_for(tmp_path)
    writer.begin()
    writer.write("a_film", features_of("a_film"))
    save = np.save

    def save_half(path: Path, array: Features, **options: Any) -> None:
        save(path, array[: len(array) // 2], **options)
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", save_half)
    for film in FILMS:
        with pytest.raises(OSError, match="disk full"):
            writer.write(film, features_of(film) + 1)
    assert visible(tmp_path) == ["a_film.npy", "index.json"]
    np.testing.assert_array_equal(np.load(tmp_path / "a_film.npy"), features_of("a_film"))
    writer.close()


def test_features_of_another_shape_are_a_bug(tmp_path: Path) -> None:
    writer = writer_for(tmp_path)
    for wrong in (np.zeros((3, DIM + 1)), np.zeros(DIM), np.zeros((3, DIM, 1))):
        with pytest.raises(AssertionError):
            writer.write("a_film", wrong)
    writer.begin()
    with pytest.raises(AssertionError, match="films not written"):
        writer.finish(FILMS)
    writer.close()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "", "x" * 300, "line\nbreak"])
def test_a_store_from_a_stranger_cannot_name_files_outside_itself(name: str, tmp_path: Path) -> None:
    index = {"format": "bassl-features", "version": 1, "dimension": 4, "dtype": "float32", "model": None}
    index["films"] = {name: 3}
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="no file name"):
        FeatureStore.open(tmp_path)
