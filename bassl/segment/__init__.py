"""Cut video files into scenes.

    from bassl.segment import load_model, segment
    for scene in segment("film.mp4", load_model("bassl")):
        print(scene)

Reading order: `main` (the command), `api` (one film, from options to result), `encode` (shots and features), `model`
(scores), `scenes` (records, and the cut into scenes), `output` (one writer per format). Modules are imported on use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bassl.segment.api import default_cache, segment, write
    from bassl.segment.model import SceneModel, load_model
    from bassl.segment.scenes import Moment, Scene, Segmentation, Shot
    from bassl.video.settings import DetectorSettings

_HOMES = {
    "DetectorSettings": "bassl.video.settings",
    "Moment": "bassl.segment.scenes",
    "Scene": "bassl.segment.scenes",
    "SceneModel": "bassl.segment.model",
    "Segmentation": "bassl.segment.scenes",
    "Shot": "bassl.segment.scenes",
    "default_cache": "bassl.segment.api",
    "load_model": "bassl.segment.model",
    "segment": "bassl.segment.api",
    "write": "bassl.segment.api",
}

__all__ = [
    "DetectorSettings",
    "Moment",
    "Scene",
    "SceneModel",
    "Segmentation",
    "Shot",
    "default_cache",
    "load_model",
    "segment",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
