"""The runs of an experiment, rows x seeds, and the commands that each consists of: those that a user would
type."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bassl.config.load import load
from bassl.config.methods import method_of
from bassl.config.paths import PACKAGE, data_paths
from bassl.config.schema import Config, Extract, Pretrain
from bassl.errors import InputError
from bassl.sweep.experiment import Experiment
from bassl.sweep.settings import JOBS, OWN, Setting, of_job, parse_all

log = logging.getLogger(__name__)
MODULES = {
    "pretrain": "bassl.pretrain.main",
    "extract": "bassl.pretrain.extract_shot_repr",
    "zero_shot": "bassl.finetune.main",
    "finetune": "bassl.finetune.main",
}
STEPS = tuple(MODULES)
"""Steps of a run in their order; zero_shot is left out where pre-training has no boundary (PP) head."""
TRAINING = ("config.TRAIN.", "config.TRAINER.max_", "config.TEST.SELECT_ON")


@dataclass(frozen=True)
class Step:
    """One command of a run. arguments: what stands behind `python3 -m <module>`. settings: what decides its
    outcome, by key; folders and names of the sweep are left out. output: the file that is there as soon as it
    has begun to leave something. annotations: the files of labels that it reads."""

    name: str
    arguments: tuple[str, ...]
    settings: Mapping[str, Any]
    output: Path
    annotations: tuple[Path, ...] = ()

    @property
    def module(self) -> str:
        """What is run."""
        return MODULES[self.name]


@dataclass(frozen=True)
class Run:
    """One row with one seed. configs: of its steps, by name."""

    row: str
    seed: int
    steps: tuple[Step, ...]
    configs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its folders."""
        return run_name(self.row, self.seed)


def run_name(row: str, seed: int) -> str:
    """What the folders of a run are called."""
    return f"{row}-seed{seed}"


def plan_runs(
    experiment: Experiment, overrides: Sequence[str], folder: Path, seeds: Sequence[int], rows: Sequence[str]
) -> list[Run]:
    """The runs of some rows and seeds, all seeds of a row behind one another.

    A row is told, in this order, the last counting: the experiment's settings, `overrides` (the command
    line), what makes the row, and what the sweep sets (seed, names, folders). Everything is composed and
    checked here, before anything is run; raises InputError for the first mistake, with the row that it is in.
    """
    common, typed = parse_all(experiment.settings), parse_all(overrides)
    if experiment.data is not None:
        common = [*parse_all([f"config.DATA_PATH={PACKAGE / 'data' / experiment.data}"]), *common]
    runs = []
    for row in rows:
        own = parse_all(experiment.rows[row])
        _tell_overruled(row, typed, own)
        settings = {job: of_job(job, common, typed, own) for job in JOBS}
        runs += [_run(row, seed, settings, folder) for seed in seeds]
    return runs


def _run(row: str, seed: int, settings: Mapping[str, tuple[str, ...]], folder: Path) -> Run:
    name = run_name(row, seed)
    steps: list[Step] = []
    configs: dict[str, Any] = {}
    for step in STEPS:
        job = "finetune" if step == "zero_shot" else step
        if step == "zero_shot" and "pp" not in method_of(configs["pretrain"]).terms:
            continue
        own, output = _own(step, name, seed, folder)
        arguments = (*settings[job], *own)
        try:
            config = configs[step] = load(job, arguments)
        except InputError as error:
            raise InputError(f"row {row}, {step}: {error}") from error
        decided = deciding(config)
        if step == "zero_shot":  # trains nothing
            decided = {key: value for key, value in decided.items() if not key.startswith(TRAINING)}
        steps.append(Step(step, arguments, decided, output, _annotations(config)))
    return Run(row, seed, tuple(steps), configs)


def _own(step: str, name: str, seed: int, folder: Path) -> tuple[list[str], Path]:
    """What the sweep tells a step, and the file that is there as soon as the step has begun to leave something."""
    pretrained, features = folder / "pretrain" / "ckpt", folder / "features" / name
    if step == "extract":
        own = [f"config.LOAD_FROM={name}", f"config.CKPT_PATH={pretrained}", f"config.FEATURE_PATH={features}"]
        return own, features / "index.json"
    own = [
        f"config.EXPR_NAME={name}",
        f"config.SEED={seed}",
        f"config.CKPT_PATH={folder / step / 'ckpt'}",
        f"config.LOG_PATH={folder / step / 'logs'}",
    ]
    if step != "pretrain":
        own += [
            f"config.PRETRAINED_LOAD_FROM={name}",
            f"config.PRETRAINED_CKPT_PATH={pretrained}",
            f"config.FEATURE_PATH={features}",
        ]
    if step == "zero_shot":
        return [*own, "config.ZERO_SHOT=true"], folder / step / "logs" / name / "all_score.json"
    own += ["config.TEST.VAL_FIRST=true"] if step == "pretrain" else []
    return [*own, "config.RESUME=true"], folder / step / "ckpt" / name / "last.ckpt"


def _annotations(config: Config) -> tuple[Path, ...]:
    if isinstance(config, Pretrain):
        splits = ["pretrain", *(["test"] if config.TEST.KNN_VALIDATION else [])]
    elif isinstance(config, Extract):
        splits = [config.SPLIT]
    elif config.ZERO_SHOT:
        splits = ["test"]
    else:
        splits = ["train", "test", *(["val"] if config.TEST.SELECT_ON == "val" else [])]
    return tuple(data_paths(config).annotations / f"anno.{split}.ndjson" for split in splits)


def deciding(config: Any) -> dict[str, Any]:
    """Every key of a configuration with its value, but for those that the sweep sets; paths are made
    absolute."""
    flat: dict[str, Any] = {}
    _flatten(asdict(config), "config", flat)
    return {
        key: str(Path(value).expanduser().resolve()) if key.endswith("_PATH") and value is not None else value
        for key, value in flat.items()
        if key not in OWN
    }


def _flatten(value: Any, prefix: str, into: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _flatten(below, f"{prefix}.{key}", into)
    else:
        into[prefix] = value


def _tell_overruled(row: str, typed: Sequence[Setting], own: Sequence[Setting]) -> None:
    """A row stays what it is: what makes it counts more than the command line."""
    mine = {(setting.job, setting.name): setting.text for setting in own}
    for setting in typed:
        says = mine.get((setting.job, setting.name), setting.text)
        if says != setting.text:
            log.warning("row %s keeps its own %s (%s: %s has no effect on it)", row, says, setting.job, setting.text)
