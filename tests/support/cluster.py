"""RabbitMQ nodes that can be stopped, killed and started again, alone or as a cluster of three.

Source: RabbitMQ's documentation, "Cluster Formation" (classic config) and "Clustering and Network Partitions".
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.broker import Broker, Vhost
from worker.demo.node import BrokerNode

PEER = "cluster_formation.classic_config.nodes.{number} = {name}@localhost\n"
TOGETHER = "cluster_formation.peer_discovery_backend = classic_config\ncluster_partition_handling = pause_minority\n"
STOP_S = 60.0


class Node(BrokerNode):
    """A node that keeps its data from one start to the next."""

    def stop(self) -> None:
        """Ends it in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_S)

    def kill(self) -> None:
        """Ends it as a power cut would, with all helpers that Erlang has started."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def start(self) -> None:
        """Starts it again; returns when it takes connections."""
        self._start()
        self._await()

    def control(self, *words: str) -> str:
        """What `rabbitmqctl` says."""
        done = subprocess.run(
            [self._sbin / "rabbitmqctl", "--node", f"{self.name}@localhost", *words],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=STOP_S,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        """The node as tests see a broker."""
        with httpx.Client(
            base_url=self.management_url, auth=(self.user, self.password), timeout=30, trust_env=False
        ) as management:
            yield Broker(self.amqp_url, management)


class Cluster:
    """Three nodes that are one broker, for as long as the block lasts."""

    def __init__(self, sbin: Path) -> None:
        self.nodes: Sequence[Node] = [Node(sbin) for _ in range(3)]
        first = self.nodes[0]
        peers = "".join(PEER.format(number=number, name=node.name) for number, node in enumerate(self.nodes, 1))
        for node in self.nodes:
            node._cookie, node._epmd, node._more = first._cookie, first._epmd, TOGETHER + peers
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        for node in self.nodes:
            self._stack.callback(node.close)
        try:
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(Node.__enter__, self.nodes))
            assert all(self._members(node) == len(self.nodes) for node in self.nodes), "the nodes did not find each other"
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def urls(self, vhost: Vhost, *, first: Node | None = None) -> str:
        """AMQP_URL with all nodes, this one first."""
        nodes = sorted(self.nodes, key=lambda node: node is not first)
        return ",".join(f"amqp://{vhost.user}:{vhost.password}@127.0.0.1:{node.port}/{vhost.name}" for node in nodes)

    def leader(self, vhost: Vhost, queue: str) -> Node:
        """The node that leads a quorum queue."""
        name = self.ask(f"queues/{vhost.name}/{queue}")["leader"]
        return next(node for node in self.nodes if f"{node.name}@localhost" == name)

    def ask(self, path: str) -> Any:
        """What the management API of the first node that answers says."""
        for node in self.nodes:
            try:
                return self._ask(node, path)
            except httpx.TransportError:
                continue
        raise AssertionError("no node of the cluster answers")

    def _members(self, node: Node) -> int:
        return sum(bool(each["running"]) for each in self._ask(node, "nodes"))

    @staticmethod
    def _ask(node: Node, path: str) -> Any:
        answer = httpx.get(f"{node.management_url}/api/{path}", auth=(node.user, node.password), timeout=10, trust_env=False)
        answer.raise_for_status()
        return answer.json()
