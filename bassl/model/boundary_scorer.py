"""Score windows of shot features: by the CRN with its head, by a similarity head for small data, or by both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import boundary_head
from bassl.model.projection import RotatedProjection


class SimilarityHead(nn.Module):
    """Compute boundary logits from the similarities between the shots of a window alone.

    The cosine similarities of all pairs of shots go through one hidden layer. Features are centred by `mean` (D,),
    their mean over the training films. The head has a few thousand parameters where a CRN has millions, and it cannot
    memorise the look of a film. A few labelled films are therefore enough to train it (docs/results.md).
    """

    mean: Tensor

    def __init__(self, input_dim: int, num_shots: int = 17, hidden_dim: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(input_dim))
        self.num_shots = num_shots
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(num_shots * (num_shots - 1) // 2, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, 2),
        )

    @property
    def input_dim(self) -> int:
        """D."""
        return len(self.mean)

    def forward(self, shots: Tensor) -> Tensor:
        """Return logits (B, 2) of windows (B, S, D)."""
        assert shots.shape[1:] == (self.num_shots, self.input_dim), tuple(shots.shape)
        first, second = torch.triu_indices(self.num_shots, self.num_shots, 1, device=shots.device)
        with torch.autocast(shots.device.type, enabled=False):
            unit = F.normalize(shots.float() - self.mean, dim=-1)
            similarity = unit @ unit.transpose(1, 2)
            return self.layers(similarity[:, first, second])


class BoundaryScorer(nn.Module):
    """Compute logits (B, 2) of "a scene ends with the centre shot" for windows of shot features (B, S, D).

    State-dict names are those of the published fine-tuned models (`crn.`, `head_sbd.`), `similarity.` and
    `projection.`. The logits of two parts are added. Autocast affects the CRN alone: logits of half precision would tie
    most windows.

    Args:
        projection: Projects what the CRN reads. Windows are rotated at random in training and scored as the mean over
            fixed rotations otherwise. It expects features that are centred on their film (`centers_films`).
    """

    def __init__(
        self,
        crn: ContextualRelationNetwork | None,
        similarity: SimilarityHead | None = None,
        projection: RotatedProjection | None = None,
    ) -> None:
        super().__init__()
        assert crn is not None or similarity is not None
        self.crn, self.similarity, self.projection = crn, similarity, projection
        self.head_sbd: nn.Linear | None = None
        if crn is not None:
            crn.shot_embedding.mask_embedding.requires_grad_(False)  # nothing is masked here
            self.head_sbd = boundary_head(crn.hidden_dim)

    @property
    def input_dim(self) -> int:
        """D."""
        return self.projection.input_dim if self.projection is not None else self._part.input_dim

    @property
    def num_shots(self) -> int:
        """S."""
        return self._part.num_shots

    @property
    def centers_films(self) -> bool:
        """Whether features have to be centred on their film (`bassl.model.relative_similarity`) first."""
        return self.projection is not None

    @property
    def _part(self) -> ContextualRelationNetwork | SimilarityHead:
        part = self.crn if self.crn is not None else self.similarity
        assert part is not None
        return part

    def forward(self, shots: Tensor) -> Tensor:
        """Return the logits."""
        logits = []
        if self.crn is not None and self.projection is None:
            logits.append(self._crn_logits(shots))
        elif self.crn is not None and self.projection is not None:
            projected = self.projection.project(shots)
            if self.projection.training:
                logits.append(self._crn_logits(self.projection.rotate_randomly(projected)))
            else:
                rotated = [self._crn_logits(projected @ rotation) for rotation in self.projection.rotations]
                logits.append(torch.stack(rotated).mean(0))
        if self.similarity is not None:
            logits.append(self.similarity(shots))
        return torch.stack(logits).sum(0)

    def _crn_logits(self, shots: Tensor) -> Tensor:
        assert self.crn is not None and self.head_sbd is not None
        pooled = self.crn.pooled(shots)
        with torch.autocast(shots.device.type, enabled=False):
            return self.head_sbd(pooled.float())
