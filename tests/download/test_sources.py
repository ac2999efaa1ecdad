from __future__ import annotations

import json

import pytest

from bassl.download.fetch import Source
from bassl.download.sources import FOLDERS, Item, list_items, parse_source, read_sources
from bassl.errors import InputError

DIGEST = "0123456789abcdef" * 4


def test_an_address_may_state_size_and_digest():
    assert parse_source("https://a.org/b.tar?x=1") == Source("https://a.org/b.tar?x=1")
    text = f"http://a.org/b.tar#sha256={DIGEST.upper()}&size=12"
    assert parse_source(text) == Source("http://a.org/b.tar", 12, DIGEST)


BAD = {
    "": "not an address to download from",
    "/data/movienet.tar": "not an address to download from",
    "file:///etc/passwd": "not an address to download from",
    "https://a.org/b\r\nX: y": "not an address to download from",
    "https://a.org/é": "not an address to download from",
    "https://user:word@a.org/b": "not an address to download from",
    "https://a.org/b#md5=1": "'md5' behind the #",
    "https://a.org/b#sha256=12": "64 hexadecimal digits",
    "https://a.org/b#size=-1": "a number of bytes",
}


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match=BAD[address]):
        parse_source(address)


def test_two_addresses_that_end_alike_get_different_names():
    names = [Item("anno", Source(f"https://a.org/{part}/b c.tar?d=/e")).name for part in (1, 2)]
    assert len(set(names)) == 2
    assert all(name.endswith("-b_c.tar") for name in names)
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


def test_no_address_at_all_says_where_to_look():
    with pytest.raises(InputError, match=r"(?s)no address is given; add --keyframes URL.*movienet.*drive.google.com"):
        list_items({}, None, {})


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"keyframe": []}', '{"keyframes": "https://a.org/b"}', '{"keyframes": [1]}']
)
def test_a_missing_file_of_addresses_or_one_of_another_form_is_refused(tmp_path, text):
    path = tmp_path / "sources.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"sources\.json"):
        read_sources(path)
