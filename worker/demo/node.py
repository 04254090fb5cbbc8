"""A RabbitMQ node of our own: on free loopback ports, with its own cookie and name service, gone when it is closed.

Source: RabbitMQ's documentation, "Configuration" and "File and Directory Locations".
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx

from worker.core.errors import WorkerError

START_S = 90.0
STOP_S = 30.0
POLL_S = 0.1

CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.port = {management}
management.tcp.ip = 127.0.0.1
log.console = false
log.file.level = warning
disk_free_limit.absolute = 200MB
vm_memory_high_watermark.relative = 0.5
"""


class NodeError(WorkerError):
    """The node did not start; the message holds the end of its log."""


class BrokerNode:
    """A running node. `amqp_url` is that of the vhost `/`; `management_url` has no credentials in it.

    `more` holds further lines of `rabbitmq.conf`.
    """

    def __init__(self, sbin: Path, more: str = "") -> None:
        self._sbin = sbin
        self._more = more
        self._folder = Path(tempfile.mkdtemp(prefix="ditio-broker-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.user, self.password = "guest", "guest"
        self.port, self.management_port, self._distribution, self._epmd = _free_ports(4)
        self.name = f"ditio{self.port}"
        self._cookie = secrets.token_hex(18)

    @property
    def amqp_url(self) -> str:
        """Where clients connect."""
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.port}/%2F"

    @property
    def management_url(self) -> str:
        """Where the management plugin answers."""
        return f"http://127.0.0.1:{self.management_port}"

    def __enter__(self) -> BrokerNode:
        try:
            self._write_settings()
            self._start()
            self._await()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stops the node and its name service, and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        if self._process is not None:
            with suppress(ProcessLookupError):  # the whole group: Erlang starts helpers of its own
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self._stop_epmd()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_settings(self) -> None:
        for name in ("mnesia", "log", "conf"):
            (self._folder / name).mkdir()
        cookie = self._folder / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        conf = self._folder / "conf"
        (conf / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (conf / "rabbitmq.conf").write_text(CONFIGURATION.format(amqp=self.port, management=self.management_port) + self._more)

    def _start(self) -> None:
        console = (self._folder / "log" / "console").open("ab")
        self._process = subprocess.Popen(
            [self._sbin / "rabbitmq-server"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        console.close()

    def _environment(self) -> dict[str, str]:
        home, conf = self._folder, self._folder / "conf"
        root = self._sbin.parents[4]
        path = f"{root / 'lib/erlang/bin'}{os.pathsep}{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        libraries = ":".join(str(each) for each in sorted(root.glob("lib/*-linux-gnu")))
        own = (
            {"LD_LIBRARY_PATH": libraries}
            if root != Path("/usr") and not (root / "lib64").exists() and not _patched(root)
            else {}
        )
        return {
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **own,
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(home / "log" / "erl_crash.dump"),
            "RABBITMQ_NODENAME": f"{self.name}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(conf / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(conf / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(conf / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(home / "feature_flags"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(conf / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
        }

    def _await(self) -> None:
        """Returns when the node takes connections and its management answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise NodeError(f"RabbitMQ did not start: {self._last_words()}")
            try:
                answer = httpx.get(
                    f"{self.management_url}/api/overview", auth=(self.user, self.password), timeout=5, trust_env=False
                )
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    if answer.status_code == httpx.codes.OK:
                        return
            except (httpx.TransportError, OSError):
                pass
            time.sleep(POLL_S)
        raise NodeError(f"RabbitMQ did not start within {START_S:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        texts = [path.read_text("utf-8", "replace") for path in sorted((self._folder / "log").glob("*")) if path.is_file()]
        return " ".join(" ".join(texts).split())[-1000:]

    def _stop_epmd(self) -> None:
        """Ends the name service that the node started: it listens on a port that is this node's alone."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            ours = f"ERL_EPMD_PORT={self._epmd}".encode() in environment and f"HOME={self._folder}".encode() in environment
            if ours and words[0].endswith(b"epmd"):
                os.kill(int(folder.name), signal.SIGTERM)


def _patched(root: Path) -> bool:
    """Whether the programs there name their own C library, so that no variable must."""
    return any(root.glob("lib/*-linux-gnu/libc.so.6"))


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
