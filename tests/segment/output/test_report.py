from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from bassl.segment.output.report import film_link, write_report
from bassl.segment.scenes import TRAINING_FREE
from tests.segment.models import JPEG, segmentation

HOSTILE = [
    "<script>alert(1)<script>.mp4", "\"><img src=x onerror=alert(1)>.mp4", "a' onmouseover='x.mp4",
    "{{ script }}{% raw %}.mp4", "javascript:alert(1).mp4", "<style><b>.mp4", "line\nbreak.mp4",
    "\udcff.mp4", "&amp;.mp4", "50%20.mp4", "a#b?c.mp4",
]  # fmt: skip
VOID = {"meta", "img", "path", "link", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and texts; complains about what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(((self.open or [""])[-1], data))

    def all(self, tag, **attributes):
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]


def page(tmp_path, found):
    write_report(tmp_path / "report.html", found)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_scenes_are_rows_of_key_frames_with_their_times(tmp_path):
    found = page(tmp_path, segmentation())
    assert [section["id"] for section in found.all("section")] == ["scene-1", "scene-2", "scene-3"]
    shots = [a for a in found.all("a") if "data-shot" in a]
    assert [int(shot["data-shot"]) for shot in shots] == [0, 1, 2, 3, 4]
    starts = np.cumsum([0, 40, 60, 50, 70]) * 1001 / 24000
    np.testing.assert_allclose([float(shot["data-seconds"]) for shot in shots], starts + 1001 / 96000, atol=1e-6)
    images = [base64.b64decode(image["src"].split(",")[1]) for image in found.all("img")]
    assert images == [JPEG] * 5
    assert all(image["alt"] for image in found.all("img"))
    heading = " ".join(text for tag, text in found.texts if tag in ("h2", "small"))
    assert "Scene 2" in heading
    assert "2 shots" in heading


def test_cuts_and_only_cuts_are_marked(tmp_path):
    classes = [item["class"] for item in page(tmp_path, segmentation()).all("li")]
    assert classes == ["shot", "shot cut", "shot", "shot cut", "shot"]


def test_the_curve_has_a_stem_for_every_decided_shot(tmp_path):
    found = page(tmp_path, segmentation())
    stems = {
        path["class"]: re.findall(r"M([\d.]+) 100V([\d.]+)", path["d"]) for path in found.all("path") if "class" in path
    }
    assert stems["stem"] == [("160.00", "90.00"), ("600.00", "70.00")]
    assert stems["stem cut"] == [("400.00", "10.00"), ("880.00", "30.00")]
    assert found.all("path", **{"class": "threshold"})[0]["d"] == "M0 50.00H1000"


def test_scores_without_calibration_fill_the_curve(tmp_path):
    plain = segmentation(probability=(0.001, 0.02, 0.003, 0.01), threshold=0.01)
    training_free = replace(plain.model, kind=TRAINING_FREE, scorer="posterior")
    found = page(tmp_path, replace(plain, scores=replace(plain.scores, model=training_free)))
    assert "880.00 100V50.00" in found.all("path", **{"class": "stem cut"})[0]["d"]
    assert "training-free" in " ".join(text for _, text in found.texts)


def test_labels_say_what_was_found_missed_and_cut_wrongly(tmp_path):
    labels = np.array([1, 1, 0, 0, -2], np.int8)
    evaluation = {"model": {"AP": 0.5, "F1": 0.25}, "training-free": {"AP": 0.125}}
    found = page(tmp_path, replace(segmentation(), labels=labels, evaluation=evaluation))
    marks = [span["aria-label"] for span in found.all("span", role="img")]
    assert marks == ["true scene end, missed", "true scene end, found", "cut where no scene ends"]
    text = " ".join(text for _, text in found.texts)
    assert "AP 50.0, F1 25.0" in text
    assert "AP 12.5" in text
    assert "true scene end" not in " ".join(text for _, text in page(tmp_path, segmentation()).texts)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_name_can_do_anything_but_be_read(tmp_path, name):
    found = page(tmp_path, segmentation(tmp_path / "films" / name))
    plain = page(tmp_path, segmentation(tmp_path / "films" / "plain.mp4"))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements]
    assert not [a for _, attributes in found.elements for a in attributes if a.startswith("on")]
    titles = [text for tag, text in found.texts if tag == "h1"]
    assert "".join(titles) == "".join(c if c.isprintable() else "\ufffd" for c in name)
    (video,) = found.all("video")
    assert video["src"].startswith("films/")
    assert re.fullmatch(r"[\w./%~-]+", video["src"])
    assert unquote(video["src"], errors="surrogateescape") == f"films/{name}"


def test_nothing_is_fetched_from_anywhere(tmp_path):
    write_report(tmp_path / "report.html", segmentation(tmp_path / "a film.mp4"))
    text = (tmp_path / "report.html").read_text()
    assert not re.findall(r"https?:|//[a-z]|@import|url\(", text)
    found = Page(text)
    assert found.all("link") == []
    assert [script.get("src") for script in found.all("script")] == [None]
    policy = found.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'", policy)


def test_the_scripts_hash_is_that_of_the_script_on_the_page(tmp_path):
    import hashlib

    write_report(tmp_path / "report.html", segmentation())
    text = (tmp_path / "report.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" in text


@pytest.mark.parametrize(("film", "expected"), [
    ("/a/b/film.mp4", "film.mp4"), ("/a/my film.mp4", "../my%20film.mp4"), ("/x/ü:1.mp4", "../../x/%C3%BC%3A1.mp4"),
])  # fmt: skip
def test_the_film_is_linked_relative_to_the_report(film, expected):
    assert film_link(Path(film), Path("/a/b")) == expected


def test_key_frames_without_a_film_have_a_report_without_one(tmp_path):
    found = page(tmp_path, segmentation(has_video=False))
    assert "src" not in found.all("video")[0]
    assert any("only key-frames" in text for _, text in found.texts)
