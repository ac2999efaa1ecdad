"""Read text tables as spreadsheets, pandas, PySceneDetect, MovieNet and people write them."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from bassl.errors import InputError

DELIMITERS = "\t;,"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # first line of spreadsheets' CSV
NUMBER = re.compile(r"(?:\d{1,18}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII)
TIMECODE = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:([:;])(\d{1,3})|[.,](\d{1,9}))?", re.ASCII)
MAX_NUMBER = 10**11  # above any frame number; bounds what `1e99` costs


class Row(NamedTuple):
    """A row of a table: its line in the file, counted from 1, and its fields without surrounding spaces."""

    line: int
    fields: tuple[str, ...]


def read_table(path: Path, kind: str = "table") -> list[Row]:
    """Read the rows of a table; empty ones are left out.

    Fields are separated by tabs, semicolons or commas, or by spaces where the file has none of these. A line `sep=;`
    at the top decides. Encodings: UTF-8 and UTF-16 with or without byte order mark, else Windows-1252.

    Args:
        path: file to read.
        kind: what the file is called in messages, such as "shot list".

    Raises:
        InputError: the file cannot be read, or is not text.
    """
    lines = read_text(path, kind).splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    stated = SEPARATOR_LINE.fullmatch(lines[start]) if lines[start:] else None
    if stated is not None:
        start += 1
    delimiter = stated[1] if stated is not None else _find_delimiter(lines[start:])
    if delimiter is None:
        split = [Row(number, tuple(line.split())) for number, line in enumerate(lines, 1)]
        return [row for row in split if row.fields]
    reader = csv.reader(lines[start:], delimiter=delimiter)
    rows = []
    try:
        for fields in reader:
            row = Row(start + reader.line_num, tuple(field.strip() for field in fields))
            if any(row.fields):
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"{kind} {path}, line {start + reader.line_num}: {error}; save it again as CSV") from error
    return rows


def read_text(path: Path, kind: str) -> str:
    """Return the text of a file in any encoding that `read_table` knows. Raises InputError as `read_table`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{kind} {path} cannot be read ({error.strerror}); check the path") from error
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(f"{kind} {path} is not text; save it as UTF-8")


def parse_number(text: str) -> Fraction | None:
    """Parse a number of 0 or more as programs write it: `70`, `69.0`, `2.3356666666666666`, `1e1`; else None."""
    if NUMBER.fullmatch(text) is None:
        return None
    number = Fraction(text)
    return number if number < MAX_NUMBER else None


def parse_whole(text: str) -> int | None:
    """Parse a whole number of 0 or more, also written as `69.0`; else None."""
    number = parse_number(text)
    return int(number) if number is not None and number.denominator == 1 else None


def is_time(text: str) -> bool:
    """Return whether a field is a number or a timecode."""
    return parse_number(text) is not None or TIMECODE.fullmatch(text) is not None


def _find_delimiter(lines: Sequence[str]) -> str | None:
    """Return what separates fields in the first line that has a delimiter, None for spaces.

    Among several, prefer the one that yields numbers: `film,00:00:00;00,00:01:00;02` has semicolons too.
    """
    line = next((line for line in lines if any(mark in line for mark in DELIMITERS)), "")
    candidates = [mark for mark in DELIMITERS if mark in line]
    for mark in candidates:
        if sum(is_time(field.strip().strip('"')) for field in line.split(mark)) > 1:
            return mark
    return candidates[0] if candidates else None
