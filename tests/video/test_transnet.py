from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.video.cuts import CutFinder
from bassl.video.reader import FilmReader
from bassl.video.settings import DetectorSettings
from bassl.video.transnet import TransNetV2
from tests.video.clips import write_clip


class Session:
    """Plays the network: marks a frame if the next one is much brighter or darker."""

    def __init__(self, *_arguments, **_named):
        pass

    def get_inputs(self):
        return [SimpleNamespace(name="frames", type="tensor(uint8)")]

    def run(self, _names, inputs):
        (window,) = inputs["frames"]
        assert window.shape == (100, 27, 48, 3)
        assert window.dtype == np.uint8
        mean = window.astype(float).mean(axis=(1, 2))
        marked = np.abs(np.diff(mean, axis=0, append=mean[-1:])).max(axis=1) > 40
        return [marked.astype(np.float32)[None, :, None]]


@pytest.fixture
def network(tmp_path, monkeypatch):
    runtime = ModuleType("onnxruntime")
    runtime.__dict__.update(InferenceSession=Session, get_available_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    path = tmp_path / "transnetv2.onnx"
    path.write_bytes(b"a network")
    return path


def images(lengths):
    levels = [0, 120, 240]
    return [np.full((27, 48, 3), levels[shot % 3], np.uint8) for shot, n in enumerate(lengths) for _ in range(n)]


def cuts(network, frames, min_frames=1):
    finder = TransNetV2(network, 0.5, min_frames)
    return [cut for frame in frames for cut in finder.push(frame)] + finder.finish()


@pytest.mark.parametrize("lengths", [(70, 150, 60), (1, 2, 1), (49, 2, 25, 25), (200,), (75,)])
def test_every_cut_is_found_where_it_is_and_no_other(network, lengths):
    assert cuts(network, images(lengths)) == np.cumsum(lengths)[:-1].tolist()


def test_a_run_of_marked_frames_is_cut_in_its_middle(network):
    fade = [np.full((27, 48, 3), level, np.uint8) for level in (*[0] * 40, 50, 100, 150, 200, 250, *[250] * 40)]
    assert cuts(network, fade) == [42]  # frames 39 to 43 are marked


def test_it_is_a_detector_as_the_others(network, tmp_path):
    settings = DetectorSettings("transnetv2", network=network)
    with FilmReader(write_clip(tmp_path / "a.mp4", (70, 150, 60))) as reader:
        finder = CutFinder(settings, reader.rate)
        assert [cut for picture in reader.pictures() for cut in finder.push(picture)] + finder.finish() == [70, 220]


def test_a_file_that_is_no_network_is_one_clear_error(network, monkeypatch):
    def refuse(*_arguments, **_named):
        raise RuntimeError("protobuf parsing failed")

    monkeypatch.setattr(sys.modules["onnxruntime"], "InferenceSession", refuse)
    with pytest.raises(InputError, match="cannot be read as an ONNX network"):
        TransNetV2(network, 0.5, 1)
