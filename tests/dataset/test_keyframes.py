from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.faults import Faults
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.dataset.transform import decode_keyframe
from bassl.errors import InputError
from tests.movienet import HEIGHT, WIDTH, decoded, write_movienet


@pytest.fixture
def own_keyframes(tmp_path: Path) -> Keyframes:
    """Key-frames of a small film that a test may break."""
    folder = write_movienet(tmp_path, {"tt1": 6, "tt2": 4}, coded=True)
    return Keyframes(folder / "240P_frames", read_annotations(folder / "anno" / "anno.pretrain.ndjson"))


def test_a_key_frame_lies_where_movienet_has_it(coded_keyframes: Keyframes) -> None:
    root = coded_keyframes.root
    assert coded_keyframes.path(0, 7, 2) == root / "long" / "shot_0007_img_2.jpg"
    assert coded_keyframes.path(2, 0, 0) == root / "tiny" / "shot_0000_img_0.jpg"
    unpadded = replace(coded_keyframes.annotations, digits=torch.ones(3, dtype=torch.long).numpy())
    assert Keyframes(root, unpadded).path(1, 17, 1).name == "shot_17_img_1.jpg"


def test_the_asked_key_frames_are_read_in_order(coded_keyframes: Keyframes) -> None:
    images = coded_keyframes.read(1, [3, 0, 23, 3], [2, 0, 1, 0])
    assert [decoded(image) for image in images] == [(1, 3, 2), (1, 0, 0), (1, 23, 1), (1, 3, 0)]
    assert {(image.shape, image.dtype) for image in images} == {((3, HEIGHT, WIDTH), torch.uint8)}


def test_all_key_frames_of_some_shots_are_read_by_shot(coded_keyframes: Keyframes) -> None:
    images = coded_keyframes.read_all(2, [4, 1])
    assert images.shape == (2, NUM_KEYFRAMES, 3, HEIGHT, WIDTH)
    assert [[decoded(image) for image in shot] for shot in images] == [
        [(2, shot, k) for k in range(NUM_KEYFRAMES)] for shot in (4, 1)
    ]
    assert torch.equal(images[0, 1], decode_keyframe(coded_keyframes.path(2, 4, 1)))


def test_key_frames_of_another_size_are_brought_to_the_first_ones(own_keyframes: Keyframes) -> None:
    path = own_keyframes.path(0, 1, 0)
    Image.open(path).resize((20, 30)).save(path, quality=100)
    images = own_keyframes.read(0, [0, 1], [0, 0])
    assert [image.shape for image in images] == [(3, HEIGHT, WIDTH)] * 2
    assert decoded(images[1]) == (0, 1, 0)
    assert own_keyframes.read_all(0, [1]).shape == (1, NUM_KEYFRAMES, 3, 30, 20)


def test_a_film_without_key_frames_is_named_before_work_starts(own_keyframes: Keyframes) -> None:
    own_keyframes.check()
    shutil.rmtree(own_keyframes.root / "tt2")
    with pytest.raises(InputError) as refusal:
        own_keyframes.check()
    path = own_keyframes.root / "tt2" / "shot_0000_img_0.jpg"
    said = str(refusal.value)
    assert said.startswith(f"key-frame {path} does not exist (1 of 2 films lack theirs); set config.DATA_PATH")
    assert "scripts/download_movienet_data.sh" in said


def test_a_broken_key_frame_is_replaced_by_the_next_of_its_shot(own_keyframes: Keyframes) -> None:
    own_keyframes.path(0, 2, 1).write_bytes(b"no picture")
    own_keyframes.path(0, 3, 2).unlink()
    assert [decoded(image) for image in own_keyframes.read(0, [2, 3], [1, 2])] == [(0, 2, 2), (0, 3, 0)]
    assert [decoded(image) for image in own_keyframes.read_all(0, [2])[0]] == [
        (0, 2, 0),
        (0, 2, 2),
        (0, 2, 2),
    ]
    assert len(own_keyframes.faults.broken) == 2


def test_a_shot_without_any_key_frame_is_refused(own_keyframes: Keyframes) -> None:
    for k in range(NUM_KEYFRAMES):
        own_keyframes.path(0, 2, k).unlink()
    listing = replace(own_keyframes, faults=Faults(list_file=own_keyframes.root / "broken.txt"))
    for keyframes, named in (
        (own_keyframes, "the log names them"),
        (listing, f"they are listed in {listing.faults.list_file}"),
    ):
        with pytest.raises(InputError) as refusal:
            keyframes.read(0, [2], [1])
        said = str(refusal.value)
        assert said.startswith(
            f"shot 2 of film tt1 has no key-frame that can be read in {keyframes.root / 'tt1'}; {named}; "
        )


def test_strict_reading_ends_at_the_first_broken_key_frame(own_keyframes: Keyframes) -> None:
    strict = Keyframes(own_keyframes.root, own_keyframes.annotations, Faults(strict=True))
    strict.path(0, 2, 1).unlink()
    with pytest.raises(InputError, match=f"key-frame {strict.path(0, 2, 1)} does not exist"):
        strict.read(0, [2], [1])
    assert decoded(strict.read(0, [2], [0])[0]) == (0, 2, 0)


def test_annotations_and_key_frames_of_the_tiny_data_set_fit(tiny_movienet: Path) -> None:
    notes: Annotations = read_annotations(tiny_movienet / "anno" / "anno.pretrain.ndjson")
    keyframes = Keyframes(tiny_movienet / "240P_frames", notes)
    keyframes.check()
    for film, num_shots in enumerate(notes.num_shots.tolist()):
        assert keyframes.path(film, num_shots - 1, 2).is_file()
        assert not keyframes.path(film, num_shots, 0).exists()
