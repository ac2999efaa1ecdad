from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import bassl
from bassl.config import plan

PLANS = [kind for name, kind in vars(plan).items() if name.endswith("Plan")]


def attributes_read_outside_the_config() -> set[str]:
    """Names behind a dot anywhere in the package but below config/."""
    package = Path(bassl.__file__).parent
    files = [path for path in package.rglob("*.py") if path.parent.name != "config"]
    assert len(files) > 30
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_decision_of_a_plan_is_read_by_somebody() -> None:
    assert len(PLANS) == 12
    fields = {field.name for kind in PLANS for field in dataclasses.fields(kind)}
    assert len(fields) > 60
    assert fields - attributes_read_outside_the_config() == set()


def test_plans_are_frozen() -> None:
    assert all(kind.__dataclass_params__.frozen for kind in PLANS)
