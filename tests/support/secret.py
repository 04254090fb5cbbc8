"""Every secret that a test run uses, so that its whole output can be searched for them."""

from __future__ import annotations

USED: set[str] = set()


def keep_secret(secret: str) -> str:
    """The same text, which from now on must not appear in any output."""
    USED.add(secret)
    return secret


def leaks(text: str) -> list[str]:
    """The secrets in a text, each shortened so that telling of it is no leak of its own."""
    return [f"{secret[:4]}…" for secret in sorted(USED) if secret in text]
