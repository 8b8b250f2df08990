"""UDP on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import ikecore_asyncio
from ikecore import Address, Config, Listen, Local, LocalProtocolError, Output, SendDatagram
from ikecore_asyncio._datagrams import DatagramSocket as AsyncioDatagramSocket
from ikecore_trio._datagrams import DatagramSocket as TrioDatagramSocket

if TYPE_CHECKING:
    from tests.adapters.conftest import Lib, Script

SOCKETS: dict[str, Any] = {"trio": TrioDatagramSocket, "asyncio": AsyncioDatagramSocket}


def bound(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    sock.bind((host, 0))
    return sock


def echo(data: bytes, local: Address, remote: Address) -> list[Output]:
    return [SendDatagram(data, local, remote)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_come_and_go_by_the_socket_they_belong_to(lib: Lib, script: type[Script], host: str) -> None:
    core = script({"datagram_received": echo})

    async def main() -> Any:
        async with lib.module.open_endpoint(
            Config(), Listen(hosts=(host,), udp=0, udp_nat=0), make=core.make
        ) as opened:
            answers = []
            with bound(host) as peer:
                for local in opened.locals:
                    peer.sendto(b"ping", local.address)
                    data, sender = await lib.thread(lambda: peer.recvfrom(100))
                    answers.append((data, sender[:2]))
                return opened.locals, answers, peer.getsockname()[:2]

    locals_, answers, peer = lib.run(main)
    plain, marked = locals_
    assert (plain.marker, marked.marker) == (False, True)
    assert answers == [(b"ping", plain.address), (b"ping", marked.address)]
    assert core.named("local_added") == [(plain,), (marked,)]
    assert core.named("datagram_received") == [(b"ping", plain.address, peer), (b"ping", marked.address, peer)]


def test_a_burst_is_answered_whole(lib: Lib, script: type[Script]) -> None:
    core = script({"datagram_received": echo})

    async def main() -> Any:
        async with lib.module.open_endpoint(Config(), Listen(udp=0, udp_nat=None), make=core.make) as opened:
            with bound() as peer:
                for number in range(150):
                    peer.sendto(bytes([number]), opened.locals[0].address)
                return [await lib.thread(lambda: peer.recv(100)) for _ in range(150)]

    assert sorted(lib.run(main)) == [bytes([number]) for number in range(150)]


def test_a_datagram_that_cannot_leave_is_told(lib: Lib, script: type[Script]) -> None:
    """100,000 octets fit into no datagram, and port 0 is nobody's."""

    def too_large(data: bytes, local: Address, remote: Address) -> list[Output]:
        return [SendDatagram(bytes(100_000), local, remote), SendDatagram(b"fine", local, remote)]

    core = script({"datagram_received": too_large})

    async def main() -> Any:
        async with lib.module.open_endpoint(Config(), Listen(udp=0, udp_nat=None), make=core.make) as opened:
            with bound() as peer:
                peer.sendto(b"x", opened.locals[0].address)
                assert await lib.thread(lambda: peer.recv(100)) == b"fine"
                return opened.locals[0].address, peer.getsockname()

    local, remote = lib.run(main)
    assert core.named("datagram_failed") == [(local, remote, "Message too long")]


def test_a_datagram_from_a_socket_that_is_not_ours_goes_nowhere(lib: Lib, script: type[Script]) -> None:
    core = script(outputs=[SendDatagram(b"x", ("192.0.2.7", 500), ("127.0.0.1", 500))])

    async def main() -> Any:
        async with lib.module.open_endpoint(Config(), Listen(udp=0, udp_nat=None), make=core.make):
            await lib.turns()

    lib.run(main)
    assert not core.named("datagram_failed")


def test_the_alarm_rings_when_the_core_wants_it(lib: Lib, script: type[Script]) -> None:
    """A deadline in the past rings at once; one that comes with a datagram goes before a later one."""
    core = script()
    core.deadline = 0.0
    core.react = {
        "timer_expired": lambda: setattr(core, "deadline", 1e12),
        "datagram_received": lambda data, local, remote: setattr(core, "deadline", 0.0),
    }

    async def main() -> Any:
        async with lib.module.open_endpoint(Config(), Listen(udp=0, udp_nat=None), make=core.make) as opened:
            await core.until_heard(lib, "timer_expired")
            with bound() as peer:
                peer.sendto(b"x", opened.locals[0].address)
                await core.until_heard(lib, "timer_expired", 2)

    lib.run(main)
    assert [name for name, *_ in core.heard] == [
        "local_added",
        "timer_expired",
        "datagram_received",
        "timer_expired",
        "shutdown",
    ]


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("0.0.0.0", "no exact address"),
        ("::", "no exact address"),
        ("localhost", "no IP address"),
        ("", "no IP address"),
    ],
)
def test_only_exact_addresses_are_bound(lib: Lib, script: type[Script], host: str, problem: str) -> None:
    async def main() -> Any:
        async with lib.module.open_endpoint(Config(), Listen(hosts=(host,), udp=0), make=script().make):
            pass

    with pytest.raises(LocalProtocolError, match=problem):
        lib.run(main)


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_an_address_in_use_is_named_and_nothing_stays_open(
    lib: Lib, script: type[Script], open_sockets: Callable[[], list[str]], kind: str
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        before = open_sockets()
        listen = Listen(udp=0, udp_nat=port if kind == "udp" else 0, tcp=port if kind == "tcp" else None)

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), listen, make=script().make):
                pass

        with pytest.raises(OSError, match=f"cannot bind {kind} 127.0.0.1 port {port}: Address already in use"):
            lib.run(main)
        assert open_sockets() == before


