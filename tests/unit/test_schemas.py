"""Schemas, examples and the decoder say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cli.schema import documents, text
from worker.core.decode import Rules, decode
from worker.core.errors import BadEvent, UnsupportedType
from worker.core.event import EventType
from worker.core.field import FIELDS, REFERENCE_KINDS
from worker.core.message import Message
from worker.core.schema import schema
from worker.core.tables import Tables

SCHEMAS = Path(__file__).parents[2] / "schemas"
VALID = sorted((SCHEMAS / "examples" / "valid").glob("*.json"))
INVALID = sorted((SCHEMAS / "examples" / "invalid").glob("*.json"))
EXPECTED = json.loads((SCHEMAS / "examples" / "invalid.json").read_text())
RULES = Rules(now=1_900_000_000, tables=Tables({"m3": "64f0a1b2c3d4e5f6a7b8c9d0"}, {"O": {"active": True}}))
VALIDATORS = {kind.value: jsonschema.Draft202012Validator(schema(kind)) for kind in EventType}


def decoded(given: Any) -> BadEvent | None:
    """What the decoder has against an event."""
    try:
        decode(Message(json.dumps(given).encode(), {}, {"content_type": "application/cloudevents+json"}), RULES)
    except BadEvent as error:
        return error
    return None


def test_the_files_in_schemas_are_what_the_code_says() -> None:
    assert {path.name: path.read_text() for path in SCHEMAS.glob("*.json")} == {
        name: text(document) for name, document in documents().items()
    }


def test_every_schema_is_a_schema() -> None:
    for each in EventType:
        jsonschema.Draft202012Validator.check_schema(schema(each))


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_example_is_valid_to_schema_and_decoder(path: Path) -> None:
    event = json.loads(path.read_text())
    VALIDATORS[event["type"]].validate(event)
    assert decoded(event) is None


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_example_is_refused_by_both_and_the_decoder_names_the_field(path: Path) -> None:
    event, expected = json.loads(path.read_text()), EXPECTED[path.stem]
    error = decoded(event)
    assert error is not None
    assert error.field == expected["field"]
    assert ("unsupported-type" if isinstance(error, UnsupportedType) else "invalid-event") == expected["reason"]
    if event["type"] in VALIDATORS:
        assert not VALIDATORS[event["type"]].is_valid(event)


def test_every_invalid_example_has_its_expectation() -> None:
    assert EXPECTED.keys() == {path.stem for path in INVALID}


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document: Any = documents()["asyncapi.json"]

    def follow(reference: str) -> Any:
        at = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]
        return at

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [each for value in node.values() for each in references(value)]
        return [each for value in node for each in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert len(found) == 9
    assert all(follow(each) for each in found)
    assert document["asyncapi"] == "3.0.0"


anything: st.SearchStrategy[Any] = st.sampled_from([
    None, True, False, 0, 1.5, -3, "", "x", "WO-1", "2026-03-15", "2026-03-15T08:00:00Z", "2026-03-15T08:00:00", "m3", "O", " x", [], {},
])  # fmt: skip
fields = st.dictionaries(st.sampled_from([*FIELDS, *REFERENCE_KINDS, "ext", "unknown"]), anything, max_size=4)


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(EventType),
    data=fields,
    project=st.sampled_from([{"number": "P"}, {"id": ""}, {"externalNumber": 5}, {}, {"number": "a", "id": "b"}, None]),
    external_id=st.sampled_from(["WO-1", "", " x", "x\u0007", None, 5]),
)
def test_what_the_schema_takes_the_decoder_takes_and_the_other_way_round(
    kind: EventType, data: dict[str, Any], project: object, external_id: object
) -> None:
    event = {
        "specversion": "1.0",
        "type": kind.value,
        "source": "/erp",
        "id": "e",
        "time": "2026-03-15T08:00:00Z",
        "data": {**data, "project": project, "externalId": external_id},
    }
    error = decoded(event)
    if {"status", "active"} <= data.keys() and error is not None and "given together" in error.detail:
        return  # what a status sets is known to the tables, not to a schema
    assert VALIDATORS[kind.value].is_valid(event) == (error is None), str(error)
