"""Read a checkpoint that names classes of other libraries, without running anything that it names.

A file of Lightning 1.3 keeps its callbacks' state under the callback *classes*, and perhaps hyper-parameters
in classes of their own; torch's `weights_only` reader refuses all of them. Here a name in a file never
becomes the thing it names: a short list of tensor builders is called through wrappers that hold nothing else,
names of known libraries become inert stand-ins that only keep what the file gives them, and any other name is
refused.
"""

from __future__ import annotations

import pickle
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

BUILTINS = ("builtins", "__builtin__")  # Python 3's name, and the one that pickle protocol 2 writes

STAND_IN_PACKAGES = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "omegaconf",
    "torchmetrics",
    "pl_bolts",
)
"""Packages any class of which may be named: it becomes a stand-in."""

STAND_IN_NAMES = frozenset(
    [
        f"{module}.{name}"
        for module in BUILTINS
        for name in (
            "dict",
            "list",
            "tuple",
            "str",
            "unicode",
            "bytes",
            "int",
            "long",
            "float",
            "bool",
            "object",
        )
    ]
    + [f"collections.{name}" for name in ("defaultdict", "deque", "Counter")]
    + [f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")]
    + [f"typing.{name}" for name in ("Any", "Union", "Optional", "List", "Dict", "Tuple")]
    + [f"{module}.scalar" for module in ("numpy.core.multiarray", "numpy._core.multiarray")]
    + ["numpy.dtype", "argparse.Namespace"]
)
"""Single names that become stand-ins."""

NEVER_IN_A_MODULE_PATH = frozenset({"builtins", "importlib", "io", "nt", "os", "posix", "shutil", "subprocess", "sys"})
"""A path through one of these (`pytorch_lightning.os`) is an attack, not a class of the package."""


class RefusedGlobal(pickle.UnpicklingError):
    """The file names something that no checkpoint needs; nothing of it was run."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the file names {name}")
        self.name = name


class StandIn(dict[Any, Any]):
    """Inert object in place of one of another library's: keeps arguments, state and items, and does nothing.

    Subclasses, one per name in the file, differ in `named` alone.
    """

    named = ""
    arguments: tuple[Any, ...]
    state: Any
    members: list[Any]

    def __new__(cls, *arguments: Any) -> StandIn:  # pickle does not always call __init__
        made = super().__new__(cls)
        made.arguments = arguments
        made.state = None
        made.members = []
        return made

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, member: Any) -> None:
        self.members.append(member)

    add = append

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


class _Builder:
    """One real function that a pickle may call, and no way for a pickle to reach or change the function."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the file tries to change a function of torch")


def load_restricted(path: Path) -> Any:
    """Content of a file of `torch.save`, tensors on the CPU, with stand-ins for what other libraries defined.

    Only for files that torch's own `weights_only` reader has refused for their pickle: that reader also
    refuses TorchScript archives and tar files, which are not guarded against here.

    Raises:
        RefusedGlobal: the file names something beyond tensors and known libraries. Nothing of it has run.
        Exception: whatever a damaged file provokes.
    """
    reader = types.SimpleNamespace(__name__="restricted", Unpickler=_Unpickler, load=_load)
    mapped = zipfile.is_zipfile(path)
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader, mmap=mapped)


def plain(value: Any) -> Any:
    """The value with every stand-in replaced by what it held: dict, list, str, number or its name.

    OmegaConf's nodes become their content, `AttributeDict` and `Namespace` become dicts, a path becomes a
    string, and a class (as Lightning 1.3 has for keys) becomes its full name. Anything else stays as it is.
    """
    if isinstance(value, StandIn):
        return _held(value)
    if isinstance(value, type) and issubclass(value, StandIn):
        return value.named
    if type(value) in (dict, OrderedDict):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(plain(item) for item in value)
    return value


def _held(stand_in: StandIn) -> Any:
    state = stand_in.state
    if isinstance(state, dict) and "_content" in state:
        return plain(state["_content"])
    if isinstance(state, dict) and "_val" in state:
        return plain(state["_val"])
    if stand_in:
        return plain(dict(stand_in))
    if stand_in.members:
        return plain(stand_in.members)
    if isinstance(state, dict):
        return plain(state)
    if stand_in.named.startswith("pathlib."):
        return "/".join(map(str, stand_in.arguments)).replace("//", "/")
    return {} if stand_in.named.lower().endswith("dict") else stand_in.named


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name in _BUILDERS:
            return _BUILDERS[full_name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if full_name in STAND_IN_NAMES or _is_class_of_known_package(module, name):
            return type(name, (StandIn,), {"__module__": __name__, "named": full_name})
        raise RefusedGlobal(full_name)


def _load(file: IO[bytes], **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def _is_class_of_known_package(module: str, name: str) -> bool:
    path = module.split(".")
    return path[0] in STAND_IN_PACKAGES and NEVER_IN_A_MODULE_PATH.isdisjoint(path) and name.isidentifier()


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise RefusedGlobal(f"_codecs.encode with {encoding!r}")
    return text.encode("latin1")


_BUILDERS: dict[str, _Builder] = {
    "collections.OrderedDict": _Builder(OrderedDict),
    "torch._utils._rebuild_tensor": _Builder(torch._utils._rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": _Builder(torch._utils._rebuild_tensor_v2),
    "torch._utils._rebuild_parameter": _Builder(torch._utils._rebuild_parameter),
    "torch.Size": _Builder(torch.Size),
    "torch.device": _Builder(torch.device),
    "_codecs.encode": _Builder(_encode_latin1),
    **{f"{module}.set": _Builder(set) for module in BUILTINS},
    **{f"{module}.frozenset": _Builder(frozenset) for module in BUILTINS},
}