def test_locals_are_as_bound(lib: Lib, script: type[Script]) -> None:
    async def main() -> Any:
        async with lib.module.open_endpoint(Config(), Listen(udp=0, udp_nat=0, tcp=0), make=script().make) as opened:
            return opened.locals

    wanted = list(Listen(udp=0, udp_nat=0, tcp=0).locals())
    found = lib.run(main)
    assert all(local.address[1] for local in found)
    assert [attrs.evolve(local, address=("127.0.0.1", 0)) for local in found] == wanted
    assert all(isinstance(local, Local) for local in found)


def test_what_the_kernel_cannot_take_yet_is_kept(lib: Lib, script: type[Script]) -> None:
    """In order, and not without end. (Sockets of another family stand in: the buffers of loopback are never full.)"""
    core = script()
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    flushed = []

    class Connected(socket.socket):
        def sendto(self, data: Any, remote: Any) -> int:  # type: ignore[override]
            return self.send(data)

    class Host:
        endpoint = core
        spawn: Any = None

        def now(self) -> float:
            return 0.0

        def flush(self) -> None:
            flushed.append(True)

        def guarded(self, callback: Callable[[], object]) -> None:
            callback()

    async def main() -> list[bytes]:
        sock = Connected(fileno=left.detach())
        sock.setblocking(False)
        host: Any = Host()
        async with lib.tasks() as host.spawn:
            ours = SOCKETS[lib.name](host, sock, Local(("127.0.0.1", 500)))
            for number in range(1000):
                ours.send(b"%d" % number, ("192.0.2.1", 500))
            right.setblocking(False)
            received: list[bytes] = []
            idle = 0
            while idle < 20:
                try:
                    received.append(right.recv(100))
                    idle = 0
                except BlockingIOError:
                    idle += 1
                    await lib.turns(1)
            ours.close()
        return received

    with right:
        received = lib.run(main)
    assert 256 < len(received) < 600
    assert received == [b"%d" % number for number in range(len(received))]
    assert flushed


def test_a_closed_socket_stays_closed(lib: Lib) -> None:
    """Whoever leaves closes all that there is, also where a socket was closed before."""

    async def main() -> None:
        sock = bound()
        sock.setblocking(False)
        host: Any = None
        ours = SOCKETS[lib.name](host, sock, Local(sock.getsockname()))
        ours.close()
        ours.close()
        assert sock.fileno() < 0

    lib.run(main)


def test_one_socket_does_not_starve_the_rest(lib: Lib, script: type[Script]) -> None:
    """More datagrams than are taken in one turn wait for the next one, and other tasks run between two or three."""
    core = script()
    turns: list[int] = []

    async def main() -> None:
        async with lib.module.open_endpoint(Config(), Listen(udp=0, udp_nat=None), make=core.make) as opened:
            with bound() as peer:
                for number in range(200):
                    peer.sendto(bytes([number]), opened.locals[0].address)
            while len(core.named("datagram_received")) < 200:
                await lib.turns(1)
                turns.append(len(core.named("datagram_received")))

    lib.run(main)
    assert max(after - before for before, after in zip([0, *turns], turns, strict=False)) <= 128


def test_asyncio_needs_a_loop_that_watches_sockets(script: type[Script], open_sockets: Callable[[], list[str]]) -> None:
    """As the one that Windows has by default does not; it is said in words, and nothing stays open."""

    class Proactor(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
            raise NotImplementedError

        def remove_reader(self, fd: Any) -> bool:
            raise NotImplementedError

    async def main() -> None:
        async with ikecore_asyncio.open_endpoint(Config(), Listen(udp=0, udp_nat=0), make=script().make):
            pass

    before = open_sockets()
    with asyncio.Runner(loop_factory=Proactor) as runner, pytest.raises(LocalProtocolError, match="SelectorEventLoop"):
        runner.run(main())
    assert open_sockets() == before
