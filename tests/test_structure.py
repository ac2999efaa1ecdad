"""The structure of the package: what imports what."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import bassl

PACKAGE = Path(bassl.__file__).parent


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, at its top or within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "bassl"}


def graph(depth: int | None) -> dict[str, set[str]]:
    """What each module imports, or each package where names are cut after `depth` parts."""
    files = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    edges: dict[str, set[str]] = {}
    for name, path in files.items():
        own = ".".join(name.split(".")[:depth])
        there = {".".join(other.split(".")[:depth]) for other in imported(path) & files.keys()}
        edges.setdefault(own, set()).update(there - {own})
    return edges


def test_no_module_imports_itself_through_others() -> None:
    modules = graph(None)
    assert len(modules) > 100
    assert modules["bassl.finetune.train"] >= {"bassl.finetune.module", "bassl.training.trainer"}
    TopologicalSorter(modules).prepare()  # raises CycleError with the circle


def test_no_package_imports_itself_through_others() -> None:
    packages = graph(2)
    assert packages["bassl.segment"] >= {"bassl.video", "bassl.model"}
    TopologicalSorter(packages).prepare()


def test_the_wheel_holds_every_package_and_no_data_package() -> None:
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[tool.setuptools.packages.find]")[1].split("[")
    include, exclude = (re.findall(r'"([^"]+)"', part.split("]")[0]) for part in section[1:3])
    packages = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
    shipped = {name for name in packages if any(fnmatch(name, pattern) for pattern in include)}
    assert {"bassl.dataset", "bassl.segment.output"} <= shipped == packages
    assert not [name for name in shipped if any(fnmatch(name, pattern) for pattern in exclude)]
