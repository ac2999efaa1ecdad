from __future__ import annotations

import os
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.segment.inputs import find_films, result_folders, shots_for


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_give_their_films_at_any_depth_in_order(tmp_path):
    touch(tmp_path, "b.MKV", "a.mp4", "deep/er/c.webm", "notes.txt", ".hidden.mp4", ".git/d.mp4")
    found = find_films([tmp_path], tmp_path / "scenes")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.mp4", "b.MKV", "deep/er/c.webm"]


def test_files_are_taken_whatever_their_name_and_once(tmp_path):
    touch(tmp_path, "film", "a.mp4")
    films = [tmp_path / "film", tmp_path / "a.mp4"]
    assert find_films([*films, tmp_path / "." / "film", tmp_path], Path("scenes")) == films


def test_clips_beside_the_results_of_a_film_are_no_films_wherever_those_lie(tmp_path):
    touch(tmp_path, "a.mp4", "out/a/clips/scene-001.mp4", "out/a/clips/mine.mp4", "clips/scene-001.mp4")
    (tmp_path / "out" / "a" / "scenes.json").write_text('{"film": {"path": "/films/a.mp4"}}')
    found = find_films([tmp_path], tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "a.mp4", "clips/scene-001.mp4", "out/a/clips/mine.mp4",
    ]  # fmt: skip


def test_a_pipe_is_no_film(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="is not a regular file"):
        find_films([tmp_path / "a.mp4"], Path("scenes"))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_films([tmp_path / "none.mp4"], Path("scenes"))
    with pytest.raises(InputError, match="no video file"):
        find_films([tmp_path], Path("scenes"))


def test_films_of_one_name_get_folders_of_their_own():
    films = [Path("x/Film.mp4"), Path("y/film.mkv"), Path("y/other.mp4"), Path("z/film.avi")]
    assert [path.name for path in result_folders(films, Path("out"))] == ["Film", "film-2", "other", "film-3"]


@pytest.mark.parametrize("name", [
    "..mp4", "...mp4", "....mp4", "-rf.mp4", "a\nb.mp4", "<script>.mp4", "con.mp4", "x" * 250 + ".mp4", "\udcff.mp4",
    "~.mp4",
])  # fmt: skip
def test_no_file_name_leads_out_of_the_results_folder(name):
    (folder,) = result_folders([Path("/films") / name], Path("/out"))
    assert folder.parent == Path("/out")
    assert folder.name.strip(".-~ ") == folder.name != ""
    assert folder.name.isprintable()
    assert len(folder.name.encode()) < 200


def test_shots_are_those_of_the_file_named_after_the_film(tmp_path):
    film = Path("/films/a film.mp4")
    assert shots_for(None, film, 1) is None
    (tmp_path / "a film.txt").write_text("0 79\n80 159\n")
    shots = shots_for(tmp_path, film, 2)
    assert shots is not None
    assert shots.frames.tolist() == [[0, 79], [80, 159]]
    assert shots_for(tmp_path / "a film.txt", film, 1).frames.tolist() == [[0, 79], [80, 159]]
    with pytest.raises(InputError, match=r"holds no list for b\.mp4; call it b\.csv or b\.txt"):
        shots_for(tmp_path, Path("b.mp4"), 2)
    with pytest.raises(InputError, match="is one file for 2 films"):
        shots_for(tmp_path / "a film.txt", film, 2)
