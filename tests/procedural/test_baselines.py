from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.prepare.layout import Layout
from bassl.procedural.baselines import baseline_precisions, color_histogram, edge_directions, main, mean_color
from bassl.procedural.difficulty import DEFAULT
from bassl.procedural.write import DataSet, write_data_set


def test_colours_have_their_hand_values() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = (255, 0, 51)
    assert mean_color(image) == pytest.approx([0.5, 0, 0.1])
    histogram = color_histogram(image)
    assert {number: histogram[number] for number in np.flatnonzero(histogram).tolist()} == {0: 0.5, 48: 0.5}


def test_edges_point_where_brightness_changes_whatever_its_strength() -> None:
    bright = np.zeros((10, 10, 3), np.uint8)
    bright[:, 5:] = 200
    assert edge_directions(bright).argmax() == 0
    assert edge_directions(bright.transpose(1, 0, 2)).argmax() == 9
    np.testing.assert_allclose(edge_directions(bright // 2), edge_directions(bright))
    assert edge_directions(np.zeros((4, 4, 3), np.uint8)).sum() == 0


@pytest.mark.slow
def test_colour_alone_finds_easy_scenes_and_not_those_of_the_default(tmp_path: Path) -> None:
    found = {}
    for difficulty in (0.0, DEFAULT):
        folder = tmp_path / str(difficulty)
        write_data_set(folder, DataSet(num_films=2, num_shots=80, difficulty=difficulty, width=96, height=54))
        found[difficulty] = baseline_precisions(Layout.of(folder))
    easy, default = found[0.0], found[DEFAULT]
    for kind in ("mean colour", "colour histogram"):
        assert easy[kind] > 4 * easy["chance"]
        assert default[kind] < 0.5 * easy[kind]


def tiny(folder: Path, num_shots: int = 12) -> Path:
    write_data_set(folder, DataSet(num_films=1, num_shots=num_shots, width=32, height=18))
    return folder


def test_the_command_prints_one_line_per_kind_and_refuses_a_broken_keyframe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny(tmp_path))]) == 0
    names = [line[:18].strip() for line in capsys.readouterr().out.splitlines()]
    assert names == ["mean colour", "colour histogram", "edge directions", "chance"]
    path = tmp_path / "240P_frames" / "procedural_000" / "shot_0004_img_1.jpg"
    Image.new("RGB", (1, 9)).save(path)
    assert main([str(tmp_path)]) == 2
    assert f"key-frame {path} cannot be read (1x9 pixels have no edges)" in capsys.readouterr().err


def test_a_folder_without_annotations_or_boundaries_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "error: annotation file " in capsys.readouterr().err
    assert main([str(tiny(tmp_path, num_shots=3))]) == 2
    assert "trainvaltest.ndjson holds no scene boundary" in capsys.readouterr().err
