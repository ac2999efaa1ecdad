"""Choose the films for training, validation and test: from a file, by drawing, or by patterns."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.files import write_json
from bassl.labels.film_names import find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.layout import SPLIT_NAMES
from bassl.video.tables import read_table, read_text

SYNONYMS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SYNONYMS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
SYNONYMS |= dict.fromkeys(("all", "full", "total"), "all")
NAME_KEYS = ("name", "video_id", "imdb_id", "movie", "film", "id")
TABLES = (".csv", ".tsv", ".txt")
DEFAULT_SHARES = (0.6, 0.2, 0.2)

Splits = Mapping[str, Sequence[str]]


def add_split_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--split-file`, `--train`, `--val`, `--test`, `--split` and `--seed`. default: what happens without them."""
    group = parser.add_argument_group("splits", f"by film; {default}")
    text = "JSON such as split318.json, or CSV with film,split"
    group.add_argument("--split-file", type=Path, metavar="FILE", help=text)
    for split in SPLIT_NAMES:
        group.add_argument(f"--{split}", nargs="+", metavar="PATTERN", help=f"films for {split}, such as 'BBC_[1-8]'")
    group.add_argument("--split", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="draw by these shares")
    group.add_argument("--seed", type=int, default=0, help="of the draw; default: %(default)s")


def choose_splits(
    arguments: argparse.Namespace, films: Sequence[str], shares: Sequence[float] | None = DEFAULT_SHARES
) -> tuple[Splits, list[Finding]]:
    """Return the splits of `films` that the options ask for, and findings.

    Without options they are drawn by `shares`; None for no splits. Raises InputError for options that cannot work.
    """
    patterns = {split: getattr(arguments, split) for split in SPLIT_NAMES}
    has_patterns = any(patterns.values())
    if (arguments.split_file is not None) + has_patterns + (arguments.split is not None) > 1:
        raise InputError("--split-file, --split and --train/--val/--test exclude one another; give one of them")
    if arguments.split_file is not None:
        return fit_splits(read_split_file(arguments.split_file), films)
    if has_patterns:
        return match_splits(sorted(films), patterns), []
    shares = arguments.split or shares
    return (draw_splits(films, shares, arguments.seed) if shares else {}), []


def read_split_file(path: Path) -> dict[str, list[str]]:
    """Read film names of "train", "val", "test" and, where given, "all".

    Forms: split318.json, `{"train": [film, ...], ...}`, where a film may be an object with its name (SCRL's lists);
    `{film: "train", ...}`; or a table `film,split`. "valid", "dev", "full" and the like are understood. Raises
    InputError for anything else.
    """
    pairs = _table_pairs(path) if path.suffix.lower() in TABLES else _json_pairs(path)
    splits: dict[str, list[str]] = {}
    for film, split in pairs:
        name = SYNONYMS.get(split.strip().lower())
        if name is None:
            raise InputError(f"{path} has a part {split[:80]!r}; parts are train, val, test (and all)")
        splits.setdefault(name, []).append(film)
    if not set(splits) & set(SPLIT_NAMES):
        raise InputError(f"{path} puts no film into train, val or test; correct it")
    return {name: list(dict.fromkeys(films)) for name, films in splits.items()}


def _json_pairs(path: Path) -> list[tuple[str, str]]:
    text = read_text(path, "split file")
    pairs: list[tuple[str, str]] = []
    try:
        items = json.loads(text).items()
    except (AttributeError, ValueError, RecursionError) as error:
        text = f'split file {path} is not JSON such as {{"train": [film, ...]}}'
        raise InputError(f"{text} ({error}); correct it, or name it .csv") from error
    for key, value in items:
        if isinstance(value, str):
            pairs.append((key, value))
            continue
        names = [_film_of(item) for item in value] if isinstance(value, list) else [None]
        if None in names:
            raise InputError(f"split file {path} has no films under {key[:80]!r}; give a list of names")
        pairs += [(name, key) for name in names if name is not None]
    return pairs


def _film_of(item: Any) -> str | None:
    names = [item.get(key) for key in NAME_KEYS] if isinstance(item, dict) else [item]
    return next((name for name in names if isinstance(name, str)), None)


def _table_pairs(path: Path) -> list[tuple[str, str]]:
    rows = read_table(path, "split file")
    for line, fields in rows:
        if len(fields) != 2:
            raise InputError(f"{path}, line {line}: {len(fields)} fields; give 'film,split'")
    has_header = bool(rows) and rows[0].fields[1].lower() == "split"
    return [(row.fields[0], row.fields[1]) for row in rows[has_header:]]


