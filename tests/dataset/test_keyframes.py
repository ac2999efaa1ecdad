from __future__ import annotations

import logging
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bassl.dataset.annotation import read_annotations
from bassl.dataset.keyframes import NUM_KEYFRAMES, CorruptFrames, Keyframes, open_keyframes
from bassl.dataset.transform import decode_keyframe
from bassl.errors import InputError
from tests.movienet import HEIGHT, WIDTH, decoded, write_movienet

BROKEN = [Path(f"/film/shot_{shot:04d}_img_0.jpg") for shot in range(8)]


@pytest.fixture
def own_keyframes(tmp_path: Path) -> Keyframes:
    """Key-frames of two small films that a test may break."""
    folder = write_movienet(tmp_path, {"tt1": 6, "tt2": 4}, coded=True)
    return open_keyframes(folder / "240P_frames", read_annotations(folder / "anno" / "anno.pretrain.ndjson"))


def test_a_key_frame_lies_where_movienet_has_it(coded_keyframes: Keyframes) -> None:
    assert coded_keyframes.path(0, 7, 2) == coded_keyframes.root / "long" / "shot_0007_img_2.jpg"
    unpadded = replace(coded_keyframes.annotations, digits=np.ones(3, dtype=int))
    assert Keyframes(coded_keyframes.root, unpadded).path(1, 17, 1).name == "shot_17_img_1.jpg"


def test_key_frames_are_read_in_the_given_order(coded_keyframes: Keyframes) -> None:
    images = coded_keyframes.read(1, [3, 0, 23, 3], [2, 0, 1, 0])
    assert [decoded(image) for image in images] == [(1, 3, 2), (1, 0, 0), (1, 23, 1), (1, 3, 0)]
    assert {(image.shape, image.dtype) for image in images} == {((3, HEIGHT, WIDTH), torch.uint8)}
    stacked = coded_keyframes.read_all(2, [4, 1])
    assert [[decoded(image) for image in shot] for shot in stacked] == [
        [(2, shot, k) for k in range(NUM_KEYFRAMES)] for shot in (4, 1)
    ]
    assert torch.equal(stacked[0, 1], decode_keyframe(coded_keyframes.path(2, 4, 1)))


def test_key_frames_of_another_size_are_resized_to_the_first(own_keyframes: Keyframes) -> None:
    path = own_keyframes.path(0, 1, 0)
    Image.open(path).resize((20, 30)).save(path, quality=100)
    images = own_keyframes.read(0, [0, 1], [0, 0])
    assert [image.shape for image in images] == [(3, HEIGHT, WIDTH)] * 2
    assert decoded(images[1]) == (0, 1, 0)
    assert own_keyframes.read_all(0, [1]).shape == (1, NUM_KEYFRAMES, 3, 30, 20)


def test_a_film_without_key_frames_is_named_before_work_starts(own_keyframes: Keyframes) -> None:
    corrupt = open_keyframes(own_keyframes.root, own_keyframes.annotations, max_fraction=0.5).corrupt
    assert (corrupt.max_fraction, corrupt.num_files) == (0.5, 3 * (6 + 4))
    shutil.rmtree(own_keyframes.root / "tt2")
    with pytest.raises(InputError, match=r"tt2/shot_0000_img_0.jpg does not exist \(1 of 2 films have none\)"):
        open_keyframes(own_keyframes.root, own_keyframes.annotations)


def test_a_corrupt_key_frame_is_replaced_by_the_next_of_its_shot(own_keyframes: Keyframes) -> None:
    own_keyframes.path(0, 2, 1).write_bytes(b"no picture")
    own_keyframes.path(0, 3, 2).unlink()
    assert [decoded(image) for image in own_keyframes.read(0, [2, 3], [1, 2])] == [(0, 2, 2), (0, 3, 0)]
    assert len(own_keyframes.corrupt.broken) == 2
    strict = open_keyframes(own_keyframes.root, own_keyframes.annotations, strict=True)
    assert decoded(strict.read(0, [2], [0])[0]) == (0, 2, 0)
    with pytest.raises(InputError, match=r"shot_0003_img_2\.jpg does not exist"):
        strict.read(0, [3], [2])


def test_a_shot_without_a_readable_key_frame_is_refused(own_keyframes: Keyframes, tmp_path: Path) -> None:
    for k in range(NUM_KEYFRAMES):
        own_keyframes.path(0, 2, k).unlink()
    listing = open_keyframes(own_keyframes.root, own_keyframes.annotations, list_file=tmp_path / "broken.txt")
    for keyframes, where in ((own_keyframes, "the log names them"), (listing, r"they are listed in .*broken\.txt")):
        with pytest.raises(InputError, match=f"shot 2 of film tt1 has no readable key-frame in .*; {where}; "):
            keyframes.read(0, [2], [1])


# --- counting corrupt key-frames ---


def record_all(list_file: Path, paths: list[Path]) -> None:
    """Record corrupt key-frames as a data worker does, in each of its two data sets."""
    for corrupt in (CorruptFrames(list_file=list_file), CorruptFrames(list_file=list_file)):
        for path in paths:
            corrupt.record(path, InputError(f"key-frame {path} does not exist"))


def test_each_corrupt_file_is_listed_once_by_all_processes_and_data_sets(tmp_path: Path) -> None:
    list_file = tmp_path / "logs" / "broken.txt"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=record_all, args=(list_file, paths)) for paths in (BROKEN, BROKEN[::-1])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    record_all(list_file, BROKEN)
    assert sorted(list_file.read_text().splitlines()) == [str(path) for path in BROKEN]


def test_a_corrupt_file_is_logged_once_and_counted_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    list_file = tmp_path / "broken.txt"
    CorruptFrames(list_file=list_file).report()
    assert not caplog.records, "nothing was broken"
    record_all(list_file, BROKEN[:2])
    CorruptFrames(list_file=list_file).report()
    assert [message.split()[1] for message in caplog.messages[:2]] == [str(path) for path in BROKEN[:2]]
    assert caplog.messages[2:] == [
        f"2 key-frames were missing or broken and were replaced; they are listed in {list_file}"
    ]


@pytest.mark.parametrize(
    ("settings", "tolerated"),
    [
        ({"num_read": 20}, 10),
        ({"num_read": 20_000}, 20),
        ({"num_read": 20_000, "max_fraction": 0.0}, 0),
        ({"num_read": 80_000, "num_files": 20_000}, 20),  # read again in later epochs
    ],
)
def test_the_first_ten_and_the_given_fraction_are_tolerated(settings: dict[str, Any], tolerated: int) -> None:
    corrupt = CorruptFrames(**settings)
    for number in range(tolerated):
        corrupt.record(Path(f"{number}.jpg"), InputError("broken"))
    with pytest.raises(
        InputError, match=f"{tolerated + 1} of the first {min(settings['num_read'], 20_000)} key-frames"
    ):
        corrupt.record(Path("another.jpg"), InputError("broken"))
