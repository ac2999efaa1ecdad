"""Boundary scorers: the CRN with its head, the similarity head, and both."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.crn import ContextualRelationNetwork


def small_scorer(parts: str) -> BoundaryScorer:
    torch.manual_seed(0)
    crn = ContextualRelationNetwork(12, 16, 1, 4, 32, 0.1, 5) if "crn" in parts else None
    return BoundaryScorer(crn, SimilarityHead(12, 5, 8) if "similarity" in parts else None).eval()


def test_the_similarity_head_reads_the_cosine_of_every_pair_once_and_nothing_else() -> None:
    torch.manual_seed(0)
    head = SimilarityHead(12, 5, 8).eval()
    head.mean.normal_()
    shots = torch.randn(3, 5, 12)
    unit = F.normalize(shots - head.mean, dim=-1)
    pairs = torch.stack([(unit[:, i] * unit[:, j]).sum(1) for i in range(5) for j in range(i + 1, 5)], dim=1)
    torch.testing.assert_close(head(shots), head.layers(pairs))
    with pytest.raises(AssertionError):
        head(torch.zeros(1, 7, 12))


def test_logits_of_both_parts_are_added() -> None:
    both = small_scorer("crn+similarity")
    shots = torch.randn(2, 5, 12)
    assert both.crn is not None and both.head_sbd is not None and both.similarity is not None
    torch.testing.assert_close(both(shots), both.head_sbd(both.crn.pooled(shots)) + both.similarity(shots))


@pytest.mark.parametrize("parts", ["crn", "similarity", "crn+similarity"])
def test_half_precision_ties_no_probabilities(parts: str) -> None:
    """Shots are ranked by them. Autocast reaches the CRN alone."""
    scorer, shots = small_scorer(parts), 0.5 * torch.randn(2000, 5, 12).abs()
    whole = scorer(shots)
    with torch.autocast("cpu", torch.bfloat16):
        logits = scorer(shots)
    assert logits.dtype == torch.float32
    assert len(logits.softmax(1)[:, 1].unique()) > 1950
    torch.testing.assert_close(logits, whole, rtol=0, atol=0 if parts == "similarity" else 0.05)
