"""A small reference model of the draft's rules, written from the requirement rows: it watches, and raises on a breach.

`watch` puts a `Side` before the endpoint of a host. A side sees each input and each output of its host, and reads
messages with a reader of its own; it knows nothing of the engine's insides. `Wire` reads the log of the network, where
the octets of both sides come together.

What is told apart: an *exchange* is named by its SPIs, its type, its Message ID and who asked (`Message.asks`); a *way*
is a pair of UDP addresses or one connection.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import attrs

from ikecore import (
    AuthorizationNeeded,
    ChildSaClosed,
    ChildSaEstablished,
    Connection,
    Fallback,
    IkeKeysDerived,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    Limits,
    MessageReceived,
    PathChanged,
    QuestionClosed,
    RequestCompleted,
    RequestFailed,
    SpisChanged,
    TcpOnly,
    TransportChosen,
    TransportSwitched,
    UdpPathMissing,
)
from ikecore.outputs import (
    Address,
    CloseStream,
    HalfCloseStream,
    OpenStream,
    Output,
    ResetStream,
    SendDatagram,
    WriteStream,
)
from ikecore.testing import Host, Network, Packet

IKE_SA_INIT = 34
NOTIFY, SECURITY_ASSOCIATION, INVALID_IKE_SPI, COOKIE, IKE_TCP_SUPPORTED = 41, 33, 4, 16390, 52310
KEEPALIVE = b"\xff"
EMPTY_REQUEST = 57
"""Octets of an empty INFORMATIONAL message with AES-GCM: nothing else that is protected is so small."""
LEAST_SILENCE = 100.0
"""No established SA ends for silence sooner than this (RFC 7296 section 2.4: over several minutes)."""
MOST_WAYS = 4
SLACK = 1e-6

Way = tuple[Any, ...]
Asks = tuple[bytes, bytes, int, int, bool]
Spis = tuple[bytes, bytes]


class RuleBroken(AssertionError):
    """An endpoint did what a row forbids. The message begins with the row."""


@attrs.frozen
class Message:
    """The header of an IKE message, and its octets."""

    spi_i: bytes
    spi_r: bytes
    first: int
    exchange: int
    flags: int
    message_id: int
    data: bytes = attrs.field(repr=False)

    @property
    def is_response(self) -> bool:
        return bool(self.flags & 0x20)

    @property
    def is_init(self) -> bool:
        return self.exchange == IKE_SA_INIT

    @property
    def spis(self) -> Spis:
        return self.spi_i, self.spi_r

    @property
    def asks(self) -> Asks:
        """Name the exchange; the same for a request and its response."""
        by_initiator = bool(self.flags & 0x08) != self.is_response
        return self.spi_i, b"" if self.is_init else self.spi_r, self.exchange, self.message_id, by_initiator

    def notified(self, number: int) -> bytes | None:
        """Return the data of a notification that is not protected."""
        kind, pos = self.first, 28
        while kind and pos + 4 <= len(self.data):
            following, length = self.data[pos], int.from_bytes(self.data[pos + 2 : pos + 4], "big")
            if kind == NOTIFY and int.from_bytes(self.data[pos + 6 : pos + 8], "big") == number:
                return self.data[pos + 8 + self.data[pos + 5] : pos + length]
            kind, pos = following, pos + max(length, 4)
        return None


def read(data: bytes) -> Message:
    """Read one whole message."""
    if len(data) < 28:
        raise RuleBroken(f"TCP-39: {len(data)} octets are no IKE message")
    spi_i, spi_r, first, _, exchange, flags, message_id, length = struct.unpack_from(">8s8sBBBBII", data)
    if length != len(data):
        raise RuleBroken(f"TCP-38: {len(data)} octets at once, where the header says {length}")
    return Message(spi_i, spi_r, first, exchange, flags, message_id, data)


def cut(buffer: bytearray) -> list[Message]:
    """Take the whole messages from the front of *buffer*."""
    found = []
    while len(buffer) >= 28 and len(buffer) >= (length := max(28, int.from_bytes(buffer[24:28], "big"))):
        found.append(read(bytes(buffer[:length])))
        del buffer[:length]
    return found


@attrs.define
class Sa:
    """What the rules have to know of an SA at one side."""

    connection: Connection
    role: str
    host: str = ""
    """Where authenticated traffic of the peer came from last; for the initiator whom it talks to."""
    spis: Spis | None = None
    established: bool = False
    ended: bool = False
    announced: int | None = None
    init_way: Way = ()
    udp_remotes: set[Address] = attrs.Factory(set)
    """Where datagrams may go: where some came from, and where the peer is by configuration."""
    children: set[int] = attrs.Factory(set)
    asking: tuple[int, float] = (-1, 0.0)
    """Our last protected request and when it began; there is one at a time."""

    @property
    def ports(self) -> set[int]:
        """Where TCP may lead."""
        transports = self.connection.transports
        known = {port for port in (transports.tcp_port, self.announced) if port is not None}
        return known | {500} if self.role == "initiator" else known


@attrs.define
class Line:
    """What the rules have to know of a connection at one side."""

    opened: bool
    remote: Address
    local: Address = ("", 0)
    up: bool = False
    up_at: float = 0.0
    inbox: bytearray = attrs.Factory(bytearray)
    begun: float | None = None
    """When the message in the inbox was begun, that is not whole yet."""
    written: dict[tuple[Asks, bool], float] = attrs.Factory(dict)
    asked: dict[Asks, float] = attrs.Factory(dict)
    """Requests that came by it."""
    sas: set[int] = attrs.Factory(set)
    last: float = 0.0
    """When octets of a whole message passed last, either way."""
    heard: bool = False
    eof: bool = False
    fin: bool = False
    ended: bool = False


@attrs.define
class Request:
    """A request of ours: how it went out."""

    first: float
    octets: bytes = attrs.field(repr=False)
    ways: set[Way] = attrs.Factory(set)
    datagrams: int = 0
    answered: bool = False


class Side:
    """Has the face of an endpoint; sees all that goes in and out, and holds it against the rules."""

    def __init__(self, endpoint: Any, host: Host, connection: Connection, limits: Limits, *, natted: bool) -> None:
        self.endpoint = endpoint
        self.name = host.name
        self.connection = connection
        self.limits = limits
        self.natted = natted
        self.now = 0.0
        self.sockets = {address: local.marker for (kind, address), local in host.locals.items() if kind == "udp"}
        self.sockets_lost = False
        self.closing = False
        self.known: dict[int, Sa] = {}
        self.by_spis: dict[Spis, int] = {}
        self.lines: dict[int, Line] = {}
        self.requests: dict[Asks, Request] = {}
        self.heard_by: dict[Asks, set[Way]] = defaultdict(set)
        self.copies_heard: Counter[Asks] = Counter()
        self.responses: Counter[Asks] = Counter()
        self.response_at: dict[tuple[bytes, str], float] = {}
        self.inits: dict[bytes, tuple[Message, Way]] = {}
        """IKE_SA_INIT requests that came, by SPI, and the way by which they came last."""
        self.init_ways: dict[bytes, Way] = {}
        self.executed: set[tuple[int, str, int]] = set()
        self.wishes: dict[int, tuple[int, str]] = {}
        self.ended_wishes: set[int] = set()
        self.questions: dict[int, int] = {}
        self.udp_failed_at = float("-inf")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.endpoint, name)

    def broken(self, words: str) -> RuleBroken:
        return RuleBroken(f"{words} [{self.name} at {self.now:.3f} s]")

    # --- what goes in -----------------------------------------------------------------------------------------------

    def local_added(self, local: Any, *, now: float) -> None:
        self.now = now
        if local.kind == "udp":
            self.sockets[local.address] = local.marker
        self.endpoint.local_added(local, now=now)

    def local_removed(self, address: Address, kind: Any = "udp", *, now: float) -> None:
        self.now = now
        if kind == "udp":
            del self.sockets[address]
            self.sockets_lost = True
        self.endpoint.local_removed(address, kind, now=now)

    def datagram_received(self, data: bytes, *, local: Address, remote: Address, now: float) -> None:
        self.now = now
        if data != KEEPALIVE:
            self._heard(read(data[4:] if self.sockets[local] else data), ("udp", local, remote), remote)
        self.endpoint.datagram_received(data, local=local, remote=remote, now=now)

    def stream_accepted(self, *, local: Address, remote: Address, now: float) -> Any:
        self.now = now
        stream = self.endpoint.stream_accepted(local=local, remote=remote, now=now)
        self.lines[stream] = Line(False, remote, local, up=True, up_at=now, last=now)
        return stream

    def stream_connected(self, stream: int, *, local: Address, now: float) -> None:
        self.now = now
        line = self.lines[stream]
        line.up, line.up_at, line.last, line.local = True, now, now, local
        self.endpoint.stream_connected(stream, local=local, now=now)

    def stream_received(self, stream: int, data: bytes, *, now: float) -> None:
        self.now = now
        line = self.lines[stream]
        line.inbox += data
        for message in cut(line.inbox):
            line.last, line.heard, line.begun = now, True, None
            if not line.ended:
                self._heard(message, ("tcp", stream), line.remote)
                if not message.is_response and self._has_room(message.asks):
                    line.asked[message.asks] = now
        if not line.inbox:
            line.begun = None
        elif line.begun is None:
            line.begun = now
        self.endpoint.stream_received(stream, data, now=now)

    def stream_sent(self, stream: int, octets: int, *, now: float) -> None:
        self.now = now
        self.endpoint.stream_sent(stream, octets, now=now)

    def stream_eof(self, stream: int, *, now: float) -> None:
        self.now = now
        self.lines[stream].eof = True
        self.lines[stream].last = now
        self.endpoint.stream_eof(stream, now=now)

    def stream_lost(self, stream: int, error: str, *, now: float) -> None:
        self.now = now
        self.lines[stream].ended = True
        self.endpoint.stream_lost(stream, error, now=now)

    def timer_expired(self, *, now: float) -> None:
        self.now = now
        self.endpoint.timer_expired(now=now)

    def _has_room(self, asks: Asks) -> bool:
        """An undecided request is remembered on so many ways; on others its answer waits for a repeat."""
        alive = [way for way in self.heard_by[asks] if way[0] == "udp" or not self.lines[way[1]].ended]
        return len(alive) <= MOST_WAYS

    def _heard(self, message: Message, way: Way, remote: Address) -> None:
        """Everything protected that comes is authentic: the network loses and repeats, and makes nothing up."""
        if not message.is_init and message.notified(INVALID_IKE_SPI) is not None:
            return
        if message.is_response:
            request = self.requests.get(message.asks)
            if request is not None:
                request.answered = True
        else:
            self.heard_by[message.asks].add(way)
            self.copies_heard[message.asks] += 1
            if message.is_init:
                self.inits[message.spi_i] = message, way
        sa = self.known.get(self.by_spis.get(message.spis, 0))
        if sa is not None and not message.is_init:
            self._authentic(sa, message, way, remote)

    def _authentic(self, sa: Sa, message: Message, way: Way, remote: Address) -> None:
        if sa.role == "responder" and sa.host != remote[0]:
            sa.host, sa.announced = remote[0], None
        if way[0] == "udp":
            sa.udp_remotes.add(remote)

    # --- wishes -----------------------------------------------------------------------------------------------------

    def initiate(self, connection: Connection, remotes: list[str], *, now: float, local: str | None = None) -> Any:
        self.now = now
        sa = self.endpoint.initiate(connection, remotes, now=now, local=local)
        transports, [host] = connection.transports, remotes
        places = {(host, transports.udp_port), (host, transports.udp_nat_port)}
        self.known[sa] = Sa(connection, "initiator", host, udp_remotes=places)
        return sa

    def check_liveness(self, sa: int, *, now: float) -> Any:
        self.now = now
        return self._wished(sa, "liveness", self.endpoint.check_liveness(sa, now=now))

    def delete(self, sa: int, *, child: Any = None, now: float) -> Any:
        self.now = now
        kind = "delete" if child is None else "delete child"
        return self._wished(sa, kind, self.endpoint.delete(sa, child=child, now=now))

    def abandon(self, sa: int, *, now: float) -> None:
        self.now = now
        self.endpoint.abandon(sa, now=now)

    def answer(self, question: int, value: object, *, now: float) -> Any:
        self.now = now
        return self.endpoint.answer(question, value, now=now)

    def shutdown(self, *, now: float) -> None:
        self.now, self.closing = now, True
        self.endpoint.shutdown(now=now)

    def _wished(self, sa: int, kind: str, wish: int) -> int:
        if wish in self.wishes:
            raise self.broken(f"IKE-046: the wish {wish} was given out twice")
        self.wishes[wish] = (sa, kind)
        return wish

    # --- what comes out ---------------------------------------------------------------------------------------------

    def outputs(self) -> Iterator[Output]:
        for output in self.endpoint.outputs():
            judge = getattr(self, f"_on_{type(output).__name__}", None)
            if judge is not None:
                judge(output)
            yield output
        self._settled()

    def _on_SendDatagram(self, action: SendDatagram) -> None:  # noqa: N802
        if action.local not in self.sockets:
            raise self.broken(f"TCP-23: a datagram from {action.local}, where there is no socket")
        marker = self.sockets[action.local]
        if action.data == KEEPALIVE:
            self._keepalive(action, marker)
            return
        if marker and action.data[:4] != bytes(4):
            raise self.broken("IKE-212: no marker on a socket that has it")
        message, way = read(action.data[4:] if marker else action.data), ("udp", action.local, action.remote)
        if message.is_response:
            self._response(message, way, action.remote[0])
            return
        request = self._request(message, way)
        request.datagrams += 1
        if request.datagrams > self.limits.retransmit_tries:
            raise self.broken(f"IKE-047: {request.datagrams} transmissions of {message}")
        if not message.is_init:
            sa = self._sa(message)
            if action.remote not in sa.udp_remotes:
                raise self.broken(f"TCP-73: a request to {action.remote}, of {sorted(sa.udp_remotes)}")

    def _keepalive(self, action: SendDatagram, marker: bool) -> None:
        if not marker or not self.natted:
            raise self.broken("IKE-214: a keepalive where there is no NAT, or on a socket without the marker")
        if not any(sa.established and not sa.ended and action.remote in sa.udp_remotes for sa in self.known.values()):
            raise self.broken(f"IKE-209: a keepalive to {action.remote}, where no SA is")

    def _on_WriteStream(self, action: WriteStream) -> None:  # noqa: N802
        line, message = self.lines[action.stream], read(action.data)
        if not line.up or line.ended or line.fin:
            raise self.broken(f"TCP-09: octets for connection {action.stream}, which is not open")
        if line.opened is message.is_response:
            raise self.broken("TCP-30, TCP-77: requests go on connections that we opened, responses on the peer's")
        if (message.asks, message.is_response) in line.written:
            raise self.broken(f"TCP-37: {message} a second time on one connection")
        line.written[message.asks, message.is_response] = self.now
        line.last = self.now
        way = ("tcp", action.stream)
        if message.is_response:
            if message.is_init and message.notified(COOKIE) is not None:
                raise self.broken("TCP-36: a cookie over TCP")
            self._response(message, way, None)
            return
        self._request(message, way)
        if message.is_init:
            return
        sa = self._sa(message)
        line.sas.add(self.by_spis[message.spis])
        if len(line.sas) > 1:
            raise self.broken("TCP-76: requests of two SAs on one connection")
        if not self._may_connect(sa, line.remote):
            raise self.broken(f"TCP-31, TCP-32: a request of the {sa.role} on a connection to {line.remote}")

    def _request(self, message: Message, way: Way) -> Request:
        request = self.requests.get(message.asks)
        if request is None:
            request = self.requests[message.asks] = Request(self.now, message.data)
        elif request.octets != message.data:
            if not message.is_init or not request.answered:
                raise self.broken(f"TCP-14: {message} repeated in other octets")
            request.octets, request.answered, request.datagrams = message.data, False, 0
        elif request.answered and not message.is_init:
            raise self.broken(f"TCP-16: {message} repeated after its answer")
        if message.is_init and self.init_ways.setdefault(message.spi_i, way) != way:
            raise self.broken(f"TCP-14, TCP-19: IKE_SA_INIT moved from {self.init_ways[message.spi_i]} to {way}")
        request.ways.add(way)
        return request

    def _response(self, message: Message, way: Way, source: str | None) -> None:
        if way not in self.heard_by[message.asks]:
            raise self.broken(f"TCP-22, TCP-23: a response by {way}, where no request came from")
        if message.is_init and message.first != SECURITY_ASSOCIATION:
            return
        if message.notified(INVALID_IKE_SPI) is not None:
            sa = self.known.get(self.by_spis.get(message.spis, 0))
            if source is None or (sa is not None and not sa.ended):
                raise self.broken("IKE-201: INVALID_IKE_SPI on a connection, or for an SA that there is")
            return
        self.responses[message.asks] += 1
        if self.responses[message.asks] > self.copies_heard[message.asks]:
            raise self.broken(f"TCP-24: more answers than requests: {message}")
        if source is None:
            return
        interval = 1.0 / self.limits.response_resends_per_second
        last = self.response_at.get((message.data, source), float("-inf"))
        if self.now - last < interval - SLACK:
            raise self.broken(f"TCP-43: an answer repeated after {self.now - last:.3f} s")
        self.response_at[message.data, source] = self.now

    def _sa(self, message: Message) -> Sa:
        sa = self.known.get(self.by_spis.get(message.spis, 0))
        if sa is None:
            raise self.broken(f"IKE-049: {message} is for no SA")
        if sa.ended:
            raise self.broken(f"IKE-049: {message} after the end of its SA")
        return sa

    # --- connections ------------------------------------------------------------------------------------------------

    def _may_connect(self, sa: Sa, remote: Address) -> bool:
        """A responder: once established, where it was told to, and to who it talks to. An initiator: to its peer."""
        if sa.ended or remote[0] != sa.host or remote[1] not in sa.ports:
            return False
        return sa.role == "initiator" or (sa.established and sa.announced is not None)

    def _on_OpenStream(self, action: OpenStream) -> None:  # noqa: N802
        if not any(self._may_connect(sa, action.remote) for sa in self.known.values()):
            raise self.broken(f"TCP-31, TCP-32: nobody may connect to {action.remote}")
        self.lines[action.stream] = Line(True, action.remote, last=self.now, up_at=self.now)

    def _on_HalfCloseStream(self, action: HalfCloseStream) -> None:  # noqa: N802
        line = self.lines[action.stream]
        if line.fin or line.ended:
            raise self.broken("TCP-12: a second FIN")
        line.fin = True
        if line.opened:
            for asks in self._unanswered(line):
                sa = self._of(asks)
                open_wishes = {
                    kind if kind == "delete" else wish for wish, (of, kind) in self.wishes.items() if of == sa
                }
                if not self.known[sa].connection.transports.half_close:
                    raise self.broken("TCP-10, TCP-12: a half-close that nobody configured, before the response")
                if len(open_wishes) > 1:
                    raise self.broken("TCP-10: a half-close before the last request")
        else:
            self._may_end_accepted(line)

    def _on_CloseStream(self, action: CloseStream) -> None:  # noqa: N802
        line = self.lines[action.stream]
        if line.opened and line.up and not line.eof and self._unanswered(line):
            raise self.broken("TCP-12: closed before the responses")
        if not line.opened:
            self._may_end_accepted(line)
        line.ended = True

    def _on_ResetStream(self, action: ResetStream) -> None:  # noqa: N802
        line = self.lines[action.stream]
        line.ended = True
        stalled = line.begun is not None and self.now - line.begun >= self.limits.stream_message - SLACK
        if line.opened:
            if not stalled and any(self.now - line.written[asks, False] < self.limits.stream_answer_timeout - SLACK
                                   for asks in self._unanswered(line)):  # fmt: skip
                raise self.broken("TCP-12: reset before the responses, and before its time")
        elif self._owed(line):
            raise self.broken("TCP-34: reset while an answer is being decided")

    def _may_end_accepted(self, line: Line) -> None:
        """After the last response on a half-closed connection, or idle; after our FIN only time or the peer's FIN."""
        if self._owed(line):
            raise self.broken("TCP-33: ended while an answer is owed")
        quiet = self.now - line.last
        if not (line.eof or line.fin or self.closing or quiet >= self.limits.stream_idle - SLACK):
            raise self.broken(f"TCP-33, TCP-34: the responder ends a connection, quiet for {quiet:.3f} s")

    def _of(self, asks: Asks) -> int:
        return self.by_spis.get((asks[0], asks[1]), 0)

    def _unanswered(self, line: Line) -> list[Asks]:
        """Protected requests written on *line* that still want their answer."""
        return [
            asks
            for asks, is_response in line.written
            if not is_response
            and not self.requests[asks].answered
            and asks[2] != IKE_SA_INIT
            and not self.known[self._of(asks)].ended
        ]

    def _owed(self, line: Line) -> bool:
        """Whether the application is deciding about a request that came by *line*."""
        asking = set(self.questions.values())
        return any((asks, True) not in line.written and self._of(asks) in asking for asks in line.asked)

    def _settled(self) -> None:
        """All outputs of an input are carried out: what is done with has to be ended by now, and in time."""
        limits = self.limits
        longest = max(limits.stream_connect_timeout, limits.stream_answer_timeout, limits.stream_message)
        for number, line in self.lines.items():
            if line.ended:
                continue
            if self.now - line.last > longest + limits.stream_linger + SLACK and not self._owed(line):
                raise self.broken(f"TCP-34, TCP-65, TCP-83: connection {number} lives on: {line}")
            if line.opened:
                self._done(number, line)
            elif line.eof and not line.fin and not self._owed(line):
                raise self.broken(f"TCP-33: connection {number} is answered and half-closed, and stays open")

    def _done(self, number: int, line: Line) -> None:
        for sa in line.sas:
            asked = [asks for asks, is_response in line.written if not is_response]
            if self.known[sa].established and not line.fin and all(self.requests[asks].answered for asks in asked):
                raise self.broken(f"TCP-12: all is answered on connection {number}, and it stays open")

    # --- events -----------------------------------------------------------------------------------------------------

    def _on_IkeKeysDerived(self, event: IkeKeysDerived) -> None:  # noqa: N802
        spis = event.keys.spi_i, event.keys.spi_r
        sa = self.known.get(event.sa)
        if sa is None:
            sa = self.known[event.sa] = Sa(self.connection, "responder")
        if sa.spis is not None:
            raise self.broken(f"IKE-051: keys of SA {event.sa} derived twice")
        sa.spis, self.by_spis[spis] = spis, event.sa
        if sa.role == "initiator":
            sa.init_way = self.init_ways[spis[0]]
            return
        request, way = self.inits[spis[0]]
        remote = self.lines[way[1]].remote if way[0] == "tcp" else way[2]
        sa.init_way, sa.host = way, remote[0]
        announced = request.notified(IKE_TCP_SUPPORTED)
        sa.announced = None if announced is None else int.from_bytes(announced, "big")
        if way[0] == "udp":
            sa.udp_remotes.add(remote)
        elif not self.natted:
            sa.udp_remotes.add((remote[0], sa.connection.transports.udp_port))

    def _on_IkeSaEstablished(self, event: IkeSaEstablished) -> None:  # noqa: N802
        sa = self.known[event.sa]
        if sa.established or sa.ended:
            raise self.broken(f"IKE-046: SA {event.sa} established twice or after its end")
        sa.established = True

    def _on_IkeSaFailed(self, event: IkeSaFailed) -> None:  # noqa: N802
        sa = self.known[event.sa]
        if sa.established or sa.ended:
            raise self.broken(f"IKE-046: SA {event.sa} failed after it was established or ended")
        sa.ended = True

    def _on_IkeSaClosed(self, event: IkeSaClosed) -> None:  # noqa: N802
        sa = self.known[event.sa]
        if sa.ended or not sa.established or sa.children:
            raise self.broken(
                f"IKE-046: SA {event.sa} closed twice, before it was established, or before its Child SAs"
            )
        if event.by == "silence":
            since = sa.asking[1]
            if self.now - since < LEAST_SILENCE:
                raise self.broken(f"TCP-67: the SA ended after {self.now - since:.1f} s of silence: {event.reason}")
        sa.ended = True

    def _on_ChildSaEstablished(self, event: ChildSaEstablished) -> None:  # noqa: N802
        sa = self.known[event.sa]
        if sa.children or not sa.established:
            raise self.broken("IKE-046: a second Child SA out of one IKE_AUTH")
        sa.children.add(event.child)

    def _on_ChildSaClosed(self, event: ChildSaClosed) -> None:  # noqa: N802
        if event.child not in self.known[event.sa].children:
            raise self.broken("IKE-046: a Child SA closed twice")
        self.known[event.sa].children.discard(event.child)

    def _on_RequestCompleted(self, event: RequestCompleted | RequestFailed) -> None:  # noqa: N802
        of_shutdown = self.closing and event.request not in self.wishes
        known = self.wishes.pop(event.request, None) is not None
        if event.request in self.ended_wishes or not (known or of_shutdown):
            raise self.broken(f"IKE-046: the wish {event.request} ended twice")
        self.ended_wishes.add(event.request)

    _on_RequestFailed = _on_RequestCompleted  # noqa: N815

    def _on_AuthorizationNeeded(self, event: AuthorizationNeeded) -> None:  # noqa: N802
        if event.sa in self.questions.values():
            raise self.broken("TCP-80: asked twice about one request")
        self.questions[event.question] = event.sa

    def _on_QuestionClosed(self, event: QuestionClosed) -> None:  # noqa: N802
        if self.questions.pop(event.question, None) is None:
            raise self.broken("TCP-80: a question ended twice")

    def _on_MessageReceived(self, event: MessageReceived) -> None:  # noqa: N802
        if event.is_response:
            self._response_taken(event)
        elif event.sa is not None and event.exchange != "IKE_SA_INIT" and not event.repeat:
            key = event.sa, event.exchange, event.message_id
            if key in self.executed:
                raise self.broken(f"TCP-80: {event.exchange} {event.message_id} executed twice")
            self.executed.add(key)

    def _response_taken(self, event: MessageReceived) -> None:
        """A stream's response only for a request of that stream; IKE_SA_INIT only on its exact way (TCP-15, TCP-17)."""
        exact = event.transport == "tcp" or event.exchange == "IKE_SA_INIT"
        if exact and not any(self._went(request, event) for asks, request in self.requests.items()
                             if asks[3] == event.message_id):  # fmt: skip
            raise self.broken(f"TCP-17: a response taken from {event.remote}, where its request never went")

    def _went(self, request: Request, event: MessageReceived) -> bool:
        here = event.local, event.remote
        for way in request.ways:
            ends = way[1:] if way[0] == "udp" else (self.lines[way[1]].local, self.lines[way[1]].remote)
            if way[0] == event.transport and ends == here:
                return True
        return False

    def _on_TransportChosen(self, event: TransportChosen) -> None:  # noqa: N802
        """Liveness checks stay on UDP, unless the policy knows nothing else or UDP is missing or failed (TCP-66)."""
        liveness = event.exchange == "INFORMATIONAL" and event.octets == EMPTY_REQUEST
        sa = self.known[event.sa]
        self._asks(sa, event)
        policy = sa.connection.transports.policy
        asked_for = isinstance(policy, TcpOnly) or (isinstance(policy, Fallback) and policy.steps[0].transport == "tcp")
        failed = self.now - self.udp_failed_at <= self.limits.failed_memory
        missing = self.sockets_lost or (sa.init_way[:1] == ("tcp",) and (self.natted or sa.role == "responder"))
        if liveness and event.transport == "tcp" and not (asked_for or failed or missing):
            raise self.broken(f"TCP-66: a liveness check by TCP, since {event.reason}")

    def _on_UdpPathMissing(self, event: UdpPathMissing) -> None:  # noqa: N802
        self._asks(self.known[event.sa], event)

    def _asks(self, sa: Sa, event: TransportChosen | UdpPathMissing) -> None:
        if event.exchange != "IKE_SA_INIT" and sa.asking[0] != event.message_id:
            sa.asking = event.message_id, self.now

    def _on_TransportSwitched(self, event: TransportSwitched) -> None:  # noqa: N802
        if event.before == "udp":
            self.udp_failed_at = self.now

    def _on_SpisChanged(self, event: SpisChanged) -> None:  # noqa: N802
        if "anew" in event.reason:
            self.udp_failed_at = self.now

    def _on_PathChanged(self, event: PathChanged) -> None:  # noqa: N802
        if event.remote not in self.known[event.sa].udp_remotes:
            raise self.broken(f"TCP-73: the path moved to {event.remote}, where no datagram came from")

    def _on_InternalError(self, event: InternalError) -> None:  # noqa: N802
        raise self.broken(f"a bug: {event.detail}")


