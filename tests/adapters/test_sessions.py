"""Sessions on loopback, both ends with the real engine: how they begin, what they tell, and how they end."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    BySize,
    ChildConfig,
    ChildId,
    ChildSaClosed,
    ChildSaEstablished,
    Config,
    Connection,
    Endpoint,
    Event,
    HalfCloseStream,
    Identity,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    IkeSaReauthenticated,
    Lease,
    Lifetimes,
    Limits,
    Listen,
    LocalProtocolError,
    NoProposalChosen,
    OpenStream,
    Output,
    PeerUnreachable,
    Pool,
    PskCredential,
    RequestFailed,
    SaClosed,
    SendDatagram,
    SessionClosed,
    SuccessorBegun,
    TransportChosen,
    Transports,
    TsUnacceptable,
    WholeMission,
    WriteStream,
    ike_proposals,
    parse_selector,
)
from ikecore.outputs import StreamId
from ikecore.sessions import EventsLost
from tests.adapters.conftest import checked

if TYPE_CHECKING:
    from tests.adapters.conftest import Lib

Make = Callable[[Config], Endpoint]

US, THEM = Identity.parse("us.example"), Identity.parse("them.example")
FREE = Listen(udp=0, udp_nat=0, tcp=0)
SHORT = Limits(retransmit_first=0.02, retransmit_factor=1.0, delete_timeout=0.2)
"""For a peer that falls silent. What bounds the patience with one that is slow are transmissions, not seconds: both
ends are in one loop, and each has a turn between any two of them."""
SILENT = attrs.evolve(SHORT, stream_answer_timeout=0.1, init_error_wait=0.05)
"""For a peer that refuses, or never says a word."""


def peering(secret: bytes = b"a secret", **changes: Any) -> Connection:
    """The responder's side."""
    psk = PskCredential(secret)
    facts = {"name": "them", "local_identity": THEM, "remote_identity": US, "local": psk, "remote": psk}
    return Connection(**{**facts, **changes})


def towards(opened: Any, secret: bytes = b"a secret", **transports: Any) -> Connection:
    """The initiator's side, for an endpoint with the sockets of FREE."""
    ports = [local.address[1] for local in opened.locals]
    psk = PskCredential(secret)
    ways = {"udp_port": ports[0], "udp_nat_port": ports[1], **transports}
    return Connection(
        name="us", local_identity=US, remote_identity=THEM, local=psk, remote=psk, transports=Transports(**ways)
    )


class Peer:
    """A served endpoint and what its handler met."""

    def __init__(self, lib: Lib, opened: Any) -> None:
        self.opened = opened
        self.sessions: list[Any] = []
        self.reasons: list[str] = []
        self.answers: list[Any] = []
        self._lib = lib
        self._changed: Any = None

    async def handle(self, session: Any) -> None:
        self.sessions.append(session)
        self.note()
        self.reasons.append(await session.wait_closed())
        self.note()

    def note(self) -> None:
        if self._changed is not None:
            self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed = self._lib.Event()
            await self._changed.wait()


@asynccontextmanager
async def served(lib: Lib, make: Make, config: Config | None = None, **options: Any) -> AsyncIterator[Peer]:
    """Run an endpoint that serves."""
    listen = options.pop("listen", FREE)
    kinds = ("authorize", "lease", "secret", "sign", "revocation", "fetch")
    asked = {name: options.pop(name, None) for name in kinds}
    config = config or Config(connections=[peering()])
    async with lib.module.open_endpoint(config, listen, make=make, **options) as opened, lib.tasks() as start:
        peer = Peer(lib, opened)

        async def serve() -> None:
            await opened.serve(peer.handle, **asked)

        start(serve)
        yield peer


