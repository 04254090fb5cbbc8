"""Ditio's API behind a narrow interface: `open_api` gives what worker.ports.Ditio promises.

client     what is asked, and the shapes of the answers        token   one token for all, renewed in time
http       one request: retries, throttling, errors in words   gate    when the next request may start
transport  httpx's API over aiohttp's connections              flight  what many wait for is asked for once
segment    keys as parts of a path                             response  what an answer says beside what was asked for
"""

from worker.api.client import Client, open_api
from worker.api.http import Access, Observer
from worker.api.segment import safe_in_path
from worker.api.token import NoToken

__all__ = ["Access", "Client", "NoToken", "Observer", "open_api", "safe_in_path"]
