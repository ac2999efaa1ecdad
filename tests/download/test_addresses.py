"""Where the addresses of the data come from, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bassl.download.addresses import FOLDERS, Item, list_items, parse_source, read_sources
from bassl.download.fetch import Source
from bassl.errors import InputError

DIGEST = "0123456789abcdef" * 4


def test_an_address_may_state_size_and_digest():
    assert parse_source("https://a.org/b.tar?x=1") == Source("https://a.org/b.tar?x=1")
    assert parse_source(f"http://a.org/b.tar#sha256={DIGEST.upper()}&size=12") == Source(
        "http://a.org/b.tar", 12, DIGEST
    )


BAD = {
    "": "no address to download from",
    "movienet.tar": "no address to download from",
    "/data/movienet.tar": "no address to download from",
    "file:///etc/passwd": "no address to download from",
    "ftp://a.org/b.tar": "no address to download from",
    "https://a.org/b c": "no address to download from",
    "https://a.org/b\r\nX: y": "no address to download from",
    "https://a.org/b#md5=1": "'md5' behind the #",
    "https://a.org/b#sha256=12": "64 hexadecimal digits",
    "https://a.org/b#size=-1": "a number of bytes",
    "https://a.org/b#size=": "a number of bytes",
    "https://[a/b": "no address to download from",
    "https://user:word@a.org/b": "no address to download from",
}


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_refused(address):
    assert len(BAD) == 13
    with pytest.raises(InputError, match=BAD[address]):
        parse_source(address)


def test_two_addresses_that_end_alike_get_different_names():
    names = [Item("anno", Source(f"https://a.org/{part}/b c.tar?d=/e")).name for part in (1, 2)]
    assert len(set(names)) == 2
    assert all(name.endswith("-b_c.tar") for name in names)
    assert Item("anno", Source("https://a.org/..")).name.endswith("-..")
    assert "/" not in Item("anno", Source("https://a.org/%2e%2e%2fb")).name


def test_options_come_before_the_file_and_the_file_before_the_environment(tmp_path):
    path = tmp_path / "sources.json"
    path.write_text(json.dumps({"annotations": ["https://file/a", "https://file/b"], "keyframes": ["https://file/k"]}))
    environ = {"BASSL_KEYFRAMES_URL": "https://env/k", "BASSL_SCENE318_URL": "https://env/s1  https://env/s2"}
    items = list_items({"keyframes": ["https://option/k", "https://option/k"], "annotations": None}, path, environ)
    assert [(item.folder, item.source.url) for item in items] == [
        ("240P_frames", "https://option/k"),
        ("anno", "https://file/a"),
        ("anno", "https://file/b"),
        ("scene318", "https://env/s1"),
        ("scene318", "https://env/s2"),
    ]
    assert len(FOLDERS) == 3


def test_no_address_at_all_is_one_error_that_says_where_to_look():
    with pytest.raises(InputError, match=r"(?s)no address is given; add --keyframes URL.*movienet.*drive.google.com"):
        list_items({}, None, {})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is no JSON"),
        ("[]", "an object with some of the keys keyframes, annotations, scene318"),
        ('{"keyframe": []}', "an object with some of the keys"),
        ('{"keyframes": "https://a.org/b"}', "a list of addresses under 'keyframes'"),
        ('{"keyframes": [1]}', "a list of addresses under 'keyframes'"),
    ],
)
def test_a_file_of_addresses_in_another_form_is_refused(tmp_path, text, match):
    (tmp_path / "sources.json").write_text(text)
    with pytest.raises(InputError, match=match):
        read_sources(tmp_path / "sources.json")


def test_a_file_of_addresses_that_is_missing_is_named():
    with pytest.raises(InputError, match=r"there is no file nowhere\.json"):
        read_sources(Path("nowhere.json"))
