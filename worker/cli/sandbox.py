"""`ditio-worker sandbox`: a program with arguments of its own."""

from worker.cli.terminal import Command

COMMAND = Command(summary="a local Ditio over HTTP, to try things out", program="worker.sandbox")
