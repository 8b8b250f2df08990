"""TCP on real sockets: what the core asks for happens on the wire, what happens on the wire reaches the core."""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from ikecore import (
    Address,
    CloseStream,
    Config,
    HalfCloseStream,
    Listen,
    OpenStream,
    Output,
    ResetStream,
    StreamId,
    WriteStream,
)

if TYPE_CHECKING:
    from tests.adapters.conftest import Lib, Script

LISTEN = Listen(udp=None, udp_nat=None, tcp=0)
NOTHING = Listen(udp=None, udp_nat=None)
OURS = StreamId(1)


def opening(server: socket.socket) -> OpenStream:
    return OpenStream(OURS, server.getsockname(), "127.0.0.1")


def accepted(server: socket.socket) -> socket.socket:
    sock, _ = server.accept()
    sock.settimeout(20)
    return sock


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def read_exactly(sock: socket.socket, octets: int) -> bytes:
    received = bytearray()
    while len(received) < octets:
        received += sock.recv(octets - len(received))
    return bytes(received)


def call(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=20)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class TestOpened:
    def test_half_close_follows_what_is_queued_and_leaves_the_other_direction_open(
        self, lib: Lib, script: type[Script], server: socket.socket
    ) -> None:
        """FIN comes behind the request, and the answer to the request comes after the FIN."""
        core = script(
            {
                "stream_connected": lambda stream, local: [WriteStream(stream, b" world"), HalfCloseStream(stream)],
                "stream_eof": lambda stream: [CloseStream(stream)],
            },
            [opening(server), WriteStream(OURS, b"hello")],
        )

        def peer() -> Any:
            with accepted(server) as sock:
                request = read_all(sock)
                sock.sendall(b"answer")
                return request, sock.getpeername()

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                request, address = await lib.thread(peer)
                await core.until_heard(lib, "stream_eof")
                return request, address

        request, address = lib.run(main)
        assert request == b"hello world"
        assert core.named("stream_connected") == [(OURS, address)]
        assert b"".join(data for _, data in core.named("stream_received")) == b"answer"
        assert sum(octets for _, octets in core.named("stream_sent")) == len(request)
        assert not core.named("stream_lost")

    def test_a_refusal_is_told_in_words(self, lib: Lib, script: type[Script]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = closed.getsockname()
        core = script(outputs=[OpenStream(OURS, address, None), WriteStream(OURS, b"lost")])

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                return await core.until_heard(lib, "stream_lost")

        assert lib.run(main) == [(OURS, "Connection refused")]
        assert not core.named("stream_sent")

    def test_no_way_at_all_is_told_in_words(self, lib: Lib, script: type[Script]) -> None:
        core = script(outputs=[OpenStream(OURS, ("127.0.0.1", 9), "192.0.2.99")])

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                return await core.until_heard(lib, "stream_lost")

        assert lib.run(main) == [(OURS, "Cannot assign requested address")]

    def test_closing_cancels_an_attempt(
        self, lib: Lib, script: type[Script], open_sockets: Callable[[], list[str]]
    ) -> None:
        """A listener whose queue is full leaves later attempts without an answer."""
        with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            core = script(outputs=[OpenStream(OURS, listener.getsockname(), None), CloseStream(OURS)])

            async def main() -> Any:
                before = open_sockets()
                async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                    await lib.turns()
                    return before, open_sockets()

            before, after = lib.run(main)
            assert after == before
        assert not core.named("stream_lost")
        assert not core.named("stream_connected")

    def test_unread_writes_wait_in_a_queue_and_are_told_as_they_go(
        self, lib: Lib, script: type[Script], server: socket.socket
    ) -> None:
        """A peer that does not read holds up nothing but its own stream."""
        big = bytes(range(256)) * 40_000
        core = script(
            {"stream_connected": lambda stream, local: [WriteStream(stream, big), WriteStream(stream, b"end")]},
            [opening(server)],
        )

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                await core.until_heard(lib, "stream_connected")
                sock = await lib.thread(lambda: accepted(server))
                with sock:
                    early = sum(octets for _, octets in core.named("stream_sent"))
                    received = await lib.thread(lambda: read_exactly(sock, len(big) + 3))
                    await core.until(
                        lib, lambda: sum(octets for _, octets in core.named("stream_sent")) == len(big) + 3
                    )
                return early, received

        early, received = lib.run(main)
        assert early < len(big)
        assert received == big + b"end"

    def test_half_close_waits_for_a_slow_reader(self, lib: Lib, script: type[Script], server: socket.socket) -> None:
        big = b"x" * 10_000_000
        core = script(
            {"stream_connected": lambda stream, local: [WriteStream(stream, big), HalfCloseStream(stream)]},
            [opening(server)],
        )

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                await core.until_heard(lib, "stream_connected")
                with await lib.thread(lambda: accepted(server)) as sock:
                    return len(await lib.thread(lambda: read_all(sock)))

        assert lib.run(main) == len(big)

    def test_a_reset_while_writing_ends_the_stream(self, lib: Lib, script: type[Script], server: socket.socket) -> None:
        core = script(
            {"stream_connected": lambda stream, local: [WriteStream(stream, b"x" * 10_000_000)]}, [opening(server)]
        )

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                await core.until_heard(lib, "stream_connected")
                reset(await lib.thread(lambda: accepted(server)))
                return await core.until_heard(lib, "stream_lost")

        [(stream, text)] = lib.run(main)
        assert stream == OURS
        assert text in {"Connection reset by peer", "Broken pipe"}

    def test_what_came_before_a_break_counts(self, lib: Lib, script: type[Script], server: socket.socket) -> None:
        """The answer is in the kernel when we notice, by a write that fails, that the connection is broken."""

        def broken(stream: StreamId, local: Address) -> list[Output]:
            sock = accepted(server)
            sock.sendall(b"last words")
            reset(sock)
            return [WriteStream(stream, b"too late")]

        core = script({"stream_connected": broken}, [opening(server)])

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                await core.until_heard(lib, "stream_lost")

        lib.run(main)
        told = [name for name, *_ in core.heard if name.startswith("stream")]
        assert told == ["stream_connected", "stream_received", "stream_lost"]
        assert core.named("stream_received") == [(OURS, b"last words")]

    def test_actions_behind_a_failed_write_have_no_effect(
        self, lib: Lib, script: type[Script], server: socket.socket
    ) -> None:
        """The core had said them before it could know."""
        lost = [WriteStream(OURS, b"b"), HalfCloseStream(OURS), ResetStream(OURS), CloseStream(OURS)]
        core = script({"stream_lost": lambda stream, error: lost}, [opening(server)])

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), NOTHING, make=core.make):
                await core.until_heard(lib, "stream_connected")
                reset(await lib.thread(lambda: accepted(server)))
                await core.until_heard(lib, "stream_lost")
                await lib.turns()

        lib.run(main)
        assert [stream for stream, _ in core.named("stream_lost")] == [OURS]


