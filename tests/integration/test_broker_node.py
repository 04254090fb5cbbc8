"""The private RabbitMQ node of tests and demo: it leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from worker.demo.node import BrokerNode
from worker.demo.packages import rabbitmq


def test_a_node_that_is_closed_leaves_no_process_no_port_and_no_folder(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--without-broker"):
        pytest.skip("left out by --without-broker")
    # When
    with BrokerNode(rabbitmq(print)) as node:
        folder = node._folder
        assert _listens(node.port)
        assert _processes(folder)
    # Then
    assert not _listens(node.port)
    assert not folder.exists()
    assert _processes(folder) == []


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _processes(folder: Path) -> list[str]:
    """The running processes whose home is this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found
