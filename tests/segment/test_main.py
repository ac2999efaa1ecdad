from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bassl.segment.main import main
from tests.video.clips import write_clip, write_sound


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Shared by all calls, so that most of them load no model."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, model_path, cache, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BASSL_CACHE", str(cache))

    def call(*arguments, model=True):
        status = main([*map(str, arguments), *(["--model", str(model_path), "--device", "cpu"] if model else [])])
        return status, *capsys.readouterr()

    return call


def test_a_film_goes_in_and_its_scenes_come_out(run, film, tmp_path):
    status, out, _ = run(film)
    folder = tmp_path / "scenes" / "a film".replace(" ", "_")
    assert status == 0
    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        "report.html",
        "scenes.csv",
        "scenes.json",
        "shots.csv",
    ]
    assert out.startswith("a film.mp4: ")
    assert "in 5 shots" in out
    assert "chosen on the validation split" in out
    assert json.loads((folder / "scenes.json").read_text())["settings"]["threshold"] == 0.5


def test_a_second_call_with_another_threshold_computes_nothing(run, film, monkeypatch):
    run(film)
    monkeypatch.setattr("bassl.segment.api.encode_film", None)
    monkeypatch.setattr("bassl.segment.model.load_spec", None)
    status, out, _ = run(film, "--threshold", "0")
    assert (status, out.splitlines()[0]) == (0, "a film.mp4: 5 scenes in 5 shots")
    assert run(film, "--num-scenes", "3")[1].startswith("a film.mp4: 3 scenes")


def test_a_film_that_is_not_cut_says_why(run, film):
    assert "no boundary reaches it, the highest is 0." in run(film, "--threshold", "1")[1]
    assert "no boundary reaches it" not in run(film, "--threshold", "0")[1]


def test_a_film_of_which_every_shot_is_a_scene_says_why_unless_asked_for(run, film):
    assert "every boundary reaches it, the lowest is 0." in run(film, "--threshold", "0")[1]
    assert "boundary reaches it" not in run(film, "--num-scenes", "5")[1]
    assert "boundary reaches it" not in run(film, "--num-scenes", "3")[1]


def test_of_many_scenes_the_first_are_listed(run, film, tmp_path):
    (tmp_path / "many.txt").write_text("".join(f"{10 * n} {10 * n + 9}\n" for n in range(16)))
    arguments = (film, "--shots", tmp_path / "many.txt", "--num-scenes")
    lines = run(*arguments, "16")[1].splitlines()
    assert [line for line in lines if line.startswith("  scene ")][-1].startswith("  scene 10: ")
    assert "  ... and 6 more in scenes.csv" in lines
    assert "  ... and 6 more in scenes.edl" in run(*arguments, "16", "--formats", "edl")[1]
    assert "more in" not in run(*arguments, "11")[1]


def test_a_missing_library_is_reported_before_a_model_is_loaded(run, film, monkeypatch):
    monkeypatch.setattr("bassl.video.LIBRARIES", ("av", "no_such_library"))
    monkeypatch.setattr("bassl.segment.model.load_spec", None)
    status, _, err = run(film, "--no-cache")
    assert status == 2
    assert "video needs no_such_library, which is not installed" in err


def test_folders_and_files_in_one_call_and_one_bad_film(run, tmp_path):
    (tmp_path / "films").mkdir()
    write_clip(tmp_path / "films" / "x.mp4", (20, 20))
    write_sound(tmp_path / "films" / "y.m4v")
    other = write_clip(tmp_path / "x.mp4", (30,))
    status, out, err = run(tmp_path / "films", other, "-o", tmp_path / "out", "--formats", "edl,vtt")
    assert status == 1
    assert "holds no video" in err
    assert "1 of 3 films failed" in err
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("[!.]*.*"))
    assert names == ["x-2/chapters.vtt", "x-2/scenes.edl", "x/chapters.vtt", "x/scenes.edl"]
    assert "x.mp4: 1 scene in 1 shot\n" in out


