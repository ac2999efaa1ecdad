"""Plan the runs of an experiment, rows x seeds: the commands of each, as a user would type them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bassl.config.load import load
from bassl.config.methods import method_of
from bassl.config.paths import PACKAGE, data_paths
from bassl.config.schema import Config, Extract, Pretrain
from bassl.errors import InputError
from bassl.sweep.experiment import Experiment
from bassl.sweep.settings import JOBS, RESERVED, Setting, overrides_of, parse_settings

log = logging.getLogger(__name__)
MODULES = {
    "pretrain": "bassl.pretrain.main",
    "extract": "bassl.pretrain.extract_shot_repr",
    "zero_shot": "bassl.finetune.main",
    "finetune": "bassl.finetune.main",
}
"""Kinds of steps in their order; zero_shot is left out where pre-training has no boundary (PP) head."""
TRAINING = ("config.TRAIN.", "config.TRAINER.max_", "config.TEST.SELECT_ON")


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: its kind, a key of MODULES; with a number of labelled films such as `finetune-8films`.
        module, arguments: `python3 -m <module> <arguments>`.
        settings: all that determines its outcome, by key; the sweep's folders and names are left out.
        output: the file that exists as soon as the step has left something.
        annotations: files of labels that it reads.
        config: what the arguments stand for.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    settings: Mapping[str, Any]
    output: Path
    annotations: tuple[Path, ...] = ()
    config: Any = None

    @property
    def command(self) -> list[str]:
        """The step as one would type it."""
        return ["python3", "-m", self.module, *self.arguments]


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    row: str
    seed: int
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Name of its folders."""
        return run_name(self.row, self.seed)


def run_name(row: str, seed: int) -> str:
    """Return the name of a run's folders."""
    return f"{row}-seed{seed}"


def finetune_step(num_films: int | None) -> str:
    """Return the name of a fine-tuning step on so many labelled films, or on all."""
    return "finetune" if num_films is None else f"finetune-{num_films}films"


def plan_runs(
    experiment: Experiment, overrides: Sequence[str], folder: Path, seeds: Sequence[int], rows: Sequence[str]
) -> list[Run]:
    """Plan the runs of some rows and seeds and check their configurations; InputError names the row of a mistake.

    Settings are applied in this order, later ones winning: the experiment's, `overrides` (the command line), the
    row's, and the sweep's own (seed, names, folders).
    """
    common, typed = parse_settings(experiment.settings), parse_settings(overrides)
    if experiment.data is not None:
        common = [*parse_settings([f"config.DATA_PATH={PACKAGE / 'data' / experiment.data}"]), *common]
    runs = []
    for row in rows:
        defining = parse_settings(experiment.rows[row])
        _warn_without_effect(row, typed, defining)
        settings = {job: overrides_of(job, common, typed, defining) for job in JOBS}
        for seed in seeds:
            steps = _plan_steps(row, seed, settings, folder, experiment.labelled_films)
            runs.append(Run(row, seed, tuple(steps)))
    return runs


def _plan_steps(
    row: str, seed: int, settings: Mapping[str, tuple[str, ...]], folder: Path, labelled_films: Sequence[int]
) -> Iterator[Step]:
    has_boundary_head = False
    sizes: Sequence[int | None] = labelled_films or (None,)
    for kind, module in MODULES.items():
        if kind == "zero_shot" and not has_boundary_head:
            continue
        job = "finetune" if kind == "zero_shot" else kind
        for num_films in sizes if kind == "finetune" else (None,):
            own, output = _own_overrides(kind, run_name(row, seed), seed, folder, num_films)
            arguments = (*settings[job], *own)
            try:
                config = load(job, arguments)
            except InputError as error:
                raise InputError(f"row {row}, {kind}: {error}") from error
            if kind == "pretrain":
                has_boundary_head = "pp" in method_of(config).terms
            ignored = TRAINING if kind == "zero_shot" else ()
            decisive = {key: value for key, value in decisive_settings(config).items() if not key.startswith(ignored)}
            name = finetune_step(num_films) if kind == "finetune" else kind
            yield Step(
                name=name,
                module=module,
                arguments=arguments,
                settings=decisive,
                output=output,
                annotations=_annotations(config),
                config=config,
            )


def _own_overrides(kind: str, run: str, seed: int, folder: Path, num_films: int | None) -> tuple[list[str], Path]:
    """Return what the sweep sets for a step, and the file that exists as soon as the step has left something."""
    pretrained, features = folder / "pretrain" / "ckpt", folder / "features" / run
    if kind == "extract":
        own = [f"config.LOAD_FROM={run}", f"config.CKPT_PATH={pretrained}", f"config.FEATURE_PATH={features}"]
        return own, features / "index.json"
    name = run if num_films is None else f"{run}-{num_films}films"
    own = [
        f"config.EXPR_NAME={name}",
        f"config.SEED={seed}",
        f"config.CKPT_PATH={folder / kind / 'ckpt'}",
        f"config.LOG_PATH={folder / kind / 'logs'}",
    ]
    if kind == "pretrain":
        own += ["config.TEST.VAL_FIRST=true"]
    else:
        own += [
            f"config.PRETRAINED_LOAD_FROM={run}",
            f"config.PRETRAINED_CKPT_PATH={pretrained}",
            f"config.FEATURE_PATH={features}",
        ]
    if kind == "zero_shot":
        return [*own, "config.ZERO_SHOT=true"], folder / kind / "logs" / name / "all_score.json"
    own += [f"config.TRAIN.NUM_FILMS={num_films}"] if num_films is not None else []
    return [*own, "config.RESUME=true"], folder / kind / "ckpt" / name / "last.ckpt"


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


def decisive_settings(config: Config) -> dict[str, Any]:
    """Flatten a configuration to its keys and values without those that the sweep sets; paths become absolute."""
    flat = dict(_flatten(asdict(config), "config"))
    return {
        key: str(Path(value).expanduser().resolve()) if key.endswith("_PATH") and value is not None else value
        for key, value in flat.items()
        if key not in RESERVED
    }


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flatten(below, f"{prefix}.{key}")
    else:
        yield prefix, value


def _warn_without_effect(row: str, typed: Sequence[Setting], defining: Sequence[Setting]) -> None:
    """Warn of command-line settings that the row overrules, since they would make it another row."""
    kept = {(setting.job, setting.name): setting.text for setting in defining}
    for setting in typed:
        own = kept.get((setting.job, setting.name), setting.text)
        if own != setting.text:
            log.warning("row %s keeps its %s; %s:%s has no effect on it", row, own, setting.job, setting.text)