@asynccontextmanager
async def both(
    lib: Lib, make: Make, theirs: dict[str, Any] | None = None, *, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[tuple[Peer, Any]]:
    """Run an endpoint that serves, and a session with it once both know of it."""
    listen = attrs.evolve(FREE, hosts=(host,))
    ours = options.pop("make_ours", make)
    async with (
        served(lib, make, listen=listen, **(theirs or {})) as peer,
        lib.module.connect(host, towards(peer.opened), make=ours, **options) as session,
    ):
        await peer.until(lambda: bool(peer.sessions))
        yield peer, session


LEFT_ALONE: dict[str, Any] = {
    "grace": 0.0,
    "config": Config(connections=[peering()], limits=Limits(stream_idle=0.2)),
}
"""For who is served and loses the peer: nothing waits long for that one."""


class Deaf(Endpoint):
    """An endpoint to which, while it is deaf, nothing comes."""

    deaf = False

    def datagram_received(self, data: bytes, **facts: Any) -> None:
        if not self.deaf:
            super().datagram_received(data, **facts)

    def stream_received(self, stream: StreamId, data: bytes, **facts: Any) -> None:
        if not self.deaf:
            super().stream_received(stream, data, **facts)


class TestBeginning:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_both_ends_agree(self, lib: Lib, make: Make, host: str) -> None:
        async def main() -> None:
            async with both(lib, make, host=host) as (peer, session):
                [theirs] = peer.sessions
                assert (session.local_identity, session.peer_identity) == (str(US), str(THEM))
                assert (theirs.local_identity, theirs.peer_identity) == (str(THEM), str(US))
                assert (session.view.spi_i, session.view.spi_r) == (theirs.view.spi_i, theirs.view.spi_r)
                assert session.export_keys() == theirs.export_keys()
                [ours], [other] = session.child_sas, theirs.child_sas
                assert (ours.spi_in, ours.spi_out) == (other.spi_out, other.spi_in)
                assert ours.export_keys().encr_in == other.export_keys().encr_out
                assert session.transport.name == theirs.transport.name == "udp"
                assert str(session.transport) == f"udp ({session.transport.reason})"
                assert session.closed is None
                await session.check_liveness()
                await theirs.check_liveness()

        lib.run(main)

    @pytest.mark.requirement("TCP-08", "TCP-09", "TCP-12", "TCP-15", "TCP-22", "TCP-25", "TCP-38")
    @pytest.mark.parametrize("half_close", [False, True])
    @pytest.mark.parametrize("policy", [BySize(300), WholeMission()])
    def test_ike_auth_over_tcp(self, lib: Lib, make: Make, policy: Any, half_close: bool) -> None:
        """One write for each message on one connection, which is closed when all is answered; then UDP again."""
        seen: list[Output] = []

        async def main() -> None:
            async with served(lib, make) as peer:
                port = peer.opened.locals[2].address[1]
                connection = towards(peer.opened, policy=policy, tcp_port=port, half_close=half_close)
                async with lib.module.connect("127.0.0.1", connection, make=make, on_event=seen.append) as session:
                    await peer.until(lambda: bool(peer.sessions))
                    assert session.transport.name == peer.sessions[0].transport.name == "tcp"
                    await session.check_liveness()
                await peer.until(lambda: bool(peer.reasons))

        lib.run(main)
        opened = [output for output in seen if isinstance(output, OpenStream)]
        writes = [output for output in seen if isinstance(output, WriteStream)]
        assert len(opened) == 1
        assert len(writes) == (2 if isinstance(policy, WholeMission) else 1)
        assert any(isinstance(output, HalfCloseStream) for output in seen) == half_close

    @pytest.mark.requirement("TCP-67")
    def test_a_refused_connection_falls_back_to_udp(self, lib: Lib, make: Make) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]

        async def main() -> None:
            async with served(lib, make) as peer:
                connection = towards(peer.opened, policy=BySize(0), tcp_port=port)
                async with lib.module.connect("127.0.0.1", connection, make=make) as session:
                    assert session.transport.name == "udp"
                    assert "TCP failed" in session.transport.reason

        lib.run(main)

    def test_an_endpoint_may_go_to_peers_too(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with served(lib, make) as peer:
                async with (
                    lib.module.open_endpoint(Config(), FREE, make=make) as ours,
                    ours.connect("127.0.0.1", towards(peer.opened)) as session,
                ):
                    assert session.view.local == ours.locals[0].address
                    assert ours.endpoint.sas == (session.sa,)
                await peer.until(lambda: bool(peer.reasons))
                with pytest.raises(LocalProtocolError, match="closed"):
                    await ours.serve(peer.handle)

        lib.run(main)

    def test_what_came_before_serve_is_served(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with (
                lib.module.open_endpoint(Config(connections=[peering()]), FREE, make=make) as opened,
                lib.module.connect("127.0.0.1", towards(opened), make=make),
                lib.tasks() as start,
            ):
                peer = Peer(lib, opened)
                start(opened.serve, peer.handle)
                await peer.until(lambda: bool(peer.sessions))
                with pytest.raises(LocalProtocolError, match="served already"):
                    await opened.serve(peer.handle)

        lib.run(main)

    def test_the_observer_sees_everything_in_order(self, lib: Lib, make: Make) -> None:
        """The responder hears of the Child SA before the octets leave from which the initiator learns of it."""
        seen: list[Output] = []

        async def main() -> None:
            async with (
                served(lib, make, on_event=seen.append) as peer,
                lib.module.connect("127.0.0.1", towards(peer.opened), make=make),
            ):
                pass

        lib.run(main)
        kinds = [type(output) for output in seen]
        assert kinds.index(IkeSaEstablished) < kinds.index(ChildSaEstablished)
        assert SendDatagram in kinds[: kinds.index(IkeSaEstablished)]
        assert kinds[kinds.index(ChildSaEstablished) + 1] is SendDatagram


class TestFailing:
    """Always one error, and nothing stays open."""

    def fails(
        self,
        lib: Lib,
        make: Make,
        error: type[Exception],
        connection: Callable[[Any], Connection] = towards,
        host: Any = "127.0.0.1",
        **options: Any,
    ) -> Any:
        async def main() -> Any:
            async with served(lib, make, **options) as peer:
                with pytest.raises(error) as caught:
                    async with lib.module.connect(
                        host, connection(peer.opened), config=Config(limits=SILENT), make=make
                    ):
                        pytest.fail("there is a session")
                assert type(caught.value) is error
                return caught.value

        return lib.run(main)

    def test_wrong_secret(self, lib: Lib, make: Make) -> None:
        self.fails(lib, make, AuthenticationFailed, lambda opened: towards(opened, b"another"))

    def test_no_common_proposal(self, lib: Lib, make: Make) -> None:
        other = peering(proposals=ike_proposals("aes256gcm16-prfsha256-ecp256"))
        ours = ike_proposals("aes128gcm16-prfsha256-x25519")
        self.fails(
            lib,
            make,
            NoProposalChosen,
            lambda opened: attrs.evolve(towards(opened), proposals=ours),
            config=Config(connections=[other]),
        )

    def test_silence(self, lib: Lib, make: Make) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
            error = self.fails(
                lib, make, PeerUnreachable, lambda opened: towards(opened, udp_port=port, udp_nat_port=port)
            )
        assert error.attempts

    def test_silence_on_tcp(self, lib: Lib, make: Make, server: socket.socket) -> None:
        """A server that accepts, and says nothing, on TCP and on UDP alike."""
        address = server.getsockname()
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(address)
            port = address[1]
            ways = {"udp_port": port, "udp_nat_port": port, "tcp_port": port, "policy": WholeMission()}
            self.fails(lib, make, PeerUnreachable, lambda opened: towards(opened, **ways))

    def test_a_name_without_address(self, lib: Lib, make: Make) -> None:
        name = "x" * 64 + ".example"
        error = self.fails(lib, make, PeerUnreachable, host=name)
        assert name in str(error)
        assert len(error.attempts) == 1

    def test_an_address_without_route(self, lib: Lib, make: Make) -> None:
        error = self.fails(lib, make, PeerUnreachable, host="255.255.255.255")
        assert error.attempts[0].startswith("255.255.255.255: ")

    def test_a_mistake_of_ours(self, lib: Lib, make: Make) -> None:
        self.fails(lib, make, LocalProtocolError, host=[], connection=towards)


class TestEnding:
    def test_leaving_deletes(self, lib: Lib, make: Make, open_sockets: Callable[[], list[str]]) -> None:
        async def main() -> None:
            async with served(lib, make) as peer:
                before = open_sockets()
                async with lib.module.connect("127.0.0.1", towards(peer.opened), make=make) as session:
                    await peer.until(lambda: bool(peer.sessions))
                assert open_sockets() == before
                await peer.until(lambda: bool(peer.reasons))
                assert session.closed is not None
                assert peer.sessions[0].closed == peer.reasons[0] != session.closed
                assert peer.opened.endpoint.sas == ()

        lib.run(main)

    def test_leaving_waits_no_longer_than_grace(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            ours = Deaf(Config(), random=os.urandom, utc=lambda: datetime.now(UTC))
            async with served(lib, make) as peer:
                connection = towards(peer.opened)
                async with lib.module.connect("127.0.0.1", connection, make=lambda _: ours, grace=0.05) as session:
                    await peer.until(lambda: bool(peer.sessions))
                    ours.deaf = True
                assert session.closed == "given up by the application"
                await peer.until(lambda: bool(peer.reasons))
                assert peer.reasons == ["the peer deleted it"]

        lib.run(main)

    @pytest.mark.parametrize("error", [ValueError("mine"), ExceptionGroup("mine", [KeyError("a"), ValueError("b")])])
    def test_an_exception_comes_out_as_it_is_and_the_peer_hears_of_it(
        self, lib: Lib, make: Make, error: Exception, open_sockets: Callable[[], list[str]]
    ) -> None:
        async def main() -> None:
            async with served(lib, make) as peer:
                before = open_sockets()
                with pytest.raises(type(error)) as caught:
                    async with lib.module.connect("127.0.0.1", towards(peer.opened), make=make) as session:
                        raise error
                assert caught.value is error
                assert open_sockets() == before
                assert session.closed is not None
                await peer.until(lambda: bool(peer.reasons))

        lib.run(main)

    def test_the_peer_deletes(self, lib: Lib, make: Make) -> None:
        """The body goes on, and learns of it when it asks."""

        async def main() -> None:
            async with both(lib, make) as (peer, session):
                events = session.events()
                await peer.until(lambda: bool(peer.sessions))
                await peer.sessions[0].delete()
                reason = await session.wait_closed()
                last = [event async for event in events][-1]
                assert isinstance(last, IkeSaClosed)
                assert (last.reason, last.by) == (reason, "peer")
                assert session.closed == reason
                assert session.peer_identity == str(THEM)
                for method in (session.check_liveness, session.delete):
                    with pytest.raises(SessionClosed, match=reason):
                        await method()
                for closed in (session.events, session.export_keys, lambda: session.child_sas):
                    with pytest.raises(SessionClosed, match=reason):
                        closed()

        lib.run(main)

    def test_a_child_sa_may_go_alone(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with both(lib, make) as (_, session):
                await session.delete(session.child_sas[0].id)
                assert session.child_sas == ()
                assert session.closed is None

        lib.run(main)

    def test_death_fails_a_request_under_way(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            ours = Deaf(Config(limits=SHORT), random=os.urandom, utc=lambda: datetime.now(UTC))
            async with both(lib, make, LEFT_ALONE, make_ours=lambda config: ours) as (_, session):
                ours.deaf = True
                with pytest.raises((PeerUnreachable, SessionClosed)):
                    await session.check_liveness()
                await session.wait_closed()

        lib.run(main)

    def test_leaving_the_endpoint_ends_all_sessions(
        self, lib: Lib, make: Make, open_sockets: Callable[[], list[str]]
    ) -> None:
        async def main() -> None:
            before = open_sockets()
            reasons = []
            async with lib.tasks() as start:
                up = [lib.Event() for _ in range(3)]
                down = [lib.Event() for _ in range(3)]

                async def initiator(connection: Connection, number: int) -> None:
                    async with lib.module.connect("127.0.0.1", connection, make=make) as session:
                        up[number].set()
                        reasons.append(await session.wait_closed())
                    down[number].set()

                async with served(lib, make) as peer:
                    for number in range(3):
                        start(initiator, towards(peer.opened), number)
                    for event in up:
                        await event.wait()
                    await peer.until(lambda: len(peer.sessions) == 3)
                for event in down:
                    await event.wait()
            assert reasons == ["the peer deleted it"] * 3
            assert open_sockets() == before

        lib.run(main)

    def test_an_observer_that_raises_ends_it_with_its_own_error(
        self, lib: Lib, make: Make, open_sockets: Callable[[], list[str]]
    ) -> None:
        class Unwanted(Exception):
            pass

        def refuse(output: Output) -> None:
            if isinstance(output, IkeSaClosed):
                raise Unwanted

        async def main() -> None:
            async with served(lib, make) as peer:
                before = open_sockets()
                with pytest.raises(Unwanted):  # noqa: PT012
                    async with lib.module.connect("127.0.0.1", towards(peer.opened), make=make, on_event=refuse):
                        await peer.until(lambda: bool(peer.sessions))
                        await peer.sessions[0].delete()
                        await lib.Event().wait()
                assert open_sockets() == before

        lib.run(main)


class TestItsLife:
    """New Child SAs and new keys, asked for by either end of one SA."""

    @pytest.mark.requirement("IKE-121")
    def test_another_child_sa(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with both(lib, make) as (peer, session):
                first = session.child_sas[0]
                by_default = await session.create_child()
                by_name = await peer.sessions[0].create_child(first.name)
                by_config = await session.create_child(ChildConfig(name=first.name))
                made = [first, by_default, by_config]
                assert [view for view in session.child_sas if view in made] == made
                assert len(session.child_sas) == len(peer.sessions[0].child_sas) == 4
                theirs = {view.spi_in: view for view in peer.sessions[0].child_sas}
                for ours in session.child_sas:
                    other = theirs[ours.spi_out]
                    assert (other.spi_out, other.name) == (ours.spi_in, by_name.name)
                    assert other.export_keys().encr_in == ours.export_keys().encr_out

        lib.run(main)

    def test_a_child_sa_that_the_peer_refuses(self, lib: Lib, make: Make) -> None:
        """The error is the peer's, and the IKE SA lives on."""

        async def main() -> None:
            async with both(lib, make) as (_, session):
                elsewhere = ChildConfig(
                    name="elsewhere",
                    local_ts=(parse_selector("198.51.100.0/24"),),
                    remote_ts=(parse_selector("203.0.113.0/24"),),
                )
                with pytest.raises(TsUnacceptable):
                    await session.create_child(elsewhere)
                with pytest.raises(LocalProtocolError, match="no child 'nowhere'"):
                    await session.create_child("nowhere")
                with pytest.raises(LocalProtocolError, match="no Child SA 99"):
                    await session.rekey(ChildId(99))
                await session.check_liveness()

        lib.run(main)

    @pytest.mark.requirement("IKE-124")
    @pytest.mark.parametrize("who", ["initiator", "responder"])
    def test_a_child_sa_is_rekeyed(self, lib: Lib, make: Make, who: str) -> None:
        """The new one comes with the name of the old one, which goes. Who asked may send by it at once."""

        async def main() -> None:
            async with both(lib, make) as (peer, session):
                mine, other = (session, peer.sessions[0]) if who == "initiator" else (peer.sessions[0], session)
                [old] = mine.child_sas
                events, here = other.events(), mine.events()
                new = await mine.rekey(old.id)
                assert new.id != old.id
                assert new.export_keys() != old.export_keys()
                assert new in mine.child_sas
                [told] = [each async for each in until(events, ChildSaClosed) if isinstance(each, ChildSaEstablished)]
                assert (told.replaces, told.spi_in, told.spi_out) == (old.id, new.spi_out, new.spi_in)
                [ours] = [each async for each in until(here, ChildSaClosed) if isinstance(each, ChildSaEstablished)]
                assert (ours.child, ours.replaces, ours.peer_ready, told.peer_ready) == (new.id, old.id, True, False)
                await mine.check_liveness()  # the Delete of the old one was before it in the window
                assert mine.child_sas == (new,)
                assert [(each.spi_in, each.spi_out) for each in other.child_sas] == [(new.spi_out, new.spi_in)]

        lib.run(main)

    @pytest.mark.requirement("IKE-118")
    @pytest.mark.parametrize("who", ["initiator", "responder"])
    def test_the_ike_sa_is_rekeyed(self, lib: Lib, make: Make, who: str) -> None:
        """The session, its handle and its Child SAs stay; SPIs and keys are others, and the same on both sides."""

        async def main() -> None:
            async with both(lib, make) as (peer, session):
                mine = session if who == "initiator" else peer.sessions[0]
                children, before, handle = session.child_sas, session.export_keys(), session.sa
                assert await mine.rekey() is None
                await mine.check_liveness()
                after = session.export_keys()
                assert session.sa == handle
                assert (after.spi_i, after.sk_d) != (before.spi_i, before.sk_d)
                assert after == peer.sessions[0].export_keys()
                assert session.child_sas == children
                await peer.sessions[0].check_liveness()
                await session.delete((await session.rekey(children[0].id)).id)

        lib.run(main)

    @pytest.mark.requirement("IKE-131")
    def test_both_sides_at_once(self, lib: Lib, make: Make) -> None:
        """Each call returns, and both sides end with the same one Child SA and the same keys."""

        async def main() -> None:
            async with both(lib, make) as (peer, session):
                sides = (session, peer.sessions[0])
                done = [lib.Event(), lib.Event()]

                async def rekey(number: int) -> None:
                    await sides[number].rekey(sides[number].child_sas[0].id)
                    await sides[number].rekey()
                    done[number].set()

                async with lib.tasks() as start:
                    for number in (0, 1):
                        start(rekey, number)
                    for event in done:
                        await event.wait()
                for side in sides:
                    await side.check_liveness()
                assert session.export_keys() == peer.sessions[0].export_keys()
                while len(session.child_sas) > 1 or len(peer.sessions[0].child_sas) > 1:
                    await session.check_liveness()
                [ours], [other] = session.child_sas, peer.sessions[0].child_sas
                assert (ours.spi_in, ours.spi_out) == (other.spi_out, other.spi_in)

        lib.run(main)

    @pytest.mark.parametrize("wish", ["create_child", "rekey"])
    def test_the_sa_ends_instead(self, lib: Lib, make: Make, wish: str) -> None:
        async def main() -> None:
            ours = Deaf(Config(limits=SHORT), random=os.urandom, utc=lambda: datetime.now(UTC))
            async with both(lib, make, LEFT_ALONE, make_ours=lambda config: ours) as (_, session):
                ours.deaf = True
                with pytest.raises(SessionClosed, match="no answer to CREATE_CHILD_SA"):
                    await getattr(session, wish)()
                with pytest.raises(SessionClosed):
                    await getattr(session, wish)()

        lib.run(main)

    @pytest.mark.parametrize("wish", ["create_child", "rekey", "check_liveness"])
    def test_the_peer_deletes_the_sa_instead(self, lib: Lib, make: Make, wish: str) -> None:
        """The session is closed and its reason told; nobody says that the peer did not answer."""
        seen: list[Output] = []

        async def main() -> None:
            theirs = Deaf(
                Config(connections=[peering()], limits=SHORT), random=os.urandom, utc=lambda: datetime.now(UTC)
            )
            async with both(lib, lambda config: theirs, make_ours=make, on_event=seen.append) as (peer, session):
                theirs.deaf = True
                async with lib.tasks() as start:
                    start(peer.sessions[0].delete)
                    with pytest.raises(SessionClosed, match="the peer deleted it"):
                        await getattr(session, wish)()
                assert session.closed == "the peer deleted it"

        lib.run(main)
        [failed] = [event for event in seen if isinstance(event, RequestFailed)]
        assert (type(failed.error), str(failed.error)) == (SaClosed, "the peer deleted it")

    @pytest.mark.parametrize("wish", ["create_child", "rekey", "rekey_child"])
    def test_we_are_deleting_the_sa(self, lib: Lib, make: Make, wish: str) -> None:
        """Another task's `delete` is no misuse of this one. The name of a child that there is not still is."""

        async def main() -> None:
            theirs = Deaf(Config(connections=[peering()]), random=os.urandom, utc=lambda: datetime.now(UTC))
            ours = Config(limits=Limits(retransmit_first=0.05, retransmit_factor=1.0))
            async with (
                both(lib, lambda _: theirs, make_ours=lambda _: make(ours)) as (_, session),
                lib.tasks() as start,
            ):
                [child] = session.child_sas
                theirs.deaf = True
                start(session.delete)
                while session.view.state != "deleting":
                    await lib.turns(1)
                with pytest.raises(SessionClosed, match="is being deleted"):
                    await (session.rekey(child.id) if wish == "rekey_child" else getattr(session, wish)())
                assert session.closed is None
                theirs.deaf = False
                with pytest.raises(SessionClosed, match="we deleted it"):
                    await session.check_liveness()
                assert session.closed == "we deleted it"

        lib.run(main)


class TestMovingOn:
    """The engine sets up another SA in place of one by itself, and the session is that one's."""

    @pytest.mark.requirement("IKE-134")
    def test_to_the_sa_that_the_peers_authenticated_anew(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with served(lib, make) as peer:
                often = Lifetimes(reauth_time=2.0, rand_time=0.0, over_time=60.0)
                connection = attrs.evolve(towards(peer.opened), lifetimes=often)
                async with lib.module.connect("127.0.0.1", connection, make=make) as session:
                    first, [child], events = session.sa, session.child_sas, session.events()
                    seen = [event async for event in until(events, IkeSaReauthenticated)]
                    second = session.sa
                    assert seen[-1] == IkeSaReauthenticated(first, second) != IkeSaReauthenticated(first, first)
                    assert session.established in seen
                    assert any(isinstance(event, ChildSaEstablished) and event.sa == second for event in seen)
                    await peer.until(lambda: len(peer.sessions) == 2)
                    assert session.export_keys() == peer.sessions[1].export_keys()
                    assert [view.id == child.id for view in session.child_sas] == [False]
                    assert (session.peer_identity, session.transport.name, session.closed) == (str(THEM), "udp", None)
                    await session.check_liveness()
                    old_goes = [event async for event in until(events, IkeSaClosed)]
                    assert old_goes[-1] == IkeSaClosed(first, "the peers authenticated anew", "us")
                    await session.rekey((await session.create_child()).id)
                    [*_, more] = [event async for event in until(events, IkeSaReauthenticated)]
                    assert more == IkeSaReauthenticated(second, session.sa)
                await peer.until(lambda: len(peer.reasons) == 3)
                assert session.closed is not None
                assert [type(event) for event in [event async for event in events][-1:]] == [IkeSaClosed]

        lib.run(main)

    def anew(self, peer: Peer) -> Connection:
        return attrs.evolve(towards(peer.opened), dpd_delay=0.05, dpd_timeout=1.0, dpd_action="restart")

    def test_to_the_sa_that_begins_anew_after_a_silence(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            ours = Deaf(Config(), random=os.urandom, utc=lambda: datetime.now(UTC), raise_bugs=True)
            async with (
                served(lib, make) as peer,
                lib.module.connect("127.0.0.1", self.anew(peer), make=lambda _: checked(ours)) as session,
            ):
                first, events = session.sa, session.events()
                ours.deaf = True
                with pytest.raises((PeerUnreachable, SessionClosed)):
                    await session.check_liveness()
                [*_, begun, closed] = [event async for event in until(events, IkeSaClosed)]
                assert isinstance(begun, SuccessorBegun)
                assert isinstance(closed, IkeSaClosed)
                assert (closed.by, session.closed) == ("silence", None)
                assert session.sa == begun.successor != first
                assert session.peer_identity == str(THEM)
                assert session.child_sas == ()
                for wish in (session.check_liveness, session.create_child, session.rekey):
                    with pytest.raises(PeerUnreachable, match="set up anew"):
                        await wish()
                ours.deaf = False
                [*_, up] = [event async for event in until(events, ChildSaEstablished)]
                assert isinstance(up, ChildSaEstablished)
                assert (up.sa, session.established.sa) == (session.sa, session.sa)
                assert [view.id for view in session.child_sas] == [up.child]
                await session.check_liveness()
            assert session.closed is not None

        lib.run(main)

    @pytest.mark.parametrize("how", ["leave", "raise", "delete"])
    def test_or_to_none_if_the_application_leaves_in_between(self, lib: Lib, make: Make, how: str) -> None:
        async def main() -> None:
            ours = Deaf(Config(), random=os.urandom, utc=lambda: datetime.now(UTC), raise_bugs=True)
            async with (
                served(lib, make, grace=0.0) as peer,
                lib.module.open_endpoint(Config(), FREE, make=lambda _: checked(ours)) as opened,
            ):
                with suppress(ZeroDivisionError):
                    async with opened.connect("127.0.0.1", self.anew(peer)) as session:
                        events = session.events()
                        ours.deaf = True
                        [*_] = [event async for event in until(events, IkeSaClosed)]
                        if how == "delete":
                            await session.delete()
                        elif how == "raise":
                            raise ZeroDivisionError
                assert opened.endpoint.sas == ()
                assert session.closed == "given up by the application"
                assert isinstance([event async for event in events][-1], IkeSaFailed)
                with pytest.raises(SessionClosed, match="given up"):
                    await session.check_liveness()

        lib.run(main)


async def until(events: Any, kind: type[Event]) -> AsyncIterator[Event]:
    """The events up to the first of a kind, with it."""
    async for event in events:
        yield event
        if isinstance(event, kind):
            return


class TestCancelling:
    """At every place where the task waits: nothing stays open, and the peer hears of the end of an SA that was up.

    (Of one whose IKE_AUTH is under way it does not: nothing may be sent on that before the peer is authenticated. Nor
    if we rekey the IKE SA: the peer takes our Delete for that of the replaced SPIs, and the others are not known yet.)
    """

    @pytest.mark.parametrize("policy", [BySize(), WholeMission()])
    def test_connect(self, lib: Lib, make: Make, policy: Any, open_sockets: Callable[[], list[str]]) -> None:
        async def main() -> int:
            steps, up = 1, 0
            async with served(lib, make, grace=0.0) as peer:
                port = peer.opened.locals[2].address[1]
                connection = towards(peer.opened, policy=policy, tcp_port=port)
                before = open_sockets()

                async def whole() -> None:
                    nonlocal up
                    async with lib.module.connect("127.0.0.1", connection, make=make) as session:
                        up += 1
                        await session.check_liveness()
                        await session.delete(session.child_sas[0].id)
                        made = await session.create_child()
                        await session.rekey(made.id)
                        up -= 1
                        await session.rekey()
                        up += 1

                while await lib.cancelled_after(steps, whole):
                    while open_sockets() != before:  # the peer may have to see the reset first
                        await lib.turns(1)
                    steps += 1
                await peer.until(lambda: len(peer.reasons) >= up)
                assert up >= 3
            return steps

        assert lib.run(main) >= 6

    def test_connect_of_an_endpoint(self, lib: Lib, make: Make) -> None:
        async def main() -> int:
            steps, up = 1, 0
            async with (
                served(lib, make, grace=0.0) as peer,
                lib.module.open_endpoint(Config(), FREE, make=make) as ours,
            ):
                connection = towards(peer.opened)

                async def whole() -> None:
                    nonlocal up
                    async with ours.connect("127.0.0.1", connection) as session:
                        up += 1
                        await session.check_liveness()

                while await lib.cancelled_after(steps, whole):
                    assert ours.endpoint.sas == ()
                    steps += 1
                await peer.until(lambda: len(peer.reasons) >= up)
                assert up >= 3
            return steps

        assert lib.run(main) >= 4

    def test_an_endpoint_that_serves(self, lib: Lib, make: Make, open_sockets: Callable[[], list[str]]) -> None:
        async def main() -> int:
            before = open_sockets()
            steps = 1

            async def whole() -> None:
                async with both(lib, make) as (_, session):
                    await session.check_liveness()

            while await lib.cancelled_after(steps, whole):
                assert open_sockets() == before
                steps += 1
            return steps

        assert lib.run(main) >= 6

    def test_serve(self, lib: Lib, make: Make) -> None:
        """The sessions of its handlers are deleted; the endpoint lives on, and can be served again."""

        async def main() -> None:
            config = Config(connections=[peering()])
            async with lib.module.open_endpoint(config, FREE, make=make) as opened:
                peer = Peer(lib, opened)
                for number in (1, 2):
                    async with lib.module.connect("127.0.0.1", towards(opened), make=make) as session:
                        async with lib.tasks() as start:
                            start(opened.serve, peer.handle)
                            await peer.until(lambda number=number: len(peer.sessions) == number)  # type: ignore[misc]
                        assert await session.wait_closed() == "the peer deleted it"

        lib.run(main)


class TestServing:
    def test_a_handler_that_raises_ends_only_its_own_session(
        self, lib: Lib, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            first = True

            async def handler(session: Any) -> None:
                nonlocal first
                mine, first = first, False
                if mine:
                    raise RuntimeError("a bug of the application")
                await session.wait_closed()

            config = Config(connections=[peering()])
            async with lib.module.open_endpoint(config, FREE, make=make) as opened, lib.tasks() as start:
                start(opened.serve, handler)
                connection = towards(opened)
                async with lib.module.connect("127.0.0.1", connection, make=make) as one:
                    assert await one.wait_closed() == "the peer deleted it"
                    async with lib.module.connect("127.0.0.1", connection, make=make) as two:
                        await two.check_liveness()

        with caplog.at_level(logging.ERROR, "ikecore"):
            lib.run(main)
        [record] = caplog.records
        assert "a bug of the application" in (record.exc_text or "")

    def test_an_observer_that_raises_while_a_handler_ends_comes_out_as_itself(self, lib: Lib, make: Make) -> None:
        class Unwanted(Exception):
            pass

        up = False

        def refuse(output: Output) -> None:
            if up and isinstance(output, TransportChosen):
                raise Unwanted

        async def main() -> None:
            async def handler(session: Any) -> None:
                nonlocal up
                up = True

            async def initiator(connection: Connection) -> None:
                async with lib.module.connect("127.0.0.1", connection, make=make) as session:
                    await session.wait_closed()

            config = Config(connections=[peering()])
            async with lib.tasks() as start:
                with pytest.raises(Unwanted):  # noqa: PT012
                    async with lib.module.open_endpoint(config, FREE, make=make, on_event=refuse) as opened:
                        start(initiator, towards(opened))
                        await opened.serve(handler)

        lib.run(main)

    def test_a_handler_that_returns_ends_its_session_quietly(
        self, lib: Lib, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        """So does one that hears of the end by `SessionClosed`."""

        async def main() -> None:
            async def returns(session: Any) -> None:
                pass

            async def hears(session: Any) -> None:
                await session.delete()
                session.events()

            config = Config(connections=[peering()])
            async with lib.module.open_endpoint(config, FREE, make=make) as opened:
                for handler in (returns, hears):
                    async with lib.tasks() as start:
                        start(opened.serve, handler)
                        async with lib.module.connect("127.0.0.1", towards(opened), make=make) as session:
                            assert await session.wait_closed() == "the peer deleted it"

        with caplog.at_level(logging.DEBUG, "ikecore"):
            lib.run(main)
        assert not caplog.records

    @pytest.mark.parametrize("answer", [True, False, "yes", 1, None, RuntimeError("the database is down")])
    def test_who_may_is_asked(self, lib: Lib, make: Make, answer: object) -> None:
        asked = []

        async def authorize(identity: str, question: Any) -> Any:
            asked.append((identity, question.peer_identity, question.connection))
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert self.admitted(lib, make, authorize) is (answer is True)
        assert asked == [(str(US), str(US), "them")]

    def test_nobody_to_ask_denies(self, lib: Lib, make: Make) -> None:
        assert not self.admitted(lib, make, None)

    def admitted(self, lib: Lib, make: Make, authorize: Any) -> bool:
        async def main() -> bool:
            config = Config(connections=[peering(authorize=True)])
            async with served(lib, make, config, authorize=authorize) as peer:
                try:
                    async with lib.module.connect("127.0.0.1", towards(peer.opened), make=make):
                        return True
                except AuthenticationFailed:
                    return False

        return lib.run(main)

    @pytest.mark.parametrize("accepted", [True, False, None, "nobody", RuntimeError("no")])
    def test_both_sides_are_asked_about_addresses(self, lib: Lib, make: Make, accepted: object) -> None:
        async def lease(question: Any) -> Any:
            assert (question.peer_identity, question.addresses) == (str(US), ("0.0.0.0",))
            return Lease(addresses=("10.3.0.1",), dns=("10.1.0.53",))

        async def accept(question: Any) -> Any:
            assert question.lease.addresses == ("10.3.0.1",)
            await lib.turns()
            if isinstance(accepted, Exception):
                raise accepted
            return accepted

        async def main() -> None:
            config = Config(connections=[peering(ask_lease=True)])
            async with served(lib, make, config, lease=lease) as peer:
                ours = attrs.evolve(towards(peer.opened), virtual_addresses=("0.0.0.0",), ask_acceptance=True)
                how = {} if accepted == "nobody" else {"accept": accept}
                async with lib.module.connect("127.0.0.1", ours, make=make, **how) as session:
                    await peer.until(lambda: bool(peer.sessions))
                    assert peer.sessions[0].addresses == ("10.3.0.1",)
                    assert session.addresses == (("10.3.0.1",) if accepted is True else ())
                    assert len(session.child_sas) == (accepted is True)
                    if accepted is True:
                        assert session.lease.dns == ("10.1.0.53",)

        lib.run(main)

    @pytest.mark.parametrize("given", [None, "10.3.0.1", "nobody"])
    def test_without_a_lease_there_is_no_child(self, lib: Lib, make: Make, given: object) -> None:
        async def lease(question: Any) -> Any:
            return given

        async def main() -> None:
            config = Config(connections=[peering(ask_lease=True)])
            async with served(lib, make, config, lease=None if given == "nobody" else lease) as peer:
                ours = attrs.evolve(towards(peer.opened), virtual_addresses=("0.0.0.0",))
                async with lib.module.connect("127.0.0.1", ours, make=make) as session:
                    assert (session.addresses, session.child_sas) == ((), ())

        lib.run(main)

    def test_whoever_decides_about_addresses_is_cancelled_with_the_session(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            begun, cancelled = lib.Event(), lib.Event()

            async def accept(question: Any) -> bool:
                begun.set()
                try:
                    await lib.Event().wait()
                except lib.Cancelled:
                    cancelled.set()
                    raise
                return True

            config = Config(connections=[peering(pools=[Pool(name="p", addresses=["10.3.0.0/24"])])])
            async with served(lib, make, config) as peer, lib.tasks() as start:
                ours = attrs.evolve(towards(peer.opened), virtual_addresses=("0.0.0.0",), ask_acceptance=True)

                async def connect() -> None:
                    async with lib.module.connect("127.0.0.1", ours, make=make, accept=accept) as session:
                        assert session.closed

                start(connect)
                await begun.wait()
                await peer.sessions[0].delete()
                await cancelled.wait()

        lib.run(main)

    def test_a_question_that_closes_cancels_whoever_works_on_it(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            cancelled = lib.Event()

            async def authorize(identity: str, question: Any) -> bool:
                try:
                    await lib.Event().wait()
                except lib.Cancelled:
                    cancelled.set()
                    raise
                return True

            config = Config(connections=[peering(authorize=True)], limits=Limits(question_timeout=0.05))
            async with served(lib, make, config, authorize=authorize) as peer:
                with pytest.raises(AuthenticationFailed):
                    async with lib.module.connect("127.0.0.1", towards(peer.opened), make=make):
                        pass
                await cancelled.wait()

        lib.run(main)


class TestEvents:
    def test_what_nobody_reads_is_counted(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with both(lib, make, config=Config(trace=True)) as (_, session):
                few, many = session.events(limit=2), session.events()
                for _ in range(3):
                    await session.check_liveness()
                await session.delete()
                all_events = [event async for event in many]
                lost, *kept = [event async for event in few]
                assert lost == EventsLost(len(all_events) - 2)
                assert kept == all_events[-2:]
                assert isinstance(kept[-1], IkeSaClosed)
                assert await anext(aiter(few), None) is None

        lib.run(main)

    def test_reading_goes_on_while_others_read(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with both(lib, make, config=Config(trace=True)) as (_, session):
                events, read = session.events(), []

                async def reader() -> None:
                    async for event in events:
                        read.append(event)

                async with lib.tasks() as start:
                    start(reader)
                    others = session.events()
                    await session.check_liveness()
                    await session.delete()
                    assert [event async for event in others] == read

        lib.run(main)

    def test_a_ring_has_room(self, lib: Lib, make: Make) -> None:
        async def main() -> None:
            async with both(lib, make) as (_, session):
                with pytest.raises(LocalProtocolError, match="limit"):
                    session.events(limit=0)

        lib.run(main)
