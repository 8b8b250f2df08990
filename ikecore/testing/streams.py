"""TCP as far as an application can tell: one connection with its two ends, in virtual time.

What an end writes waits in the host's queue until the kernel takes it (`stream_sent`), which it does while no more than
a window of octets is unread on the other side. Octets keep their order. Where a filter drops packets, they are sent
again after 1, 2, 4 ... seconds, all in order, until the kernel gives up. Where packets are lost at random, segments go
as `ikecore.testing.tcp_model` has it. FIN, RST, close with input unread and octets
for a closed socket behave as in the kernels that adapters meet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, Protocol

from ..events import Transport
from ..outputs import Address, StreamId
from .links import Block, Packet, Tcp
from .tcp_model import Sender

__all__ = ["Connection", "End", "StreamHost", "StreamNetwork"]

SYN_TRIES = 6
"""After 1 + 2 + 4 + 8 + 16 + 32 seconds and another 64 an attempt has failed."""
DATA_TRIES = 8
RETRY_FIRST = 1.0
READ_TICK = 0.1
"""A slow reader reads so often."""

Kind = Literal["ack", "data", "fin"]


class StreamHost(Protocol):
    """What an end of a connection needs of the host that has the socket."""

    @property
    def name(self) -> str: ...
    def listens(self, address: Address) -> bool: ...
    def stream_accepted(self, end: End) -> None: ...
    def stream_connected(self, stream: StreamId, local: Address) -> None: ...
    def stream_received(self, stream: StreamId, data: bytes) -> None: ...
    def stream_sent(self, stream: StreamId, octets: int) -> None: ...
    def stream_eof(self, stream: StreamId) -> None: ...
    def stream_lost(self, stream: StreamId, error: str) -> None: ...


class StreamNetwork(Protocol):
    """What a connection needs of the network that it crosses."""

    @property
    def now(self) -> float: ...
    @property
    def random(self) -> Random: ...
    @property
    def manglers(self) -> Sequence[object]: ...
    def at(self, moment: float, action: Callable[[], object]) -> None: ...
    def latency(self, delay: float, jitter: float) -> float: ...
    def tcp_link(self, source: str, destination: str) -> Tcp: ...
    def blocked(self, transport: Transport, source: str, destination: str, port: int) -> Block | None: ...
    def listener(self, destination: Address, source: Address) -> tuple[StreamHost, Address, bool] | None: ...
    def mangled(self, packet: Packet, data: bytes) -> bytes | None: ...
    def note(self, packet: Packet) -> None: ...


class End:
    """One end of a connection: a socket, the host's queue above it, and the way to the other end."""

    __slots__ = (
        "address",
        "closed",
        "connection",
        "eof",
        "fin_sent",
        "fin_wanted",
        "held",
        "host",
        "last_arrival",
        "model",
        "outstanding",
        "peer",
        "queue",
        "reading",
        "retry",
        "shown",
        "stream",
        "tries",
        "unread",
    )

    def __init__(self, connection: Connection, address: Address, shown: Address) -> None:
        self.connection = connection
        self.address = address
        """The socket's own address."""
        self.shown = shown
        """What the other side sees in its place."""
        self.host: StreamHost | None = None
        self.stream: StreamId | None = None
        self.peer: End = self
        self.queue = bytearray()
        self.outstanding = 0
        """Octets that the kernels have and the other side has not read."""
        self.unread = bytearray()
        self.reading = False
        self.eof = False
        self.fin_wanted = False
        self.fin_sent = False
        self.closed = False
        self.held: deque[tuple[Kind, bytes]] = deque()
        """Segments that a filter dropped, and those behind them."""
        self.retry = RETRY_FIRST
        self.tries = 0
        self.last_arrival = 0.0
        self.model: Sender | None = None
        """How segments get through, if the connection is lossy."""

    # --- what its host does -----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue *data*."""
        if not self.closed and not self.fin_wanted:
            self.queue += data
            self.pump()

    def inject(self, data: bytes) -> None:
        """Put octets into the stream that its host never wrote, as an attacker who guesses sequence numbers can."""
        self.outstanding += len(data)
        self._transmit("data", data)

    def half_close(self) -> None:
        """Send FIN behind what is queued."""
        self.fin_wanted = True
        self.pump()

    def close(self) -> None:
        """Close the socket: FIN behind what the kernel has, or RST if there is input that nobody has read."""
        if self.closed:
            return
        if self.unread:
            self.abort()
            return
        self.closed = True
        self.queue.clear()
        if not self.fin_sent and self.connection.state == "open":
            self.fin_sent = True
            self._transmit("fin", b"")
        self.connection.cancel_if_connecting()

    def abort(self) -> None:
        """Close the socket with RST."""
        if self.closed:
            return
        self._let_go()
        if self.connection.state == "open":
            self._send_reset()
        self.connection.cancel_if_connecting()

    def lost(self, error: str) -> None:
        """Tell the host that the connection is gone."""
        if self.closed:
            return
        self._let_go()
        if self.host is not None and self.stream is not None:
            self.host.stream_lost(self.stream, error)

    def _let_go(self) -> None:
        self.closed = True
        self.queue.clear()
        self.held.clear()
        if self.model is not None:
            self.model.stop()

    # --- sending ----------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Let the kernel take what fits, then the FIN."""
        if self.connection.state != "open":
            return
        window = self._link.window
        while not self.closed and self.queue and self.outstanding < window:
            taken = bytes(self.queue[: window - self.outstanding])
            del self.queue[: len(taken)]
            self.outstanding += len(taken)
            for piece in self._link.pieces(taken):
                self._transmit("data", piece)
            if self.host is not None and self.stream is not None:
                self.host.stream_sent(self.stream, len(taken))
        if self.fin_wanted and not self.queue and not self.fin_sent and not self.closed:
            self.fin_sent = True
            self._transmit("fin", b"")

    def acknowledge(self) -> None:
        """Complete the handshake towards the listener, ahead of all data."""
        if not self.connection.lossy:
            self._transmit("ack", b"")
        elif not self.lost_on_the_way():
            network = self.connection.network
            network.at(network.now + self.latency(), self.connection.accept)

    @property
    def _link(self) -> Tcp:
        return self.connection.network.tcp_link(self.shown[0], self.peer.shown[0])

    def latency(self) -> float:
        """Draw how long a packet of this end takes."""
        return self.connection.network.latency(self._link.delay, self._link.jitter)

    def lost_on_the_way(self) -> bool:
        """Tell whether the next packet of this end gets lost."""
        return self._filtered() or self.connection.network.random.random() < self._link.loss

    def _transmit(self, kind: Kind, data: bytes) -> None:
        if self.connection.lossy and kind != "ack":
            if self.model is None:
                self.model = Sender(_Segments(self), self.connection.round_trip)
            self.model.push(kind, data)
            return
        if self.held:
            self.held.append((kind, data))
            return
        if not self._try(kind, data):
            self.held.append((kind, data))
            self.tries = 1
            self.retry = RETRY_FIRST
            self._retry_later()

    def _retry_later(self) -> None:
        network = self.connection.network
        network.at(network.now + self.retry, self._again)
        self.retry *= 2

    def _again(self) -> None:
        while self.held:
            if self.connection.dead:
                self.held.clear()
                return
            kind, data = self.held[0]
            if not self._try(kind, data):
                self.tries += 1
                if self.tries > DATA_TRIES:
                    self.held.clear()
                    self.lost("connection timed out")
                    return
                self._retry_later()
                return
            self.held.popleft()

    def _try(self, kind: Kind, data: bytes) -> bool:
        """Put one segment on the wire. False if a filter drops it."""
        network, link = self.connection.network, self._link
        packet = self._packet("data" if kind == "ack" else kind, data)
        if (link.black_hole and kind != "ack") or self._filtered():
            packet.fate = "blocked"
            network.note(packet)
            return False
        if kind != "ack":
            network.note(packet)
        if data:
            mangled = network.mangled(packet, data)
            if mangled is None:
                packet.fate = "mangled away"
                self.outstanding -= len(data)
                return True
            self.outstanding += len(mangled) - len(data)
            data = mangled
        self.last_arrival = max(self.last_arrival, network.now + network.latency(link.delay, link.jitter))
        network.at(self.last_arrival, lambda: self.peer.arrived(kind, data, packet))
        return True

    def _send_reset(self) -> None:
        network = self.connection.network
        packet = self._packet("rst", b"")
        network.note(packet)
        if self._filtered() or (self.connection.lossy and self.lost_on_the_way()):
            packet.fate = "blocked" if self._filtered() else "lost"
            return
        self.last_arrival = max(self.last_arrival, network.now + self._link.delay)
        network.at(self.last_arrival, lambda: self.peer.reset_arrived(packet))

    def _filtered(self) -> bool:
        port = self.connection.port
        return self.connection.network.blocked("tcp", self.shown[0], self.peer.shown[0], port) is not None

    def _packet(self, kind: Literal["data", "fin", "rst"], data: bytes) -> Packet:
        connection = self.connection
        return Packet(
            time=connection.network.now,
            transport="tcp",
            kind=kind,
            source=self.shown,
            destination=self.peer.shown,
            data=data,
            connection=connection.number,
            sender=None if self.host is None else self.host.name,
        )

    # --- receiving --------------------------------------------------------------------------------------------------

    def arrived(self, kind: Kind, data: bytes, packet: Packet) -> None:
        """A segment from the other end is here."""
        packet.fate, packet.arrived = "delivered", self.connection.network.now
        if kind == "ack":
            self.connection.accept()
        elif self.closed or self.host is None:
            if kind == "data":
                self._send_reset()
        elif kind == "fin":
            self.eof = True
            self._read()
        else:
            self.unread += data
            self._read()

    def reset_arrived(self, packet: Packet) -> None:
        """The other end sent RST."""
        packet.fate, packet.arrived = "delivered", self.connection.network.now
        self.unread.clear()
        self.lost("connection reset by peer")

    def _read(self) -> None:
        rate = self.peer._link.read_rate
        if rate is None:
            self._deliver(len(self.unread))
        elif not self.reading and rate:
            self.reading = True
            self._slow_read()

    def _slow_read(self) -> None:
        rate = self.peer._link.read_rate
        if self.closed or rate == 0:
            self.reading = False
            return
        self._deliver(len(self.unread) if rate is None else max(1, int(rate * READ_TICK)))
        if self.unread:
            network = self.connection.network
            network.at(network.now + READ_TICK, self._slow_read)
        else:
            self.reading = False

    def _deliver(self, octets: int) -> None:
        """Hand up to *octets* to the host, and EOF behind the last one."""
        host, stream = self.host, self.stream
        if host is None or stream is None:
            return
        data = bytes(self.unread[:octets])
        del self.unread[: len(data)]
        if data:
            self._make_room(len(data))
            host.stream_received(stream, data)
        if self.eof and not self.unread and not self.closed:
            self.eof = False
            host.stream_eof(stream)

    def _make_room(self, octets: int) -> None:
        peer, network = self.peer, self.connection.network
        peer.outstanding -= octets
        if peer.queue or peer.fin_wanted:
            network.at(network.now + self._link.delay, peer.pump)


