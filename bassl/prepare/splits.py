"""Which films are for training, validation and test: read from a file, drawn, or chosen by patterns."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.files import write_atomically
from bassl.labels.film_names import find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.layout import SPLIT_NAMES

SYNONYMS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
}
SYNONYMS |= {"test": "test", "testing": "test", "all": "all", "full": "all", "total": "all"}
NAME_KEYS = ("name", "video_id", "imdb_id", "movie", "film", "id")

Splits = Mapping[str, Sequence[str]]


def read_split_file(path: Path) -> dict[str, list[str]]:
    """Film names of "train", "val", "test" (and "all" where the file has it) from any of these files:

    split318.json, `{"train": [film, ...], "val": [...], "test": [...], "all": [...]}`, where a film may also be an
    object with its name (SCRL's lists); `{film: "train", ...}`; or a CSV with the columns film and split. "valid",
    "validation", "dev", "full" and the like are understood. Raises InputError for anything else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"split file {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"split file {path} is no text ({error.reason}); give JSON or CSV") from error
    if path.suffix.lower() in (".csv", ".txt", ".tsv"):
        pairs = _csv_pairs(path, text)
    else:
        try:
            pairs = _json_pairs(path, json.loads(text))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"split file {path} is no JSON ({error}); correct it, or name it .csv") from error
    splits: dict[str, list[str]] = {}
    for film, split in pairs:
        name = SYNONYMS.get(split.strip().lower())
        if name is None:
            raise InputError(f"{path} has a part {split[:80]!r}; parts are train, val, test (and all)")
        splits.setdefault(name, []).append(film)
    if not set(splits) & set(SPLIT_NAMES):
        raise InputError(f"{path} puts no film into train, val or test; correct it")
    return {name: list(dict.fromkeys(films)) for name, films in splits.items()}


def _json_pairs(path: Path, found: Any) -> list[tuple[str, str]]:
    if not isinstance(found, dict):
        raise InputError(f'{path} has to be a JSON object, such as {{"train": [film, ...]}}; it is another thing')
    pairs = []
    for key, value in found.items():
        if isinstance(value, str):
            pairs.append((key, value))
        elif isinstance(value, list):
            pairs += [(_film(path, item), key) for item in value]
        else:
            raise InputError(f"{path} has {type(value).__name__} under {key[:80]!r}; give a list of films or a part")
    return pairs


def _film(path: Path, item: Any) -> str:
    names = [item.get(key) for key in NAME_KEYS] if isinstance(item, dict) else [item]
    name = next((name for name in names if isinstance(name, str)), None)
    if name is None:
        raise InputError(f"{path} has {str(item)[:80]!r} where a film's name belongs; correct it")
    return name


def _csv_pairs(path: Path, text: str) -> list[tuple[str, str]]:
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in "\t,;" if mark in head), ",")
    pairs = []
    for number, row in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), 1):
        fields = [field.strip() for field in row]
        if not any(fields) or (number == 1 and fields[1:2] == ["split"]):
            continue
        if len(fields) != 2:
            raise InputError(f"{path}, line {number}: give 'film,split', not {len(fields)} fields")
        pairs.append((fields[0], fields[1]))
    return pairs


def fit_splits(splits: Splits, films: Iterable[str]) -> tuple[dict[str, list[str]], list[Finding]]:
    """The splits in terms of the films that there are, sorted, and what was odd."""
    known = sorted(films)
    fitted: dict[str, list[str]] = {}
    found: list[Finding] = []
    for split, listed in splits.items():
        matched = {text: find_film(text, known) for text in listed}
        if lost := [text for text, film in matched.items() if film is None]:
            text = f"{split} lists {pluralize(len(lost), 'film')} not here, such as {lost[0]!r}"
            found.append(Finding(WARNING, "films that are not here", "split", text))
        fitted[split] = sorted({film for film in matched.values() if film is not None})
    whole = fitted.pop("all", None)
    placed = [film for films_of in fitted.values() for film in films_of]
    if whole is not None and (rest := sorted(set(whole) - set(placed))):
        text = f"{pluralize(len(rest), 'film')} in all, but in none of train, val and test, such as {rest[0]}"
        found.append(Finding(WARNING, "films in no split", "split", text))
    for film in sorted({film for film in placed if placed.count(film) > 1}):
        where = [split for split in SPLIT_NAMES if film in fitted.get(split, ())]
        found.append(Finding(ERROR, "film in several splits", film, f"stands in {' and '.join(where)}"))
    return {split: fitted.get(split, []) for split in SPLIT_NAMES}, found


def draw_splits(films: Iterable[str], shares: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Films dealt out to train, val and test by `shares` (any positive scale), each whole in one of them.

    The order is that of a hash of seed and name, so it depends on no other film, and a film more moves few others. A
    part with a share gets a film where there are as many films as parts.

    Raises InputError for shares that are not three numbers, 0 or more, train's above 0.
    """
    is_usable = len(shares) == 3 and all(0 <= share < 1e9 for share in shares) and shares[0] > 0
    if not is_usable:
        raise InputError(f"split shares {list(shares)} cannot work; give three, such as 0.6 0.2 0.2, train's above 0")
    order = sorted(set(films), key=lambda film: hashlib.sha256(f"{seed}:{film}".encode()).digest())
    wanted = [share * len(order) / sum(shares) for share in shares]
    counts = [int(number) for number in wanted]
    for _ in range(len(order) - sum(counts)):
        counts[max(range(3), key=lambda part: wanted[part] - counts[part])] += 1
    if len(order) >= sum(share > 0 for share in shares):
        for part in range(3):
            if shares[part] > 0 and counts[part] == 0:
                counts[max(range(3), key=lambda other: counts[other])] -= 1
                counts[part] = 1
    ends = [0, counts[0], counts[0] + counts[1], len(order)]
    return {split: sorted(order[ends[part] : ends[part + 1]]) for part, split in enumerate(SPLIT_NAMES)}


def match_splits(films: Sequence[str], patterns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Films of each split by shell patterns such as `BBC_[1-8]`.

    Raises InputError for a pattern that fits no film, and for a film that two splits want.
    """
    chosen = {}
    for split in SPLIT_NAMES:
        of_split: set[str] = set()
        for pattern in patterns.get(split) or ():
            fitting = [film for film in films if fnmatchcase(film, pattern)]
            if not fitting:
                raise InputError(f"--{split} {pattern} fits no film; there are {', '.join(sorted(films)[:8])} ...")
            of_split |= set(fitting)
        chosen[split] = sorted(of_split)
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if both := set(chosen[one]) & set(chosen[other]):
            raise InputError(f"--{one} and --{other} both take {min(both)}; a film belongs to one split")
    return chosen


def unplaced(films: Iterable[str], splits: Splits) -> list[Finding]:
    """A note about labelled films that no split takes."""
    rest = sorted(set(films) - {film for split in SPLIT_NAMES for film in splits.get(split, ())})
    text = f"{pluralize(len(rest), 'labelled film')} in no split, such as {rest[0]}" if rest else ""
    return [Finding(NOTE, "films in no split", "split", text)] if rest else []


def write_split_file(path: Path, splits: Splits) -> None:
    """Write a split file of the form that MovieNet publishes."""
    films = {split: sorted(splits.get(split, ())) for split in SPLIT_NAMES}
    films["all"] = sorted({film for of_split in films.values() for film in of_split})
    text = json.dumps(films, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
