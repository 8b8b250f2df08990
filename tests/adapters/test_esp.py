"""ESP beside IKE on the sockets with the non-ESP marker, given to the application and taken from it."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ikecore import (
    Address,
    ChildSaNotFound,
    Config,
    Connection,
    Endpoint,
    Event,
    Identity,
    LifetimeReached,
    Listen,
    Local,
    LocalProtocolError,
    PathChanged,
    PskCredential,
    SessionClosed,
    Transports,
)
from ikecore.esp import EspRoutes
from ikecore.events import ChildSaClosed, ChildSaEstablished, MessageSent
from ikecore.outputs import SaId
from ikecore.testing import Pair
from ikecore_asyncio._datagrams import DatagramSocket as AsyncioDatagramSocket
from ikecore_trio._datagrams import DatagramSocket as TrioDatagramSocket
from tests.adapters.conftest import checked

if TYPE_CHECKING:
    from tests.adapters.conftest import Lib, Script

SOCKETS: dict[str, Any] = {"trio": TrioDatagramSocket, "asyncio": AsyncioDatagramSocket}

Make = Callable[[Config], Endpoint]
Packet = tuple[bytes, Address, Address]

FREE = Listen(udp=0, udp_nat=0)
US, THEM = Identity.parse("us.example"), Identity.parse("them.example")
PSK = PskCredential(b"a secret")


class Heard:
    """Packets that the application of one side was given."""

    def __init__(self, lib: Lib) -> None:
        self.packets: list[Packet] = []
        self._lib = lib
        self._changed = lib.Event()

    def __call__(self, data: bytes, local: Address, remote: Address) -> None:
        self.packets.append((data, local, remote))
        self._changed.set()

    async def until(self, count: int) -> Packet:
        while len(self.packets) < count:
            self._changed = self._lib.Event()
            await self._changed.wait()
        return self.packets[-1]


async def until(events: Any, kind: type[Event]) -> AsyncIterator[Any]:
    """The events up to the first of a kind, with it."""
    async for event in events:
        yield event
        if isinstance(event, kind):
            return


class Side:
    """An endpoint that serves, the session with it, and what both heard."""

    def __init__(self, lib: Lib) -> None:
        self.lib = lib
        self.here, self.there = Heard(lib), Heard(lib)
        self.opened: Any = None
        self.session: Any = None
        self.theirs: Any = None


@asynccontextmanager
async def joined(lib: Lib, make: Make, *, encapsulate: bool = True, **options: Any) -> AsyncIterator[Side]:
    """Two ends on loopback, with ESP in UDP or without."""
    side = Side(lib)
    met = lib.Event()
    theirs = Connection(name="them", local_identity=THEM, remote_identity=US, local=PSK, remote=PSK)
    listening = lib.module.open_endpoint(Config(connections=[theirs]), FREE, make=make, esp=side.there)
    async with listening as side.opened, lib.tasks() as start:

        async def handle(session: Any) -> None:
            side.theirs = session
            met.set()
            await session.wait_closed()

        start(side.opened.serve, handle)
        plain, marked = (local.address[1] for local in side.opened.locals[:2])
        ways = Transports(udp_port=plain, udp_nat_port=marked, force_encapsulation=encapsulate)
        ours = Connection(name="us", local_identity=US, remote_identity=THEM, local=PSK, remote=PSK, transports=ways)
        options.setdefault("esp", side.here)
        async with lib.module.connect("127.0.0.1", ours, make=make, **options) as side.session:
            await met.wait()
            yield side


def test_packets_go_both_ways_beside_ike(lib: Lib, make: Make) -> None:
    async def main() -> None:
        async with joined(lib, make) as side:
            [ours], [theirs] = side.session.child_sas, side.theirs.child_sas
            packet = ours.spi_out + bytes(100)
            assert side.session.send_esp(ours.id, packet) is True
            data, local, remote = await side.there.until(1)
            assert (data, local, remote) == (packet, side.opened.locals[1].address, ours.local)
            assert side.opened.send_esp(theirs.spi_out + b"back", local=local, remote=remote) is True
            side.theirs.esp_sent(theirs.id)
            assert await side.here.until(1) == (ours.spi_in + b"back", ours.local, ours.remote)
            for number in range(50):
                side.theirs.send_esp(theirs.id, theirs.spi_out + bytes([number]))
            await side.here.until(51)
            await side.session.check_liveness()
            assert side.opened.esp_dropped == 0
            assert "datagram: esp" not in side.opened.endpoint.counters

    lib.run(main)


def test_the_path_follows_what_the_application_has_authenticated(lib: Lib, make: Make) -> None:
    async def main() -> None:
        async with joined(lib, make) as side:
            [child] = side.theirs.child_sas
            with socket.socket(type=socket.SOCK_DGRAM) as elsewhere:
                elsewhere.bind(("127.0.0.1", 0))
                elsewhere.settimeout(20)
                events = side.theirs.events()
                side.theirs.esp_received(child.id, local=child.local, remote=elsewhere.getsockname())
                while not isinstance(event := await anext(events), PathChanged):
                    pass
                assert event.remote == elsewhere.getsockname()
                side.theirs.send_esp(child.id, child.spi_out + b"x")
                assert await lib.thread(lambda: elsewhere.recv(100)) == child.spi_out + b"x"

    lib.run(main)


def test_a_peer_is_told_of_an_spi_that_nobody_has(lib: Lib, make: Make) -> None:
    async def main() -> None:
        async with joined(lib, make, config=Config(trace=True)) as side:
            events = side.session.events()
            side.session.esp_unknown(b"none")
            while not isinstance(told := await anext(events), MessageSent):
                pass
            assert (told.exchange, told.payloads) == ("INFORMATIONAL", ("N(INVALID_SPI)",))

    lib.run(main)


class Observing(Endpoint):
    """An endpoint that notes whose ESP was seen, and when."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, random=os.urandom, utc=lambda: datetime.now(UTC), raise_bugs=True)
        self.seen: list[tuple[SaId, float]] = []

    def traffic_seen(self, sa: SaId, *, now: float) -> None:
        self.seen.append((sa, now))
        super().traffic_seen(sa, now=now)


