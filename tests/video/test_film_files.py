from __future__ import annotations

import os

from bassl.video.film_files import fingerprint


def test_a_film_is_known_by_its_bytes_and_its_time_wherever_it_lies(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3_000_000))
    os.utime(path, ns=(1, 1))
    first = fingerprint(path)
    moved = path.rename(tmp_path / "b.bin")
    assert fingerprint(moved) == first
    with moved.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(moved, ns=(1, 1))
    assert fingerprint(moved) != first
    moved.write_bytes(bytes(3_000_000))
    assert fingerprint(moved) != first
    (tmp_path / "empty").touch()
    assert len(fingerprint(tmp_path / "empty")) == 64
