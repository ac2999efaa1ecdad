"""Which files a model is read from, found without reading them (and without importing torch)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from bassl.errors import InputError
from bassl.model import CHECKPOINT_NAMES as NAMES

PACKAGE = Path(__file__).resolve().parents[1]
ROOTS = (PACKAGE / "finetune" / "ckpt", PACKAGE / "pretrain" / "ckpt")
"""Folders whose sub-folders are models that can be named, the preferred first."""
IMAGENET = "imagenet"
"""The encoder that is not ours: torchvision's ResNet-50, trained on ImageNet."""


@dataclass(frozen=True)
class ModelReference:
    """Where the parts of a model lie.

    checkpoint: file of the model, None for the training-free scorer. encoder: file of another checkpoint with the
    shot encoder, None where the model brings its own, IMAGENET for torchvision's.
    """

    checkpoint: Path | None
    encoder: Path | str | None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that decide what comes out; a config.json beside a checkpoint says how to build its model."""
        checkpoints = [path for path in (self.checkpoint, self.encoder) if isinstance(path, Path)]
        configs = [path.with_name("config.json") for path in checkpoints]
        return (*checkpoints, *(path for path in configs if path.is_file()))


def find_model(
    model: str | Path | None, encoder: str | Path | None = None, roots: tuple[Path, ...] = ROOTS
) -> ModelReference:
    """The files of a model, and of the encoder, by name (the EXPR_NAME it was trained under) or path.

    Without model: the training-free scorer over `encoder`, by default torchvision's.

    Raises:
        InputError: no such model; the nearest known names are told.
    """
    checkpoint = None if model is None else _find(model, roots)
    if encoder is not None and str(encoder) != IMAGENET:
        return ModelReference(checkpoint, _find(encoder, tuple(reversed(roots))))
    if encoder is None and checkpoint is not None:
        return ModelReference(checkpoint, None)
    return ModelReference(checkpoint, IMAGENET)


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
            f"{' and '.join(map(str, roots))} hold none yet; bassl finetune config.EXPR_NAME=NAME trains one there, "
            "bash scripts/quickstart.sh a small one from nothing (it says its path)"
        )
    raise InputError(f"there is no model {str(given)!r}, neither by that name nor at that path: {remedy}")


def _checkpoint_in(folder: Path) -> Path:
    for name in NAMES:
        if (folder / name).is_file():
            return (folder / name).resolve()
    from bassl.model.checkpoint import find_checkpoint  # says what is wrong; needs torch

    return find_checkpoint(folder).resolve()
