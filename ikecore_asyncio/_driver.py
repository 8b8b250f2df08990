"""The driver: owns the endpoint, its sockets and one alarm; carries out what the core asks for. It knows no protocol.

Everything that changes the core ends in `flush`, which never waits: a change and its outputs cannot be torn apart by
a cancellation.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

import attrs

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
    """Wait until *condition* holds; it is looked at whenever *signal* fires."""
    while not condition():
        fired = asyncio.get_running_loop().create_future()
        wake = partial(_settle, fired)
        signal.add(wake)
        try:
            await fired
        finally:
            signal.discard(wake)


def _settle(fired: asyncio.Future[None]) -> None:
    """Let go who waits, if nobody did yet. (An Event would be five times as large, and every session has one.)"""
    if not fired.done():
        fired.set_result(None)


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
        self.loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self.loop.time
        """The time of the core: the loop's clock."""
        self._alarm: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._failed = asyncio.Event()
        self._error: Exception | None = None
        self._group: asyncio.TaskGroup | None = None
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
        stream.start()

    def forget(self, stream: StreamId) -> None:
        """The stream is gone; what the core still says of it, not knowing this yet, has no effect."""
        self._streams.pop(stream, None)

    # Running.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the sockets and the alarm for the time of the body; then drop what is left, and close everything.

        The body's exception, or the first one of a callback (which is a bug, or an observer's), comes out as itself.
        """
        outcome: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                watch = group.create_task(self._watch())
                try:
                    self._start()
                    yield
                except BaseException as error:
                    outcome = error
                    raise
                finally:
                    watch.cancel()
                    self.close()
        except BaseException as error:
            outcome = outcome or error
        if self._error is not None and (outcome is None or isinstance(outcome, asyncio.CancelledError)):
            outcome = self._error
        if outcome is not None:
            raise outcome

    def _start(self) -> None:
        for datagrams in self._datagrams.values():
            datagrams.start()
        for listener in self._listeners:
            listener.start()
        self.flush()

    def spawn(self, task: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run *task* beside the others, until the endpoint is closed."""
        if self._group is None:
            raise RuntimeError("the driver does not run")
        return self._group.create_task(task)

    async def _watch(self) -> None:
        """Fail as a task once a callback has failed, since callbacks have no caller to tell."""
        await self._failed.wait()
        if self._error is not None:
            raise self._error

    def guarded(self, callback: Callable[[], object]) -> None:
        """Call *callback*, which the loop has nobody to tell of where it fails."""
        try:
            callback()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._failed.set()

    def flush(self) -> None:
        """Carry out what the core asks for. Call it after every change of the core.

        What is called from here may change the core and flush again: that comes out of the loop which runs already.
        """
        if self.closed or not self._outflow.drain():
            return
        deadline = self.endpoint.deadline
        if deadline is not None and deadline < self._rings_at:
            self._move_alarm(deadline)
        self.flushed.fire()

    def _move_alarm(self, moment: float) -> None:
        """Let it ring at *moment*, which is earlier than before. A deadline that moved back is found when it rings."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self.loop.call_at(moment, self.guarded, self._ring)
        self._rings_at = moment

    def _ring(self) -> None:
        self._alarm, self._rings_at = None, math.inf
        self.endpoint.timer_expired(now=self.now())
        self.flush()

    async def drain(self, grace: float) -> None:
        """Delete every SA, and wait for the answers, for *grace* seconds at most."""
        self.endpoint.shutdown(now=self.now())
        self.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
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
            if self._alarm is not None:
                self._alarm.cancel()
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