class _Segments:
    """What the model of TCP needs of the network, for what *end* sends."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._network = end.connection.network

    @property
    def now(self) -> float:
        return self._network.now

    def at(self, moment: float, action: Callable[[], object]) -> None:
        self._network.at(moment, action)

    def put(self, kind: Literal["data", "fin"], data: bytes) -> float | None:
        end, network = self._end, self._network
        if end.connection.dead:
            return None
        packet = end._packet(kind, data)
        network.note(packet)
        if end._link.black_hole or end.lost_on_the_way():
            packet.fate = "blocked" if end._link.black_hole or end._filtered() else "lost"
            return None
        packet.fate, packet.arrived = "delivered", network.now + end.latency()
        return packet.arrived

    def acknowledge(self) -> float | None:
        peer = self._end.peer
        return None if peer.lost_on_the_way() else self._network.now + peer.latency()

    def arrived(self, kind: Literal["data", "fin"], data: bytes) -> None:
        end, network = self._end, self._network
        packet = end._packet(kind, data)
        if data and network.manglers:
            changed = network.mangled(packet, data) or b""
            end.outstanding += len(changed) - len(data)
            data = changed
        if end is end.connection.client:
            end.connection.accept()
        if data or kind == "fin":
            end.peer.arrived(kind, data, packet)

    def given_up(self) -> None:
        self._end.lost("connection timed out")


class Connection:
    """A TCP connection, from the SYN on."""

    def __init__(
        self, network: StreamNetwork, number: int, near: tuple[Address, Address], far: tuple[Address, Address]
    ) -> None:
        self.network = network
        self.number = number
        self.client = End(self, *near)
        self.server = End(self, *far)
        self.client.peer, self.server.peer = self.server, self.client
        self.state: Literal["connecting", "open", "failed"] = "connecting"
        self.lossy = False
        self.round_trip = 0.0
        """Measured by the handshake."""
        self._accepted = False
        self._tries = 0

    @property
    def port(self) -> int:
        """The port that it was opened to, as seen from outside."""
        return self.server.shown[1]

    @property
    def dead(self) -> bool:
        """True once neither side has a socket any more."""
        return self.state == "failed" or (self.client.closed and self.server.closed)

    def reset(self) -> None:
        """Reset it from the middle: both ends lose it now."""
        if self.state == "open":
            for end in (self.client, self.server):
                end.lost("connection reset by peer")

    def cancel_if_connecting(self) -> None:
        """The client gave up."""
        if self.state == "connecting":
            self.state = "failed"

    # --- coming up --------------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Send a SYN, and again where nothing comes back."""
        if self.state != "connecting":
            return
        network, client, server = self.network, self.client, self.server
        source, destination = client.shown, server.shown
        link = network.tcp_link(source[0], destination[0])
        packet = Packet(
            time=network.now,
            transport="tcp",
            kind="syn",
            source=source,
            destination=destination,
            connection=self.number,
            sender=None if client.host is None else client.host.name,
        )
        network.note(packet)
        self._tries += 1
        rule = network.blocked("tcp", source[0], destination[0], destination[1])
        back = network.blocked("tcp", destination[0], source[0], destination[1])
        back_link = network.tcp_link(destination[0], source[0])
        self.lossy = link.loss > 0.0 or back_link.loss > 0.0
        round_trip = network.latency(link.delay, link.jitter) + network.latency(link.delay, link.jitter)
        if (rule is not None and rule.refuse) or (rule is None and link.connect == "refuse"):
            packet.fate = "refused"
            network.at(network.now + round_trip, lambda: self.fail("connection refused"))
        elif rule is not None or back is not None or link.connect == "silent":
            packet.fate = "blocked"
            self._dial_again()
        elif self.lossy and client.lost_on_the_way():
            packet.fate = "lost"
            self._dial_again()
        else:
            self._reach(packet, round_trip)

    def _reach(self, packet: Packet, round_trip: float) -> None:
        network = self.network
        reached = network.listener(packet.destination, packet.source)
        if reached is None:
            packet.fate = "unreachable"
            self._dial_again()
            return
        host, address, listening = reached
        if not listening:
            packet.fate = "refused"
            network.at(network.now + round_trip, lambda: self.fail("connection refused"))
            return
        packet.fate, packet.arrived = "delivered", network.now + round_trip / 2
        first, self.server.host, self.server.address = self.server.host is None, host, address
        self.round_trip = round_trip
        if self.lossy:
            self._dial_again()
            network.at(network.now + round_trip / 2, lambda: self._answer(0 if first else SYN_TRIES))
        else:
            network.at(network.now + round_trip, self._up)

    def _answer(self, tries: int) -> None:
        """Send the SYN-ACK, and again until something comes from the client. It may get lost."""
        network = self.network
        if self._accepted or self.state == "failed":
            return
        if not self.server.lost_on_the_way():
            network.at(network.now + self.server.latency(), self._answered)
        if tries < SYN_TRIES:
            network.at(network.now + RETRY_FIRST * 2**tries, lambda: self._answer(tries + 1))

    def _answered(self) -> None:
        if self.state == "open":
            self.client.acknowledge()
        else:
            self._up()

    def _dial_again(self) -> None:
        network = self.network
        later = RETRY_FIRST * 2 ** (self._tries - 1)
        if self._tries > SYN_TRIES:
            network.at(network.now + later, lambda: self.fail("connection timed out"))
        else:
            network.at(network.now + later, self.dial)

    def fail(self, error: str) -> None:
        """It could not be made."""
        if self.state == "connecting":
            self.state = "failed"
            self.client.lost(error)

    def _up(self) -> None:
        """The SYN-ACK is here: the client may write at once, the server learns of it with the ACK."""
        if self.state != "connecting":
            return
        self.state = "open"
        network, client = self.network, self.client
        client.acknowledge()
        reset_after = network.tcp_link(client.shown[0], self.server.shown[0]).reset_after
        if reset_after is not None:
            network.at(network.now + reset_after, self.reset)
        if client.host is not None and client.stream is not None:
            client.host.stream_connected(client.stream, client.address)
        client.pump()

    def accept(self) -> None:
        """The handshake is complete at the listener."""
        server = self.server
        if server.closed or self._accepted:
            return
        self._accepted = True
        if server.host is None or not server.host.listens(server.address):
            server._send_reset()
            return
        server.host.stream_accepted(server)
