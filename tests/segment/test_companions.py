from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.segment.companions import labels_of, look_at_labels, shots_of

FILM = Path("/films/a film.mp4")
SCENES = "film,start,end\na film.mp4,0:00,0:05\nother,0:00,0:09\n"
COLUMNS = "Scene Number,Start Frame,End Frame\n1,1,24\n2,25,80\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_is_asked_for_and_nothing_found():
    assert shots_of(None, FILM, 1) is None
    assert labels_of(None, FILM, 3) is None


def test_a_folder_holds_a_file_for_each_film(tmp_path):
    write(tmp_path / "a film.txt", "0 79\n80 159\n")
    found = shots_of(tmp_path, FILM, 2)
    assert found is not None
    assert found.frames.tolist() == [[0, 79], [80, 159]]
    write(tmp_path / "labels" / "a film.mp4.txt", "0 1\n")
    assert labels_of(tmp_path / "labels", FILM, 2) == tmp_path / "labels" / "a film.mp4.txt"
    with pytest.raises(InputError, match=r"holds no list for b\.mp4; call it b\.csv or b\.txt"):
        shots_of(tmp_path, Path("b.mp4"), 2)


def test_one_list_of_scenes_is_of_several_films(tmp_path):
    path = write(tmp_path / "scenes.csv", SCENES)
    assert labels_of(path, FILM, 2) == path


def test_of_several_films_one_without_labels_is_told_and_does_not_stop_the_rest(tmp_path, caplog):
    path = write(tmp_path / "scenes.csv", SCENES)
    with caplog.at_level(logging.WARNING):
        assert labels_of(path, Path("third.mp4"), 3) is None
        assert labels_of(tmp_path, Path("third.mp4"), 3) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"third.mp4: {path} has no labels for it; it is not measured",
        f"third.mp4: {tmp_path} has no labels for it; it is not measured",
    ]


def test_the_only_film_has_to_have_labels(tmp_path):
    path = write(tmp_path / "scenes.csv", SCENES)
    with pytest.raises(InputError, match=r"holds no scenes of third\.mp4; it names a film\.mp4, other"):
        labels_of(path, Path("third.mp4"), 1)
    with pytest.raises(InputError, match=r"holds no list for third\.mp4"):
        labels_of(tmp_path, Path("third.mp4"), 1)


@pytest.mark.parametrize(("name", "text"), [("scenes.csv", COLUMNS), ("labels.txt", "0 1\n")])
def test_the_shots_of_one_film_are_no_labels_of_several(tmp_path, name, text):
    path = write(tmp_path / name, text)
    assert labels_of(path, FILM, 1) == path
    with pytest.raises(InputError, match="is one film's, for 2 films; give a folder"):
        labels_of(path, FILM, 2)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("none.csv", None, "does not exist"),
    ("scenes.csv", "film,start,end\na film,soon,later\n", "line 2: 'soon' is not a frame"),
    ("scenes.csv", "Scene Number,Start Frame,End Frame\n1,x,24\n", "no frame numbers"),
    ("labels.txt", "0 yes\n", "line 1"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_told_first(tmp_path, name, text, message):
    path = tmp_path / name if text is None else write(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        look_at_labels(path)
    for num_films in (1, 2):
        with pytest.raises(InputError):
            labels_of(path, FILM, num_films)


@pytest.mark.parametrize(("rows", "message"), [
    (["0:00,0:99"], r"line 2: timecode '0:99' has more than 59"),
    (["0:00,0:05", "0:09,0:05"], r"line 3: the scene ends \(0:05\) before it starts \(0:09\)"),
    (["90,10"], "line 2: the scene ends"),
    (["1.5,0.5"], "line 2: the scene ends"),
    (["00:00:00;00,00:00:01;60"], "has frame 60"),
    (["23:59:59:00,00:00:09:00"], None),  # may be past midnight
    (["00:00:00:00,00:00:01:119"], None),  # there are films of 120 frames a second
    (["00:00:00;00,00:01:00;59"], None),
])  # fmt: skip
def test_times_that_cannot_be_are_told_before_the_film_is_read(tmp_path, rows, message):
    path = write(tmp_path / "scenes.csv", "film,start,end\n" + "".join(f"a film.mp4,{row}\n" for row in rows))
    if message is None:
        assert labels_of(path, FILM, 1) == path
        return
    with pytest.raises(InputError, match=message):
        labels_of(path, FILM, 1)
