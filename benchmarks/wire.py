"""What reading and writing messages costs.

    python -m benchmarks.wire

Ours stands beside a floor, the least Python that does the same without types, and beside scapy and pvpn where they are
installed. The reading floor fills tuples with struct, checks every length, and takes the SA apart down to transforms;
the writing floor packs the same tuples. Neither knows numbers, limits, criticality or what a payload may contain.

ikecore keeps the layouts of chains that it read before. Targets are about messages of a layout that it has not met,
which is what a stranger can make it read; what peers send who come again stands beside them.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._harness import ROUNDS, Table, Target, run, show
from benchmarks.corpus import (
    EMPTY_OCTETS,
    IKE_AUTH_FIRST,
    IKE_AUTH_OCTETS,
    IKE_AUTH_PAYLOADS,
    INIT_OCTETS,
    INIT_PAYLOADS,
    INIT_SPI,
)
from ikecore.wire import (
    decode_envelope,
    decode_header,
    decode_message,
    decode_payloads,
    encode_message,
    encode_payloads,
    match,
    triage,
)
from ikecore.wire.layouts import _MET, LAYOUTS
from ikecore.wire.numbers import INITIATOR, Exchange

HEADER = struct.Struct("!8s8sBBBBII")
GENERIC = struct.Struct("!BBH")
PROPOSAL = struct.Struct("!BxHBBBB")
TRANSFORM = struct.Struct("!BxHBxH")
PAIR = struct.Struct("!HH")
NOTIFY = struct.Struct("!BBH")
SELECTOR = struct.Struct("!BBHHH")


def floor_header(data: bytes) -> tuple[Any, ...]:
    if len(data) < 28:
        raise ValueError
    header = HEADER.unpack_from(data)
    if header[7] != len(data) or header[3] >> 4 != 2:
        raise ValueError
    return header


def floor_message(data: bytes) -> tuple[Any, ...]:
    header = floor_header(data)
    return header, floor_chain(header[2], data, 28, len(data))


def floor_chain(kind: int, data: bytes, pos: int, end: int) -> list[tuple[Any, ...]]:
    payloads: list[tuple[Any, ...]] = []
    while kind:
        if end - pos < 4:
            raise ValueError
        following, _flags, length = GENERIC.unpack_from(data, pos)
        stop = pos + length
        if length < 4 or stop > end:
            raise ValueError
        if kind == 33:
            payloads.append((kind, floor_sa(data, pos + 4, stop)))
        elif kind == 34:
            if length < 8:
                raise ValueError
            payloads.append((kind, PAIR.unpack_from(data, pos + 4)[0], data[pos + 8 : stop]))
        elif kind == 41:
            if length < 8:
                raise ValueError
            protocol, size, number = NOTIFY.unpack_from(data, pos + 4)
            if pos + 8 + size > stop:
                raise ValueError
            payloads.append((kind, number, data[pos + 8 + size : stop], protocol, data[pos + 8 : pos + 8 + size]))
        elif kind in (35, 36, 39):
            if length < 8:
                raise ValueError
            payloads.append((kind, data[pos + 4], data[pos + 8 : stop], data[pos + 5 : pos + 8]))
        elif kind in (37, 38):
            if length < 5:
                raise ValueError
            payloads.append((kind, data[pos + 4], data[pos + 5 : stop]))
        elif kind in (44, 45):
            payloads.append((kind, floor_ts(data, pos + 4, stop)))
        else:
            payloads.append((kind, data[pos + 4 : stop]))
            if kind == 46:  # what follows is sealed
                following = 0
        kind, pos = following, stop
    if pos != end:
        raise ValueError
    return payloads


def floor_sa(data: bytes, pos: int, end: int) -> list[tuple[Any, ...]]:
    proposals = []
    more = 2
    while more:
        if end - pos < 8:
            raise ValueError
        more, length, number, protocol, size, count = PROPOSAL.unpack_from(data, pos)
        stop = pos + length
        if stop > end or length < 8 + size:
            raise ValueError
        spi = data[pos + 8 : pos + 8 + size]
        pos += 8 + size
        transforms = []
        following = 3
        while following:
            if stop - pos < 8:
                raise ValueError
            following, length, kind, ident = TRANSFORM.unpack_from(data, pos)
            last = pos + length
            if length < 8 or last > stop:
                raise ValueError
            attributes = []
            pos += 8
            while pos < last:
                if last - pos < 4:
                    raise ValueError
                name, value = PAIR.unpack_from(data, pos)
                pos += 4
                if name & 0x8000:
                    attributes.append((name, value))
                else:
                    attributes.append((name, data[pos : pos + value]))
                    pos += value
            if pos != last:
                raise ValueError
            transforms.append((kind, ident, attributes))
        if len(transforms) != count or pos != stop:
            raise ValueError
        proposals.append((number, protocol, spi, transforms))
    if pos != end:
        raise ValueError
    return proposals


def floor_ts(data: bytes, pos: int, end: int) -> list[tuple[Any, ...]]:
    if end - pos < 4:
        raise ValueError
    count = data[pos]
    pos += 4
    selectors = []
    for _ in range(count):
        if end - pos < 8:
            raise ValueError
        kind, protocol, length, low, high = SELECTOR.unpack_from(data, pos)
        if length != 16 or pos + 16 > end:
            raise ValueError
        selectors.append((kind, protocol, low, high, data[pos + 8 : pos + 12], data[pos + 12 : pos + 16]))
        pos += 16
    if pos != end:
        raise ValueError
    return selectors


def floor_encode_message(header: tuple[Any, ...], payloads: list[tuple[Any, ...]]) -> bytes:
    chain = floor_encode_chain(payloads)
    spi_i, spi_r, _, version, exchange, flags, message_id, _ = header
    fixed = HEADER.pack(spi_i, spi_r, payloads[0][0], version, exchange, flags, message_id, 28 + len(chain))
    return fixed + chain


def floor_encode_chain(payloads: list[tuple[Any, ...]]) -> bytes:
    parts = []
    following = 0
    for payload in reversed(payloads):
        kind = payload[0]
        if kind == 33:
            body = floor_encode_sa(payload[1])
        elif kind == 34:
            body = PAIR.pack(payload[1], 0) + payload[2]
        elif kind == 41:
            _, number, data, protocol, spi = payload
            body = NOTIFY.pack(protocol, len(spi), number) + spi + data
        elif kind in (35, 36, 39):
            body = bytes((payload[1],)) + payload[3] + payload[2]
        elif kind in (37, 38):
            body = bytes((payload[1],)) + payload[2]
        elif kind in (44, 45):
            body = bytes((len(payload[1]), 0, 0, 0))
            for kind_, protocol, low, high, start, stop in payload[1]:
                body += SELECTOR.pack(kind_, protocol, 16, low, high) + start + stop
        else:
            body = payload[1]
        parts.append(body)
        parts.append(GENERIC.pack(following, 0, 4 + len(body)))
        following = kind
    parts.reverse()
    return b"".join(parts)


def floor_encode_sa(proposals: list[tuple[Any, ...]]) -> bytes:
    parts = []
    left = len(proposals)
    for number, protocol, spi, transforms in proposals:
        left -= 1
        inner = []
        remaining = len(transforms)
        for kind, ident, attributes in transforms:
            remaining -= 1
            coded = b"".join([PAIR.pack(name, value) for name, value in attributes])
            inner.append(TRANSFORM.pack(3 if remaining else 0, 8 + len(coded), kind, ident) + coded)
        body = b"".join(inner)
        fixed = PROPOSAL.pack(2 if left else 0, 8 + len(spi) + len(body), number, protocol, len(spi), len(transforms))
        parts.append(fixed + spi + body)
    return b"".join(parts)


def ours_encode() -> bytes:
    return encode_message(
        spi_i=INIT_SPI,
        spi_r=bytes(8),
        exchange=Exchange.IKE_SA_INIT,
        flags=INITIATOR,
        message_id=0,
        payloads=INIT_PAYLOADS,
    )


def ours_with_shape() -> object:
    header, payloads = decode_message(INIT_OCTETS)
    return match(header.exchange, header.is_response, payloads)


def unmet() -> None:
    """Forget all layouts."""
    LAYOUTS.clear()
    _MET.clear()


def ours_unmet() -> object:
    unmet()
    return ours_with_shape()


def ours_chain_unmet() -> object:
    unmet()
    return ours_chain()


def ours_chain() -> object:
    return decode_payloads(IKE_AUTH_FIRST, IKE_AUTH_OCTETS, 0, len(IKE_AUTH_OCTETS))


class Peers:
    """The other implementations, as far as they are installed."""

    def __init__(self) -> None:
        self.message: dict[str, Callable[[], object]] = {}
        self.header: dict[str, Callable[[], object]] = {}
        self.chain: dict[str, Callable[[], object]] = {}
        self.empty: dict[str, Callable[[], object]] = {}
        self.writing: dict[str, Callable[[], object]] = {}
        for add in (self._add_pvpn, self._add_scapy):
            try:
                add()
            except ImportError as error:
                print(f"not compared: {error}", file=sys.stderr)

    def _add_pvpn(self) -> None:
        from pvpn.message import Message

        def parse(data: bytes) -> Any:
            stream = io.BytesIO(data)
            message = Message.parse(stream)
            message.parse_payloads(stream)
            return message

        def chain() -> Any:
            message = Message(bytes(8), bytes(8), 0x20, 35, 8, 1, first_payload=IKE_AUTH_FIRST)
            message.parse_payloads(io.BytesIO(IKE_AUTH_OCTETS))
            return message

        parsed = parse(INIT_OCTETS)
        self.message["pvpn"] = lambda: parse(INIT_OCTETS)
        self.header["pvpn"] = lambda: Message.parse(io.BytesIO(INIT_OCTETS))
        self.chain["pvpn"] = chain
        self.empty["pvpn"] = lambda: parse(EMPTY_OCTETS)
        self.writing["pvpn"] = parsed.to_bytes

    def _add_scapy(self) -> None:
        from scapy.contrib import ikev2

        built = ikev2.IKEv2(INIT_OCTETS)
        built.clear_cache()
        self.message["scapy"] = lambda: ikev2.IKEv2(INIT_OCTETS)
        self.header["scapy"] = lambda: ikev2.IKEv2(INIT_OCTETS[:28])
        self.empty["scapy"] = lambda: ikev2.IKEv2(EMPTY_OCTETS)
        self.chain["scapy"] = lambda: ikev2.IKEv2_IDi(IKE_AUTH_OCTETS)
        self.writing["scapy"] = lambda: bytes(built)


def tables(rounds: int = ROUNDS) -> Iterator[Table]:
    peers = Peers()
    assert len(INIT_OCTETS) == 454
    read = floor_message(INIT_OCTETS)
    assert floor_encode_message(*read) == ours_encode() == INIT_OCTETS
    chain = floor_chain(IKE_AUTH_FIRST, IKE_AUTH_OCTETS, 0, len(IKE_AUTH_OCTETS))
    assert floor_encode_chain(chain) == IKE_AUTH_OCTETS
    yield run(
        "read an IKE_SA_INIT of 454 octets (2 proposals, 12 transforms, 8 notifications)",
        {
            "floor": lambda: floor_message(INIT_OCTETS),
            "ikecore with its shape": ours_unmet,
            "ikecore, a layout met before": ours_with_shape,
            **peers.message,
        },
        Target("ikecore with its shape", 1.6),
        Target("pvpn", 3.0, to="ikecore with its shape", at_least=True),
        Target("scapy", 50.0, to="ikecore with its shape", at_least=True),
        rounds=rounds,
    )
    yield run(
        "write an IKE_SA_INIT of 454 octets",
        {"floor": lambda: floor_encode_message(*read), "ikecore": ours_encode, **peers.writing},
        Target("ikecore", 1.5),
        rounds=rounds,
    )
    yield run(
        "read a header",
        {
            "floor": lambda: floor_header(INIT_OCTETS),
            "ikecore, triage": lambda: triage(INIT_OCTETS),
            "ikecore, Header": lambda: decode_header(INIT_OCTETS),
            **peers.header,
        },
        Target("ikecore, triage", 1.3),
        rounds=rounds,
    )
    yield run(
        f"read an empty INFORMATIONAL, still sealed ({len(EMPTY_OCTETS)} octets)",
        {
            "floor": lambda: floor_message(EMPTY_OCTETS),
            "ikecore": lambda: decode_envelope(EMPTY_OCTETS),
            **peers.empty,
        },
        rounds=rounds,
    )
    yield run(
        f"read what is sealed in an IKE_AUTH with two certificates ({len(IKE_AUTH_OCTETS)} octets)",
        {
            "floor": lambda: floor_chain(IKE_AUTH_FIRST, IKE_AUTH_OCTETS, 0, len(IKE_AUTH_OCTETS)),
            "ikecore": ours_chain_unmet,
            "ikecore, a layout met before": ours_chain,
            **peers.chain,
        },
        rounds=rounds,
    )
    yield run(
        "write what is sealed in an IKE_AUTH",
        {"floor": lambda: floor_encode_chain(chain), "ikecore": lambda: encode_payloads(IKE_AUTH_PAYLOADS)},
        rounds=rounds,
    )


if __name__ == "__main__":
    show(tables())
