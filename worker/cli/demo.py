"""`ditio-worker demo`: a program with arguments of its own."""

from worker.cli.terminal import Command

COMMAND = Command(summary="the whole thing on this machine, in a minute", program="worker.demo")
