"""The `bassl` command: import the subcommand and pass it the rest of the line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from bassl import __version__

COMMANDS = {
    "pretrain": ("bassl.pretrain.main", "pre-train a shot encoder and CRN on key-frames"),
    "extract": ("bassl.pretrain.extract_shot_repr", "extract shot features with a pre-trained model"),
    "finetune": ("bassl.finetune.main", "fine-tune on labelled scenes"),
    "evaluate": (
        "bassl.finetune.main",
        "evaluate a trained model, or features without one",
    ),
    "sweep": ("bassl.sweep.main", "run a table of experiments: bassl sweep sample"),
    "segment": ("bassl.segment.main", "split films into scenes: bassl segment FILM.mp4"),
    "prepare": ("bassl.prepare.main", "make a training set from films, or from MovieNet's release"),
    "check-data": ("bassl.prepare.check", "check a training set before a long run"),
}
USAGE = "usage: bassl COMMAND [...]\n"
HELP = f"""\
BaSSL {__version__}: boundary-aware self-supervised learning for scene segmentation

{USAGE}
{"".join(f"  {name:11} {about}" + chr(10) for name, (_, about) in COMMANDS.items())}
  bassl COMMAND --help      options of a command
  bassl --version

pretrain, extract, finetune and evaluate take config.KEY=VALUE, for example
  bassl pretrain config.EXPR_NAME=mine config.DATA_PATH=my_films
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code; leaves `sys.argv` to Lightning, which starts processes with it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        sys.stderr.write(HELP)
        return 2
    name, rest = arguments[0], arguments[1:]
    if name in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if name in ("-V", "--version"):
        sys.stdout.write(f"bassl {__version__}\n")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        sys.stderr.write(f"{USAGE}error: there is no command {name!r}; {hint}\n")
        return 2
    if name == "evaluate" and not _asks_for_help(rest) and not _sets("LOAD_FROM", rest):
        if not (_sets("PRETRAINED_LOAD_FROM", rest) or _sets("FEATURE_PATH", rest)):
            sys.stderr.write(
                "error: evaluate needs a model or features; give config.LOAD_FROM=NAME of a fine-tuned model, "
                "config.PRETRAINED_LOAD_FROM=NAME of a pre-trained one, or config.FEATURE_PATH=FOLDER\n"
            )
            return 2
        rest = [*rest, "config.ZERO_SHOT=true"]
    try:
        run: Callable[[Sequence[str]], int] = import_module(COMMANDS[name][0]).main
        return run(rest)
    except KeyboardInterrupt:  # while the subcommand is imported
        sys.stderr.write("interrupted\n")
        return 130


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return bool({"-h", "--help", "--cfg"} & set(arguments))


def _sets(key: str, arguments: Sequence[str]) -> bool:
    return any(text.lstrip("+").startswith(f"config.{key}=") and text.split("=", 1)[1] for text in arguments)


if __name__ == "__main__":
    sys.exit(main())