def fit_splits(splits: Splits, films: Iterable[str]) -> tuple[dict[str, list[str]], list[Finding]]:
    """Return the splits in terms of the films at hand, sorted, and findings about the rest."""
    known = sorted(films)
    fitted: dict[str, list[str]] = {}
    findings: list[Finding] = []
    for split, listed in splits.items():
        matched = {text: find_film(text, known) for text in listed}
        if missing := [text for text, film in matched.items() if film is None]:
            text = f"{split} lists {pluralize(len(missing), 'missing film')}, such as {missing[0]!r}"
            findings.append(Finding(WARNING, "missing films", "split", text))
        fitted[split] = sorted({film for film in matched.values() if film is not None})
    listed_in_all = fitted.pop("all", [])
    placed = [film for members in fitted.values() for film in members]
    if unplaced := sorted(set(listed_in_all) - set(placed)):
        text = f"{pluralize(len(unplaced), 'film')} in all, but in none of train, val and test, such as {unplaced[0]}"
        findings.append(Finding(WARNING, "films in no split", "split", text))
    for film in sorted({film for film in placed if placed.count(film) > 1}):
        places = [split for split in SPLIT_NAMES if film in fitted.get(split, ())]
        findings.append(Finding(ERROR, "film in several splits", film, f"is in {' and '.join(places)}"))
    return {split: fitted.get(split, []) for split in SPLIT_NAMES}, findings


def draw_splits(films: Iterable[str], shares: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Draw train, val and test by `shares` (of any scale), each film whole in one of them.

    Films are ordered by a hash of seed and name, so one more film moves few others. Every part with a share gets a
    film if there are enough. Raises InputError unless shares are three numbers of 0 or more, train's above 0.
    """
    if not (len(shares) == 3 and all(0 <= share < 1e9 for share in shares) and shares[0] > 0):
        raise InputError(f"split shares {list(shares)} cannot work; give three, such as 0.6 0.2 0.2, train's above 0")
    order = sorted(set(films), key=lambda film: hashlib.sha256(f"{seed}:{film}".encode()).digest())
    # 1. whole films by largest remainder
    wanted = [share * len(order) / sum(shares) for share in shares]
    counts = [int(number) for number in wanted]
    for _ in range(len(order) - sum(counts)):
        counts[max(range(3), key=lambda part: wanted[part] - counts[part])] += 1
    # 2. no part with a share stays empty
    if len(order) >= sum(share > 0 for share in shares):
        for part in range(3):
            if shares[part] > 0 and counts[part] == 0:
                counts[max(range(3), key=lambda other: counts[other])] -= 1
                counts[part] = 1
    ends = [0, counts[0], counts[0] + counts[1], len(order)]
    return {split: sorted(order[ends[part] : ends[part + 1]]) for part, split in enumerate(SPLIT_NAMES)}


def match_splits(films: Sequence[str], patterns: Mapping[str, Sequence[str] | None]) -> dict[str, list[str]]:
    """Return the films of each split by shell patterns such as `BBC_[1-8]`.

    Raises InputError for a pattern that matches no film, and for a film that two splits take.
    """
    chosen: dict[str, list[str]] = {}
    for split in SPLIT_NAMES:
        members: set[str] = set()
        for pattern in patterns.get(split) or ():
            matching = [film for film in films if fnmatchcase(film, pattern)]
            if not matching:
                raise InputError(f"--{split} {pattern} matches no film; there are {', '.join(sorted(films)[:8])} ...")
            members |= set(matching)
        chosen[split] = sorted(members)
    for split, other in combinations(SPLIT_NAMES, 2):
        if shared := set(chosen[split]) & set(chosen[other]):
            raise InputError(f"--{split} and --{other} both take {min(shared)}; a film belongs to one split")
    return chosen


def note_unplaced(films: Iterable[str], splits: Splits) -> list[Finding]:
    """Return a note about labelled films that no split takes."""
    rest = sorted(set(films) - {film for split in SPLIT_NAMES for film in splits.get(split, ())})
    if not rest:
        return []
    text = f"{pluralize(len(rest), 'labelled film')} in no split, such as {rest[0]}"
    return [Finding(NOTE, "films in no split", "split", text)]


def write_split_file(path: Path, splits: Splits) -> None:
    """Write a split file in the form that MovieNet publishes."""
    films = {split: sorted(splits.get(split, ())) for split in SPLIT_NAMES}
    write_json(path, {**films, "all": sorted({film for members in films.values() for film in members})})
