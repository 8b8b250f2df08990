"""A network in virtual time: endpoints, datagrams and connections, with every impairment, from one seed.

The network is a host in the sense of the host contract (`ikecore.testing.CheckedEndpoint`): it carries out every action
in order, hands in what arrives, and calls `timer_expired` at the deadline. No second of it is real: the loop jumps from
one moment at which something happens to the next. Equal seeds and equal inputs give equal runs.

    network = Network(seed=1, udp=Udp(loss=0.1))
    alice = network.attach(Endpoint(...), Local(("10.0.0.1", 500)))
    alice.call(alice.endpoint.initiate, connection, ["10.0.0.2"])
    network.run(until=lambda: alice.of(IkeSaEstablished))
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import attrs

from ..events import Event, Transport
from ..framing import KEEPALIVE
from ..outputs import (
    Address,
    CloseStream,
    HalfCloseStream,
    OpenStream,
    Output,
    ResetStream,
    SendDatagram,
    StreamId,
    WriteStream,
)
from ..transport import Local
from .links import Block, NetworkError, Packet, Tcp, Udp
from .nat import Nat
from .streams import Connection, End

__all__ = ["Happening", "Host", "HostFace", "Mangle", "Network"]

E = TypeVar("E", bound=Output)
R = TypeVar("R")

Mangle = Callable[[Packet, bytes], bytes | None]
"""Looks at a packet with its octets and returns what arrives in their place; None makes them vanish."""

LARGEST_DATAGRAM = 65_507
OUTPUTS_IN_A_ROW = 100_000
RINGS_IN_A_ROW = 1_000


class HostFace(Protocol):
    """What the network needs of an endpoint: `Endpoint`, `CheckedEndpoint` and `BareEndpoint` have it."""

    def local_added(self, local: Local, *, now: float) -> None: ...
    def local_removed(self, address: Address, kind: Transport = "udp", *, now: float) -> None: ...
    def datagram_received(self, data: bytes, *, local: Address, remote: Address, now: float) -> None: ...
    def datagram_failed(self, *, local: Address, remote: Address, error: str, now: float) -> None: ...
    def stream_accepted(self, *, local: Address, remote: Address, now: float) -> StreamId: ...
    def stream_connected(self, stream: StreamId, *, local: Address, now: float) -> None: ...
    def stream_received(self, stream: StreamId, data: bytes, *, now: float) -> None: ...
    def stream_sent(self, stream: StreamId, octets: int, *, now: float) -> None: ...
    def stream_eof(self, stream: StreamId, *, now: float) -> None: ...
    def stream_lost(self, stream: StreamId, error: str, *, now: float) -> None: ...
    def timer_expired(self, *, now: float) -> None: ...
    def outputs(self) -> Iterator[Output]: ...
    @property
    def deadline(self) -> float | None: ...


@attrs.frozen
class Happening:
    """One event, when and where it was told."""

    time: float
    host: Host
    event: Event


class Host:
    """One endpoint on the network, with its sockets. `events` has what it told, in order; `call` makes its wishes.

    *on_event*, if set, is called with each event from inside the drain loop; it may make inputs, wishes and answers.
    """

    def __init__(self, network: Network, endpoint: Any, name: str, nat: Nat | None) -> None:
        self.network = network
        self.endpoint = endpoint
        self.name = name
        self.nat = nat
        self.events: list[Event] = []
        self.on_event: Callable[[Event], object] | None = None
        self.locals: dict[tuple[Transport, Address], Local] = {}
        self.addresses: list[str] = []
        """Those that it has, or had once: without a socket on it an address is gone."""
        self.ends: dict[StreamId, End] = {}
        self.armed: float | None = None
        self.attached = True
        self._draining = False
        self._ephemeral = 49_152

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def of(self, *kinds: type[E]) -> list[E]:
        """Return the events of these classes, in order."""
        return [event for event in self.events if isinstance(event, kinds)]

    def one(self, kind: type[E]) -> E:
        """Return the only event of this class. Raises LookupError if there is none, or more."""
        found = self.of(kind)
        if len(found) != 1:
            raise LookupError(f"{len(found)} events of {kind.__name__} at {self.name}, where one was looked for")
        return found[0]

    def call(self, method: Callable[..., R], *args: Any, **keywords: Any) -> R:
        """Call a *method* of the endpoint now, and carry out what follows: `host.call(host.endpoint.delete, sa)`."""
        result = method(*args, now=self.network.now, **keywords)
        self.flush()
        return result

    def add(self, local: Local) -> None:
        """Bind a socket."""
        key = (local.kind, local.address)
        if key in self.locals:
            raise NetworkError(f"{self.name} has {local.kind} {local.address} already")
        self.locals[key] = local
        if local.address[0] not in self.addresses:
            self.addresses.append(local.address[0])
        self.endpoint.local_added(local, now=self.network.now)
        self.flush()

    def remove(self, local: Local) -> None:
        """Close a socket."""
        del self.locals[local.kind, local.address]
        self.endpoint.local_removed(local.address, local.kind, now=self.network.now)
        self.flush()

    def restart(self, endpoint: HostFace) -> None:
        """Begin anew with *endpoint*, as a machine after a crash: nothing is known any more, the sockets are the same.

        Connections are reset, since the kernel knows none of them either.
        """
        locals, self.locals = list(self.locals.values()), {}
        for end in list(self.ends.values()):
            end.abort()
        self.ends.clear()
        self.endpoint, self.armed = endpoint, None
        for local in locals:
            self.add(local)

    def listens(self, address: Address) -> bool:
        """Tell whether there is a TCP listener at *address*."""
        return self.attached and ("tcp", address) in self.locals

    def flush(self) -> None:
        """Carry out all outputs, then re-arm the deadline. Call it after using the endpoint, or run the network."""
        if self._draining or not self.attached:
            return
        self._draining = True
        try:
            for count, output in enumerate(self.endpoint.outputs(), 1):
                if count > OUTPUTS_IN_A_ROW:
                    raise NetworkError(f"{self.name}: outputs never end; the last one is {output!r}")
                self._carry_out(output)
        finally:
            self._draining = False
        self.network.arm(self)

    def _carry_out(self, output: Output) -> None:
        network = self.network
        network.carried_out(output)
        if isinstance(output, SendDatagram):
            network.datagram_out(self, output)
        elif isinstance(output, WriteStream):
            self._end(output.stream).write(output.data)
        elif isinstance(output, OpenStream):
            network.dial(self, output)
        elif isinstance(output, HalfCloseStream):
            self._end(output.stream).half_close()
        elif isinstance(output, CloseStream):
            self._end(output.stream).close()
        elif isinstance(output, ResetStream):
            self._end(output.stream).abort()
        elif isinstance(output, Event):
            if network.remember:
                self.events.append(output)
                network.timeline.append(Happening(network.now, self, output))
            if self.on_event is not None:
                self.on_event(output)
        else:
            raise NetworkError(f"{self.name}: {output!r} is neither an action nor an event")

    def _end(self, stream: StreamId) -> End:
        try:
            return self.ends[stream]
        except KeyError:
            raise NetworkError(f"{self.name}: there is no stream {stream}") from None

    def rings_at(self, moment: float) -> bool:
        """Tell whether the timer is still wanted at *moment*."""
        return self.attached and self.armed == moment

    def ephemeral(self, host: str) -> Address:
        """Return a free address for an outgoing connection."""
        used = {end.address for end in self.ends.values() if not end.closed}
        while True:
            port, self._ephemeral = self._ephemeral, self._ephemeral + 1 if self._ephemeral < 65_535 else 49_152
            if (host, port) not in used:
                return host, port

    # --- what arrives -----------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, local: Address, remote: Address) -> None:
        self._feed(lambda now: self.endpoint.datagram_received(data, local=local, remote=remote, now=now))

    def datagram_failed(self, local: Address, remote: Address, error: str) -> None:
        if ("udp", local) in self.locals:  # an ICMP error for a socket that is closed reaches nobody
            self._feed(lambda now: self.endpoint.datagram_failed(local=local, remote=remote, error=error, now=now))

    def stream_accepted(self, end: End) -> None:
        def accept(now: float) -> None:
            end.stream = self.endpoint.stream_accepted(local=end.address, remote=end.peer.shown, now=now)
            self.ends[end.stream] = end

        self._feed(accept)

    def stream_connected(self, stream: StreamId, local: Address) -> None:
        self._feed(lambda now: self.endpoint.stream_connected(stream, local=local, now=now))

    def stream_received(self, stream: StreamId, data: bytes) -> None:
        self._feed(lambda now: self.endpoint.stream_received(stream, data, now=now))

    def stream_sent(self, stream: StreamId, octets: int) -> None:
        self._feed(lambda now: self.endpoint.stream_sent(stream, octets, now=now))

    def stream_eof(self, stream: StreamId) -> None:
        self._feed(lambda now: self.endpoint.stream_eof(stream, now=now))

    def stream_lost(self, stream: StreamId, error: str) -> None:
        self._feed(lambda now: self.endpoint.stream_lost(stream, error, now=now))

    def timer_expired(self) -> None:
        self._feed(lambda now: self.endpoint.timer_expired(now=now))

    def _feed(self, give: Callable[[float], None]) -> None:
        if self.attached:
            give(self.network.now)
            self.flush()


class Network:
    """Hosts, and everything between them.

    *udp* and *tcp* say what happens to packets everywhere, unless `between` says otherwise; both may be replaced at any
    time. *steps* bounds one `run`: a loop that never ends raises instead. *record* False keeps no `wire`, for floods.
    *remember* False keeps no events and no closed connections either, for runs of months: `Host.on_event` sees each
    event once.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        udp: Udp | None = None,
        tcp: Tcp | None = None,
        start: float = 0.0,
        steps: int = 1_000_000,
        record: bool = True,
        remember: bool = True,
    ) -> None:
        self.now = start
        self.udp = Udp() if udp is None else udp
        self.tcp = Tcp() if tcp is None else tcp
        self.random = random.Random(seed)
        self.hosts: list[Host] = []
        self.connections: list[Connection] = []
        self.blocks: list[Block] = []
        self.manglers: list[Mangle] = []
        self.wire: list[Packet] = []
        self.timeline: list[Happening] = []
        self.calm = 60.0
        """A deadline farther away than this does not keep `run` going."""
        self._stirred = 0.0
        self._stirs = 0
        self._keepalives = 0
        self._steps = steps
        self._record = record and remember
        self.remember = remember
        self._dialled = 0
        self._links: dict[tuple[str, str], tuple[Udp | None, Tcp | None]] = {}
        self._routes: dict[str, Host | Nat] = {}
        self._inside: dict[tuple[Nat, str], Host] = {}
        self._deliveries: list[tuple[float, int, Callable[[], object]]] = []
        self._timers: list[tuple[float, int, Host]] = []
        self._order = 0

    # --- making it --------------------------------------------------------------------------------------------------

    def attach(self, endpoint: HostFace, *locals: Local, nat: Nat | None = None, name: str | None = None) -> Host:
        """Put *endpoint* on the network with the sockets *locals*. Behind *nat*, only that is reachable."""
        if not locals:
            raise NetworkError("attach: a host needs at least one Local")
        host = Host(self, endpoint, name or locals[0].address[0], nat)
        addresses = {local.address[0] for local in locals}
        for address in addresses:
            place = (nat, address)
            if place in self._inside or (nat is None and address in self._routes):
                raise NetworkError(f"{address} is attached already")
        for address in sorted(addresses):
            if nat is None:
                self._routes[address] = host
            else:
                self._inside[nat, address] = host
                self._routes[nat.outside] = nat
        self.hosts.append(host)
        for local in locals:
            host.add(local)
        return host

    def detach(self, host: Host) -> None:
        """Let *host* vanish without a word, as a machine without power does."""
        host.attached = False

    def between(self, source: str, destination: str, *, udp: Udp | None = None, tcp: Tcp | None = None) -> None:
        """Let other impairments hold from *source* to *destination* (IP literals outside of any NAT), this way only.

        For a connection, `delay` and `jitter`, `split`, `window` and `read_rate` hold per direction of the octets, the
        rest for the direction in which it is opened.
        """
        self._links[source, destination] = (udp, tcp)

    def block(
        self,
        transport: Transport | None = None,
        *,
        source: str | None = None,
        destination: str | None = None,
        port: int | None = None,
        refuse: bool = False,
    ) -> Block:
        """Filter packets from now on, until `unblock`."""
        rule = Block(transport=transport, source=source, destination=destination, port=port, refuse=refuse)
        self.blocks.append(rule)
        return rule

    def unblock(self, rule: Block) -> None:
        """Take a filter away."""
        self.blocks.remove(rule)

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Call *action* at *moment*: a script, or a delivery."""
        self._order += 1
        heapq.heappush(self._deliveries, (max(moment, self.now), self._order, action))

    # --- running it -------------------------------------------------------------------------------------------------

    def run(self, until: float | Callable[[], object] | None = None) -> None:
        """Let time pass: to the moment *until*, until the callable *until* returns true, or until all is quiet.

        Quiet is when nothing is on its way and no deadline is within `calm` seconds; keepalives, which never end, do
        not count. Raises `NetworkError` after too many steps, or if all is quiet and the callable still returns false.
        """
        for attached in tuple(self.hosts):
            attached.flush()
        condition = until if callable(until) else None
        limit = until if isinstance(until, int | float) else None
        rings, self._stirred = 0, self.now
        for _ in range(self._steps):
            if condition is not None and condition():
                return
            moment, host = self._next()
            if moment is None or (limit is not None and moment > limit) or (limit is None and self._quiet(moment)):
                break
            rings = rings + 1 if host is not None and moment <= self.now else 0
            if rings > RINGS_IN_A_ROW:
                raise NetworkError(f"{host}: the deadline {moment} stays due, however often the timer expires")
            self.now = max(self.now, moment)
            stirs, keepalives = self._stirs, self._keepalives
            if host is not None:
                heapq.heappop(self._timers)
                host.armed = None
                host.timer_expired()
            else:
                heapq.heappop(self._deliveries)[2]()
            if self._keepalives == keepalives or self._stirs > stirs:
                self._stirred = self.now
        else:
            raise NetworkError(f"still busy after {self._steps} steps, at {self.now:.3f} s; last: {self.wire[-3:]}")
        if limit is not None:
            self.now = max(self.now, limit)
        if condition is not None and not condition():
            raise NetworkError(f"all is quiet at {self.now:.3f} s, and what was waited for has not come")

    def run_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.run(until=self.now + seconds)

    def arm(self, host: Host) -> None:
        """Note when *host* wants its timer to expire."""
        deadline = host.endpoint.deadline
        if deadline == host.armed:
            return
        host.armed = deadline
        if deadline is not None:
            self._order += 1
            heapq.heappush(self._timers, (deadline, self._order, host))

    def _next(self) -> tuple[float | None, Host | None]:
        """Return the next moment, and the host whose timer it is. At one moment, what arrives comes first."""
        while self._timers and not self._timers[0][2].rings_at(self._timers[0][0]):
            heapq.heappop(self._timers)
        delivery = self._deliveries[0][0] if self._deliveries else None
        if self._timers and (delivery is None or self._timers[0][0] < delivery):
            return self._timers[0][0], self._timers[0][2]
        return delivery, None

    def _quiet(self, moment: float) -> bool:
        return not self._deliveries and moment - self._stirred > self.calm

    # --- datagrams --------------------------------------------------------------------------------------------------

    def send(self, data: bytes, *, source: Address, destination: Address) -> None:
        """Put a datagram on the wire with any *source*, as anybody on the Internet can."""
        link = self._links.get((source[0], destination[0]), (None, None))[0] or self.udp
        self._datagram(data, source, destination, link, None)

    def carried_out(self, output: Output) -> None:
        """Tell keepalives from everything else that hosts do: they alone do not disturb the quiet."""
        if isinstance(output, SendDatagram) and output.data == KEEPALIVE:
            self._keepalives += 1
        else:
            self._stirs += 1

    def datagram_out(self, host: Host, action: SendDatagram) -> None:
        """Carry out a `SendDatagram`."""
        local, remote = action.local, action.remote
        if ("udp", local) not in host.locals:
            raise NetworkError(f"{host.name} sends from {local}, where it has no socket")
        if len(action.data) > LARGEST_DATAGRAM:
            host.datagram_failed(local, remote, "message too long")
            return
        source = local if host.nat is None else host.nat.outbound("udp", local, remote, self.now)
        link = self._links.get((source[0], remote[0]), (None, None))[0] or self.udp
        self._datagram(action.data, source, remote, link, (host, local))

    def _datagram(
        self, data: bytes, source: Address, destination: Address, link: Udp, sender: tuple[Host, Address] | None
    ) -> None:
        packet = Packet(
            time=self.now,
            transport="udp",
            kind="datagram",
            source=source,
            destination=destination,
            data=data,
            sender=None if sender is None else sender[0].name,
        )
        self.note(packet)
        if link.max_datagram is not None and len(data) > link.max_datagram:
            packet.fate = "too large"
        elif self.blocked("udp", source[0], destination[0], destination[1]) is not None:
            packet.fate = "blocked"
        elif link.loss and self.random.random() < link.loss_of(len(data)):
            packet.fate = "lost"
        else:
            mangled = self.mangled(packet, data)
            if mangled is None:
                packet.fate = "mangled away"
                return
            self._fly(packet, mangled, link, sender)
            if link.duplication and self.random.random() < link.duplication:
                copy = attrs.evolve(packet, copy=True)
                self.note(copy)
                self._fly(copy, mangled, link, sender)

    def _fly(self, packet: Packet, data: bytes, link: Udp, sender: tuple[Host, Address] | None) -> None:
        latency = self.latency(link.delay, link.jitter)
        if link.reordering and self.random.random() < link.reordering:
            latency += (link.delay + link.jitter or 0.01) * (1 + 3 * self.random.random())
        self.at(self.now + latency, lambda: self._datagram_arrived(packet, data, link, sender))

    def _datagram_arrived(self, packet: Packet, data: bytes, link: Udp, sender: tuple[Host, Address] | None) -> None:
        packet.arrived = self.now
        if data == KEEPALIVE:
            self._keepalives += 1
        reached = self._reach("udp", packet.destination, packet.source)
        if reached is not None and reached[0].attached and ("udp", reached[1]) in reached[0].locals:
            packet.fate = "delivered"
            reached[0].datagram_received(data, reached[1], packet.source)
            return
        packet.fate = "unreachable"
        if link.unreachable and sender is not None:
            host, local = sender
            self.at(
                self.now + link.delay,
                lambda: host.datagram_failed(local, packet.destination, "connection refused"),
            )

    # --- connections ------------------------------------------------------------------------------------------------

    def dial(self, host: Host, action: OpenStream) -> None:
        """Carry out an `OpenStream`."""
        wanted = host.addresses if action.local is None else [action.local]
        same_family = [address for address in wanted if (":" in address) == (":" in action.remote[0])]
        if action.local is not None and action.local not in host.addresses:
            raise NetworkError(f"{host.name} connects from {action.local}, which never was an address of it")
        if not same_family:
            raise NetworkError(f"{host.name} never had an address to connect to {action.remote} from")
        there = {local.address[0] for local in host.locals.values()}
        source = next((address for address in same_family if address in there), None)
        local = host.ephemeral(same_family[0] if source is None else source)
        shown = local if host.nat is None else host.nat.outbound("tcp", local, action.remote, self.now)
        self._dialled += 1
        connection = Connection(self, self._dialled, near=(local, shown), far=(action.remote, action.remote))
        if not self.remember:
            self._forget_closed()
        self.connections.append(connection)
        connection.client.host, connection.client.stream = host, action.stream
        host.ends[action.stream] = connection.client
        if source is None:  # no socket is left there: the address is gone
            self.at(self.now, lambda: connection.fail("cannot assign requested address"))
        else:
            connection.dial()

    def _forget_closed(self) -> None:
        """Drop the connections that both ends have closed, and the ends themselves."""
        for connection in self.connections:
            if connection.dead:
                for end in (connection.client, connection.server):
                    if isinstance(end.host, Host) and end.stream is not None:
                        end.host.ends.pop(end.stream, None)
        self.connections = [each for each in self.connections if not each.dead]

    def listener(self, destination: Address, source: Address) -> tuple[Host, Address, bool] | None:
        """Return the host that *destination* leads to, its own address, and whether it listens; None if nowhere."""
        reached = self._reach("tcp", destination, source)
        if reached is None or not reached[0].attached:
            return None
        host, address = reached
        return host, address, host.listens(address)

    # --- what links and streams ask ---------------------------------------------------------------------------------

    def tcp_link(self, source: str, destination: str) -> Tcp:
        """Return what happens to TCP from *source* to *destination* now."""
        return self._links.get((source, destination), (None, None))[1] or self.tcp

    def blocked(self, transport: Transport, source: str, destination: str, port: int) -> Block | None:
        """Return the filter that drops such a packet, if there is one."""
        for rule in self.blocks:
            if rule.matches(transport, source, destination, port):
                return rule
        return None

    def latency(self, delay: float, jitter: float) -> float:
        """Draw how long a packet takes."""
        return delay + jitter * self.random.random() if jitter else delay

    def mangled(self, packet: Packet, data: bytes) -> bytes | None:
        """Return what the manglers make of *data*."""
        for mangle in self.manglers:
            changed = mangle(packet, data)
            if changed is None:
                return None
            data = changed
        return data

    def note(self, packet: Packet) -> None:
        """Keep a record of *packet*."""
        if self._record:
            self.wire.append(packet)

    def _reach(self, transport: Transport, destination: Address, source: Address) -> tuple[Host, Address] | None:
        route = self._routes.get(destination[0])
        if isinstance(route, Nat):
            inside = route.inbound(transport, destination[1], source, self.now)
            host = None if inside is None else self._inside.get((route, inside[0]))
            return None if host is None or inside is None else (host, inside)
        return None if route is None else (route, destination)
