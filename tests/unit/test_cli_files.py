"""Events in files: every form, and where each event begins."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from worker.cli.files import FileError, Found, events

FORMS = {
    "one event": (b'{"a": 1}', [(1, b'{"a": 1}')]),
    "one event over several lines": (b'\n{\n  "a": 1\n}\n', [(2, b'{\n  "a": 1\n}')]),
    "array": (b'[\n  {"a": 1},\n\n  {"a":\n 1}, {"a": 1}\n]', [(2, b'{"a": 1}'), (4, b'{"a":\n 1}'), (5, b'{"a": 1}')]),
    "lines": (b'{"a": 1}\n\n{"a": 2}\r\n', [(1, b'{"a": 1}'), (3, b'{"a": 2}')]),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', [(1, b'{"a": 1}')]),
    "empty array": (b"[]", []),
    "equal items": (b"[1,\n1,\n1]", [(1, b"1"), (2, b"1"), (3, b"1")]),
    "items that contain one another": (b'[11, 1, "1,1", 1]', [(1, b"11"), (1, b"1"), (1, b'"1,1"'), (1, b"1")]),
}


def read(data: bytes) -> list[Found]:
    """The events of standard input."""
    return events(["-"], io.BytesIO(data))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bytes_and_the_line_where_each_begins(form: str) -> None:
    data, expected = FORMS[form]

    found = read(data)

    assert [(each.line, each.body) for each in found] == expected
    assert not any(each.malformed for each in found)


def test_a_broken_line_is_named_and_the_others_are_read() -> None:
    found = read(b'{"a": 1}\n{"a": \n{"a": 3}\n')

    assert [(each.line, bool(each.malformed)) for each in found] == [(1, False), (2, True), (3, False)]


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b'{\n "a": 1,\n "b": x\n}', 3, "invalid character"),
        (b"", 1, "no event"),
        (b" \n ", 1, "no event"),
        (b"not json", 1, "invalid"),
        (b'[{"a": 1},\n{"a": NaN}]', 2, "invalid"),
        (b"[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_json_is_one_fault_with_its_line(data: bytes, line: int, says: str) -> None:
    (found,) = read(data)

    assert found.line == line
    assert says in found.malformed


def test_the_line_of_a_field_is_found_within_an_event() -> None:
    (found,) = read(b'\n{\n "data": {\n  "name": "x",\n  "estimatedHourQty": "abc"}}')

    assert found.line_of("data.estimatedHourQty") == 5
    assert found.line_of("data.missing") == 2
    assert found.line_of("") == 2


def test_files_are_read_in_the_order_given_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b").write_text('{"b": 1}')
    (tmp_path / "a").write_text('{"a": 1}')

    found = events([str(tmp_path / "b"), str(tmp_path / "a")], io.BytesIO())

    assert [each.body for each in found] == [b'{"b": 1}', b'{"a": 1}']
    with pytest.raises(FileError, match=r"cannot read .*none: no such file"):
        events([str(tmp_path / "none")], io.BytesIO())
