"""Ditio's API behind a narrow interface: `open_api` gives what worker.ports.Ditio promises.

client     what is asked, and the shapes of the answers        token     one token for all, renewed in time
http       one request: retries, throttling, errors in words   gate      when the next request may start
segment    keys as parts of a path                             flight    what many wait for is asked for once
limiter    turns: so many requests at once as Ditio bears      patience  until when requests may wait, and last
wire       one request out, one answer in                      exchange  a request over the wire, and what is told of it
httpx_wire, transport   the wire of production                 response  what an answer says beside what was asked for
access     where Ditio is, and who is told
"""

from worker.api.access import Access, Observer
from worker.api.client import Client, open_api
from worker.api.patience import Patience
from worker.api.segment import safe_in_path
from worker.api.wire import Received, Wire

__all__ = ["Access", "Client", "Observer", "Patience", "Received", "Wire", "open_api", "safe_in_path"]