@pytest.mark.parametrize("encapsulate", [False, True])
def test_traffic_that_was_seen_is_told_to_the_core(lib: Lib, encapsulate: bool) -> None:
    """By the clock of the binding, and of the IKE SA whose Child SA it is."""
    cores: list[Observing] = []

    def made(config: Config) -> Endpoint:
        cores.append(Observing(config))
        return checked(cores[-1])

    async def main() -> None:
        async with joined(lib, made, encapsulate=encapsulate) as side:
            for session, core in ((side.theirs, cores[0]), (side.session, cores[1])):
                [child] = session.child_sas
                session.traffic_seen(child.id)
                session.traffic_seen(child.id)
                (first, earlier), (second, later) = core.seen
                assert first == second == session.sa
                assert 0.0 < earlier <= later

    lib.run(main)


@pytest.mark.requirement("IKE-120")
@pytest.mark.parametrize("who", ["initiator", "responder"])
def test_a_child_sa_that_carried_much_is_rekeyed(lib: Lib, make: Make, who: str) -> None:
    async def main() -> None:
        async with joined(lib, make, encapsulate=False) as side:
            session = side.session if who == "initiator" else side.theirs
            [old], events = session.child_sas, session.events()
            session.child_expiring(old.id)
            session.child_expiring(old.id)
            told = [event async for event in until(events, ChildSaClosed)]
            assert [event.action for event in told if isinstance(event, LifetimeReached)] == ["rekey"]
            [new] = [event for event in told if isinstance(event, ChildSaEstablished)]
            assert (new.replaces, told[-1].child) == (old.id, old.id)
            assert [view.id for view in session.child_sas] == [new.child]

    lib.run(main)


@pytest.mark.requirement("IKE-115")
def test_a_child_sa_that_carried_too_much_is_deleted(lib: Lib, make: Make) -> None:
    async def main() -> None:
        async with joined(lib, make) as side:
            [child], events = side.session.child_sas, side.session.events()
            side.session.child_expiring(child.id, hard=True)
            told = [event async for event in until(events, ChildSaClosed)]
            assert [event.action for event in told if isinstance(event, LifetimeReached)] == ["delete"]
            assert side.session.child_sas == ()
            assert side.session.closed is None

    lib.run(main)


