from __future__ import annotations

import numpy as np
import pytest
import torch

from bassl.errors import InputError
from bassl.plots.neighbors import nearest_shots, neighbor_figure
from tests.knn import same_scene_precision
from tests.plots.drawing import plain_keyframe, texts
from tests.reference import data


def test_neighbours_by_hand() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    shots, cosines = nearest_shots(features, [0, 3], 2)
    assert shots[0].tolist() == [1, 3]
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.5**0.5], [0.5**0.5, 0.5**0.5]]))


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_equal_the_slow_search(seed: int) -> None:
    features = data(seed, (30, 6))
    shots, cosines = nearest_shots(features, range(30), 7)
    for query in range(30):
        found = {}
        for shot in range(30):
            if shot != query:
                found[shot] = float(torch.cosine_similarity(features[query], features[shot], dim=0))
        best = sorted(found, key=found.__getitem__, reverse=True)[:7]
        assert shots[query].tolist() == best
        assert cosines[query].tolist() == pytest.approx([found[shot] for shot in best], abs=1e-5)


def test_neighbours_agree_with_the_precision_that_validation_reports() -> None:
    features, scene = data(1, (40, 8)) + 2 * torch.eye(8)[torch.arange(40) // 5], torch.arange(40) // 5
    shots, _ = nearest_shots(features, range(40), 5)
    share = 100 * (scene[shots] == scene[:, None]).double().mean()
    assert float(share) == pytest.approx(float(same_scene_precision(features, torch.zeros(40), scene, [5])))


def test_a_shot_is_not_its_own_neighbour_even_where_all_others_are_its_opposite() -> None:
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    shots, cosines = nearest_shots(features, [0], 2)
    assert sorted(shots[0].tolist()) == [1, 2]
    assert bool((cosines < -0.9).all())


def test_a_short_film_gives_all_its_other_shots() -> None:
    assert nearest_shots(data(0, (3, 4)), [1], 6)[0].shape == (1, 2)
    assert nearest_shots(data(0, (1, 4)), [0], 6)[0].shape == (1, 0)


def test_bad_queries_and_features_are_refused() -> None:
    with pytest.raises(InputError, match=r"features have shape \(4,\)"):
        nearest_shots(torch.zeros(4), [0], 1)
    with pytest.raises(InputError, match="give finite ones"):
        nearest_shots(torch.full((4, 2), torch.nan), [0], 1)
    with pytest.raises(InputError, match="queries 0 to 4 do not lie in a film of 4 shots"):
        nearest_shots(torch.zeros(4, 2), [0, 4], 1)


def test_frames_stand_around_neighbours_of_the_querys_scene_and_no_others() -> None:
    scene = np.array([0, 0, 0, 1, 1, -1, -1])
    neighbors = torch.tensor([[1, 3, 2], [4, 0, 5], [6, 0, 1]])
    figure = neighbor_figure("film", [0, 3, 5], neighbors, torch.zeros(3, 3), plain_keyframe, scene)
    (axes,) = figure.axes
    frames = [patch for patch in axes.patches if patch.get_label() == "same scene"]
    places = {image.get_extent()[0]: None for image in axes.images}
    columns = sorted(places)[1:]
    assert [(columns.index(frame.get_x()), round(frame.get_y())) for frame in frames] == [(0, 78), (2, 78), (0, 220)]
    bold = [text.get_text().split()[1] for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["0", "1", "2", "3", "4", "5"]


def test_every_query_and_neighbour_is_shown_with_its_number() -> None:
    neighbors = torch.tensor([[11, 12], [13, 14], [15, 16]])
    figure = neighbor_figure("film", [1, 2, 3], neighbors, torch.full((3, 2), 0.875), plain_keyframe)
    (axes,) = figure.axes
    assert len(axes.images) == 9
    shown = [tuple(np.asarray(image.get_array())[0, 0]) for image in axes.images]
    assert shown == [tuple(plain_keyframe(shot)[0, 0]) for shot in (1, 11, 12, 2, 13, 14, 3, 15, 16)]
    assert "shot 16   0.88" in texts(figure)
    assert axes.patches[:] == []


def test_no_query_makes_an_empty_sheet() -> None:
    empty = torch.zeros(0, 4)
    assert len(neighbor_figure("film", [], empty.long(), empty, plain_keyframe).axes[0].images) == 0


def test_tables_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"have shapes \(1, 2\) and \(1, 3\) for 1 queries"):
        neighbor_figure("film", [0], torch.zeros(1, 2), torch.zeros(1, 3), plain_keyframe)
