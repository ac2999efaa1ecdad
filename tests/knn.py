"""k-NN precision of several films in one call."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bassl.pretrain.knn import KS, FilmwisePrecision


def same_scene_precision(features: Tensor, film: Tensor, scene: Tensor, ks: Sequence[int] = KS) -> Tensor:
    """Precision at each k, (len(ks),) in percent, of features (N, D), film (N,) and scene (N,) of each shot."""
    precision = FilmwisePrecision(ks)
    for one in film.unique():
        precision.update(features[film == one], scene[film == one])
    return precision.compute()
