"""The decoder on 100,000 messages that are not what they should be; see tests/properties/test_malformed.py."""

from __future__ import annotations

import pytest

from tests.support.malformed import KINDS, decoded_or_told

EXAMPLES = 100_000


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_none_of_a_hundred_thousand_messages_raises_anything_else(kind: str) -> None:
    decoded_or_told(kind, EXAMPLES // len(KINDS))
