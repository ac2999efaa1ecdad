from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bassl.errors import InputError, RunError
from bassl.pretrain import knn
from bassl.pretrain.knn import FilmwisePrecision
from tests.knn import same_scene_precision
from tests.reference import data, golden, load_json

KS = (1, 5, 10, 15, 20)


def recorded() -> tuple[Tensor, Tensor, Tensor]:
    rows = load_json("metric_rows.json")
    film = torch.tensor([row["global_video_id"] for row in rows])
    scene = torch.tensor([row["invideo_scene_id"] for row in rows])
    return torch.from_numpy(golden()["knn/feat"]), film, scene


def random_films(seed: int, num_films: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Films of about 30 shots whose scenes hold 1 to 12 of them; scenes are numbered from 0 in every film."""
    generator = torch.Generator().manual_seed(seed)
    films, scenes = [], []
    for film in range(num_films):
        sizes = torch.randint(1, 13, (5,), generator=generator)
        scenes.append(torch.repeat_interleave(torch.arange(5), sizes))
        films.append(torch.full((int(sizes.sum()),), film))
    scene = torch.cat(scenes)
    features = torch.eye(8)[scene] + 0.7 * data(seed, (len(scene), 8))
    return features, torch.cat(films), scene


def loop_precision(features: Tensor, film: Tensor, scene: Tensor, k: int) -> float:
    found, num_queries = 0, 0
    for query in range(len(film)):
        others = [shot for shot in range(len(film)) if film[shot] == film[query] and shot != query]
        scene_size = 1 + sum(1 for shot in others if scene[shot] == scene[query])
        if scene_size < k:
            continue
        num_queries += 1
        cosine = {shot: float(torch.cosine_similarity(features[query], features[shot], dim=0)) for shot in others}
        nearest = sorted(others, key=lambda shot: -cosine[shot])[:k]
        found += sum(1 for shot in nearest if scene[shot] == scene[query])
    return 100 * found / (k * num_queries) if num_queries else float("nan")


def test_the_recorded_precision_comes_out() -> None:
    expected = torch.from_numpy(golden()["knn/precision_at_1_5_10_15_20"])
    assert len(expected) == 5
    torch.testing.assert_close(same_scene_precision(*recorded(), ks=KS), expected, rtol=1e-6, atol=0)


def test_precision_has_its_hand_value() -> None:
    # On a line of angles: shots 0, 1 | 2, 3, 4 where shot 2 looks like scene 0.
    angle = torch.tensor([0.0, 0.1, 0.25, 1.0, 1.3])
    features = torch.stack([angle.cos(), angle.sin()], dim=1)
    found = same_scene_precision(features, torch.zeros(5), torch.tensor([0, 0, 1, 1, 1]), ks=(1, 2, 3, 4))
    # k=1: nearest are 1, 0, 1, 4, 3, so 4 of 5 right. k=2: 1,2 | 0,2 | 1,0 | 4,2 | 3,2, so 1+1+0+2+2 of 10.
    # k=3: only shots 2, 3, 4 ask: 1,0,3 | 4,2,1 | 3,2,1, so 1+2+2 of 9. k=4: no shot can ask.
    expected = torch.tensor([100 * 4 / 5, 100 * 6 / 10, 100 * 5 / 9, float("nan")], dtype=torch.float64)
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_precision_equals_the_double_loop(seed: int) -> None:
    features, film, scene = random_films(seed)
    ks = (1, 2, 3, 5, 8, 12)
    expected = [loop_precision(features, film, scene, k) for k in ks]
    found = same_scene_precision(features, film, scene, ks)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), equal_nan=True)


@pytest.mark.parametrize("whole_matrix", [0, 8192], ids=["a few rows held", "the matrix held"])
@pytest.mark.parametrize("at_a_time", [1, 7, 10_000])
def test_queries_a_few_at_a_time_change_nothing(
    whole_matrix: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, film, scene = recorded()
    whole = same_scene_precision(features, film, scene)
    monkeypatch.setattr(knn, "WHOLE_MATRIX", whole_matrix)
    monkeypatch.setattr(knn, "QUERIES_AT_A_TIME", at_a_time)
    assert torch.equal(same_scene_precision(features, film, scene), whole)


def test_totals_add_up_over_films_and_over_ranks() -> None:
    features, film, scene = recorded()
    ranks = [FilmwisePrecision(), FilmwisePrecision()]
    for number in range(4):
        ranks[number % 2].update(features[film == number], scene[film == number])
    together = FilmwisePrecision()
    together.totals = ranks[0].totals + ranks[1].totals
    assert torch.equal(together.compute(), same_scene_precision(features, film, scene))
    assert not torch.equal(ranks[0].compute(), together.compute())


def test_a_film_of_one_shot_and_no_film_at_all_do_not_abort() -> None:
    precision = FilmwisePrecision()
    assert torch.isnan(precision.compute()).all()
    precision.update(data(0, (1, 4)), torch.zeros(1, dtype=torch.int64))
    precision.update(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert precision.totals.tolist() == [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]


def test_shapes_values_and_ks_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match=r"scenes \(3,\); give"):
        FilmwisePrecision().update(data(0, (4, 8)), torch.zeros(3))
    with pytest.raises(InputError, match=r"give \(num_shots, D\)"):
        FilmwisePrecision().update(data(0, (4, 2, 8)), torch.zeros(4))
    with pytest.raises(RunError, match="NaN or infinity"):
        FilmwisePrecision().update(torch.full((4, 8), float("nan")), torch.zeros(4))
    with pytest.raises(InputError, match=r"ks is \(0, 5\)"):
        FilmwisePrecision((0, 5))
    with pytest.raises(InputError, match=r"ks is \(\)"):
        FilmwisePrecision(())
