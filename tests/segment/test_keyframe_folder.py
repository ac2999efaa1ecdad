from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bassl
from bassl.errors import InputError
from bassl.segment import segment
from bassl.segment.encoders import ColourEncoder
from bassl.segment.keyframe_folder import encode_keyframes, find_keyframe_films, fingerprint
from bassl.segment.main import main
from tests.video.clips import COLOURS

SAMPLE = Path(bassl.__file__).parent / "data" / "big_buck_bunny"


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


def test_films_that_exist_only_as_key_frames_are_segmented(run, data_folder, tmp_path):
    status, out, _ = run("--keyframes", data_folder, "--encoder", "colour", "--num-scenes", "3")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("tt")] == [
        "tt01: 3 scenes in 12 shots", "tt02: 3 scenes in 12 shots",
    ]  # fmt: skip
    folder = tmp_path / "scenes" / "tt01"
    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        "report.html",
        "scenes.csv",
        "scenes.json",
        "shots.csv",
    ]
    document = json.loads((folder / "scenes.json").read_text())
    assert [scene["last_shot"] for scene in document["scenes"]] == [3, 7, 11]
    assert document["scenes"][0]["end"] == {
        "frame": 96, "seconds": 4.0, "exact_seconds": "4/1", "timecode": "00:00:04:00",
    }  # fmt: skip
    assert (document["model"]["kind"], document["settings"]["shots"]["file"]) == ("training-free", "tt01.txt")
    assert (folder / "report.html").read_text().count("data:image/jpeg") == 12


def test_one_film_can_be_named_and_labels_beside_it_are_used(run, data_folder):
    labels = data_folder / "scene318" / "label318" / "tt02.txt"
    labels.parent.mkdir()
    labels.write_text("".join(f"{shot:04d} {int(shot in (3, 8))}\n" for shot in range(11)))
    status, out, _ = run("--keyframes", data_folder, "tt02", "--encoder", "colour", "--num-scenes", "3")
    assert status == 0
    assert out.startswith("tt02: 3 scenes")
    assert "  labels: 1 of 2 scene ends found" in out
    assert "tt01" not in out


def test_the_default_offline_is_colour_and_a_second_call_computes_nothing(run, data_folder, monkeypatch):
    status, first, err = run("--keyframes", data_folder, "tt01")
    assert status == 0
    assert "encoder: colour histograms, because ImageNet weights are not in" in err
    monkeypatch.setattr("bassl.segment.keyframe_folder.encode_keyframes", None)
    assert run("--keyframes", data_folder, "tt01")[:2] == (0, first)
    (data_folder / "scene318" / "shot_movie318" / "tt01.txt").unlink()
    assert "bug in bassl" in run("--keyframes", data_folder, "tt01")[2]  # other shots are computed again


@pytest.mark.slow
def test_the_sample_film_has_seven_of_its_eleven_scene_ends_found_by_colour(run):
    _, out, _ = run("--keyframes", SAMPLE, "--encoder", "colour", "--no-cache", "--formats", "json")
    assert out.splitlines()[0] == "big_buck_bunny: 22 scenes in 136 shots"
    assert "  labels: 7 of 11 scene ends found" in out


def test_without_a_shot_file_lengths_are_not_used(data_folder):
    folder = data_folder / "240P_frames" / "tt01"
    before = fingerprint(folder)
    assert encode_keyframes(folder, ColourEncoder()).shot_lengths.tolist() == [24] * 12
    (data_folder / "scene318" / "shot_movie318" / "tt01.txt").unlink()
    film = encode_keyframes(folder, ColourEncoder())
    assert film.shot_lengths is None
    assert "each shot counts as one second" in film.warnings[0]
    assert film.frames[[0, -1]].tolist() == [[0, 23], [264, 287]]
    assert fingerprint(folder) != before
    assert len(segment(folder, num_scenes=2)) == 2


def test_features_are_those_of_the_shots_own_key_frames(data_folder):
    film = encode_keyframes(data_folder / "240P_frames" / "tt01", ColourEncoder())
    encoder = ColourEncoder()
    own = [encoder.prepare(np.full((24, 40, 3), COLOURS[shot // 4], np.uint8)) for shot in range(12)]
    similarity = film.features @ np.stack(own).T
    assert (similarity.argmax(1) // 4).tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("kind", ["missing", "broken", "shots"])
def test_what_is_wrong_with_a_folder_is_one_sentence(data_folder, kind):
    folder = data_folder / "240P_frames" / "tt01"
    messages = {"missing": "no key-frame of shot 5", "broken": "cannot be decoded", "shots": "has 1 shots, .* has 12"}
    if kind == "missing":
        for path in folder.glob("shot_0005_*"):
            path.unlink()
    elif kind == "broken":
        (folder / "shot_0005_img_1.jpg").write_bytes(b"no image")
    else:
        (data_folder / "scene318" / "shot_movie318" / "tt01.txt").write_text("0 9 2 4 6\n")
    with pytest.raises(InputError, match=messages[kind]):
        encode_keyframes(folder, ColourEncoder())


def test_an_unknown_film_names_the_nearest(data_folder):
    with pytest.raises(InputError, match="holds no film 'tt1'; known are tt01, tt02"):
        find_keyframe_films(data_folder, ["tt1"])
