"""The JSON Schemas of the events and the AsyncAPI document, made of the same tables that decoding goes by.

Sources: JSON Schema 2020-12, AsyncAPI 3.0, CloudEvents 1.0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from worker.core.decode import LONGEST_KEY, PROJECT_KEYS
from worker.core.event import EventType
from worker.core.field import FIELDS, NEVER_NULL, REFERENCE_KINDS, REFERENCES, Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NO_CONTROL = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
NO_BLANKS = "^\\S(.*\\S)?$"
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
DATE_TIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"

KEY: Mapping[str, Any] = MappingProxyType(
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "allOf": [{"pattern": NO_CONTROL}, {"pattern": NO_BLANKS}]}
)
KINDS: Mapping[Kind, Mapping[str, Any]] = MappingProxyType(
    {
        Kind.TEXT: {"type": "string", "pattern": "^[^\\u0000]*$"},
        Kind.NUMBER: {"type": "number"},
        Kind.FLAG: {"type": "boolean"},
        Kind.DATE: {"type": "string", "pattern": DATE, "description": "a day, or a date-time with its offset"},
        Kind.ID: dict(KEY),
    }
)
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "parent": "the externalId of the parent, in the same project",
        "mainForeman": "an employee number",
        "taskLeader": "an employee number",
        "unit": "a code of WORKER_TABLES_FILE",
        "status": "a code of WORKER_TABLES_FILE",
    }
)


def name_of(kind: EventType) -> str:
    """The file of a type's schema."""
    return f"{kind.value}.json"


def schema(kind: EventType) -> dict[str, Any]:
    """The JSON Schema of a structured event of this type."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:ditio-worker:{kind.value}",
        "title": kind.value,
        "type": "object",
        "required": ["specversion", "type", "source", "id", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": kind.value},
            "source": {"type": "string", "minLength": 1, "maxLength": 1024},
            "id": {"type": ["string", "integer"], "minLength": 1, "maxLength": 1024},
            "subject": {"type": ["string", "integer", "null"]},
            "time": {"type": "string", "pattern": DATE_TIME, "description": "when the values became true in the ERP"},
            "sequence": {"type": ["string", "integer", "null"]},
            "datacontenttype": {"type": ["string", "null"], "pattern": "json"},
            "traceparent": {"type": ["string", "null"]},
            "data": _data(kind),
        },
    }


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file name."""
    return {name_of(kind): schema(kind) for kind in EventType}


def asyncapi(version: str) -> dict[str, Any]:
    """The AsyncAPI document: what is published where, and in which form."""
    messages = {kind.name.lower(): _message(kind) for kind in EventType}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ditio Worker",
            "version": version,
            "description": "Work-order events that an ERP publishes, and that Ditio Worker brings to Ditio.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {"broker": {"host": "broker.example:5671", "protocol": "amqps", "description": "RabbitMQ 3.10 or newer"}},
        "channels": {
            "workOrders": {
                "address": "workorders",
                "description": "The topic exchange; any routing key that WORKER_BINDING_KEYS binds.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "amqp": {
                        "is": "routingKey",
                        "exchange": {"name": "workorders", "type": "topic", "durable": True, "vhost": "/"},
                    }
                },
            }
        },
        "operations": {
            "bring": {
                "action": "receive",
                "channel": {"$ref": "#/channels/workOrders"},
                "summary": "The worker takes the events and brings each to Ditio, once in effect.",
                "messages": [{"$ref": f"#/channels/workOrders/messages/{name}"} for name in messages],
            }
        },
        "components": {"messages": messages},
    }


def _message(kind: EventType) -> dict[str, Any]:
    return {
        "name": kind.value,
        "title": kind.value,
        "contentType": "application/cloudevents+json",
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": schema(kind)},
    }


def _data(kind: EventType) -> dict[str, Any]:
    properties: dict[str, Any] = {"project": _project(), "externalId": dict(KEY), "ext": {}}
    data: dict[str, Any] = {"type": "object", "required": ["project", "externalId"], "additionalProperties": False}
    if kind is EventType.DELETED:
        return data | {"properties": properties}
    properties |= {name: _field(name, KINDS[given]) for name, given in FIELDS.items()}
    properties |= {name: _field(name, KEY) | {"description": MEANINGS[name]} for name in REFERENCE_KINDS}
    data |= {"properties": properties, "allOf": [_not_both(name, field) for name, field in REFERENCES.items()]}
    if kind is EventType.REPLACED:
        data["anyOf"] = [{"required": ["active"]}, {"required": ["status"]}]
    return data


def _project() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: dict(KEY) for name in PROJECT_KEYS},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _field(name: str, kind: Mapping[str, Any]) -> dict[str, Any]:
    return dict(kind) if name in NEVER_NULL else dict(kind) | {"type": [kind["type"], "null"]}


def _not_both(name: str, field: str) -> dict[str, Any]:
    return {"not": {"required": [name, field]}}
