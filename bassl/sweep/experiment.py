"""An experiment: which rows are compared, under which settings and over which seeds; read from a YAML
file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from bassl.config.paths import PACKAGE
from bassl.config.paths import check_name as folder_name
from bassl.config.reference import FOLDER
from bassl.errors import InputError

# ruff: noqa: UP045 (Optional[...] is what OmegaConf understands on every Python version)

READY = FOLDER / "experiment"


@dataclass
class Experiment:
    """What an experiment file says; its keys are these and no others.

    name: of the file, without its ending. about: one sentence. rows: by name, what makes a row, as a list of
    settings. settings: of every row. A setting is `config.KEY=VALUE` as on the command line of the jobs, with
    `pretrain:`, `extract:` or `finetune:` in front where it is for one of them alone (see
    `bassl.sweep.settings`). seeds: one run a row each. data: folder below bassl/data, where none is named by
    config.DATA_PATH. published_ap: of rows whose AP on MovieNet-SSeg's test split has been published, in
    percent.
    """

    name: str = MISSING
    about: str = MISSING
    rows: dict[str, list[str]] = MISSING
    settings: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    data: Optional[str] = None
    published_ap: dict[str, float] = field(default_factory=dict)


def ready_names() -> list[str]:
    """The experiments that come with the package."""
    return sorted(path.stem for path in READY.glob("*.yaml"))


def read_experiment(name_or_path: str) -> Experiment:
    """An experiment by its name (a file of bassl/config/experiment) or by the path of a file of your own.

    Raises InputError for one that is not there, an unknown key, a value of the wrong type, and rows that
    cannot be.
    """
    path = _located(name_or_path)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Experiment), OmegaConf.load(path), {"name": path.stem})
        for key in OmegaConf.missing_keys(merged):
            raise InputError(f"{path}: {key} is missing; say {key}: ...")
        found = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        said_first = " ".join(str(error).split("full_key")[0].split())
        raise InputError(f"{path} cannot be read as an experiment: {said_first}") from error
    assert isinstance(found, Experiment)
    return checked(found, path)


def checked(experiment: Experiment, path: Path) -> Experiment:
    """The experiment, if its rows and seeds can be; InputError otherwise."""
    folder_name("the experiment's name", experiment.name)
    if not experiment.rows or not experiment.seeds:
        raise InputError(f"{path} has no rows or no seeds; give at least one of each")
    for row in experiment.rows:
        folder_name(f"{path}: the row", row)
    twice = [seed for seed in experiment.seeds if experiment.seeds.count(seed) > 1]
    if twice:
        raise InputError(f"{path}: seed {twice[0]} stands there twice; leave one out")
    strange = [row for row in experiment.published_ap if row not in experiment.rows]
    if strange:
        raise InputError(f"{path}: published_ap names {strange[0]}, which is no row; rows are {_listed(experiment)}")
    for row, value in experiment.published_ap.items():
        if not 0 <= value <= 100:
            raise InputError(f"{path}: published_ap of {row} is {value}; give percent, from 0 to 100")
    if experiment.data is not None and not (PACKAGE / "data" / experiment.data).is_dir():
        raise InputError(f"{path}: data={experiment.data} is no folder of bassl/data; leave it out")
    return experiment


def _located(given: str) -> Path:
    path = Path(given).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path.resolve()
    if (READY / f"{given}.yaml").is_file() and path.name == given:
        return READY / f"{given}.yaml"
    near = difflib.get_close_matches(given, ready_names(), 1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(ready_names())}, or give a YAML file"
    raise InputError(f"there is no experiment {given!r}; {hint}")


def _listed(experiment: Experiment) -> str:
    return ", ".join(experiment.rows)
