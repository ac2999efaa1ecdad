"""Names of films that can safely be a folder, a part of a file name, an HTML text and a shell word."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from bassl.dataset.annotation import is_film_name
from bassl.errors import InputError
from bassl.video.film_files import SUFFIXES

MAX_BYTES = 120  # of a name; files add `.partial-`, `.json` and the like, and file systems end at 255
UNSAFE = re.compile(r"[^\w.-]+")
FILE_SUFFIXES = SUFFIXES | {".npz", ".txt"}  # of files that stand for a film; `.2` or `.part2` belong to its name
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # not to be created on Windows


def safe_film_name(text: str) -> str:
    """A folder name for a film that somebody else has named: letters, digits, `_`, `.` and `-` only.

    Never empty, `.` or hidden, never with a separator or `..`, at most 120 bytes; the same text gives the same name,
    and a safe name is its own safe name. What had to be cut or replaced altogether ends in eight digits of a hash.
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
    """Name of the film in a video file: of its stem, or `by_path` of all of a relative path (`disc1/a.mp4`:
    disc1_a).
    """
    stem = path.with_suffix("") if path.suffix else path
    return safe_film_name("_".join(stem.parts) if by_path else stem.name)


def colliding(names: Mapping[str, str]) -> dict[str, list[str]]:
    """Of a mapping from sources to their film names, the names that several claim, with who does.

    Names that differ only in upper and lower case collide too: some file systems do not tell them apart.
    """
    claims: dict[str, list[str]] = {}
    for source, name in names.items():
        claims.setdefault(name.casefold(), []).append(source)
    return {names[sources[0]]: sources for sources in claims.values() if len(sources) > 1}


def find_film(text: str, films: Iterable[str]) -> str | None:
    """The film that a label file or a split means by `text`: its name, its path or file name, or what each becomes
    safe.

    A path is looked for as a whole before its last part alone is. Only the ending of a film file is left out: `a.2` is
    not the film `a`.
    """
    known = set(films)
    last = _written_path(text)
    last = last.with_suffix("") if last.suffix.lower() in FILE_SUFFIXES else last
    candidates = (text.strip(), safe_film_name(text.strip()), safe_film_name("_".join(last.parts)), last.name)
    return next((name for name in (*candidates, safe_film_name(last.name)) if name in known), None)


def what_means(texts: Iterable[str], film: PurePath) -> str | None:
    """Of the names that a list gives to films the one that means the film in this file; None where none does.

    Folders that stand before a file name have to be the file's: `d1/a.mp4` is not `d2/a.mp4`. Of several names the one
    with most folders counts. Raises InputError where two fit equally well.
    """
    name = film_name_of(PurePath(film.name))
    agreeing: dict[int, list[str]] = {}
    for text in texts:
        path = _written_path(text)
        if path.name != film.name and find_film(text, [name]) is None:
            continue
        is_title = safe_film_name(text.strip()) == name  # `Face/Off`
        folders, own = () if is_title else path.parts[-2::-1], film.parts[-2::-1]
        pairs = list(zip(folders, own, strict=False))
        count = next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))
        if count or not folders:
            agreeing.setdefault(count, []).append(text)
    best = agreeing[max(agreeing)] if agreeing else []
    if len(best) > 1:
        raise InputError(f"{best[0]!r} and {best[1]!r} both mean {film.name}; give each film one name, or its path")
    return best[0] if best else None


def _written_path(text: str) -> PurePath:
    return PurePath(text.strip().replace("\\", "/"))


def _is_safe(name: str) -> bool:
    is_clean = is_film_name(name) and not UNSAFE.search(name)
    return is_clean and name == name.strip("._-") and len(name.encode()) <= MAX_BYTES and not RESERVED.fullmatch(name)
