"""Ditio's API behind a narrow interface: `open_api` gives what worker.ports.Ditio promises, and the look-ups for operators.

client     all operations, over one pool of connections        asking   what they share: answers, errors, the control read
reading    the eight look-ups of tasks                         writing  creating, replacing, changing, deleting tasks
directory  projects and people
http       one request: retries, throttling, errors in words   token    one token for all, renewed in time
gate       when the next request may start                     flight   what many wait for is asked for once
transport  httpx's API over aiohttp's connections              segment  keys as parts of a path
response   what an answer says beside what was asked for
"""

from worker.api.client import Client, Unobserved, open_api
from worker.api.http import Access, Observer
from worker.api.segment import safe_in_path

__all__ = ["Access", "Client", "Observer", "Unobserved", "open_api", "safe_in_path"]
