"""What is measured from outside, as a process of its own: a responder on either adapter or without one, or an echo.

    python -m benchmarks._server responder|bare-lean|bare-drained|lean|drained asyncio|trio

Prints the ports that it serves on loopback, as JSON, and serves until it is killed. *lean* answers one datagram per
turn of the loop, the least that a framework can do; *drained* reads until nothing is left, which a busy server has to.
Neither waits to send. Over TCP both answer what came in one read, and close when the peer does. The collector is set as
docs/embedding.md advises for many SAs, and as `ikecore serve` sets it, in all of them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
from functools import partial
from typing import Any

from benchmarks._bare import Bare
from benchmarks._peering import responder_config
from ikecore import Listen, StreamId

HOST = "127.0.0.1"
LISTEN = Listen(hosts=(HOST,), udp=None, udp_nat=0, tcp=0)


def tell(**ports: int) -> None:
    print(json.dumps(ports), flush=True)


def datagrams() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setblocking(False)
    return sock


def listening() -> socket.socket:
    sock = socket.create_server((HOST, 0), backlog=1000)
    sock.setblocking(False)
    return sock


def answer_one(sock: socket.socket) -> bool:
    """Send one datagram back; False where there is none."""
    try:
        data, remote = sock.recvfrom(65536)
    except BlockingIOError:
        return False
    sock.sendto(data, remote)
    return True


def answer_all(sock: socket.socket) -> None:
    while answer_one(sock):
        pass


# --- asyncio ----------------------------------------------------------------------------------------------------------


async def asyncio_responder() -> None:
    import ikecore_asyncio

    async def handle(session: ikecore_asyncio.Session) -> None:
        await session.wait_closed()

    async with ikecore_asyncio.open_endpoint(responder_config(), LISTEN) as endpoint:
        tell(**{local.kind: local.address[1] for local in endpoint.locals})
        await endpoint.serve(handle)


async def asyncio_bare(*, drained: bool) -> None:
    loop = asyncio.get_running_loop()
    bare = Bare(datagrams(), listening(), loop.time, drained)
    bare.closing = lambda sock: loop.remove_reader(sock.fileno())

    def accept() -> None:
        sock, stream = bare.accept()
        loop.add_reader(sock.fileno(), bare.take, sock, stream)

    loop.add_reader(bare.datagrams, bare.read)
    loop.add_reader(bare.listener, accept)
    tell(udp=bare.datagrams.getsockname()[1], tcp=bare.listener.getsockname()[1])
    await loop.create_future()


class Echo(asyncio.Protocol):
    """Answers each read."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def asyncio_echo(kind: str) -> None:
    loop = asyncio.get_running_loop()
    sock = datagrams()
    loop.add_reader(sock, answer_one if kind == "lean" else answer_all, sock)
    server = await loop.create_server(Echo, HOST, 0, backlog=1000)
    tell(udp=sock.getsockname()[1], tcp=server.sockets[0].getsockname()[1])
    await server.serve_forever()


# --- Trio -------------------------------------------------------------------------------------------------------------


async def trio_responder() -> None:
    import ikecore_trio

    async def handle(session: ikecore_trio.Session) -> None:
        await session.wait_closed()

    async with ikecore_trio.open_endpoint(responder_config(), LISTEN) as endpoint:
        tell(**{local.kind: local.address[1] for local in endpoint.locals})
        await endpoint.serve(handle)


async def trio_bare(*, drained: bool) -> None:
    import trio

    bare = Bare(datagrams(), listening(), trio.current_time, drained)

    async def serve_datagrams() -> None:
        while True:
            await trio.lowlevel.wait_readable(bare.datagrams)
            bare.read()

    async def serve_stream(sock: socket.socket, stream: StreamId) -> None:
        more = True
        while more:
            await trio.lowlevel.wait_readable(sock)
            more = bare.take(sock, stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_datagrams)
        tell(udp=bare.datagrams.getsockname()[1], tcp=bare.listener.getsockname()[1])
        while True:
            await trio.lowlevel.wait_readable(bare.listener)
            nursery.start_soon(serve_stream, *bare.accept())


async def trio_echo(kind: str) -> None:
    import trio

    sock = datagrams()
    listener = listening()

    async def serve_datagrams() -> None:
        answer = answer_one if kind == "lean" else answer_all
        while True:
            await trio.lowlevel.wait_readable(sock)
            answer(sock)

    async def serve_stream(stream: socket.socket) -> None:
        with stream:
            while True:
                await trio.lowlevel.wait_readable(stream)
                data = stream.recv(65536)
                if not data:
                    return
                stream.send(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_datagrams)
        tell(udp=sock.getsockname()[1], tcp=listener.getsockname()[1])
        while True:
            await trio.lowlevel.wait_readable(listener)
            stream, _ = listener.accept()
            stream.setblocking(False)
            nursery.start_soon(serve_stream, stream)


def main(kind: str, framework: str) -> None:
    gc.set_threshold(10_000)
    what, _, how = kind.partition("-")
    if framework == "asyncio":
        if what == "bare":
            asyncio.run(asyncio_bare(drained=how == "drained"))
        else:
            asyncio.run(asyncio_responder() if kind == "responder" else asyncio_echo(kind))
    else:
        import trio

        if what == "bare":
            trio.run(partial(trio_bare, drained=how == "drained"))
        elif kind == "responder":
            trio.run(trio_responder)
        else:
            trio.run(trio_echo, kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
