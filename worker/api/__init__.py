"""Ditio's API behind a narrow interface: `open_api` gives what worker.ports.Ditio promises, and the look-ups for operators.

client     all operations, over one wire                       asking   what they share: answers, errors, the control read
reading    the eight look-ups of tasks                         writing  creating, replacing, changing, deleting tasks
directory  projects and people                                 segment  keys as parts of a path
http       one request: retries, throttling, errors in words   token    one token for all, renewed in time
gate       when the next request may start                     flight   what many wait for is asked for once
limiter    turns: so many requests at once as Ditio bears      patience until when requests may wait, and last
wire       one request out, one answer in                      exchange a request over the wire, and what is told of it
httpx_wire, transport   the wire of production                 response what an answer says beside what was asked for
access     where Ditio is, and who is told
"""

from worker.api.access import Access, Observer
from worker.api.client import Client, Unobserved, open_api
from worker.api.patience import Patience
from worker.api.segment import safe_in_path
from worker.api.token import NoToken
from worker.api.wire import Received, Wire

__all__ = [
    "Access",
    "Client",
    "NoToken",
    "Observer",
    "Patience",
    "Received",
    "Unobserved",
    "Wire",
    "open_api",
    "safe_in_path",
]