class TestAccepted:
    def talk(self, lib: Lib, core: Script, peer: Callable[[Address], Any]) -> Any:
        """Run *peer* in a thread with the address of a listener of ours, and return what it returns."""

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), LISTEN, make=core.make) as endpoint:
                return await lib.thread(lambda: peer(endpoint.locals[0].address))

        return lib.run(main)

    def test_answers_after_the_end_of_the_peers_direction(self, lib: Lib, script: type[Script]) -> None:
        core = script({"stream_eof": lambda stream: [WriteStream(stream, b"answer"), HalfCloseStream(stream)]})
        addresses: list[Address] = []

        def peer(address: Address) -> Any:
            with call(address) as sock:
                addresses.extend([address, sock.getsockname()])
                sock.sendall(b"request")
                sock.shutdown(socket.SHUT_WR)
                return read_all(sock)

        assert self.talk(lib, core, peer) == b"answer"
        assert core.named("stream_accepted") == [(101, *addresses)]
        assert b"".join(data for _, data in core.named("stream_received")) == b"request"
        assert core.named("stream_eof") == [(101,)]

    def test_the_core_may_refuse(self, lib: Lib, script: type[Script]) -> None:
        core = script({"stream_accepted": lambda stream, local, remote: [ResetStream(stream)]})

        def peer(address: Address) -> Any:
            with pytest.raises(ConnectionResetError), call(address) as sock:
                sock.recv(1)
            return True

        assert self.talk(lib, core, peer)

    def test_reset_is_a_reset(self, lib: Lib, script: type[Script]) -> None:
        core = script({"stream_received": lambda stream, data: [WriteStream(stream, b"no"), ResetStream(stream)]})

        def peer(address: Address) -> Any:
            with call(address) as sock:
                sock.sendall(b"abuse")
                with pytest.raises(ConnectionResetError):
                    read_all(sock)
            return True

        assert self.talk(lib, core, peer)
        assert not core.named("stream_lost")

    def test_close_is_a_close(self, lib: Lib, script: type[Script]) -> None:
        core = script({"stream_received": lambda stream, data: [WriteStream(stream, b"bye"), CloseStream(stream)]})

        def peer(address: Address) -> Any:
            with call(address) as sock:
                sock.sendall(b"hello")
                return read_all(sock)

        assert self.talk(lib, core, peer) == b"bye"
        assert not core.named("stream_lost")

    def test_a_reset_by_the_peer_is_told(self, lib: Lib, script: type[Script]) -> None:
        core = script()

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), LISTEN, make=core.make) as endpoint:
                sock = await lib.thread(lambda: call(endpoint.locals[0].address))
                await core.until_heard(lib, "stream_accepted")
                reset(sock)
                return await core.until_heard(lib, "stream_lost")

        assert lib.run(main) == [(101, "Connection reset by peer")]

    def test_many_at_once(self, lib: Lib, script: type[Script]) -> None:
        core = script({"stream_received": lambda stream, data: [WriteStream(stream, data), CloseStream(stream)]})

        def peer(address: Address) -> Any:
            calls = [call(address) for _ in range(100)]
            for number, sock in enumerate(calls):
                sock.sendall(struct.pack("!H", number))
            answers = [read_all(sock) for sock in calls]
            for sock in calls:
                sock.close()
            return answers

        assert self.talk(lib, core, peer) == [struct.pack("!H", number) for number in range(100)]

    def test_leaving_resets_what_is_open(self, lib: Lib, script: type[Script]) -> None:
        core = script()

        async def main() -> Any:
            async with lib.module.open_endpoint(Config(), LISTEN, make=core.make) as endpoint:
                sock = await lib.thread(lambda: call(endpoint.locals[0].address))
                await core.until_heard(lib, "stream_accepted")
            with sock, pytest.raises(ConnectionResetError):
                sock.recv(1)

        lib.run(main)

    def test_without_descriptors_it_tries_again(
        self, lib: Lib, script: type[Script], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not at once and again and again, since the connection stays where it is, and the socket readable."""
        streams: Any = sys.modules[f"{lib.module.__name__}._streams"]
        monkeypatch.setattr(streams, "OUT_OF_DESCRIPTORS", 0.01)
        core = script({"stream_accepted": lambda stream, local, remote: [CloseStream(stream)]})
        tries: list[float] = []
        accept = socket.socket.accept

        def poor(sock: socket.socket) -> Any:
            tries.append(time.monotonic())
            if len(tries) < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return accept(sock)

        def peer(address: Address) -> Any:
            with call(address) as sock:
                return read_all(sock)

        monkeypatch.setattr(socket.socket, "accept", poor)
        assert self.talk(lib, core, peer) == b""
        assert len(tries) in (3, 4)  # it looks whether there is another one
        assert tries[2] - tries[0] >= 0.02

    def test_ipv6(self, lib: Lib, script: type[Script]) -> None:
        core = script({"stream_eof": lambda stream: [WriteStream(stream, b"answer"), CloseStream(stream)]})
        addresses: list[Address] = []

        def peer(address: Address) -> Any:
            with call(address) as sock:
                addresses.extend([address, sock.getsockname()[:2]])
                sock.shutdown(socket.SHUT_WR)
                return read_all(sock)

        async def main() -> Any:
            listen = Listen(hosts=("::1",), udp=None, udp_nat=None, tcp=0)
            async with lib.module.open_endpoint(Config(), listen, make=core.make) as endpoint:
                return await lib.thread(lambda: peer(endpoint.locals[0].address))

        assert lib.run(main) == b"answer"
        assert core.named("stream_accepted") == [(101, *addresses)]
