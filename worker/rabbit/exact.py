"""Header values that pika does not carry as they are, corrected in the two functions through which it reads and writes every one.

pika 1.4.4 reads floats as integers (and breaks the connection on NaN), cannot write them, and breaks the connection on a timestamp that no
`datetime` can hold. A message with one of these would be delivered again and again, or come back changed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pika.data

Decode: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
Encode: TypeAlias = Callable[[list[bytes], Any], int]


def carry_exactly() -> None:
    """Makes pika carry them. Doing so again does nothing."""
    if not hasattr(pika.data.decode_value, "exact"):
        pika.data.decode_value = _decoding(pika.data.decode_value)
        pika.data.encode_value = _encoding(pika.data.encode_value)


def _decoding(decode: Decode) -> Decode:
    def decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
        match encoded[offset : offset + 1]:
            case b"d":
                return struct.unpack_from(">d", encoded, offset + 1)[0], offset + 9
            case b"f":
                return struct.unpack_from(">f", encoded, offset + 1)[0], offset + 5
            case b"T":
                return _moment(struct.unpack_from(">Q", encoded, offset + 1)[0]), offset + 9
        return decode(encoded, offset)

    decode_value.exact = True  # type: ignore[attr-defined]
    return decode_value


def _moment(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return seconds


def _encoding(encode: Encode) -> Encode:
    def encode_value(pieces: list[bytes], value: Any) -> int:
        if not isinstance(value, float):
            return encode(pieces, value)
        pieces.append(struct.pack(">cd", b"d", value))
        return 9

    return encode_value