class Wire:
    """Reads the log of the network: who says what on a connection, repeats, and the nonces under each key."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.read_to = 0
        self.octets: dict[tuple[Any, ...], bytes] = {}
        self.nonces: dict[tuple[Any, ...], bytes] = {}
        self.clients: dict[int, Address] = {}
        self.halves: dict[tuple[int, Address], bytearray] = defaultdict(bytearray)

    def check(self) -> None:
        """Read what is new."""
        log = self.network.wire
        for packet in log[self.read_to :]:
            if packet.kind == "datagram" and packet.data != KEEPALIVE:
                self._message(read(packet.data[4:] if packet.data[:4] == bytes(4) else packet.data))
            elif packet.transport == "tcp" and packet.connection is not None:
                self._segment(packet, packet.connection)
        self.read_to = len(log)

    def _segment(self, packet: Packet, connection: int) -> None:
        client = self.clients.setdefault(connection, packet.source)
        if packet.kind != "data" or packet.fate == "blocked":
            return
        half = self.halves[connection, packet.source]
        half += packet.data
        for message in cut(half):
            self._message(message)
            if message.is_response is (packet.source == client):
                raise RuleBroken("TCP-30, TCP-77: requests go one way on a connection, responses the other")

    def _message(self, message: Message) -> None:
        if message.is_init or message.notified(INVALID_IKE_SPI) is not None:
            return
        if self.octets.setdefault((message.asks, message.is_response), message.data) != message.data:
            raise RuleBroken(f"TCP-14: {message} in two forms")
        nonce = message.spis, message.flags & 0x08, message.data[32:40]
        if self.nonces.setdefault(nonce, message.data) != message.data:
            raise RuleBroken(f"IKE-289: one nonce for two messages, the second {message}")


def watch(host: Host, connection: Connection, limits: Limits, *, natted: bool) -> Side:
    """Put a `Side` before the endpoint of *host*, whose own connection as a responder is *connection*."""
    side = Side(host.endpoint, host, connection, limits, natted=natted)
    host.endpoint = side
    return side
