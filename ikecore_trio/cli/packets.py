"""Packet captures to IKE messages.

A capture is read packet by packet. Datagrams are put together from IP fragments; each direction of a TCP connection is
put in order and cut by the framing that its first octets tell. IKE is looked for on ports 500 and 4500, and wherever
the octets have the shape of it, since tests and demonstrations run on free ports.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Literal

import dpkt

from ikecore.framing import KEEPALIVE, MARKER, PREFIX, EspPacket, Framing, Receiver, receiver
from ikecore.outputs import Address

from .captured import HEADER, Captured, Kind, looks_like_ike, no_bound
from .problems import UsageProblem

__all__ = ["read_packets"]

PORTS = frozenset({500, 4500})
FRAGMENTED = 4096
"""IP fragments kept at most: a capture is the user's own, but may be of anything."""
REORDERED = 4096
"""TCP segments kept at most, per direction, while one before them is missing."""


def read_packets(data: bytes, name: str) -> list[Captured]:
    """Read a pcap or pcapng file. A cut-off last packet ends the reading and is told as a fault."""
    reader = PacketReader()
    try:
        packets = dpkt.pcap.UniversalReader(io.BytesIO(data))
        link = packets.datalink()
    except (dpkt.Error, ValueError, struct.error) as error:
        raise UsageProblem(f"{name}: not a readable capture: {error}") from None
    if link not in LINKS and link not in RAW_LINKS:
        allowed = ", ".join(str(number) for number in sorted({*LINKS, *RAW_LINKS}))
        raise UsageProblem(f"{name}: the capture has link type {link}; read are the types {allowed}")
    try:
        for number, (time, packet) in enumerate(packets, 1):
            reader.packet(number, float(time), packet, link)
    except (dpkt.Error, ValueError, struct.error) as error:
        reader.fault(f"the capture ends inside a packet: {error}")
    reader.end()
    return reader.found


LINKS: dict[int, Any] = {
    0: dpkt.loopback.Loopback,
    1: dpkt.ethernet.Ethernet,
    108: dpkt.loopback.Loopback,
    113: dpkt.sll.SLL,
    276: dpkt.sll2.SLL2,
}
RAW_LINKS = frozenset({12, 14, 101, 228, 229})
"""Link types of packets that begin with the IP header."""


class PacketReader:
    """Goes through the packets of a capture in their order."""

    def __init__(self) -> None:
        self.found: list[Captured] = []
        self._number = 0
        self._time: float | None = None
        self._fragments: dict[tuple[str, str, int, int], dict[int, tuple[bytes, bool]]] = {}
        self._kept = 0
        self._streams: dict[tuple[Address, Address], Direction] = {}

    def packet(self, number: int, time: float, data: bytes, link: int) -> None:
        """Take one packet; what is not IP, or cannot be read, has nothing to do with IKE."""
        self._number, self._time = number, time
        try:
            packet = self._ip(data, link)
            if packet is not None:
                self._internet(packet)
        except (dpkt.Error, struct.error, IndexError):
            return

    def fault(self, note: str, source: Address | None = None, destination: Address | None = None) -> None:
        """Note that something cannot be read."""
        self._add("TCP" if source else "octets", source, destination, "fault", b"", note)

    def end(self) -> None:
        """Tell what never became whole."""
        for (source, destination), direction in self._streams.items():
            for note in direction.end():
                self.fault(note, source, destination)

    def _ip(self, data: bytes, link: int) -> Any:
        if link in RAW_LINKS:
            return dpkt.ip6.IP6(data) if data[0] >> 4 == 6 else dpkt.ip.IP(data)
        packet = LINKS[link](data).data
        return packet if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6) else None

    def _internet(self, packet: Any) -> None:
        source, destination = str(ip_address(packet.src)), str(ip_address(packet.dst))
        if isinstance(packet, dpkt.ip.IP):
            protocol, offset, more, ident = packet.p, packet.offset, bool(packet.mf), packet.id
        else:
            header = getattr(packet, "extension_hdrs", {}).get(44)
            protocol, offset, more, ident = packet.p, 0, False, 0
            if header is not None:
                protocol, offset, more, ident = header.nxt, header.frag_off * 8, bool(header.m_flag), header.id
        payload: bytes | None = bytes(packet.data)
        if offset or more:
            payload = self._fragment((source, destination, protocol, ident), offset, more, bytes(packet.data))
        if payload is None or len(payload) < 8:
            return
        ports = struct.unpack_from("!HH", payload)
        if protocol == dpkt.ip.IP_PROTO_UDP:
            length = int.from_bytes(payload[4:6], "big")
            data = payload[8 : length if length >= 8 else None]
            self._datagram((source, ports[0]), (destination, ports[1]), data)
        elif protocol == dpkt.ip.IP_PROTO_TCP:
            self._segment((source, ports[0]), (destination, ports[1]), dpkt.tcp.TCP(payload))

    def _fragment(self, key: tuple[str, str, int, int], offset: int, more: bool, data: bytes) -> bytes | None:
        """Keep one IP fragment; return the payload once it is whole."""
        if self._kept >= FRAGMENTED:
            self._fragments.clear()
            self._kept = 0
        pieces = self._fragments.setdefault(key, {})
        self._kept += offset not in pieces
        pieces[offset] = (data, more)
        whole = b""
        while len(whole) in pieces:
            piece, more = pieces[len(whole)]
            whole += piece
            if not more:
                self._kept -= len(self._fragments.pop(key))
                return whole
            if not piece:
                break
        return None

    def _datagram(self, source: Address, destination: Address, data: bytes) -> None:
        ports = {source[1], destination[1]}
        marked = data.startswith(MARKER) and len(data) >= len(MARKER) + HEADER
        body = data[len(MARKER) :] if marked else data
        if 4500 in ports and data == KEEPALIVE:
            self._add("UDP", source, destination, "keepalive", data)
        elif (ports & PORTS and (marked or 500 in ports)) or looks_like_ike(body, whole=True):
            self._add("UDP", source, destination, "ike", body, "behind the non-ESP marker" if marked else "")
        elif 4500 in ports and len(data) >= 8:
            self._add("UDP", source, destination, "esp", data)

    def _segment(self, source: Address, destination: Address, segment: Any) -> None:
        key = (source, destination)
        direction = self._streams.get(key)
        if direction is None or segment.flags & dpkt.tcp.TH_SYN:
            likely = bool({source[1], destination[1]} & PORTS)
            direction = self._streams[key] = Direction(likely)
            direction.other = self._streams.get((destination, source))
            if direction.other is not None:
                direction.other.other = direction
        for kind, data, note in direction.segment(segment.seq, bool(segment.flags & dpkt.tcp.TH_SYN), segment.data):
            self._add("TCP", source, destination, kind, data, note)

    def _add(
        self,
        transport: Literal["UDP", "TCP", "octets"],
        source: Address | None,
        destination: Address | None,
        kind: Kind,
        data: bytes,
        note: str = "",
    ) -> None:
        self.found.append(Captured(self._number, self._time, transport, source, destination, kind, data, note))


