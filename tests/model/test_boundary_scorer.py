"""Boundary scorers: the CRN with its head, the similarity head, and both."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bassl.errors import InputError
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.checkpoint import Checkpoint
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.loading import stored_scorer


def small_crn() -> ContextualRelationNetwork:
    return ContextualRelationNetwork(12, 16, 1, 4, 32, 0.1, 5)


def test_the_similarity_head_reads_every_pair_once_and_nothing_else() -> None:
    torch.manual_seed(0)
    head = SimilarityHead(12, 5, 8).eval()
    head.mean.normal_()
    shots = torch.randn(3, 5, 12)
    unit = F.normalize(shots - head.mean, dim=-1)
    pairs = torch.stack([(unit[:, i] * unit[:, j]).sum(1) for i in range(5) for j in range(i + 1, 5)], dim=1)
    torch.testing.assert_close(head(shots), head.layers(pairs))
    rotation = torch.linalg.qr(torch.randn(12, 12)).Q
    turned = (shots - head.mean) @ rotation * 3 + head.mean
    torch.testing.assert_close(head(turned), head(shots), atol=1e-5, rtol=1e-4)


def test_logits_of_both_parts_are_added() -> None:
    both = BoundaryScorer(small_crn(), SimilarityHead(12, 5)).eval()
    shots = torch.randn(2, 5, 12)
    assert both.crn is not None and both.head_sbd is not None and both.similarity is not None
    torch.testing.assert_close(both(shots), both.head_sbd(both.crn.pooled(shots)) + both.similarity(shots))


@pytest.mark.parametrize("parts", ["crn", "similarity", "crn+similarity"])
def test_half_precision_ties_no_probabilities(parts: str) -> None:
    """Whoever reads them ranks shots by them. Autocast reaches the CRN alone."""
    torch.manual_seed(0)
    scorer = BoundaryScorer(
        small_crn() if "crn" in parts else None, SimilarityHead(12, 5, 8) if "similarity" in parts else None
    ).eval()
    shots = 0.5 * torch.randn(2000, 5, 12).abs()
    whole = scorer(shots)
    with torch.autocast("cpu", torch.bfloat16):
        logits = scorer(shots)
    assert logits.dtype == torch.float32
    assert len(logits.softmax(1)[:, 1].unique()) > 1950
    if parts == "similarity":
        torch.testing.assert_close(logits, whole, rtol=0, atol=0)
    torch.testing.assert_close(logits, whole, rtol=0, atol=0.05)


@pytest.mark.parametrize("parts", ["crn", "similarity", "crn+similarity"])
def test_a_stored_scorer_comes_back(parts: str, tmp_path: object) -> None:
    crn = small_crn() if "crn" in parts else None
    scorer = BoundaryScorer(crn, SimilarityHead(12, 5, 8) if "similarity" in parts else None).eval()
    tree = {"MODEL": {"contextual_relation_network": {"params": {"trn": {"num_attention_heads": 4}}}}}
    stored = Checkpoint(tmp_path, dict(scorer.state_dict()), config=tree)  # type: ignore[arg-type]
    again = stored_scorer(stored).eval()
    assert stored.unused == set()
    shots = torch.randn(2, 5, 12)
    torch.testing.assert_close(again(shots), scorer(shots))
    assert (again.input_dim, again.num_shots) == (12, 5)


def test_a_checkpoint_that_is_only_pre_trained_is_refused(tmp_path: object) -> None:
    state = {f"crn.{name}": value for name, value in small_crn().state_dict().items()}
    with pytest.raises(InputError, match="not fine-tuned"):
        stored_scorer(Checkpoint(tmp_path, state))  # type: ignore[arg-type]


def test_a_window_of_another_length_is_refused() -> None:
    with pytest.raises(AssertionError):
        SimilarityHead(12, 5)(torch.zeros(1, 7, 12))
