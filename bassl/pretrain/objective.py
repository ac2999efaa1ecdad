"""From a method to its named loss terms: which heads exist, what each term reads, and how they come together.

The terms are computed over the effective batch of all ranks. Embeddings are gathered with gradient, and every random
draw is made for the whole batch from a generator that is seeded alike on all ranks, so that N ranks with B/N samples
each compute what one rank computes with B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bassl.distributed import gather_with_grad, rank, sum_over_ranks, world_size
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead, boundary_head, group_head
from bassl.pretrain import losses
from bassl.pretrain.alignment import pseudo_boundary


class Reads(NamedTuple):
    """What a term reads: the pseudo-boundary, NCE embeddings (which it then trains), the CRN."""

    boundary: bool = False
    embeddings: bool = False
    crn: bool = False


TERMS: dict[str, Reads] = {
    "ssm": Reads(boundary=True, embeddings=True),
    "shotcol": Reads(embeddings=True),
    "cgm": Reads(boundary=True, crn=True),
    "pp": Reads(boundary=True, crn=True),
    "msm": Reads(crn=True),
    "simclr": Reads(embeddings=True),
}


class PretextObjective(nn.Module):
    """The heads and loss terms of a pre-training method (BaSSL, section 3); weights are 1, terms are summed.

    Each term is the method of its name and has an entry in `reads`; a subclass may add more (docs/extending.md).

    terms: names out of `reads`. num_sparse: sparse views per window; the first two are its edge shots where there
    are two or more, the last is the centre shot where the shotcol term is on. center: position of the centre shot.
    """

    reads: ClassVar[Mapping[str, Reads]] = TERMS

    def __init__(
        self,
        terms: Sequence[str],
        num_sparse: int,
        center: int,
        feature_dim: int,
        hidden_dim: int | None = None,
        temperature: float = 0.1,
        num_negatives: int = 1,
    ) -> None:
        super().__init__()
        assert terms, "an objective needs a term"
        assert set(terms) <= set(self.reads), terms
        self.terms, self.num_sparse, self.center = tuple(terms), num_sparse, center
        self.temperature, self.num_negatives = temperature, num_negatives
        needs_boundary, trains_embeddings, needs_crn = (
            any(flags) for flags in zip(*(self.reads[term] for term in terms), strict=True)
        )
        if needs_boundary or trains_embeddings:
            self.head_nce = NCEHead(feature_dim)
            if not trains_embeddings:
                self.head_nce.requires_grad_(False)  # the alignment reads it, nothing trains it
        if needs_crn:
            assert hidden_dim is not None, "these terms read the CRN"
            if "msm" in terms:
                self.head_msm = MSMHead(hidden_dim, feature_dim)
            if "pp" in terms:
                self.head_pp = boundary_head(hidden_dim)
            if "cgm" in terms:
                self.head_cgm = group_head(hidden_dim)

    def forward(
        self,
        features: Tensor,
        mask: Tensor | None = None,
        crn: ContextualRelationNetwork | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Named terms of a local batch of encoder features (B, V, D).

        V is 2 for two views (`simclr`), else num_sparse + S with the sparse views first. mask: (B, S), 1 where a shot
        is masked, read by msm. generator: source of the draws of cgm and pp, seeded alike on all ranks.
        """
        batch = Views(self, features, mask, crn, generator)
        return {name: getattr(self, name)(batch) for name in self.terms}

    def simclr(self, batch: Views) -> Tensor:
        """NT-Xent of two views of a shot, or of two shots."""
        first, second = batch.embeddings.unbind(1)
        return losses.nt_xent(first, second, self.temperature)

    def ssm(self, batch: Views) -> Tensor:
        """Each edge shot against the scene on its side."""
        return losses.shot_scene_matching(batch.sparse[:, :2], batch.dense, batch.boundary, self.temperature)

    def shotcol(self, batch: Views) -> Tensor:
        """The centre shot against its nearest neighbour in the window."""
        return losses.nearest_neighbor_matching(batch.sparse[:, -1], batch.dense, self.center, self.temperature)

    def cgm(self, batch: Views) -> Tensor:
        """Whether a shot belongs to the centre's group."""
        num_shots, mine = batch.tokens.shape[1], batch.mine
        same, other = losses.draw_group_pairs(batch.boundary, num_shots, self.center, batch.generator)
        return losses.contextual_group_matching(batch.tokens, self.center, same[mine], other[mine], self.head_cgm)

    def pp(self, batch: Views) -> Tensor:
        """Whether a shot is the pseudo-boundary."""
        num_shots, mine = batch.tokens.shape[1], batch.mine
        negatives = losses.draw_non_boundaries(batch.boundary, num_shots, self.num_negatives, batch.generator)
        return losses.pseudo_boundary_prediction(batch.tokens, batch.boundary[mine], negatives[mine], self.head_pp)

    def msm(self, batch: Views) -> Tensor:
        """Masked shots rebuilt, from a pass of the CRN of their own."""
        assert batch.crn is not None
        assert batch.mask is not None
        predicted = self.head_msm(batch.crn(batch.shots, batch.mask)[:, 1:])
        return losses.masked_shot_modeling(predicted, batch.shots, batch.mask) * _share_of_all(batch.mask.sum())


class Views:
    """A local batch on its way to the terms: each thing is computed when the first term reads it, and once.

    W ranks have B windows each of P sparse views and S dense shots. features: (B, P + S, D) of the encoder, local.
    """

    def __init__(
        self,
        objective: PretextObjective,
        features: Tensor,
        mask: Tensor | None,
        crn: ContextualRelationNetwork | None,
        generator: torch.Generator | None,
    ) -> None:
        self.objective, self.features, self.mask, self.crn, self.generator = objective, features, mask, crn, generator

    @property
    def shots(self) -> Tensor:
        """Encoder features of the dense shots, (B, S, D), local."""
        return self.features[:, self.objective.num_sparse :]

    @cached_property
    def embeddings(self) -> Tensor:
        """NCE embeddings of all ranks, (W * B, P + S, E), of unit length, gathered with gradient."""
        return gather_with_grad(self.objective.head_nce(self.features))

    @property
    def sparse(self) -> Tensor:
        """Those of the sparse views, (W * B, P, E)."""
        return self.embeddings[:, : self.objective.num_sparse]

    @property
    def dense(self) -> Tensor:
        """Those of the dense shots, (W * B, S, E)."""
        return self.embeddings[:, self.objective.num_sparse :]

    @cached_property
    def boundary(self) -> Tensor:
        """Pseudo-boundary of each window of all ranks, (W * B,): the last shot of its left scene."""
        return pseudo_boundary(self.sparse[:, :2], self.dense)

    @cached_property
    def tokens(self) -> Tensor:
        """The CRN's output of the dense shots without CLS, (B, S, H), local."""
        assert self.crn is not None
        return self.crn(self.shots)[:, 1:]

    @property
    def mine(self) -> slice:
        """This rank's rows of what is of all ranks."""
        return slice(rank() * len(self.features), (rank() + 1) * len(self.features))


def _share_of_all(count: Tensor) -> Tensor:
    """This rank's part of a sum over ranks, times their number: turns a local mean into its part of the global one."""
    return count * world_size() / sum_over_ranks(count)
