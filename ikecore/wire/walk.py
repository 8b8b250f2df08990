"""Reading a chain of payloads step by step, for tools: what can be understood, and where it stops.

`decode_payloads` is what the engine uses: it refuses the whole chain at the first fault. Both agree on every chain.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InvalidSyntax, RemoteProtocolError
from ..record import record
from .chain import MAX_PAYLOADS
from .payloads import CRITICAL, DECODERS, GENERIC, SEALED, Payload, decode_other

__all__ = ["Step", "walk"]


@record
class Step:
    """One payload of a chain: where its generic header begins, its length with it, and its value or what is wrong."""

    offset: int
    length: int
    payload_type: int
    critical: bool
    value: Payload | RemoteProtocolError


def walk(first: int, data: bytes, pos: int, end: int, *, outer: bool = False) -> Iterator[Step]:
    """Read a chain as `decode_payloads` does, but give what can be understood of one that is malformed.

    After a payload whose body is malformed comes the next one. Where the chain itself breaks, or is longer than
    MAX_PAYLOADS, the last step has the error and the rest of the octets.
    """
    kind, count = first, 0
    while kind:
        count += 1
        try:
            following, flags, stop = _generic_header(kind, data, pos, end, count)
        except RemoteProtocolError as error:
            yield Step(pos, end - pos, kind, False, error)
            return
        value: Payload | RemoteProtocolError
        try:
            decode = DECODERS.get(kind)
            if decode is not None:
                value = decode(data, pos + 4, stop)
            else:
                value = decode_other(kind, following, flags, data, pos, stop, outer and stop == end)
        except RemoteProtocolError as error:
            value = error
        yield Step(pos, stop - pos, kind, flags & CRITICAL != 0, value)
        kind, pos = (0 if kind in SEALED else following), stop
    if pos != end:
        yield Step(pos, end - pos, 0, False, InvalidSyntax(f"{end - pos} octets after the last payload", pos))


def _generic_header(kind: int, data: bytes, pos: int, end: int, count: int) -> tuple[int, int, int]:
    if count > MAX_PAYLOADS:
        raise InvalidSyntax(f"more than {MAX_PAYLOADS} payloads", pos)
    if end - pos < 4:
        raise InvalidSyntax(f"header of payload {kind} cut off", pos)
    following, flags, length = GENERIC.unpack_from(data, pos)
    if length < 4 or pos + length > end:
        raise InvalidSyntax(f"payload {kind} says it is {length} octets long", pos + 2)
    return following, flags, pos + length
