from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.prepare.layout import Layout
from bassl.procedural.baselines import baseline_precisions, color_histogram, edge_directions, main, mean_color
from bassl.procedural.write import DataSet, write_data_set


def test_colours_have_their_hand_values() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = (255, 0, 51)
    assert mean_color(image) == pytest.approx([0.5, 0, 0.1])
    histogram = color_histogram(image)
    assert histogram.sum() == 1
    assert {number: histogram[number] for number in np.flatnonzero(histogram).tolist()} == {0: 0.5, 48: 0.5}


def test_edges_point_where_brightness_changes_whatever_its_strength() -> None:
    bright = np.zeros((10, 10, 3), np.uint8)
    bright[:, 5:] = 200
    assert edge_directions(bright).argmax() == 0
    assert edge_directions(bright.transpose(1, 0, 2)).argmax() == 9
    np.testing.assert_allclose(edge_directions(bright // 2), edge_directions(bright))
    assert edge_directions(np.zeros((4, 4, 3), np.uint8)).sum() == 0


@pytest.fixture(scope="module")
def precisions(tmp_path_factory: pytest.TempPathFactory) -> dict[float, dict[str, float]]:
    """Of films at difficulty 0 and at the default."""
    found = {}
    for difficulty in (0.0, DataSet().difficulty):
        folder = tmp_path_factory.mktemp("films")
        write_data_set(folder, DataSet(2, 80, 0, difficulty, 96, 54))
        found[difficulty] = baseline_precisions(Layout.of(folder))
    return found


def test_colour_alone_finds_easy_scenes_and_not_those_of_the_default(precisions: dict) -> None:
    easy, usual = precisions[0.0], precisions[DataSet().difficulty]
    for kind in ("mean colour", "colour histogram"):
        assert easy[kind] > 4 * easy["chance"]
        assert usual[kind] < 0.5 * easy[kind]


def test_the_command_prints_a_line_a_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data_set(tmp_path, DataSet(1, 12, 0, 0.5, 32, 18))
    assert main([str(tmp_path)]) == 0
    assert [line[:18].strip() for line in capsys.readouterr().out.splitlines()] == [
        "mean colour",
        "colour histogram",
        "edge directions",
        "chance",
    ]


def test_a_folder_without_annotations_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: annotation file ")


def test_labels_without_a_boundary_are_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data_set(tmp_path, DataSet(1, 3, 0, 0.5, 32, 18))
    assert main([str(tmp_path)]) == 2
    assert "trainvaltest.ndjson holds no scene boundary" in capsys.readouterr().err


def test_a_keyframe_of_one_pixel_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data_set(tmp_path, DataSet(1, 12, 0, 0.5, 32, 18))
    path = tmp_path / "240P_frames" / "procedural_000" / "shot_0004_img_1.jpg"
    Image.new("RGB", (1, 9)).save(path)
    assert main([str(tmp_path)]) == 2
    assert f"key-frame {path} cannot be read (1x9 pixels have no edges)" in capsys.readouterr().err
