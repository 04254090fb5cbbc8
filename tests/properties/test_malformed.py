"""Whatever a message holds, the decoder says what is wrong with it, in one of the two ways that it documents."""

from __future__ import annotations

import pytest

from tests.support.malformed import KINDS, decoded_or_told

EXAMPLES = 2_000


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_message_raises_anything_but_invalid_and_unsupported_type(kind: str) -> None:
    decoded_or_told(kind, EXAMPLES // len(KINDS))
