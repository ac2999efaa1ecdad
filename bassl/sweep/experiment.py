"""Read an experiment: the rows that are compared, their settings and seeds, from a YAML file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from bassl.config.paths import PACKAGE, check_name
from bassl.config.reference import FOLDER
from bassl.errors import InputError

# ruff: noqa: UP045 (Optional[...] is what OmegaConf understands on every Python version)

EXPERIMENTS = FOLDER / "experiment"


@dataclass
class Experiment:
    """The keys of an experiment file.

    Attributes:
        name: of the file, without its ending.
        about: one sentence for the table.
        rows: settings of each row, by its name.
        settings: of every row (see `bassl.sweep.settings`).
        seeds: one run per row and seed.
        labelled_films: numbers of labelled films; each run is fine-tuned once per number, on the first so many of
            anno.train, from the same pre-training. Without any it is fine-tuned once, on all.
        data: folder below bassl/data, unless config.DATA_PATH names another.
        published_ap: AP on MovieNet-SSeg's test split in percent, of rows where it is published.
    """

    name: str = MISSING
    about: str = MISSING
    rows: dict[str, list[str]] = MISSING
    settings: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    labelled_films: list[int] = field(default_factory=list)
    data: Optional[str] = None
    published_ap: dict[str, float] = field(default_factory=dict)


def shipped_experiments() -> list[str]:
    """Name the experiments that come with the package."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def read_experiment(name_or_path: str) -> Experiment:
    """Read a shipped experiment by its name, or any by the path of its YAML file.

    Raises InputError for a missing file, an unknown key, a value of the wrong type, and invalid rows or seeds.
    """
    path = _locate(name_or_path)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Experiment), OmegaConf.load(path), {"name": path.stem})
        if missing := OmegaConf.missing_keys(merged):
            raise InputError(f"{path}: {min(missing)} is missing; add it")
        experiment = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError, TypeError) as error:
        reason = " ".join(str(error).split("full_key")[0].split())
        raise InputError(f"{path} cannot be read as an experiment: {reason}") from error
    assert isinstance(experiment, Experiment)
    _check(experiment, path)
    return experiment


def _check(experiment: Experiment, path: Path) -> None:
    check_name("the experiment's name", experiment.name)
    if not experiment.rows or not experiment.seeds:
        raise InputError(f"{path} has no rows or no seeds; give at least one of each")
    for row in experiment.rows:
        check_name(f"{path}: the row", row)
    for key, numbers, low in (("seeds", experiment.seeds, 0), ("labelled_films", experiment.labelled_films, 1)):
        if len(set(numbers)) < len(numbers) or any(number < low for number in numbers):
            raise InputError(f"{path}: {key} {numbers} are invalid; give different numbers from {low} on")
    for row, value in experiment.published_ap.items():
        if row not in experiment.rows or not 0 <= value <= 100:
            raise InputError(f"{path}: published_ap of {row} is {value}; name a row and give percent, from 0 to 100")
    if experiment.data is not None and not (PACKAGE / "data" / experiment.data).is_dir():
        raise InputError(f"{path}: data={experiment.data} is not a folder of bassl/data; leave it out")


def _locate(given: str) -> Path:
    path = Path(given).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path.resolve()
    if given in shipped_experiments():
        return EXPERIMENTS / f"{given}.yaml"
    near = difflib.get_close_matches(given, shipped_experiments(), 1)
    names = ", ".join(shipped_experiments())
    hint = f"did you mean {near[0]}?" if near else f"choose one of {names}, or give a YAML file"
    raise InputError(f"there is no experiment {given!r}; {hint}")
