"""Which files to download, from the command line, a JSON file or the environment; nothing is built in.

The original's script fetched key-frames and annotations from addresses that its documents do not name. We do
not guess: the user names them, and `WHERE` says where to look.
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


@dataclass(frozen=True)
class Item:
    """One file to fetch, and the folder of the data set that it belongs into."""

    folder: str
    source: Source

    @property
    def name(self) -> str:
        """A file name of its own: two addresses may end alike."""
        last = re.sub(r"[^\w.-]", "_", urllib.parse.urlsplit(self.source.url).path.rpartition("/")[2])
        return f"{hashlib.sha256(self.source.url.encode()).hexdigest()[:8]}-{last[-80:]}"


def parse_source(text: str) -> Source:
    """`https://host/file.tar.gz#sha256=<64 hex digits>&size=<bytes>`; what follows the # may be left out.

    Raises InputError for another scheme than http(s), an unknown word behind the # and a malformed value.
    """
    url, _, fragment = text.partition("#")
    if not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[^\x00-\x20\x7f]*)?", url):
        raise InputError(f"{text!r} is no address to download from; write https://host/path")
    checks = dict(urllib.parse.parse_qsl(fragment, keep_blank_values=True))
    if unknown := set(checks) - {"sha256", "size"}:
        raise InputError(f"{text!r} has {sorted(unknown)[0]!r} behind the #; write sha256= or size=")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", checks.get("sha256", "0" * 64)):
        raise InputError(f"{text!r} has sha256={checks['sha256']}; write 64 hexadecimal digits")
    if not re.fullmatch(r"[1-9][0-9]*", checks.get("size", "1")):
        raise InputError(f"{text!r} has size={checks['size']}; write a number of bytes")
    return Source(url, int(checks["size"]) if "size" in checks else None, checks.get("sha256", "").lower() or None)


def read_sources(path: Path) -> dict[str, list[str]]:
    """A JSON file `{"keyframes": [address, ...], "annotations": [...], "scene318": [...]}`, any of them.

    Raises InputError for a file that is missing or of another form.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path} with addresses; check --sources") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); correct it") from error
    if not isinstance(found, dict) or set(found) - set(FOLDERS):
        raise InputError(f"{path} has to be an object with some of the keys {', '.join(FOLDERS)}; correct it")
    for key, addresses in found.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise InputError(f"{path} has something else than a list of addresses under {key!r}; correct it")
    return found


def list_items(
    given: Mapping[str, Sequence[str] | None], sources: Path | None, environ: Mapping[str, str]
) -> list[Item]:
    """What to fetch: of each kind what is `given`, else what the file `sources` lists, else BASSL_<KIND>_URL.

    Raises InputError where there is no address at all, or one that is none.
    """
    listed = read_sources(sources) if sources else {}
    items = []
    for kind, folder in FOLDERS.items():
        from_environment = environ.get(f"BASSL_{kind.upper()}_URL", "").split()
        addresses = given.get(kind) or listed.get(kind) or from_environment
        items += [Item(folder, parse_source(address)) for address in dict.fromkeys(addresses)]
    if not items:
        raise InputError(f"no address is given; add --keyframes URL and --annotations URL\n{WHERE}")
    return items