def test_shots_and_labels_are_found_by_the_films_name(run, film, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a film.txt").write_text("0 79\n80 159\n")
    (tmp_path / "truth.txt").write_text("0 1\n")
    status, out, _ = run(film, "--shots", tmp_path / "lists", "--labels", tmp_path / "truth.txt")
    assert status == 0
    assert "in 2 shots" in out
    assert "model: AP 100.0" in out
    assert "training-free: AP 100.0" in out


def test_a_shot_list_of_a_shorter_film_is_reported_and_the_rest_is_in_the_last_scene(run, film, tmp_path):
    (tmp_path / "list.txt").write_text("0 39\n40 79\n")
    status, _, err = run(film, "--shots", tmp_path / "list.txt", "--formats", "json")
    assert status == 0
    assert "a film.mp4: the last shot of the list ends at 3.3 s, the film lasts 6.7 s" in err
    found = json.loads((tmp_path / "scenes" / "a_film" / "scenes.json").read_text())
    assert len(found["warnings"]) == 1
    assert found["scenes"][-1]["end"]["frame"] == found["film"]["num_frames"] == 160


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.mp4"], "nowhere.mp4 does not exist"),
    (["{film}", "-o", "{list}/out"], "list.txt is a file); name another --output"),
    (["{film}", "--threshold", "2"], "threshold 2.0 is not between 0 and 1"),
    (["{film}", "--num-scenes", "0"], "cannot be cut into 0 scenes"),
    (["{film}", "--labels", "{list}"], "line 1: '0 10' is not '<shot> <label>'"),
    (["{film}", "--formats", "json,mp3"], "format 'mp3' is unknown"),
    (["{film}", "--encoder", "none"], "there is no model 'none'"),
    (["{film}", "--transnetv2", "none.onnx"], "none.onnx does not exist"),
    (["{film}", "{film}.copy", "--shots", "{list}"], "one file for 2 films"),
    (["--keyframes", "{folder}"], "240P_frames holds no film"),
    (["--keyframes", "{folder}", "--split"], "need a video"),
    (["{film}", "--shots", "{folder}"], "holds no list for a film.mp4"),
])  # fmt: skip
def test_wrong_arguments_are_one_clear_error_before_anything_is_done(run, film, tmp_path, arguments, message):
    (tmp_path / "list.txt").write_text("0 10\n")
    copy = film.with_name(film.name + ".copy")
    copy.write_bytes(film.read_bytes())
    places = {"film": film, "list": tmp_path / "list.txt", "folder": tmp_path}
    status, out, err = run(*(argument.format(**places) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "scenes").exists()


def test_labels_are_not_overwritten_with_results(run, film, tmp_path):
    run(film)
    ours = tmp_path / "scenes" / "a_film" / "scenes.csv"
    before = ours.read_bytes()
    status, _, err = run(film, "--labels", ours, "--threshold", "0")
    assert status == 2
    assert "would be overwritten by this call; copy it to another place first" in err
    assert ours.read_bytes() == before
    copy = tmp_path / "corrected.csv"
    copy.write_bytes(before)
    assert "model: AP" in run(film, "--labels", copy)[1]
    assert run(film, "--labels", ours, "--formats", "json")[0] == 0


def test_results_of_an_earlier_call_go_with_other_scenes_and_are_listed_with_the_same(run, film, tmp_path):
    folder = tmp_path / "scenes" / "a_film"
    assert "of an earlier call" not in run(film, "--num-scenes", "3", "--formats", "json,edl,vtt")[1]
    out = run(film, "--num-scenes", "3", "--formats", "json,edl")[1]
    assert out.splitlines()[-1] == "  of an earlier call, not written again: chapters.vtt"
    out = run(film, "--num-scenes", "5", "--formats", "json")[1]
    assert out.splitlines()[-1] == "  of an earlier call with other scenes, removed: scenes.edl, chapters.vtt"
    assert [path.name for path in folder.glob("[!.]*")] == ["scenes.json"]


def test_another_film_of_the_same_name_does_not_mix_with_an_earlier_calls(run, tmp_path):
    for name in "12":
        (tmp_path / name).mkdir()
    first = write_clip(tmp_path / "1" / "same.mp4", (20, 20))
    second = write_clip(tmp_path / "2" / "same.mp4", (30,))
    for _ in range(2):
        for path in (first, second):
            assert run(path, "--formats", "json,edl")[0] == 0
    names = {path.parent.name: json.loads(path.read_text())["film"]["path"] for path in tmp_path.rglob("scenes.json")}
    assert names == {"same": str(first), "same-2": str(second)}
    _, _, err = run(second, "--formats", "json")
    assert f"scenes/same holds the results of {first}; those of {second} go to same-2" in err


@pytest.mark.parametrize("arguments", [["a.mp4", "--threshold", "0.1", "--num-scenes", "3"], ["a.mp4", "--thresh"]])
def test_arguments_that_argparse_refuses_exit_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["\x1b[31mnew\nline.mp4", "\udcff.mp4"])
def test_no_file_name_can_upset_the_terminal(run, film, tmp_path, name):
    odd = tmp_path / name
    odd.write_bytes(film.read_bytes())
    status, out, _ = run(odd, "--formats", "json,html,edl")
    assert status == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert len([line for line in out.splitlines() if "scenes in" in line]) == 1
    odd.write_bytes(b"no film")
    status, _, err = run(odd)
    assert status == 1
    assert [line.partition(":")[0] for line in err.splitlines()] == ["model", "error"]
    assert all(line.isprintable() for line in err.splitlines())


def test_help_and_wrong_arguments_import_neither_torch_nor_pyav(tmp_path):
    code = (
        "import sys\nfrom bassl.segment.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert main(['nowhere.mp4']) == 2\n"
        "loaded = {'torch', 'av', 'cv2', 'scenedetect', 'omegaconf', 'pytorch_lightning'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Cut films into scenes" in done.stdout


def test_a_models_scores_can_be_decoded_by_the_scene_posterior(run, film, tmp_path):
    plain = run(film)[1]
    status, out, _ = run(film, "--decoder", "posterior")
    assert status == 0
    assert "chosen on the validation split" in plain
    assert "  threshold " in out
    assert "this film's mean score plus one standard deviation" in out
    model = json.loads((tmp_path / "scenes" / "a_film" / "scenes.json").read_text())["model"]
    assert (model["kind"], model["decoder"], model["scorer"]) == ("fine-tuned", "posterior", None)


def test_without_a_model_a_film_is_scored_by_the_posterior_or_by_similarity(run, film, tmp_path):
    scores = []
    for scorer in ("posterior", "similarity"):
        assert run(film, "--encoder", "colour", "--scorer", scorer, "--formats", "json", model=False)[0] == 0
        document = json.loads((tmp_path / "scenes" / "a_film" / "scenes.json").read_text())
        assert (document["model"]["name"], document["model"]["encoder"]) == (scorer, "colour histograms")
        scores.append([shot["probability"] for shot in document["shots"]])
    assert scores[0] != scores[1]