class Direction:
    """One direction of a TCP connection: segments in any order to messages."""

    def __init__(self, likely: bool) -> None:
        self.other: Direction | None = None
        self.framing: Framing | None = None
        self._likely = likely
        self._next: int | None = None
        self._waiting: dict[int, bytes] = {}
        self._head = b""
        self._receiver: Receiver | None = None
        self._foreign = False
        self._told = False

    def segment(self, number: int, begins: bool, data: bytes) -> Iterator[tuple[Kind, bytes, str]]:
        """Take a segment that begins at sequence number *number*; yield what became whole by it."""
        if begins:
            number = (number + 1) % (1 << 32)
        if self._next is None:
            self._next = number
        if not data or self._foreign:
            return
        if len(self._waiting) < REORDERED:
            self._waiting[number] = max(self._waiting.get(number, b""), bytes(data), key=len)
        yield from self._contiguous()

    def _contiguous(self) -> Iterator[tuple[Kind, bytes, str]]:
        """Feed what continues the stream; retransmitted octets are cut off."""
        progress = True
        while progress:
            progress = False
            for number in sorted(self._waiting, key=self._distance):
                data = self._waiting[number]
                behind = -self._distance(number)
                if behind < 0:
                    break
                del self._waiting[number]
                if behind < len(data):
                    self._next = (number + len(data)) % (1 << 32)
                    yield from self._feed(data[behind:])
                    progress = True

    def _distance(self, number: int) -> int:
        """Return how far *number* lies ahead of what was fed; sequence numbers wrap."""
        return (number - (self._next or 0) + (1 << 31)) % (1 << 32) - (1 << 31)

    def _feed(self, data: bytes) -> Iterator[tuple[Kind, bytes, str]]:
        if self._receiver is None:
            self._head += data
            if not self._decide():
                return
            data, self._head = self._head, b""
        if self._receiver is None:
            return
        for frame in self._receiver.receive(data):
            if isinstance(frame, EspPacket):
                yield "esp", frame.data, self._words()
            else:
                yield "ike", frame, self._words()
        if self._receiver.fault is not None and not self._told:
            self._told = True
            yield "fault", b"", str(self._receiver.fault)

    def _words(self) -> str:
        return "RFC 9329 framing" if self.framing is Framing.ENCAPSULATED else "raw framing"

    def _decide(self) -> bool:
        """Settle the framing from the first octets, and whether this is IKE at all."""
        head = self._head
        if head.startswith(PREFIX):
            self.framing, prefix = Framing.ENCAPSULATED, True
        elif PREFIX.startswith(head):
            return False
        elif self.other is not None and self.other.framing is not None:
            self.framing, prefix = self.other.framing, False
        elif len(head) < HEADER:
            return False
        elif head[2:6] == MARKER:
            self.framing, prefix = Framing.ENCAPSULATED, False
        elif self._likely or looks_like_ike(head, whole=False):
            self.framing, prefix = Framing.IKE_TCP, False
        else:
            self._foreign = True
            return False
        self._receiver = receiver(self.framing, prefix=prefix, bound=no_bound)
        return True

    def end(self) -> Iterator[str]:
        """Tell what is left at the end of the capture."""
        if self._foreign or self._told:
            return
        if self._waiting and self._receiver is not None:
            yield "octets of this stream are missing from the capture; what follows them is not shown"
        elif self._receiver is not None and self._receiver.buffered:
            yield f"the capture ends inside a message, of which it has {self._receiver.buffered} octets"
        elif self._head and self._likely:
            yield f"the capture ends after {len(self._head)} octets of this stream, too few to tell what it is"
