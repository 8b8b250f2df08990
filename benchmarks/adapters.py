"""What an exchange costs a responder that has sockets, beside an echo on the same framework.

    python -m benchmarks.adapters

The exchange is a sign of life, an empty INFORMATIONAL and its answer; the echo sends back as many octets. Both servers
are processes of their own, and what counts is their CPU time per exchange as the kernel accounts it. Each peer has one
exchange at a time; all requests of the peers are made first and then sent at once, so that a server finds many at once
where there are many. The core alone, without sockets, does the same exchanges in this process: what an adapter and its
sockets *add* is the difference, and stands beside the echo, which is nothing but sockets and framework. With one peer
the echo is the leanest (one datagram per turn of the loop), with 100 one that reads until nothing is left.

What is *added without an adapter* is that of a third process, a host that is nothing but system calls around the core
(`benchmarks._bare`): what the framework, the kernel and cold caches cost whoever serves IKE with this core, and so the
least that an adapter could add.

The peers look again and again whether an answer is there, and never sleep, since the kernel would have the server pay
for waking them.

Over TCP an initiator closes its connection as soon as all is answered, so that one exchange means connect, request,
answer, close, and the echo does the same. Where 16 exchanges wait, one connection serves them all, one after the other.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Literal

import attrs

from benchmarks._harness import ROUNDS, Table, Target, show
from benchmarks._load import HOST, PATIENCE, Initiator, SocketInitiator, wait
from benchmarks._peering import initiator, responder_config
from benchmarks._processes import Server, cpu
from ikecore import (
    CloseStream,
    Connection,
    Endpoint,
    HalfCloseStream,
    Local,
    OpenStream,
    Output,
    SendDatagram,
    StreamId,
    WriteStream,
)
from ikecore.transport import TcpOnly, UdpOnly

EXCHANGES = 600
"""In a round."""
OCTETS = 61
"""A sign of life with the non-ESP marker: 28 of header, 4, 8 of IV, 1, 16 of ICV."""
FRAMEWORKS = ("asyncio", "trio")


@attrs.frozen
class Scene:
    """How many peers, over what, and what they are measured by. A turn is so many exchanges of each peer in a row."""

    transport: Literal["udp", "tcp"]
    peers: int
    echo: Literal["lean", "drained"]
    limit: float
    row: int = 1

    @property
    def title(self) -> str:
        how = "UDP" if self.transport == "udp" else f"TCP, {self.row} in a connection"
        return f"an exchange over {how}, {self.peers} peer{'s' if self.peers > 1 else ''}"

    def connection(self, ports: dict[str, int]) -> Connection:
        return initiator(ports, UdpOnly() if self.transport == "udp" else TcpOnly())


SCENES = (
    Scene("udp", 1, "lean", 1.3),
    Scene("udp", 100, "drained", 1.5),
    Scene("tcp", 1, "lean", 2.0),
    Scene("tcp", 100, "drained", 2.0),
    Scene("tcp", 1, "lean", 1.3, row=16),
    Scene("tcp", 100, "drained", 1.5, row=16),
)


def tables(rounds: int = ROUNDS, exchanges: int = EXCHANGES, scenes: tuple[Scene, ...] = SCENES) -> Iterator[Table]:
    """Yield a table per framework and scene."""
    for scene in scenes:
        for framework in FRAMEWORKS:
            yield measure(scene, framework, rounds, exchanges)


def measure(scene: Scene, framework: str, rounds: int, exchanges: int) -> Table:
    """Return the seconds of CPU time that an exchange takes."""
    turns = max(1, exchanges // scene.peers // scene.row)
    timings: dict[str, list[float]] = {
        "echo": [],
        "ikecore": [],
        "core alone": [],
        "added": [],
        "added without an adapter": [],
    }
    with ExitStack() as stack:
        ours = stack.enter_context(Server("responder", framework))
        echo = stack.enter_context(Server(scene.echo, framework))
        bare = stack.enter_context(Server(f"bare-{scene.echo}", framework))
        load, bare_load = Load(scene, ours.ports), Load(scene, bare.ports)
        stack.callback(load.close)
        stack.callback(bare_load.close)
        memory = Memory(scene)
        echoes = (Echoes if scene.transport == "udp" else Streams)(scene, echo.ports)
        stack.callback(echoes.close)
        for number in range(rounds + 1):
            spent = (
                _spent(ours, load.turn, turns),
                _spent(echo, echoes.turn, turns),
                _spent(bare, bare_load.turn, turns),
                memory.spent(turns),
            )
            if number:  # the first one warms up
                total, floor, least, alone = (each / turns / scene.peers / scene.row for each in spent)
                for case, seconds in zip(timings, (floor, total, alone, total - alone, least - alone), strict=True):
                    timings[case].append(seconds)
    rate = 1 / Table("", timings).median("ikecore")
    note = f"{rate:,.0f} exchanges per CPU second ({scene.title}, {framework})."
    return Table(f"{scene.title}, {framework}", timings, (Target("added", scene.limit),), note=note)


def _spent(server: Server, turn: Callable[[], None], turns: int) -> float:
    start = cpu(server.pid)
    for _ in range(turns):
        turn()
    time.sleep(0.002)  # what is behind the last answer
    return cpu(server.pid) - start


# --- ours -------------------------------------------------------------------------------------------------------------


class Load:
    """The peers of the responder."""

    def __init__(self, scene: Scene, ports: dict[str, int]) -> None:
        self._row = scene.row
        self._peers = [SocketInitiator(scene.connection(ports)) for _ in range(scene.peers)]
        for peer in self._peers:
            peer.initiate()
            wait([peer], lambda peer=peer: peer.sas)  # type: ignore[misc]

    def turn(self) -> None:
        """Let each peer have its exchanges."""
        waiting = {peer: peer.done + self._row for peer in self._peers}
        for peer in self._peers:
            peer.hold()
            for _ in range(self._row):
                peer.check()
        for peer in self._peers:
            peer.release()
        give_up = time.monotonic() + PATIENCE
        while waiting:
            for peer, done in list(waiting.items()):
                peer.read()
                if peer.done == done:
                    del waiting[peer]
            if time.monotonic() > give_up:
                raise RuntimeError("the responder does not answer")

    def close(self) -> None:
        for peer in self._peers:
            peer.close()


# --- an echo ----------------------------------------------------------------------------------------------------------


class Echoes:
    """As many sockets that send datagrams and get them back."""

    def __init__(self, scene: Scene, ports: dict[str, int]) -> None:
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(scene.peers)]
        for sock in self._sockets:
            sock.connect((HOST, ports["udp"]))

    def turn(self) -> None:
        for sock in self._sockets:
            sock.send(bytes(OCTETS))
        for sock in self._sockets:
            _received(sock)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


def _received(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


class Streams:
    """As many connections, made anew for each turn."""

    def __init__(self, scene: Scene, ports: dict[str, int]) -> None:
        self._address, self._peers, self._row = (HOST, ports["tcp"]), scene.peers, scene.row

    def turn(self) -> None:
        sockets = [self._connect() for _ in range(self._peers)]
        for _ in range(self._row):
            for sock in sockets:
                sock.send(bytes(OCTETS - 4))
            for sock in sockets:
                _received(sock)
        for sock in sockets:
            sock.close()

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def close(self) -> None:
        """All are closed."""


# --- the core alone ---------------------------------------------------------------------------------------------------


class Memory:
    """The same responder without sockets, and the seconds spent in it."""

    def __init__(self, scene: Scene) -> None:
        self.endpoint = Endpoint(responder_config(), random=os.urandom, utc=lambda: datetime.now(UTC))
        self.address, self._row = (HOST, 4500), scene.row
        self.endpoint.local_added(Local(self.address, marker=True), now=0.0)
        self.endpoint.local_added(Local(self.address, "tcp"), now=0.0)
        self.inbox: list[Callable[[float], object]] = []
        self.streams: dict[StreamId, tuple[Quiet, StreamId]] = {}
        connection = scene.connection({"udp": 4500, "tcp": 4500})
        peers = [Quiet(connection, self, 2000 + number) for number in range(scene.peers)]
        self.peers = {peer.local: peer for peer in peers}
        for peer in self.peers.values():
            peer.initiate()
            self._run()

    def spent(self, turns: int) -> float:
        total = 0.0
        for _ in range(turns):
            for peer in self.peers.values():
                for _ in range(self._row):
                    peer.check()
            total += self._run()
        return total

    def _run(self) -> float:
        """Take what the peers sent, until nobody says anything; return the seconds that took."""
        total = 0.0
        while self.inbox:
            inbox, self.inbox = self.inbox, []
            heard: list[Output] = []
            start = time.process_time()
            for news in inbox:
                now = time.monotonic()
                news(now)
                for output in self.endpoint.outputs():
                    heard.append(output)
                    if isinstance(output, WriteStream):
                        self.endpoint.stream_sent(output.stream, len(output.data), now=now)
                _ = self.endpoint.deadline
            total += time.process_time() - start
            for output in heard:
                self._deliver(output)
        return total

    def _deliver(self, output: Output) -> None:
        if isinstance(output, SendDatagram):
            peer = self.peers[output.remote]
            peer.tell(peer.endpoint.datagram_received, output.data, local=peer.local, remote=self.address)
        elif isinstance(output, WriteStream):
            peer, stream = self.streams[output.stream]
            peer.tell(peer.endpoint.stream_received, stream, output.data)
        elif isinstance(output, CloseStream):
            peer, stream = self.streams.pop(output.stream)
            peer.tell(peer.endpoint.stream_eof, stream)


class Quiet(Initiator):
    """An initiator whose octets go into the inbox of `Memory`."""

    def __init__(self, connection: Connection, memory: Memory, port: int) -> None:
        super().__init__(connection, (HOST, port))
        self._memory = memory
        self._theirs: dict[StreamId, list[StreamId]] = {}
        """Ours, and what the responder calls it once it has accepted it."""

    def carry_out(self, output: Output) -> None:
        post, endpoint = self._memory.inbox.append, self._memory.endpoint
        if isinstance(output, SendDatagram):
            post(lambda now: endpoint.datagram_received(output.data, local=output.remote, remote=output.local, now=now))
        elif isinstance(output, OpenStream):
            theirs: list[StreamId] = []
            self._theirs[output.stream] = theirs

            def accept(now: float) -> None:
                theirs.append(endpoint.stream_accepted(local=output.remote, remote=self.local, now=now))
                self._memory.streams[theirs[0]] = self, output.stream

            post(accept)
            self.endpoint.stream_connected(output.stream, local=self.local, now=time.monotonic())
        elif isinstance(output, WriteStream):
            written = self._theirs[output.stream]
            post(lambda now: endpoint.stream_received(written[0], output.data, now=now))
            self.endpoint.stream_sent(output.stream, len(output.data), now=time.monotonic())
        elif isinstance(output, HalfCloseStream | CloseStream):
            ended = self._theirs[output.stream]
            post(lambda now: endpoint.stream_eof(ended[0], now=now))


if __name__ == "__main__":
    show(tables())
