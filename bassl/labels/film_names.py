"""Film names that are safe as a folder, in a file name, in HTML and in a shell, and how lists refer to films."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import PurePath

from bassl.dataset.annotation import is_film_name
from bassl.errors import InputError
from bassl.video.film_files import SUFFIXES

MAX_BYTES = 120  # files add `.partial-`, `.json` and the like, and file systems end at 255
UNSAFE = re.compile(r"[^\w.-]+")
FILE_SUFFIXES = SUFFIXES | {".npz", ".txt"}  # endings of film files; `.2` or `.part2` is part of a name
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # cannot be created on Windows


def safe_film_name(text: str) -> str:
    """Return a folder name for a film: letters, digits, `_`, `.` and `-` only.

    The name is never empty, hidden or reserved, has no `..` and at most 120 bytes. A safe name stays as it is. Names
    that had to be cut or replaced end in eight digits of a hash.
    """
    name = UNSAFE.sub("_", unicodedata.normalize("NFC", text))
    name = re.sub(r"\.{2,}", ".", name).strip("._-") if not _is_safe(name) else name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    if len(name.encode()) > MAX_BYTES:
        name = name.encode()[: MAX_BYTES - 9].decode(errors="ignore").rstrip("._-") + f"-{digest}"
    if not name or RESERVED.fullmatch(name):
        name = f"film_{name or digest}"
    assert _is_safe(name), name
    return name


def film_name_of(path: PurePath, by_path: bool = False) -> str:
    """Return the name of the film in a video file: its stem, or with `by_path` its whole path (`disc1_a`)."""
    stem = path.with_suffix("") if path.suffix else path
    return safe_film_name("_".join(stem.parts) if by_path else stem.name)


def find_collisions(names: Mapping[str, str]) -> dict[str, list[str]]:
    """Map each film name that several sources claim to these sources. names: film name by source.

    Names that differ in case only collide too, as they do on some file systems.
    """
    claims: dict[str, list[str]] = {}
    for source, name in names.items():
        claims.setdefault(name.casefold(), []).append(source)
    return {names[sources[0]]: sources for sources in claims.values() if len(sources) > 1}


def find_film(text: str, films: Iterable[str]) -> str | None:
    """Return the film that a list refers to as `text`: by name, title, path or file name; None for no film.

    A whole path is tried before its last part. Only endings of film files are dropped: `a.2` is not the film `a`.
    """
    known = set(films)
    path = _as_path(text)
    path = path.with_suffix("") if path.suffix.lower() in FILE_SUFFIXES else path
    candidates = (text.strip(), safe_film_name(text.strip()), safe_film_name("_".join(path.parts)), path.name)
    return next((name for name in (*candidates, safe_film_name(path.name)) if name in known), None)


def match_file(texts: Iterable[str], film: PurePath) -> str | None:
    """Return the one of a list's film names that refers to this film file, None for no match.

    Folders before a file name have to agree: `d1/a.mp4` is not `d2/a.mp4`. The name with most folders wins. Raises
    InputError if two match equally well.
    """
    name = film_name_of(PurePath(film.name))
    matches: dict[int, list[str]] = {}
    for text in texts:
        path = _as_path(text)
        if path.name != film.name and find_film(text, [name]) is None:
            continue
        is_title = safe_film_name(text.strip()) == name  # `Face/Off` is not a path
        folders = () if is_title else path.parts[-2::-1]
        pairs = zip(folders, film.parts[-2::-1], strict=False)
        num_agreeing = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        if num_agreeing or not folders:
            matches.setdefault(num_agreeing, []).append(text)
    best = matches[max(matches)] if matches else []
    if len(best) > 1:
        raise InputError(f"{best[0]!r} and {best[1]!r} both mean {film.name}; give each film one name, or its path")
    return best[0] if best else None


def _as_path(text: str) -> PurePath:
    return PurePath(text.strip().replace("\\", "/"))


def _is_safe(name: str) -> bool:
    is_clean = is_film_name(name) and not UNSAFE.search(name)
    return is_clean and name == name.strip("._-") and len(name.encode()) <= MAX_BYTES and not RESERVED.fullmatch(name)
