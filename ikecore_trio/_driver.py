"""The driver: owns the endpoint, its sockets and one alarm; carries out what the core asks for. It knows no protocol.

Everything that changes the core ends in `flush`, which never waits: a change and its outputs cannot be torn apart by
a cancellation.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import attrs
import trio

from ikecore import (
    Address,
    CloseStream,
    Endpoint,
    HalfCloseStream,
    Local,
    OpenStream,
    Output,
    ResetStream,
    SaId,
    SendDatagram,
    StreamId,
    WriteStream,
)
from ikecore.binding import Binding
from ikecore.esp import TakeEsp, check_esp
from ikecore.outflow import Observer, Outflow
from ikecore.sessions import Signal

from ._datagrams import DatagramSocket
from ._sockets import bind_datagram, bind_listener, reduce
from ._streams import Listener, Stream, open_stream

StreamAction: TypeAlias = WriteStream | HalfCloseStream | CloseStream | ResetStream


async def wait_until(condition: Callable[[], bool], signal: Signal) -> None:
    """Wait until *condition* holds; it is looked at whenever *signal* fires. Always a checkpoint."""
    if condition():
        await trio.lowlevel.checkpoint()
    while not condition():
        event = trio.Event()
        signal.add(event.set)
        try:
            await event.wait()
        finally:
            signal.discard(event.set)


class Driver:
    """One endpoint and its sockets."""

    def __init__(self, endpoint: Endpoint, observer: Observer | None, esp: TakeEsp | None = None) -> None:
        self.endpoint = endpoint
        self.esp = esp
        self.esp_dropped = 0
        self.binding = Binding(endpoint)
        self.flushed = Signal()
        self.locals: list[Local] = []
        self.closed = False
        self.now: Callable[[], float] = trio.current_time
        """The time of the core: Trio's clock."""
        self._alarm = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._datagrams: dict[Address, DatagramSocket] = {}
        self._listeners: list[Listener] = []
        self._streams: dict[StreamId, Stream] = {}
        actions: dict[type[Output], Callable[[Any], None]] = {
            SendDatagram: self._send_datagram,
            OpenStream: self._open_stream,
            WriteStream: lambda action: self._stream(action, lambda stream: stream.write(action.data)),
            HalfCloseStream: lambda action: self._stream(action, Stream.half_close),
            CloseStream: lambda action: self._stream(action, Stream.close),
            ResetStream: lambda action: self._stream(action, Stream.reset),
        }
        self._outflow = Outflow(self.binding, self.now, actions, observer)

    # Sockets.

    def bind(self, wanted: Iterable[Local]) -> None:
        """Bind all of *wanted* and tell the core of each. Raises OSError; what was bound until then is for `close`."""
        for local in wanted:
            sock = (bind_datagram if local.kind == "udp" else bind_listener)(local)
            local = attrs.evolve(local, address=reduce(sock.getsockname()))
            if local.kind == "udp":
                self._datagrams[local.address] = DatagramSocket(self, sock, local)
            else:
                self._listeners.append(Listener(self, sock, local))
            self.locals.append(local)
            self.endpoint.local_added(local, now=self.now())
            self.flush()

    def register(self, stream: Stream) -> None:
        """Own *stream*, and run it."""
        self._streams[stream.stream] = stream
        self.spawn(stream.run)

    def forget(self, stream: StreamId) -> None:
        """The stream is gone; what the core still says of it, not knowing this yet, has no effect."""
        self._streams.pop(stream, None)

    # Running.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the sockets and the alarm for the time of the body; then drop what is left, and close everything.

        The body's exception, or the first one of a task (which is a bug, or an observer's), comes out as itself.
        """
        body: BaseException | None = None
        outcome: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    self._start()
                    yield
                except BaseException as error:
                    body = error
                    raise
                finally:
                    nursery.cancel_scope.cancel()
                    self.close()
        except BaseException as error:
            outcome = single(body, error)
        if outcome is not None:
            raise outcome

    def _start(self) -> None:
        self.spawn(self._sleep)
        for datagrams in self._datagrams.values():
            self.spawn(datagrams.read)
        for listener in self._listeners:
            self.spawn(listener.accept)
        self.flush()

    def spawn(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run *task* beside the others, until the endpoint is closed."""
        if self._nursery is not None:
            self._nursery.start_soon(task, *args)

    async def _sleep(self) -> None:
        """Tell the core the time when it wants to know. A deadline that moved back is found when the alarm rings."""
        while True:
            deadline = self.endpoint.deadline
            with trio.CancelScope(deadline=math.inf if deadline is None else deadline) as self._alarm:
                await trio.sleep_forever()
            self.endpoint.timer_expired(now=self.now())
            self.flush()

    def flush(self) -> None:
        """Carry out what the core asks for. Call it after every change of the core.

        What is called from here may change the core and flush again: that comes out of the loop which runs already.
        """
        if self.closed or not self._outflow.drain():
            return
        deadline = self.endpoint.deadline
        if deadline is not None and deadline < self._alarm.deadline:
            self._alarm.deadline = deadline
        self.flushed.fire()

    async def drain(self, grace: float) -> None:
        """Delete every SA, and wait for the answers, for *grace* seconds at most."""
        self.endpoint.shutdown(now=self.now())
        self.flush()
        with trio.move_on_after(grace):
            await wait_until(lambda: self.endpoint.idle, self.flushed)

    def delete(self, sas: Iterable[SaId]) -> None:
        """Begin to delete those of *sas* that are still there, and wait for nothing."""
        for sa in self._still(sas):
            self.endpoint.delete(sa, now=self.now())

    def abandon(self, sas: Iterable[SaId]) -> None:
        """Drop those of *sas* that are still there, each with a Delete that nobody waits for."""
        for sa in self._still(sas):
            self.endpoint.abandon(sa, now=self.now())

    def _still(self, sas: Iterable[SaId]) -> Iterator[SaId]:
        """Give each of *sas* if it is there when its turn comes; what is done to it is carried out before the next."""
        self.flush()
        for sa in sas:
            if not self.closed and sa in self.endpoint.sas:
                yield sa
                self.flush()

    def close(self) -> None:
        """Drop every SA, hand a Delete to the sockets for those that are up, reset the streams, close everything."""
        if self.closed:
            return
        try:
            self.flush()
            self.abandon(self.endpoint.sas)
        finally:
            self.closed = True
            while self._streams:
                self._streams.popitem()[1].reset()
            for datagrams in self._datagrams.values():
                datagrams.close()
            for listener in self._listeners:
                listener.close()
            self.binding.end("the endpoint was closed")

    # ESP.

    def send_esp(self, data: bytes, ends: tuple[Address, Address] | None) -> bool:
        """Send ESP from our socket to the peer, at once or not at all; false, and a count, where it was dropped."""
        check_esp(data)
        sent = False
        if ends is not None and not self.closed:
            datagrams = self._datagrams.get(ends[0])
            sent = datagrams is not None and datagrams.offer(data, ends[1])
        self.esp_dropped += not sent
        self.flush()
        return sent

    # What the core asks for.

    def _send_datagram(self, action: SendDatagram) -> None:
        datagrams = self._datagrams.get(action.local)
        if datagrams is not None:
            datagrams.send(action.data, action.remote)

    def _open_stream(self, action: OpenStream) -> None:
        try:
            self.register(open_stream(self, action))
        except OSError as error:
            self.endpoint.stream_lost(action.stream, error.strerror or str(error), now=self.now())

    def _stream(self, action: StreamAction, act: Callable[[Stream], None]) -> None:
        stream = self._streams.get(action.stream)
        if stream is not None:
            if isinstance(action, CloseStream | ResetStream):
                self.forget(action.stream)
            act(stream)


def single(body: BaseException | None, group: BaseException) -> BaseException:
    """Return the one exception to raise: the body's; but where that is only a cancellation, a task's, if one failed."""
    if body is not None and not only_cancelled(body):
        return body
    failed: BaseException | None = group
    while isinstance(failed, BaseExceptionGroup):
        _, rest = failed.split(trio.Cancelled)
        failed = None if rest is None else rest.exceptions[0]
    if failed is not None and not isinstance(failed, trio.Cancelled):
        return failed
    return body if body is not None else group


def only_cancelled(error: BaseException) -> bool:
    """True if nothing but a cancellation happened."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
