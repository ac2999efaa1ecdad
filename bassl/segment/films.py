"""Which films a call is about, and the folder that each one's results go to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bassl.errors import InputError
from bassl.labels.film_names import film_name_of
from bassl.segment.output.clips import CLIP
from bassl.segment.results import CLIPS, film_of, is_another
from bassl.video.film_files import SUFFIXES

log = logging.getLogger(__name__)


def find_films(given: Sequence[Path], results: Path) -> list[Path]:
    """The given files as they are, and the video files in given folders, sorted.

    Those are known by their suffix, and found at any depth. Hidden files and folders are passed over, and what lies
    below `results` (clips of earlier calls, and those beside any scenes.json); a film that is named twice comes once.

    Raises:
        InputError: a path that does not exist, or a folder without a film.
    """
    found: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            films = [film for film in sorted(path.rglob("*")) if _is_film(film, path, results)]
            if not films:
                raise InputError(f"there is no video file in {path}; known are {' '.join(sorted(SUFFIXES))}")
        elif path.is_file():
            films = [path]
        elif path.exists():
            raise InputError(f"{path} is no file, so it cannot be jumped in; give video files, or folders of them")
        else:
            raise InputError(f"{path} does not exist; give video files, or folders of them")
        for film in films:
            found.setdefault(film.resolve(), film)
    return list(found.values())


def result_folders(films: Sequence[Path], root: Path) -> list[Path]:
    """A folder below `root` for each film, named after it.

    Films of one name are numbered in their order, also after those of earlier calls, whose results stay theirs.
    """
    taken: set[str] = set()
    folders = []
    for film in films:
        name = unique = film_name_of(Path(film.name))
        number = 2
        while unique.casefold() in taken or is_another(film, root / unique):
            unique, number = f"{name}-{number}", number + 1
        if is_another(film, root / name):
            log.info(
                "%s holds the results of %s; those of %s go to %s", root / name, film_of(root / name), film, unique
            )
        taken.add(unique.casefold())
        folders.append(root / unique)
    return folders


def _is_film(path: Path, root: Path, results: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    is_ours = path.resolve().is_relative_to(results.resolve()) and not root.resolve().is_relative_to(results.resolve())
    is_video = path.suffix.lower() in SUFFIXES and not is_hidden and path.is_file()
    return is_video and not is_ours and not _is_clip(path)


def _is_clip(path: Path) -> bool:
    """Whether a file is a scene that an earlier call has cut out of a film."""
    return bool(CLIP.fullmatch(path.name)) and path.parent.name == CLIPS and film_of(path.parent.parent) is not None
