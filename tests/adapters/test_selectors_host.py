"""The host of docs/embedding.md on real sockets: it keeps the contract, and does what the core asks for."""

from __future__ import annotations

import importlib.util
import os
import runpy
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from selectors import DefaultSelector
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import pytest

from ikecore import (
    BySize,
    CertificateCredential,
    CloseStream,
    Config,
    Connection,
    Endpoint,
    Event,
    HalfCloseStream,
    Identity,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    Limits,
    Listen,
    Local,
    OpenStream,
    Output,
    PeerUnreachable,
    Refused,
    ResetStream,
    SendDatagram,
    StreamChanged,
    StreamId,
    Transports,
    TrustedCertificates,
    WholeMission,
    WriteStream,
)
from ikecore.testing import psk_connection
from ikecore.testing.pki import CertificateAuthority
from tests.adapters.conftest import PATIENCE, checked

if TYPE_CHECKING:
    from tests.adapters.conftest import Script

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
OURS = StreamId(1)
FREE = Listen(udp=0, udp_nat=0, tcp=0)

E = TypeVar("E", bound=Output)


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example_host = example("selectors_host")


class World:
    """Hosts on one selector, with what each of them has heard."""

    def __init__(self) -> None:
        self.selector = DefaultSelector()
        self.hosts: list[Any] = []
        self.heard: dict[int, list[Output]] = {}

    def host(self, endpoint: Endpoint, listen: Listen | None = None) -> Any:
        said: list[Output] = []
        host = example_host.Host(endpoint, self.selector, said.append)
        self.hosts.append(host)
        self.heard[id(host)] = said
        for local in () if listen is None else listen.locals():
            host.bind(local)
        return host

    def real(self, connection: Connection, listen: Listen | None = None, **limits: float) -> Any:
        """Run a real endpoint; a bug of ours raises, and so does a breach of the contract by the host."""
        config = Config(connections=[connection], limits=Limits(**cast("dict[str, Any]", limits)))
        endpoint = Endpoint(config, random=os.urandom, utc=lambda: datetime.now(UTC), raise_bugs=True)
        return self.host(checked(endpoint), listen)

    def of(self, host: Any, *kinds: type[E]) -> list[E]:
        return [output for output in self.heard[id(host)] if isinstance(output, kinds)]

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"heard: {self.heard}")
            example_host.turn(self.selector, *self.hosts, at_most=0.01)

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self.selector.close()


@pytest.fixture
def world() -> Iterator[World]:
    """Hosts that are closed in the end."""
    made = World()
    yield made
    made.close()


def ports(host: Any) -> dict[str, Any]:
    plain, marked, *_ = (address[1] for kind, address in host.sockets if kind == "udp")
    return {"udp_port": plain, "udp_nat_port": marked}


def two(world: World, ours: dict[str, Any], theirs: dict[str, Any] | None = None, **limits: float) -> tuple[Any, Any]:
    """Run a responder with a listener and an initiator; they know one pre-shared key."""
    server = world.real(psk_connection("responder", transports=Transports(**(theirs or {}))), FREE)
    connection = psk_connection("initiator", transports=Transports(**{**ports(server), **ours}))
    client = world.real(connection, Listen(udp=0, udp_nat=0), **limits)
    client.tell(client.endpoint.initiate, connection, ["127.0.0.1"])
    return client, server


def decided(world: World, client: Any) -> Event:
    """Turn until the SA of *client* is up, or has failed."""
    outcomes: list[Event] = []

    def outcome() -> bool:
        outcomes.extend(world.of(client, IkeSaEstablished, IkeSaFailed))
        return bool(outcomes)

    world.until(outcome)
    return outcomes[0]


def leave(world: World, client: Any, server: Any) -> None:
    """Delete what there is, and wait until both sides have nothing left: no SA, no stream."""
    client.tell(client.endpoint.shutdown)
    world.until(lambda: client.endpoint.idle and server.endpoint.idle)
    assert not client.streams
    assert not server.streams


