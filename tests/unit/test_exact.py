"""Header values and names on their way through pika: as they are, or at least not deadly."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from decimal import Decimal

import pika.data
import pytest
from pika.spec import Basic

from worker.core.identity import Identity
from worker.core.letter import Facts, letter
from worker.core.message import Message
from worker.core.outcome import Failure
from worker.rabbit.convert import message_of, properties_of
from worker.rabbit.exact import carry_exactly


@pytest.fixture(autouse=True)
def exactly() -> None:
    carry_exactly()
    carry_exactly()


def there_and_back(headers: dict[str, object]) -> Message:
    """A message as it arrives that was published with these headers."""
    encoded = b"".join(pika.BasicProperties.encode(properties_of(Message(b"", headers))))
    properties = pika.BasicProperties()
    properties.decode(encoded)
    return message_of(Basic.Deliver("t", 1, False, "", "q"), properties, b"")


def test_every_kind_of_header_comes_back_as_it_was() -> None:
    headers: dict[str, object] = {
        "float": 1.5, "small": -1e-300, "inf": math.inf, "int": 5, "long": 2**40, "flag": True, "none": None, "text": "æ",
        "bytes": b"\x00\xff", "decimal": Decimal("1.25"), "time": datetime(2026, 1, 1, tzinfo=UTC),
        "table": {"list": [1.5, {"deep": 2.5}], "empty": {}},
    }  # fmt: skip
    came = there_and_back(headers).headers
    assert came == headers
    assert [type(value) for value in came.values()] == [type(value) for value in headers.values()]
    assert math.isnan(there_and_back({"nan": math.nan}).headers["nan"])  # type: ignore[arg-type]


def test_what_no_datetime_can_hold_and_short_floats_break_nothing() -> None:
    far = b"\x01t" + b"T" + struct.pack(">Q", 2**63)
    single = b"\x01f" + b"f" + struct.pack(">f", 0.5)
    table = struct.pack(">I", len(far + single)) + far + single
    assert pika.data.decode_table(table, 0) == ({"t": 2**63, "f": 0.5}, len(table))


def test_a_name_that_is_no_utf_8_can_be_written_into_a_letter() -> None:
    headers = pika.data.decode_table(struct.pack(">I", 4) + b"\x02\xff\xfeV", 0)[0]
    message = message_of(Basic.Deliver("t", 1, False, "", "q"), pika.BasicProperties(headers=headers), b"")
    made = letter(message, Failure("failing", "x"), Facts(Identity(), 1, 1, "0", letter_id="l"))
    assert made.headers["\\xff\\xfe"] is None
    there_and_back(dict(made.headers))
