"""Find the films of a call, a folder of results for each, and the shot list that belongs to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bassl.errors import InputError
from bassl.labels.film_names import film_name_of
from bassl.segment.output.results import CLIP, CLIPS, film_of, is_another
from bassl.video.film_files import SUFFIXES
from bassl.video.shot_list import ShotList, read_shot_list

log = logging.getLogger(__name__)


def find_films(given: Sequence[Path], results: Path) -> list[Path]:
    """Return the given files, and the video files in the given folders, sorted.

    Folders are searched at any depth for files with a known suffix. Hidden files and folders are skipped, and so are
    files below `results` and clips beside any scenes.json. Each film is returned once.

    Raises:
        InputError: if a path does not exist, or a folder holds no film.
    """
    films: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            inside = [film for film in sorted(path.rglob("*")) if _is_film(film, path, results)]
            if not inside:
                raise InputError(f"there is no video file in {path}; known suffixes are {' '.join(sorted(SUFFIXES))}")
        elif path.is_file():
            inside = [path]
        else:
            what = "is not a regular file" if path.exists() else "does not exist"
            raise InputError(f"{path} {what}; give video files, or folders of them")
        for film in inside:
            films.setdefault(film.resolve(), film)
    return list(films.values())


def result_folders(films: Sequence[Path], root: Path) -> list[Path]:
    """Return a folder below `root` for each film, named after it.

    Films of the same name are numbered, also after those of earlier calls, which keep their folders.
    """
    used: set[str] = set()
    folders = []
    for film in films:
        name = unique = film_name_of(Path(film.name))
        number = 2
        while unique.casefold() in used or is_another(film, root / unique):
            unique, number = f"{name}-{number}", number + 1
        if is_another(film, root / name):
            log.info(
                "%s holds the results of %s; those of %s go to %s", root / name, film_of(root / name), film, unique
            )
        used.add(unique.casefold())
        folders.append(root / unique)
    return folders


def shots_for(given: Path | None, film: Path, num_films: int) -> ShotList | None:
    """Read a film's shots from the given file, or from the one named after the film in the given folder.

    Raises:
        InputError: if the file is missing or malformed, or is one file for several films.
    """
    if given is None:
        return None
    if given.is_dir():
        path = file_named_after(film, given)
        if path is None:
            raise no_list(film, given, "--shots")
        return read_shot_list(path)
    if num_films > 1:
        raise InputError(f"--shots {given} is one file for {num_films} films; give a folder with a file per film")
    return read_shot_list(given)


def file_named_after(film: Path, folder: Path) -> Path | None:
    """Return the list in a folder that is named after a film, if there is one."""
    names = [f"{film.stem}{end}" for end in (".csv", ".txt", "-Scenes.csv", ".scenes.txt")]
    names += [f"{film.name}{end}" for end in (".csv", ".txt", ".scenes.txt")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def no_list(film: Path, folder: Path, option: str) -> InputError:
    """Return the error for a folder without a list for a film."""
    return InputError(f"{option}: {folder} holds no list for {film.name}; call it {film.stem}.csv or {film.stem}.txt")


def _is_film(path: Path, root: Path, results: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    is_ours = path.resolve().is_relative_to(results.resolve()) and not root.resolve().is_relative_to(results.resolve())
    is_clip = CLIP.fullmatch(path.name) and path.parent.name == CLIPS and film_of(path.parent.parent) is not None
    return not (is_hidden or is_ours or is_clip)
