"""Validating: of each event in a file the line, the field and the reason."""

from __future__ import annotations

import io

from worker.cli.files import events
from worker.cli.validate import Fault, faults_of
from worker.core.errors import Invalid, UnsupportedType
from worker.core.message import Message


def decode(message: Message) -> None:
    """A decoder that refuses by what it finds in the body."""
    assert message.properties == {"content_type": "application/cloudevents+json"}
    if b"odd" in message.body:
        raise UnsupportedType("type", "there is no such type")
    if b"bad" in message.body:
        raise Invalid("data.name", "expected a text, got 1")


def test_each_fault_has_the_line_of_its_field_and_the_reason_that_a_dead_letter_would_have() -> None:
    # Given
    lines = b'[{"type": "good"},\n{"type":\n "odd"},\n{"bad": {\n"name": 1}}]'

    # When
    faults = faults_of(events(["-"], io.BytesIO(lines)), decode)

    # Then
    assert faults == [
        Fault("-", 2, "type", "unsupported-type", "there is no such type"),
        Fault("-", 5, "data.name", "invalid-event", "expected a text, got 1"),
    ]


def test_what_is_no_json_is_a_fault_and_hides_no_other() -> None:
    faults = faults_of(events(["-"], io.BytesIO(b'{"type": "good"}\n{\n{"bad": 1}')), decode)

    assert [(fault.line, fault.reason) for fault in faults] == [(2, "invalid-event"), (3, "invalid-event")]
    assert faults[0].detail.startswith("no valid JSON: ")
