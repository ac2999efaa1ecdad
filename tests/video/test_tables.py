from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.video.tables import parse_number, parse_whole, read_table

ROWS = [("film", "start", "end"), ("Amélie", "0", "9.5"), ("Dr. No", "9.5", "12")]
TEXT = "film,start,end\nAmélie,0,9.5\nDr. No,9.5,12\n"
FORMS = {
    "commas": TEXT.encode(),
    "semicolons": TEXT.replace(",", ";").encode(),
    "tabs": TEXT.replace(",", "\t").encode(),
    "Excel's separator line": b"sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n").encode(),
    "byte order mark": TEXT.encode("utf-8-sig"),
    "UTF-16": TEXT.encode("utf-16"),
    "Windows-1252": TEXT.encode("cp1252"),
    "spaces and blank lines": b"\n\n" + TEXT.replace(",", " , ").encode() + b"\n,,\n \n",
    "quotes": "".join('"' + line.replace(",", '","') + '"\n' for line in TEXT.splitlines()).encode(),
}


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_table_reads_the_same_in_every_dialect_and_encoding(tmp_path: Path, form: str) -> None:
    assert [row.fields for row in read_table(write(tmp_path, FORMS[form]))] == ROWS


def test_columns_may_be_separated_by_spaces_and_lines_are_those_of_the_file(tmp_path: Path) -> None:
    rows = read_table(write(tmp_path, b"\xef\xbb\xbf0 69\r\n\r\n70   274\r\n\r\n\r\n"))
    assert rows == [(1, ("0", "69")), (3, ("70", "274"))]
    assert [row.line for row in read_table(write(tmp_path, b"sep=;\n\na;1\nb;2\n"))] == [3, 4]


@pytest.mark.parametrize(
    "line", ["r,00:00:00;00,00:01:00;02", "r;00:00:00;00:01:00.060", '"r"\t"00:00:00;00"\t"00:01:00;02"', "r,0;5,1;5"]
)
def test_semicolons_in_timecodes_do_not_separate_fields(tmp_path: Path, line: str) -> None:
    assert len(read_table(write(tmp_path, line.encode()))[0].fields) == 3


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("70", Fraction(70)),
        ("69.0", Fraction(69)),
        ("2.3356666666666666", Fraction("2.3356666666666666")),
        ("1e1", Fraction(10)),
        ("6.5e+01", Fraction(65)),
        (".5", Fraction(1, 2)),
        *((text, None) for text in ("", "-1", "1e99", "1,5", "٣", "nan", "1" * 19, "0x1", "1_0")),
    ],
)
def test_numbers_are_read_as_programs_write_them(text: str, number: Fraction | None) -> None:
    assert parse_number(text) == number
    assert parse_whole(text) == (int(number) if number is not None and number.denominator == 1 else None)


def test_a_missing_file_and_binary_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shot list .*none.csv cannot be read \(No such file or directory\)"):
        read_table(tmp_path / "none.csv", "shot list")
    with pytest.raises(InputError, match="is not text"):
        read_table(write(tmp_path, b"\x00\x01\x02PK"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(alphabet='a1;,\t "\n=\x85sep', max_size=40).map(str.encode))
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, content: bytes) -> None:
    with suppress(InputError):
        assert all(any(row.fields) for row in read_table(write(tmp_path, content)))
