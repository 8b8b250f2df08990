"""Payload chains (RFC 7296 section 3.2): the generic header is handled here, once for all payloads."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final

from ..errors import InvalidSyntax, LocalProtocolError
from .layouts import LAYOUTS, note_layout
from .payloads import (
    CRITICAL,
    DECODERS,
    GENERIC,
    SEALED,
    Encrypted,
    EncryptedFragment,
    Payload,
    UnknownPayload,
    decode_other,
)

__all__ = ["MAX_PAYLOADS", "decode_payloads", "encode_payloads"]

MAX_PAYLOADS: Final = 256
"""Payloads in one chain, by default. Real messages have up to a few dozen."""


def decode_payloads(
    first: int, data: bytes, pos: int, end: int, *, most: int = MAX_PAYLOADS, outer: bool = False
) -> list[Payload]:
    """Read the chain of payloads that fills *pos* to *end* and begins with one of type *first*.

    With *outer*, the chain of a message, an SK or SKF payload may end it; in the chain inside of one it may not
    (RFC 7296 section 3.14). Payloads of unknown type are kept, critical or not; `shapes.match` decides about them.

    Raises InvalidSyntax, with the offset in *data*, where the octets are no such chain of at most *most* payloads.
    """
    if type(data) is not bytes:  # pieces of it are kept for all who come later
        data = bytes(data)
    if first in SEALED:
        return _read_each(first, data, pos, end, most, outer)
    key = first, end - pos, data[pos : pos + 4]
    layout = LAYOUTS.get(key)
    if layout is not None and len(layout.makers) <= most:
        try:
            found = layout.read(data, pos)
        except InvalidSyntax:
            found = None  # whatever is wrong, below it gets its offset
        if found is not None:
            return found
    payloads = _read_each(first, data, pos, end, most, outer)
    note_layout(key, payloads, data, pos)
    return payloads


def _read_each(first: int, data: bytes, pos: int, end: int, most: int, outer: bool) -> list[Payload]:
    """Read a chain payload by payload. Raises as `decode_payloads` does."""
    payloads: list[Payload] = []
    kind = first
    unpack, decoders = GENERIC.unpack_from, DECODERS
    while kind:
        try:
            following, flags, length = unpack(data, pos)
        except struct.error:
            raise InvalidSyntax(f"header of payload {kind} cut off", pos) from None
        stop = pos + length
        if length < 4 or stop > end:
            raise InvalidSyntax(f"payload {kind} says it is {length} octets long", pos + 2)
        if len(payloads) >= most:
            raise InvalidSyntax(f"more than {most} payloads", pos)
        if kind in decoders:
            payloads.append(decoders[kind](data, pos + 4, stop))
        else:
            payloads.append(decode_other(kind, following, flags, data, pos, stop, outer and stop == end))
            if kind in SEALED:
                return payloads
        kind, pos = following, stop
    if pos != end:
        raise InvalidSyntax(f"{end - pos} octets after the last payload", pos)
    return payloads


def encode_payloads(payloads: Iterable[Payload], *, is_response: bool = False) -> tuple[int, bytes]:
    """Return the type of the first payload and the octets of the chain; 0 and nothing for an empty one.

    The critical bit is set for unknown payloads that have it, but never in a response (RFC 7296 section 2.5).
    Raises LocalProtocolError where something does not fit its field.
    """
    payloads = list(payloads)
    if not payloads:
        return 0, b""
    kinds = tuple(map(_type_of, payloads))
    last = payloads[-1]
    following = last.inner_first if isinstance(last, (Encrypted, EncryptedFragment)) else 0
    try:
        bodies = [payload.encode_body() for payload in payloads]
        headers = _generic_headers(kinds, tuple(map(len, bodies)), following)
    except struct.error:
        raise _unfit(payloads) from None
    if not is_response and UnknownPayload in map(type, payloads):
        headers = _with_critical(payloads, headers)
    parts = [b""] * (2 * len(bodies))
    parts[::2], parts[1::2] = headers, bodies
    return kinds[0], b"".join(parts)


_type_of = attrgetter("TYPE")


@lru_cache(maxsize=512)
def _generic_headers(kinds: tuple[int, ...], lengths: tuple[int, ...], following: int) -> tuple[bytes, ...]:
    """Return the generic headers of payloads by types and lengths of bodies; the last one names *following*.

    Kept, as we send much the same chains to all peers. Raises struct.error for a body that is too long.
    """
    pairs = zip((*kinds[1:], following), lengths, strict=True)
    return tuple([GENERIC.pack(kind, 0, 4 + length) for kind, length in pairs])


def _unfit(payloads: Sequence[Payload]) -> LocalProtocolError:
    """Return the error about that one of *payloads* which has something that does not fit its field."""
    for payload in reversed(payloads):
        try:
            GENERIC.pack(0, 0, 4 + len(payload.encode_body()))
        except struct.error as error:
            return LocalProtocolError(f"payload {payload.TYPE} cannot be encoded: {error}")
    return LocalProtocolError("a chain names a payload type that does not fit its field")


def _with_critical(payloads: Sequence[Payload], headers: Sequence[bytes]) -> tuple[bytes, ...]:
    """Set the critical bit in the generic headers of the payloads that have it."""
    changed = list(headers)
    for number, payload in enumerate(payloads):
        if isinstance(payload, UnknownPayload) and payload.critical:
            following, _, length = GENERIC.unpack(headers[number])
            changed[number] = GENERIC.pack(following, CRITICAL, length)
    return tuple(changed)
