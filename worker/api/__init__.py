"""Ditio's API behind a narrow interface: `open_api` gives what worker.ports.Ditio promises.

client   what is asked, and the shapes of the answers        token   one token for all, renewed in time
http     one request: retries, throttling, errors in words   gate    when the next request may start
"""

from worker.api.client import Client, open_api
from worker.api.http import Access, Observer

__all__ = ["Access", "Client", "Observer", "open_api"]
