"""Ids that the worker chooses for new tasks, so that a second creation of the same work order collides with the first.

Source: Ditio's public documentation (an unused id in a POST is kept, one that exists is refused before anything is written).
"""

from __future__ import annotations

from hashlib import sha256

LENGTH = 24
"""Hex digits of an id in Ditio."""


def client_id(company_id: str, project_id: str, external_id: str) -> str:
    """The id of the task of this work order: the same whoever derives it, and whenever."""
    return sha256("\0".join((company_id, project_id, external_id)).encode()).hexdigest()[:LENGTH]
