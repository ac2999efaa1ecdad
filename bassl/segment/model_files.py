"""Find the parts of a model by name or path, without loading them and without importing torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from bassl.errors import InputError
from bassl.model import CHECKPOINT_NAMES
from bassl.segment.encoders import COLOUR, IMAGENET, default_encoder, is_code
from bassl.segment.scenes import POSTERIOR, SCORERS

PACKAGE = Path(__file__).resolve().parents[1]
ROOTS = (PACKAGE / "finetune" / "ckpt", PACKAGE / "pretrain" / "ckpt")
"""Folders whose sub-folders are models with a name, the preferred first."""
DECODERS = ("none", POSTERIOR)


@dataclass(frozen=True)
class ModelSpec:
    """Parts of a model that have been found but not loaded.

    Attributes:
        checkpoint: file of the model, None for a training-free scorer.
        encoder: another checkpoint with the shot encoder, or the name of another kind of encoder ("colour",
            "imagenet", "timm:NAME", "module:factory"); None if the model has its own.
        scorer: the training-free scorer, one of SCORERS.
        decoder: one of DECODERS; None for what the model's metadata says.
    """

    checkpoint: Path | None
    encoder: Path | str | None
    scorer: str = POSTERIOR
    decoder: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that decide the scores, with the config.json beside each checkpoint."""
        checkpoints = [path for path in (self.checkpoint, self.encoder) if isinstance(path, Path)]
        configs = [path.with_name("config.json") for path in checkpoints]
        return (*checkpoints, *(path for path in configs if path.is_file()))

    @property
    def needs_torch(self) -> bool:
        """Whether a part of the model is a network."""
        return self.checkpoint is not None or self.encoder != COLOUR

    @property
    def is_known_by_name(self) -> bool:
        """Whether files and names identify the scores; a user's own code may change under the same name."""
        return not is_code(self.encoder)


def find_model(
    model: str | Path | None,
    encoder: str | Path | None = None,
    scorer: str = POSTERIOR,
    decoder: str | None = None,
    roots: tuple[Path, ...] = ROOTS,
) -> ModelSpec:
    """Find the files of a model and of its encoder by name or path; arguments as of `model.load_model`.

    Raises:
        InputError: if there is no such model, naming the most similar ones, or no such scorer or decoder.
    """
    if scorer not in SCORERS or decoder not in (None, *DECODERS):
        raise InputError(f"unknown scorer {scorer!r} or decoder {decoder!r}; see bassl segment --help")
    if decoder == POSTERIOR and model is None:
        raise InputError("a decoder needs a learnt model; the training-free scorer is the posterior already")
    checkpoint = None if model is None else _find(model, roots)
    found: Path | str | None
    if encoder is None:
        found = default_encoder() if checkpoint is None else None
    elif encoder in (COLOUR, IMAGENET, "color") or is_code(encoder) or str(encoder).startswith("timm:"):
        found = COLOUR if encoder == "color" else str(encoder)
    else:
        found = _find(encoder, tuple(reversed(roots)))
    return ModelSpec(checkpoint, found, scorer, decoder)


def _find(given: str | Path, roots: tuple[Path, ...]) -> Path:
    path = Path(given).expanduser()
    is_name = len(path.parts) == 1 and path.suffix != ".ckpt" and not isinstance(given, Path)
    if is_name:
        for root in roots:
            if (root / path).is_dir():
                return _checkpoint_in(root / path)
    if path.is_file():
        return path.resolve()
    if path.is_dir() and (not is_name or any(path.glob("*.ckpt"))):  # `bassl` is also the folder of the package
        return _checkpoint_in(path)
    known = sorted({folder.name for root in roots if root.is_dir() for folder in root.iterdir() if folder.is_dir()})
    near = difflib.get_close_matches(str(given), known, 3, 0.5) or known[:5]
    remedy = f"known models: {', '.join(near)}"
    if not near:
        remedy = (
            f"{' and '.join(map(str, roots))} are empty; bassl finetune config.EXPR_NAME=NAME trains one there, "
            "bash scripts/quickstart.sh trains a small one and prints its path"
        )
    raise InputError(f"there is no model {str(given)!r}, neither by that name nor at that path: {remedy}")


def _checkpoint_in(folder: Path) -> Path:
    for name in CHECKPOINT_NAMES:
        if (folder / name).is_file():
            return (folder / name).resolve()
    from bassl.model.checkpoint import find_checkpoint  # reports what is wrong; needs torch

    return find_checkpoint(folder).resolve()
