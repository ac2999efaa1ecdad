"""Classes of other libraries that a checkpoint may name, with inert stand-ins for `torch.load(weights_only=True)`.

Lightning 1.3 stores the state of its callbacks under the callback classes, and hyper-parameters may be EasyDict,
OmegaConf or argparse objects. A stand-in keeps the content that the file gives, so no code of those libraries runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import numpy as np

LIGHTNING = {
    "callbacks.model_checkpoint": ["ModelCheckpoint"],
    "callbacks.early_stopping": ["EarlyStopping"],
    "callbacks.lr_monitor": ["LearningRateMonitor"],
    "callbacks.timer": ["Timer"],
    "callbacks.stochastic_weight_avg": ["StochasticWeightAveraging"],
}
OBJECTS = {
    **{
        f"{root}.{module}": names
        for root in ("pytorch_lightning", "lightning.pytorch")
        for module, names in LIGHTNING.items()
    },
    "omegaconf.dictconfig": ["DictConfig"],
    "omegaconf.listconfig": ["ListConfig"],
    "omegaconf.base": ["ContainerMetadata", "Metadata"],
    "omegaconf.nodes": [
        f"{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Bytes", "Path", "Enum")
    ],
    "argparse": ["Namespace"],
    "numpy": ["dtype"],
    "typing": ["Any", "Union", "Optional", "List", "Dict", "Tuple"],
    "builtins": ["dict", "list", "tuple", "str", "int", "float", "bool", "object", "bytes"],
}
MAPPINGS = {
    "easydict": ["EasyDict"],
    "addict.addict": ["Dict"],
    "yacs.config": ["CfgNode"],
    "pytorch_lightning.utilities.parsing": ["AttributeDict"],
    "lightning_fabric.utilities.data": ["AttributeDict"],
    "lightning.fabric.utilities.data": ["AttributeDict"],
    "collections": ["defaultdict"],
}


class StandIn:
    """An object of another library, reduced to its arguments and state; a subclass per name in the file."""

    name = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Any:
        stand_in = super().__new__(cls)
        stand_in.arguments, stand_in.state = arguments, {}
        return stand_in

    def __setstate__(self, state: Any) -> None:
        self.state = state


class MappingStandIn(StandIn):
    """A dict of another library; becomes an OrderedDict, which torch lets a file fill."""

    def __new__(cls, *_arguments: Any) -> Any:
        return OrderedDict()


def _numpy_scalar(dtype: StandIn, content: bytes) -> Any:
    code = str(dtype.arguments[0])
    if code[:1] not in "biufc":
        raise ValueError(f"a NumPy scalar of type {code}")
    return np.frombuffer(content, np.dtype(code))[0].item()


def _path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


def allowed_classes() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return pairs of stand-in and dotted name for `torch.serialization.safe_globals`."""
    pairs: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (type(name, (base,), {"name": f"{module}.{name}"}), f"{module}.{name}")
        for base, modules in ((StandIn, OBJECTS), (MappingStandIn, MAPPINGS))
        for module, names in modules.items()
        for name in names
    ]
    pairs += [(_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    pairs += [(_path, f"pathlib.{name}") for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath")]
    pairs += [(kind, f"datetime.{kind.__name__}") for kind in (date, datetime, timedelta)]
    return [*pairs, (frozenset, "builtins.frozenset")]


def plain(value: Any) -> Any:
    """Replace every stand-in by its content: a dict, list, string or number, or the name of a class."""
    if isinstance(value, type) and issubclass(value, StandIn):
        return value.name
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, dict) else {}
        return plain(state.get("_content", state.get("_val", state)))  # of OmegaConf's containers, of its nodes
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(plain(item) for item in value)
    return value