@pytest.mark.requirement("IKE-211")
def test_mistakes(lib: Lib, make: Make) -> None:
    async def main() -> None:
        async with joined(lib, make) as side:
            [child] = side.session.child_sas
            plain, marked = side.opened.locals
            for wrong in (b"", b"spi", bytes(100)):
                with pytest.raises(LocalProtocolError, match="no ESP"):
                    side.session.send_esp(child.id, wrong)
                with pytest.raises(LocalProtocolError, match="no ESP"):
                    side.opened.send_esp(wrong, local=marked.address, remote=child.local)
            for socket_of in (plain.address, ("192.0.2.1", 4500)):
                with pytest.raises(LocalProtocolError, match="no udp socket"):
                    side.opened.send_esp(b"octets", local=socket_of, remote=child.local)
            await side.session.delete(child.id)
            with pytest.raises(ChildSaNotFound):
                side.session.send_esp(child.id, b"octets")
            for tell in (side.session.esp_sent, side.session.traffic_seen, side.session.child_expiring):
                with pytest.raises(ChildSaNotFound):
                    tell(child.id)
            await side.session.delete()
            with pytest.raises(SessionClosed):
                side.session.send_esp(child.id, b"octets")
            for tell in (side.session.traffic_seen, side.session.child_expiring):
                with pytest.raises(SessionClosed):
                    tell(child.id)
            with pytest.raises(SessionClosed):
                side.session.esp_unknown(b"spi!")

    lib.run(main)


def test_esp_that_goes_over_ip_is_not_for_udp(lib: Lib, make: Make) -> None:
    async def main() -> None:
        async with joined(lib, make, encapsulate=False) as side:
            with pytest.raises(LocalProtocolError, match="over IP"):
                side.session.send_esp(side.session.child_sas[0].id, b"octets")

    lib.run(main)


def test_without_a_taker_the_core_counts_and_drops(lib: Lib, make: Make) -> None:
    cores: list[Endpoint] = []

    def made(config: Config) -> Endpoint:
        cores.append(make(config))
        return cores[-1]

    async def main() -> None:
        async with joined(lib, made, esp=None) as side:
            [child] = side.theirs.child_sas
            side.theirs.send_esp(child.id, child.spi_out + b"x")
            await side.theirs.check_liveness()
            assert cores[1].counters["datagram: esp"] == 1

    lib.run(main)


def test_what_the_taker_raises_ends_the_endpoint(lib: Lib, script: type[Script]) -> None:
    class Unwanted(Exception):
        pass

    def refuse(*packet: object) -> None:
        raise Unwanted

    async def main() -> None:
        core = script()
        with pytest.raises(Unwanted):  # noqa: PT012
            async with lib.module.open_endpoint(Config(), FREE, make=core.make, esp=refuse) as opened:
                with socket.socket(type=socket.SOCK_DGRAM) as peer:
                    peer.sendto(b"octets", opened.locals[0].address)  # the one without the marker has no ESP
                    assert len(await core.until_heard(lib, "datagram_received")) == 1
                    peer.sendto(b"octets", opened.locals[1].address)
                    await lib.Event().wait()

    lib.run(main)


def test_esp_is_dropped_while_the_buffer_is_full(lib: Lib) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Connected(socket.socket):
        def sendto(self, data: Any, *_: Any) -> int:
            return self.send(data)

    async def main() -> None:
        with Connected(fileno=left.detach()) as sock:
            sock.setblocking(False)
            host: Any = None  # nothing is left to it
            ours = SOCKETS[lib.name](host, sock, Local(("127.0.0.1", 4500), marker=True))
            offered = [ours.offer(b"octets", ("192.0.2.1", 4500)) for _ in range(5000)]
            assert (offered[0], offered[-1]) == (True, False)
            right.recv(100)
            assert ours.offer(b"octets", ("192.0.2.1", 4500))
            await lib.turns(1)

    with right:
        lib.run(main)


def test_routes_follow_events() -> None:
    pair = Pair()
    pair.establish()
    up = pair.initiator.one(ChildSaEstablished)
    routes = EspRoutes()
    routes.take(up)
    assert routes.sa_of(up.child) == up.sa
    with pytest.raises(LocalProtocolError, match="over IP"):
        routes.ends_of(up.child)
    here, there = ("192.0.2.1", 4500), ("192.0.2.2", 4500)
    for sa, ends in ((up.sa, (here, there)), (SaId(99), (there, here))):
        routes.take(PathChanged(sa, *ends, "it moved", udp_encapsulation=True))
        assert routes.ends_of(up.child) == (here, there)
    routes.take(ChildSaClosed(up.sa, up.child, up.spi_in, up.spi_out, "done", "us"))
    with pytest.raises(ChildSaNotFound):
        routes.ends_of(up.child)