class TestTheExample:
    def test_the_demonstration_runs_by_itself(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(EXAMPLES))
        monkeypatch.delitem(sys.modules, "selectors_host", raising=False)
        runpy.run_path(str(EXAMPLES / "selectors_demo.py"), run_name="__main__")
        said = capsys.readouterr().out.splitlines()
        chosen = [line.partition("transport=")[2][:5] for line in said if "TransportChosen" in line]
        assert chosen == ["'udp'", "'tcp'", "'udp'"]
        assert "keys for ESP: 36 octets outbound" in said
        assert {line.partition("(")[0] for line in said if "Closed" in line} >= {
            "alice: IkeSaClosed",
            "bob: IkeSaClosed",
        }

    def test_the_host_has_at_most_200_lines(self) -> None:
        assert len((EXAMPLES / "selectors_host.py").read_text(encoding="utf-8").splitlines()) <= 200


class TestSessions:
    """Two real endpoints, both under `CheckedEndpoint`."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_udp(self, world: World, host: str) -> None:
        listen = attrs.evolve(FREE, hosts=(host,))
        server = world.real(psk_connection("responder"), listen)
        connection = psk_connection("initiator", transports=Transports(**ports(server)))
        client = world.real(connection, attrs.evolve(listen, tcp=None))
        client.tell(client.endpoint.initiate, connection, [host])
        assert isinstance(decided(world, client), IkeSaEstablished)
        assert not world.of(client, OpenStream)
        leave(world, client, server)
        [closed] = world.of(server, IkeSaClosed)
        assert closed.by == "peer"

    @pytest.mark.requirement("TCP-01")
    def test_a_certificate_chain_goes_by_tcp(self, world: World) -> None:
        now = datetime.now(UTC)
        root = CertificateAuthority("root", utc=now)
        issuer = root.intermediate("issuer", kind="ml-dsa-44")

        def side(me: str, peer: str, transports: Transports) -> Connection:
            leaf = issuer.leaf([me])
            return Connection(
                name=me,
                local_identity=Identity.parse(me),
                remote_identity=Identity.parse(peer),
                local=CertificateCredential(leaf.chain, leaf.key),
                remote=TrustedCertificates((root.der,)),
                transports=transports,
            )

        server = world.real(side("bob.example", "alice.example", Transports()), FREE)
        connection = side("alice.example", "bob.example", Transports(policy=BySize(), **ports(server)))
        client = world.real(connection, Listen(udp=0, udp_nat=0))
        client.tell(client.endpoint.initiate, connection, ["127.0.0.1"])
        established = decided(world, client)
        assert isinstance(established, IkeSaEstablished)
        assert established.transport == "tcp"
        [written] = world.of(client, WriteStream)
        assert len(written.data) > 4000
        leave(world, client, server)

    @pytest.mark.requirement("TCP-10", "TCP-33")
    def test_half_close(self, world: World) -> None:
        """FIN follows the last request; the answer comes all the same, and both sides end without a reset."""
        client, server = two(world, {"policy": BySize(threshold=200), "half_close": True})
        established = decided(world, client)
        assert isinstance(established, IkeSaEstablished)
        assert established.transport == "tcp"
        actions = world.of(client, OpenStream, WriteStream, HalfCloseStream, CloseStream)
        assert [type(action) for action in actions][:3] == [OpenStream, WriteStream, HalfCloseStream]
        leave(world, client, server)
        states = [change.state for change in world.of(server, StreamChanged)]
        assert states[:2] == ["open", "half-closed there"]
        assert states[-1] == "closed"
        assert not world.of(server, ResetStream)

    @pytest.mark.requirement("TCP-67")
    def test_a_refused_connection_falls_back_to_udp(self, world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        client, server = two(world, {"policy": BySize(threshold=200)}, {"announce_tcp": port})
        established = decided(world, client)
        assert isinstance(established, IkeSaEstablished)
        assert established.transport == "udp"
        assert {opened.remote[1] for opened in world.of(client, OpenStream)} == {port}
        assert "Connection refused" in {change.reason for change in world.of(client, StreamChanged)}
        leave(world, client, server)

    def test_a_silent_peer(self, world: World) -> None:
        """Nobody reads what we send: the timer alone ends it."""
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            connection = psk_connection("initiator", transports=Transports(udp_port=silent.getsockname()[1]))
            client = world.real(connection, Listen(udp=0, udp_nat=0), retransmit_first=0.01, retransmit_tries=3)
            client.tell(client.endpoint.initiate, connection, ["127.0.0.1"])
            failed = decided(world, client)
            assert isinstance(failed, IkeSaFailed)
            assert isinstance(failed.error, PeerUnreachable)
            assert len({silent.recv(65535) for _ in range(3)}) == 1
        assert client.endpoint.idle

    def test_a_peer_that_accepts_and_says_nothing(self, world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            connection = psk_connection(
                "initiator", transports=Transports(policy=WholeMission(), tcp_port=silent.getsockname()[1])
            )
            client = world.real(
                connection,
                Listen(udp=0, udp_nat=0),
                stream_answer_timeout=0.05,
                retransmit_first=0.01,
                retransmit_factor=1.0,
            )
            client.tell(client.endpoint.initiate, connection, ["127.0.0.1"])
            assert isinstance(decided(world, client), IkeSaFailed)
            assert world.of(client, WriteStream)
            assert not client.streams

    @pytest.mark.requirement("TCP-46")
    def test_abuse_is_reset(self, world: World) -> None:
        """The octets of another protocol are answered with a RST, which drops what is under way."""
        server = world.real(psk_connection("responder"), FREE)
        [address] = [address for kind, address in server.sockets if kind == "tcp"]
        with socket.create_connection(address, timeout=PATIENCE) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            world.until(lambda: world.of(server, ResetStream))
            with pytest.raises(ConnectionResetError):
                stranger.recv(1)
        assert not server.streams

    def test_a_connection_too_many_is_reset(self, world: World) -> None:
        """The refusal is among the outputs of the acceptance itself."""
        server = world.real(psk_connection("responder"), FREE, streams_per_source=1)
        [address] = [address for kind, address in server.sockets if kind == "tcp"]
        with socket.create_connection(address, timeout=PATIENCE):
            world.until(lambda: server.streams)
            with socket.create_connection(address, timeout=PATIENCE) as second:
                world.until(lambda: world.of(server, Refused))
                with pytest.raises(ConnectionResetError):
                    second.recv(1)
        assert len(server.streams) == 1

    def test_wishes_made_while_hearing_come_out_of_the_same_loop(self, world: World) -> None:
        server = world.real(psk_connection("responder"), FREE)
        connection = psk_connection("initiator", transports=Transports(**ports(server)))
        client = world.real(connection, Listen(udp=0, udp_nat=0))
        said = world.heard[id(client)]

        def hear(output: Output) -> None:
            said.append(output)
            if isinstance(output, IkeSaEstablished):
                client.tell(client.endpoint.delete, output.sa)

        client.heard = hear
        client.tell(client.endpoint.initiate, connection, ["127.0.0.1"])
        world.until(lambda: world.of(client, IkeSaClosed))

    def test_closing_resets_what_is_open_and_leaves_no_socket(
        self, world: World, open_sockets: Callable[[], list[str]]
    ) -> None:
        before = open_sockets()
        server = world.real(psk_connection("responder"), FREE)
        [address] = [address for kind, address in server.sockets if kind == "tcp"]
        with socket.create_connection(address, timeout=PATIENCE) as stranger:
            world.until(lambda: server.streams)
            world.close()
            with pytest.raises(ConnectionResetError):
                stranger.recv(1)
        world.hosts.clear()
        assert set(open_sockets()) <= set(before)


def accepted(server: socket.socket) -> socket.socket:
    sock, _ = server.accept()
    sock.settimeout(PATIENCE)
    return sock


def opening(server: socket.socket) -> OpenStream:
    return OpenStream(OURS, server.getsockname(), "127.0.0.1")


class TestStreams:
    """An endpoint that says what the test lets it say, against a plain socket."""

    def test_fin_follows_what_is_queued_and_the_other_direction_stays_open(
        self, world: World, script: type[Script], server: socket.socket
    ) -> None:
        core = script({}, [opening(server), WriteStream(OURS, b"hello"), WriteStream(OURS, b" world")])
        core.queue.append(HalfCloseStream(OURS))
        host = world.host(core.make(Config()))
        host.tell(host.endpoint.timer_expired)
        with accepted(server) as peer:
            world.until(lambda: sum(octets for _, octets in core.named("stream_sent")) == 11)
            assert peer.recv(100) == b"hello world"
            assert peer.recv(100) == b""
            peer.sendall(b"answer")
            peer.shutdown(socket.SHUT_WR)
            world.until(lambda: core.named("stream_eof"))
        assert core.named("stream_received") == [(OURS, b"answer")]
        assert not core.named("stream_lost")

    def test_a_slow_reader_holds_up_nothing_but_its_stream(
        self, world: World, script: type[Script], server: socket.socket
    ) -> None:
        big = bytes(range(256)) * 40_000
        core = script({}, [opening(server), WriteStream(OURS, big), HalfCloseStream(OURS)])
        host = world.host(core.make(Config()), Listen(udp=0, udp_nat=None))
        with accepted(server) as peer, socket.socket(type=socket.SOCK_DGRAM) as other:
            world.until(lambda: core.named("stream_sent"))
            [(_, address)] = host.sockets
            other.sendto(b"a datagram", address)
            world.until(lambda: core.named("datagram_received"))
            assert 0 < sum(octets for _, octets in core.named("stream_sent")) < len(big)
            peer.setblocking(False)
            received = bytearray()

            def read() -> bool:
                try:
                    data = peer.recv(1 << 20)
                except BlockingIOError:
                    return False
                received.extend(data)
                return not data

            world.until(read)
        assert received == big
        assert sum(octets for _, octets in core.named("stream_sent")) == len(big)

    def test_what_came_before_a_break_counts(self, world: World, script: type[Script], server: socket.socket) -> None:
        """The answer is in the kernel when a write fails."""
        core = script({}, [opening(server)])
        host = world.host(core.make(Config()))
        host.tell(host.endpoint.timer_expired)
        with accepted(server) as peer:
            world.until(lambda: core.named("stream_connected"))
            peer.sendall(b"answer")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        core.queue.append(WriteStream(OURS, b"late"))
        host.tell(host.endpoint.timer_expired)
        world.until(lambda: core.named("stream_lost"))
        assert core.named("stream_received") == [(OURS, b"answer")]
        assert not host.streams

    def test_a_refusal_is_told_in_words(self, world: World, script: type[Script]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            wanted = opening(closed)
        core = script({}, [wanted, WriteStream(OURS, b"lost")])
        host = world.host(core.make(Config()))
        host.tell(host.endpoint.timer_expired)
        world.until(lambda: core.named("stream_lost"))
        assert core.named("stream_lost") == [(OURS, "Connection refused")]

    def test_no_way_at_all_is_told_in_words(self, world: World, script: type[Script]) -> None:
        core = script({}, [OpenStream(OURS, ("127.0.0.1", 9), "192.0.2.99"), WriteStream(OURS, b"lost")])
        host = world.host(core.make(Config()))
        host.tell(host.endpoint.timer_expired)
        assert core.named("stream_lost") == [(OURS, "Cannot assign requested address")]
        assert not host.streams

    def test_a_datagram_that_cannot_be_sent_is_told(self, world: World, script: type[Script]) -> None:
        core = script()
        host = world.host(core.make(Config()), Listen(udp=0, udp_nat=None))
        [(_, address)] = host.sockets
        core.queue.append(SendDatagram(b"x" * 65_536, address, address))
        host.tell(host.endpoint.timer_expired)
        [(local, remote, error)] = core.named("datagram_failed")
        assert (local, remote) == (address, address)
        assert "too long" in error

    def test_the_socket_is_told_with_the_port_it_got(self, world: World, script: type[Script]) -> None:
        core = script()
        host = world.host(core.make(Config()), Listen(udp=None, udp_nat=0))
        [(_, address)] = host.sockets
        assert core.named("local_added") == [(Local(address, marker=True),)]
