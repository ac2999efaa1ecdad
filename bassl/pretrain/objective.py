"""From a method to its named loss terms: which heads exist, what each term reads, and how they come together.

The terms are computed over the effective batch of all ranks. Embeddings are gathered with gradient, and every random
draw is made for the whole batch from a generator that is seeded alike on all ranks, so that N ranks with B/N samples
each compute what one rank computes with B.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bassl.distributed import gather_with_grad, rank, world_size
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead, boundary_head, group_head
from bassl.pretrain import losses
from bassl.pretrain.alignment import pseudo_boundary

TERMS = ("ssm", "shotcol", "cgm", "pp", "msm", "simclr")


class PretextObjective(nn.Module):
    """The heads and loss terms of a pre-training method (BaSSL, section 3); weights are 1, terms are summed.

    terms: names out of `TERMS`. num_sparse: sparse views per window; the first two are its edge shots where there
    are two or more, the last is the centre shot where the shotcol term is on. center: position of the centre shot.
    """

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
        assert set(terms) <= set(TERMS), terms
        self.terms, self.num_sparse, self.center = tuple(terms), num_sparse, center
        self.temperature, self.num_negatives = temperature, num_negatives
        self.needs_boundary = bool({"ssm", "cgm", "pp"} & set(terms))
        if self.needs_boundary or {"shotcol", "simclr"} & set(terms):
            self.head_nce = NCEHead(feature_dim)
            if not {"ssm", "shotcol", "simclr"} & set(terms):
                self.head_nce.requires_grad_(False)  # the alignment reads it, nothing trains it
        if {"cgm", "pp", "msm"} & set(terms):
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
        if "simclr" in self.terms:
            first, second = gather_with_grad(self.head_nce(features)).unbind(1)
            return {"simclr": losses.nt_xent(first, second, self.temperature)}
        dense = features[:, self.num_sparse :]
        terms, boundary = self._contrastive(features)
        if {"cgm", "pp"} & set(self.terms):
            assert crn is not None
            assert boundary is not None
            terms |= self._contextual(crn(dense)[:, 1:], boundary, generator)
        if "msm" in self.terms:
            assert crn is not None
            assert mask is not None
            predicted = self.head_msm(crn(dense, mask)[:, 1:])
            local = losses.masked_shot_modeling(predicted, dense, mask)
            terms["msm"] = local * _share_of_all(mask.sum())
        return {name: terms[name] for name in self.terms}

    def _contrastive(self, features: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        terms: dict[str, Tensor] = {}
        if not hasattr(self, "head_nce"):
            return terms, None
        embeddings = gather_with_grad(self.head_nce(features))
        sparse, dense = embeddings[:, : self.num_sparse], embeddings[:, self.num_sparse :]
        boundary = pseudo_boundary(sparse[:, :2], dense) if self.needs_boundary else None
        if "ssm" in self.terms:
            assert boundary is not None
            terms["ssm"] = losses.shot_scene_matching(sparse[:, :2], dense, boundary, self.temperature)
        if "shotcol" in self.terms:
            terms["shotcol"] = losses.nearest_neighbor_matching(sparse[:, -1], dense, self.center, self.temperature)
        return terms, boundary

    def _contextual(self, tokens: Tensor, boundary: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """cgm and pp; `tokens` are local (B, S, H), `boundary` is of all ranks (world * B,)."""
        num_shots, mine = tokens.shape[1], slice(rank() * len(tokens), (rank() + 1) * len(tokens))
        terms: dict[str, Tensor] = {}
        if "cgm" in self.terms:
            same, other = losses.draw_group_pairs(boundary, num_shots, self.center, generator)
            terms["cgm"] = losses.contextual_group_matching(tokens, self.center, same[mine], other[mine], self.head_cgm)
        if "pp" in self.terms:
            negatives = losses.draw_non_boundaries(boundary, num_shots, self.num_negatives, generator)
            terms["pp"] = losses.pseudo_boundary_prediction(tokens, boundary[mine], negatives[mine], self.head_pp)
        return terms


def _share_of_all(count: Tensor) -> Tensor:
    """This rank's part of a sum over ranks, times their number: turns a local mean into its part of the global one."""
    return count * world_size() / gather_with_grad(count.detach().reshape(1)).sum()
