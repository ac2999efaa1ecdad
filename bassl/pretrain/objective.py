"""The named loss terms of a pre-training method, with their heads.

Terms are computed over the micro-batch of all ranks, so N ranks with B/N samples each compute what one rank
computes with B. For this, embeddings are gathered with gradient, and random draws are made for the whole batch from a
generator that has the same seed on all ranks.
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


class TermInputs(NamedTuple):
    """Inputs of a term: the pseudo-boundary, NCE embeddings (which the term then trains), the CRN."""

    boundary: bool = False
    embeddings: bool = False
    crn: bool = False


TERMS: dict[str, TermInputs] = {
    "ssm": TermInputs(boundary=True, embeddings=True),
    "shotcol": TermInputs(embeddings=True),
    "cgm": TermInputs(boundary=True, crn=True),
    "pp": TermInputs(boundary=True, crn=True),
    "msm": TermInputs(crn=True),
    "simclr": TermInputs(embeddings=True),
}


class PretextObjective(nn.Module):
    """The heads and loss terms of a pre-training method (BaSSL, section 3); weights are 1, terms are summed.

    Each term is a method with an entry of the same name in `reads`; a subclass may add terms (docs/extending.md).

    Args:
        terms: Names from `reads`.
        num_sparse: Sparse views per window. With two or more, the first two are the edge shots; with the shotcol
            term, the last is the centre shot.
        center: Position of the centre shot in the window.
        hidden_dim: Width of the CRN's tokens; needed if a term reads the CRN.
        num_negatives: Shots per window that PP contrasts with the boundary.
    """

    reads: ClassVar[Mapping[str, TermInputs]] = TERMS

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
        """Return the named terms of a local batch of encoder features (B, V, D).

        Args:
            features: V is 2 for two views (`simclr`), else num_sparse + S with the sparse views first.
            mask: (B, S), 1 where a shot is masked; read by msm.
            generator: Source of the draws of cgm and pp, with the same seed on all ranks.
        """
        batch = BatchViews(self, features, mask, crn, generator)
        return {name: getattr(self, name)(batch) for name in self.terms}

    def simclr(self, batch: BatchViews) -> Tensor:
        """Compute NT-Xent of two views of a shot, or of two shots."""
        first, second = batch.embeddings.unbind(1)
        return losses.nt_xent(first, second, self.temperature)

    def ssm(self, batch: BatchViews) -> Tensor:
        """Contrast each edge shot with the scene on its side."""
        return losses.shot_scene_matching(batch.sparse[:, :2], batch.dense, batch.boundary, self.temperature)

    def shotcol(self, batch: BatchViews) -> Tensor:
        """Contrast the centre shot with its nearest neighbour in the window."""
        return losses.nearest_neighbor_matching(batch.sparse[:, -1], batch.dense, self.center, self.temperature)

    def cgm(self, batch: BatchViews) -> Tensor:
        """Classify whether a shot belongs to the group of the centre shot."""
        tokens, rows = batch.tokens, batch.local_rows
        same, other = losses.draw_group_pairs(batch.boundary, tokens.shape[1], self.center, batch.generator)
        return losses.contextual_group_matching(tokens, self.center, same[rows], other[rows], self.head_cgm)

    def pp(self, batch: BatchViews) -> Tensor:
        """Classify whether a shot is the pseudo-boundary."""
        tokens, rows = batch.tokens, batch.local_rows
        negatives = losses.draw_non_boundaries(batch.boundary, tokens.shape[1], self.num_negatives, batch.generator)
        return losses.pseudo_boundary_prediction(tokens, batch.boundary[rows], negatives[rows], self.head_pp)

    def msm(self, batch: BatchViews) -> Tensor:
        """Reconstruct masked shots, in a separate pass of the CRN with the mask."""
        assert batch.crn is not None
        assert batch.mask is not None
        predicted = self.head_msm(batch.crn(batch.shots, batch.mask)[:, 1:])
        loss = losses.masked_shot_modeling(predicted, batch.shots, batch.mask)
        # The mean over the masked shots of all ranks, whose numbers differ.
        num_masked = batch.mask.sum()
        return loss * (num_masked * world_size() / sum_over_ranks(num_masked))


class BatchViews:
    """Inputs of the terms, each computed once, when the first term reads it.

    Each of W ranks has B windows of P sparse views and S dense shots.
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
        """Local encoder features of the dense shots, (B, S, D)."""
        return self.features[:, self.objective.num_sparse :]

    @cached_property
    def embeddings(self) -> Tensor:
        """Unit-length NCE embeddings of all ranks, (W * B, P + S, E), gathered with gradient."""
        return gather_with_grad(self.objective.head_nce(self.features))

    @property
    def sparse(self) -> Tensor:
        """Embeddings of the sparse views of all ranks, (W * B, P, E)."""
        return self.embeddings[:, : self.objective.num_sparse]

    @property
    def dense(self) -> Tensor:
        """Embeddings of the dense shots of all ranks, (W * B, S, E)."""
        return self.embeddings[:, self.objective.num_sparse :]

    @cached_property
    def boundary(self) -> Tensor:
        """Last shot of the left scene in each window of all ranks, (W * B,)."""
        return pseudo_boundary(self.sparse[:, :2], self.dense)

    @cached_property
    def tokens(self) -> Tensor:
        """Local CRN output of the dense shots without CLS, (B, S, H)."""
        assert self.crn is not None
        return self.crn(self.shots)[:, 1:]

    @property
    def local_rows(self) -> slice:
        """Rows of this rank among those of all ranks."""
        return slice(rank() * len(self.features), (rank() + 1) * len(self.features))
