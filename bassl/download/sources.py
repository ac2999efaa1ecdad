"""The parts of MovieNet and the addresses that they are downloaded from.

No address is built in. Users give them on the command line, in a JSON file or in the environment; `WHERE` says where
to look for them.
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bassl.download.fetch import Source
from bassl.errors import InputError

FOLDERS = {"keyframes": "240P_frames", "annotations": "anno", "scene318": "scene318"}
WHERE = """\
where the data may be found (named by others, not tried here; look at their licences):
  keyframes    MovieNet, https://movienet.github.io; on Hugging Face the data sets ZhengPeng7/MovieNet and
               asmith06/movienet318-keyframes-240p (the 318 labelled films)
  annotations  the authors' re-formatted files, which https://github.com/kakaobrain/bassl describes
  scene318     https://drive.google.com/drive/folders/1F-uqCKnhtSdQKcDUiL3dRcLOrAxHargz, with a browser;
               put the folder scene318 beside the other two
"""
ADDRESS = re.compile(r"https?://[\w.-]+(:\d+)?(/[\x21-\x7e]*)?", re.ASCII)


@dataclass(frozen=True)
class Item:
    """A file to download and the folder of the data set that it belongs to."""

    folder: str
    source: Source

    @property
    def name(self) -> str:
        """A unique file name: two addresses may end with the same name."""
        last = re.sub(r"[^\w.-]", "_", urllib.parse.urlsplit(self.source.url).path.rpartition("/")[2])
        return f"{hashlib.sha256(self.source.url.encode()).hexdigest()[:8]}-{last[-80:]}"


def parse_source(text: str) -> Source:
    """Parse `https://host/file.tar.gz#sha256=<64 hex digits>&size=<bytes>`; the part from # on is optional.

    Raises InputError for another scheme, an unknown key or a malformed value.
    """
    url, _, fragment = text.partition("#")
    if not ADDRESS.fullmatch(url):
        raise InputError(f"{text!r} is not an address to download from; write https://host/path, with %-escapes")
    checks = dict(urllib.parse.parse_qsl(fragment, keep_blank_values=True))
    forms = {"sha256": ("[0-9a-fA-F]{64}", "64 hexadecimal digits"), "size": ("[1-9][0-9]{0,17}", "a number of bytes")}
    for key, value in checks.items():
        if key not in forms:
            raise InputError(f"{text!r} has {key!r} behind the #; write sha256= or size=")
        if not re.fullmatch(forms[key][0], value):
            raise InputError(f"{text!r} has {key}={value}; write {forms[key][1]}")
    return Source(url, int(checks["size"]) if "size" in checks else None, checks.get("sha256", "").lower() or None)


def read_sources(path: Path) -> dict[str, list[str]]:
    """Read `{"keyframes": [address, ...], "annotations": [...], "scene318": [...]}`, any of them, from JSON.

    Raises InputError for a file that is missing or of another form.
    """
    try:
        sources = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); correct --sources") from error
    is_valid = isinstance(sources, dict) and set(sources) <= set(FOLDERS)
    if not is_valid or not all(isinstance(urls, list) and all(map(_is_text, urls)) for urls in sources.values()):
        raise InputError(f"{path} is not an object with lists of addresses under {', '.join(FOLDERS)}; correct it")
    return dict(sources)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def list_items(
    given: Mapping[str, Sequence[str] | None], sources: Path | None, environ: Mapping[str, str]
) -> list[Item]:
    """Return what to download: for each part the `given` addresses, else those in `sources`, else BASSL_<PART>_URL.

    Raises InputError for an invalid address, or none at all.
    """
    listed = read_sources(sources) if sources else {}
    items = []
    for part, folder in FOLDERS.items():
        from_environment = environ.get(f"BASSL_{part.upper()}_URL", "").split()
        addresses = given.get(part) or listed.get(part) or from_environment
        items += [Item(folder, parse_source(address)) for address in dict.fromkeys(addresses)]
    if not items:
        raise InputError(f"no address is given; add --keyframes URL and --annotations URL\n{WHERE}")
    return items
