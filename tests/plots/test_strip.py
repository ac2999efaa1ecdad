from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from bassl.errors import InputError
from bassl.plots.strip import MISSING_COLOR, cover, strip_pixels, strip_tiles
from tests.plots.drawing import plain_keyframe


def test_every_shot_has_its_own_tile_where_there_is_room() -> None:
    tiles = strip_tiles(20, cuts=[3, 9], place_width=74, tile_width=120)
    assert [(tile.left, tile.right, tile.shown) for tile in tiles] == [(i, i + 1, i) for i in range(20)]


def test_a_scene_is_thinned_to_equal_tiles_of_about_the_asked_width() -> None:
    tiles = strip_tiles(12, cuts=[], place_width=10, tile_width=40)
    assert [(tile.left, tile.right) for tile in tiles] == [(0, 4), (4, 8), (8, 12)]
    assert [tile.shown for tile in tiles] == [2, 6, 10]


def test_a_scene_of_one_shot_keeps_its_tile_however_narrow() -> None:
    tiles = strip_tiles(100, cuts=[49, 50], place_width=2, tile_width=60)
    assert (50, 51, 50) in [tuple(tile) for tile in tiles]


@pytest.mark.parametrize("seed", range(40))
def test_tiles_cover_all_places_once_and_respect_every_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_places = int(rng.integers(1, 80))
    cuts = rng.integers(0, num_places, size=int(rng.integers(0, 9))).tolist()
    tiles = strip_tiles(num_places, cuts, float(rng.uniform(0.5, 90)), tile_width=60)
    assert tiles[0].left == 0
    assert tiles[-1].right == num_places
    for tile, after in pairwise(tiles):
        assert tile.right == after.left
    for tile in tiles:
        assert tile.left <= tile.shown < tile.right or tile.shown == int(tile.left)
        assert not any(tile.left < cut + 1 < tile.right for cut in cuts)


def test_a_cut_behind_the_last_place_makes_no_empty_tile() -> None:
    assert [tuple(tile) for tile in strip_tiles(2, cuts=[1], place_width=80, tile_width=60)] == [(0, 1, 0), (1, 2, 1)]


def test_pixels_at_the_place_of_a_shown_shot_are_its_keyframe() -> None:
    tiles = strip_tiles(30, cuts=[10], place_width=12.5, tile_width=40)
    pixels = strip_pixels(tiles, list(range(100, 130)), plain_keyframe, place_width=12.5, height=20)
    assert pixels.shape == (20, 375, 3)
    assert len(tiles) == 9
    for tile in tiles:
        middle = round((tile.left + tile.right) / 2 * 12.5)
        np.testing.assert_array_equal(pixels[:, middle], np.tile(plain_keyframe(100 + tile.shown)[0, 0], (20, 1)))


def test_a_shot_without_keyframe_is_grey() -> None:
    tiles = strip_tiles(2, [], 50, 50)
    pixels = strip_pixels(tiles, [0, 1], lambda shot: plain_keyframe(0) if shot == 0 else None, 50, 30)
    assert (pixels[:, 50:] == MISSING_COLOR).all()
    assert not (pixels[:, :50] == MISSING_COLOR).any()


def test_only_shown_keyframes_are_read() -> None:
    read: list[int] = []

    def keyframe(shot: int) -> None:
        read.append(shot)

    strip_pixels(strip_tiles(3000, [], 1480 / 3000, 120), range(3000), keyframe, 1480 / 3000, 90)
    assert len(read) == 12


def test_a_wide_keyframe_is_cut_left_and_right_and_a_tall_one_above_and_below() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 255
    np.testing.assert_array_equal(cover(wide, 10, 10), 255)
    tall = np.zeros((40, 10, 3), np.uint8)
    tall[15:25] = 255
    np.testing.assert_array_equal(cover(tall, 10, 10), 255)


def test_grey_and_transparent_pillow_images_become_rgb() -> None:
    assert cover(Image.new("L", (8, 6), 7), 4, 3).tolist() == [[[7, 7, 7]] * 4] * 3
    assert cover(Image.new("RGBA", (8, 6), (1, 2, 3, 255)), 4, 3).shape == (3, 4, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_what_is_no_keyframe_is_refused_with_its_shape(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"a key-frame is .* of shape \(.*\); give uint8 \(H, W, 3\)"):
        cover(image, 5, 5)
