"""RabbitMQ for tests: one node for a run, a vhost for each test."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import httpx
import pika

from tests.support.secret import keep_secret
from worker.core.message import Message
from worker.demo.node import BrokerNode

Queues = Mapping[str, int]


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ with its management API. `amqp` has credentials and a vhost, as AMQP_URL has them."""

    amqp: str = field(repr=False)
    management: httpx.Client

    @contextmanager
    def vhost(self) -> Iterator[Vhost]:
        """A vhost with a user of its own, gone at the end."""
        name, password = f"test-{uuid4().hex[:12]}", keep_secret(secrets.token_hex(16))
        split = urlsplit(self.amqp)
        self._ask("PUT", f"vhosts/{name}", {})
        self._ask("PUT", f"users/{name}", {"password": password, "tags": ""})
        for user in (name, split.username or "guest"):
            self._ask("PUT", f"permissions/{name}/{user}", {"configure": ".*", "write": ".*", "read": ".*"})
        address = f"{name}:{password}@{split.hostname}:{split.port or 5672}"
        try:
            yield Vhost(name, urlunsplit(split._replace(netloc=address, path=f"/{name}")), name, password, self)
        finally:
            self._ask("DELETE", f"vhosts/{name}")
            self._ask("DELETE", f"users/{name}")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self.management.request(method, f"/api/{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@dataclass(frozen=True)
class Vhost:
    """A vhost and what can be seen and done in it from outside."""

    name: str
    url: str = field(repr=False)
    user: str
    password: str = field(repr=False)
    broker: Broker

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request to the management API."""
        return self.broker._ask(method, path, body)

    def depth(self, *queues: str) -> int:
        """Messages that are ready in these queues, as they say themselves (statistics are seconds late, and looking disturbs)."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            channel = connection.channel()
            return sum(channel.queue_declare(queue, passive=True).method.message_count for queue in queues)

    def queues(self) -> list[str]:
        """The names of the queues."""
        return [each["name"] for each in self.ask("GET", f"queues/{self.name}?columns=name")]

    def messages(self, queue: str) -> list[Message]:
        """The ready messages of a queue, which stay there."""
        given = {"count": 100_000, "ackmode": "ack_requeue_true", "encoding": "base64"}
        return [_message(each) for each in self.ask("POST", f"queues/{self.name}/{quote(queue, safe='')}/get", given)]

    def take(self, queue: str) -> list[Message]:
        """The ready messages of a queue, which are then gone."""
        given = {"count": 100_000, "ackmode": "ack_requeue_false", "encoding": "base64"}
        return [_message(each) for each in self.ask("POST", f"queues/{self.name}/{quote(queue, safe='')}/get", given)]

    def close_connections(self) -> int:
        """Cuts every connection to the vhost; returns how many there were."""
        names = [each["name"] for each in self.ask("GET", f"vhosts/{self.name}/connections")]
        for name in names:
            self.ask("DELETE", f"connections/{quote(name, safe='')}")
        return len(names)


def _message(given: Mapping[str, Any]) -> Message:
    body = base64.b64decode(given["payload"]) if given["payload_encoding"] == "base64" else given["payload"].encode()
    properties = dict(given["properties"]) if given["properties"] else {}
    headers = properties.pop("headers", {})
    return Message(body, headers, properties, given["exchange"], given["routing_key"], given["redelivered"])


@contextmanager
def private_broker(sbin: Path, more: str = "") -> Iterator[Broker]:
    """A node of our own, for as long as the block lasts."""
    with (
        BrokerNode(sbin, more) as node,
        httpx.Client(base_url=node.management_url, auth=(node.user, node.password), timeout=30, trust_env=False) as management,
    ):
        yield Broker(node.amqp_url, management)


@contextmanager
def given_broker(amqp_url: str) -> Iterator[Broker]:
    """The broker that AMQP_URL names; its management API by MANAGEMENT_URL, or on port 15672 of the same host."""
    split = urlsplit(amqp_url)
    url = os.environ.get("MANAGEMENT_URL") or f"http://{split.hostname}:15672"
    with httpx.Client(base_url=url, auth=(split.username or "guest", split.password or "guest"), timeout=30) as management:
        yield Broker(amqp_url, management)


def json_body(message: Message) -> Any:
    """The JSON of a message's body."""
    return json.loads(message.body)
