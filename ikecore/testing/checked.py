"""An endpoint that watches its host: every breach of the host contract that can be seen raises `HostContractError`.

Wrap the endpoint that an adapter drives in tests; the wrapper has the same face. What cannot be seen from inside (that
a datagram was sent at all, that a reset was a real RST) needs tests on sockets.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import LocalProtocolError
from ..events import Transport
from ..outputs import (
    Address,
    ChildId,
    CloseStream,
    HalfCloseStream,
    OpenStream,
    Output,
    QuestionId,
    RequestId,
    ResetStream,
    SaId,
    StreamId,
    WriteStream,
)
from ..transport import Local

if TYPE_CHECKING:
    from ..config import ChildConfig, Connection
    from ..endpoint import Endpoint
    from ..sa import IkeSaView

__all__ = ["CheckedEndpoint", "HostContractError"]


class HostContractError(AssertionError):
    """The host broke the contract between it and the core. The message says how."""


@attrs.define
class _Stream:
    opened: bool
    up: bool
    queued: int = 0
    eof: bool = False
    ended: bool = False
    """The core closed it: what comes now was in flight."""
    lost: bool = False


class CheckedEndpoint:
    """Has the face of *endpoint* and passes everything on, if the host keeps the contract.

    *tolerance* is how many seconds the host may be late with `timer_expired` when it makes another input.
    """

    def __init__(self, endpoint: Endpoint, *, tolerance: float = 1.0) -> None:
        self._endpoint: Any = endpoint
        self._tolerance = tolerance
        self._thread = threading.get_ident()
        self._draining = False
        self._undrained: str | None = None
        self._deadline: float | None = None
        self._now = -math.inf
        self._locals: dict[tuple[Transport, Address], Local] = {}
        self._streams: dict[StreamId, _Stream] = {}

    # --- facts ------------------------------------------------------------------------------------------------------

    def local_added(self, local: Local, *, now: float) -> None:
        with self._input("local_added", now):
            if (local.kind, local.address) in self._locals:
                raise HostContractError(f"local_added: {local.kind} {local.address} was added before")
            self._check_address("local_added", local.address)
            if not local.address[1]:
                raise HostContractError("local_added: port 0; bind first, then tell the port")
            self._locals[local.kind, local.address] = local
            self._endpoint.local_added(local, now=now)

    def local_removed(self, address: Address, kind: Transport = "udp", *, now: float) -> None:
        with self._input("local_removed", now):
            if self._locals.pop((kind, address), None) is None:
                raise HostContractError(f"local_removed: {kind} {address} was never added")
            self._endpoint.local_removed(address, kind, now=now)

    def datagram_received(self, data: bytes, *, local: Address, remote: Address, now: float) -> None:
        with self._input("datagram_received", now):
            self._check_octets("datagram_received", data)
            self._check_address("datagram_received", remote)
            self._check_local("datagram_received", "udp", local)
            self._endpoint.datagram_received(data, local=local, remote=remote, now=now)

    def datagram_failed(self, *, local: Address, remote: Address, error: str, now: float) -> None:
        with self._input("datagram_failed", now):
            self._check_local("datagram_failed", "udp", local)
            self._check_address("datagram_failed", remote)
            self._endpoint.datagram_failed(local=local, remote=remote, error=error, now=now)

    def esp_sent(self, sa: SaId, *, now: float) -> None:
        with self._input("esp_sent", now):
            self._endpoint.esp_sent(sa, now=now)

    def esp_received(self, sa: SaId, *, local: Address, remote: Address, now: float) -> None:
        with self._input("esp_received", now):
            self._check_local("esp_received", "udp", local)
            self._check_address("esp_received", remote)
            self._endpoint.esp_received(sa, local=local, remote=remote, now=now)

    def esp_unknown(self, sa: SaId, spi: bytes, *, now: float) -> None:
        with self._input("esp_unknown", now):
            self._endpoint.esp_unknown(sa, spi, now=now)

    def stream_accepted(self, *, local: Address, remote: Address, now: float) -> StreamId:
        with self._input("stream_accepted", now):
            self._check_local("stream_accepted", "tcp", local)
            self._check_address("stream_accepted", remote)
            stream: StreamId = self._endpoint.stream_accepted(local=local, remote=remote, now=now)
            self._streams[stream] = _Stream(opened=False, up=True)
            return stream

    def stream_connected(self, stream: StreamId, *, local: Address, now: float) -> None:
        with self._input("stream_connected", now):
            state = self._stream("stream_connected", stream, connected=False)
            if state.up:
                how = "connected before" if state.opened else "accepted, not opened by us"
                raise HostContractError(f"stream_connected: stream {stream} was {how}")
            self._check_address("stream_connected", local)
            state.up = True
            self._endpoint.stream_connected(stream, local=local, now=now)

    def stream_received(self, stream: StreamId, data: bytes, *, now: float) -> None:
        with self._input("stream_received", now):
            state = self._stream("stream_received", stream)
            self._check_octets("stream_received", data)
            if state.eof:
                raise HostContractError(f"stream_received: stream {stream} had its EOF")
            if not data:
                raise HostContractError("stream_received: no octets; the end of a stream is stream_eof")
            self._endpoint.stream_received(stream, data, now=now)

    def stream_sent(self, stream: StreamId, octets: int, *, now: float) -> None:
        with self._input("stream_sent", now):
            state = self._stream("stream_sent", stream)
            if octets < 0 or octets > state.queued:
                raise HostContractError(
                    f"stream_sent: {octets} octets of stream {stream}, where {state.queued} are queued"
                )
            state.queued -= octets
            self._endpoint.stream_sent(stream, octets, now=now)

    def stream_eof(self, stream: StreamId, *, now: float) -> None:
        with self._input("stream_eof", now):
            state = self._stream("stream_eof", stream)
            if state.eof:
                raise HostContractError(f"stream_eof: stream {stream} had its EOF before")
            state.eof = True
            self._endpoint.stream_eof(stream, now=now)

    def stream_lost(self, stream: StreamId, error: str, *, now: float) -> None:
        with self._input("stream_lost", now):
            state = self._stream("stream_lost", stream, connected=False)
            state.lost = True
            self._endpoint.stream_lost(stream, error, now=now)

    def traffic_seen(self, sa: SaId, *, now: float) -> None:
        with self._input("traffic_seen", now):
            self._endpoint.traffic_seen(sa, now=now)

    def child_expiring(self, sa: SaId, child: ChildId, *, hard: bool = False, now: float) -> None:
        with self._input("child_expiring", now):
            self._endpoint.child_expiring(sa, child, hard=hard, now=now)

    def timer_expired(self, *, now: float) -> None:
        with self._input("timer_expired", now, timer=True):
            self._endpoint.timer_expired(now=now)

    # --- wishes -----------------------------------------------------------------------------------------------------

    def initiate(self, connection: Connection, remotes: Sequence[str], *, now: float, local: str | None = None) -> SaId:
        with self._input("initiate", now):
            sa: SaId = self._endpoint.initiate(connection, remotes, now=now, local=local)
            return sa

    def check_liveness(self, sa: SaId, *, now: float) -> RequestId:
        with self._input("check_liveness", now):
            request: RequestId = self._endpoint.check_liveness(sa, now=now)
            return request

    def create_child(self, sa: SaId, child: ChildConfig | str | None = None, *, now: float) -> RequestId:
        with self._input("create_child", now):
            request: RequestId = self._endpoint.create_child(sa, child, now=now)
            return request

    def rekey(self, sa: SaId, *, child: ChildId | None = None, now: float) -> RequestId:
        with self._input("rekey", now):
            request: RequestId = self._endpoint.rekey(sa, child=child, now=now)
            return request

    def delete(self, what: SaId, *, child: ChildId | None = None, now: float) -> RequestId:
        with self._input("delete", now):
            request: RequestId = self._endpoint.delete(what, child=child, now=now)
            return request

    def abandon(self, sa: SaId, *, now: float) -> None:
        with self._input("abandon", now):
            self._endpoint.abandon(sa, now=now)

    def answer(self, question: QuestionId, value: object, *, now: float) -> bool:
        with self._input("answer", now):
            taken: bool = self._endpoint.answer(question, value, now=now)
            return taken

    def shutdown(self, *, now: float) -> None:
        with self._input("shutdown", now):
            self._endpoint.shutdown(now=now)

    # --- pulled -----------------------------------------------------------------------------------------------------

    def outputs(self) -> Iterator[Output]:
        """Yield what the endpoint yields. The drain counts once it has run to its end."""
        self._check_thread("outputs")
        if self._draining:
            raise HostContractError("outputs: drained inside of the drain loop, which puts them out of order")
        self._draining = True
        try:
            for output in self._endpoint.outputs():
                self._note(output)
                yield output
            self._undrained = None
            deadline = self._endpoint.deadline
            # What is overdue as soon as it is known could not be served any earlier.
            self._deadline = None if deadline is None else max(deadline, self._now)
        finally:
            self._draining = False

    @property
    def deadline(self) -> float | None:
        self._check_thread("deadline")
        deadline: float | None = self._endpoint.deadline
        return deadline

    @property
    def idle(self) -> bool:
        return bool(self._endpoint.idle)

    def sa(self, sa: SaId) -> IkeSaView:
        view: IkeSaView = self._endpoint.sa(sa)
        return view

    @property
    def sas(self) -> tuple[SaId, ...]:
        sas: tuple[SaId, ...] = self._endpoint.sas
        return sas

    @property
    def counters(self) -> Mapping[str, int]:
        counters: Mapping[str, int] = self._endpoint.counters
        return counters

    # --- checks -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _input(self, call: str, now: float, *, timer: bool = False) -> Iterator[None]:
        """Check what holds for every call that changes something. One that is refused has changed nothing."""
        self._check_thread(call)
        if isinstance(now, bool) or not isinstance(now, int | float) or not math.isfinite(now):
            raise HostContractError(f"{call}: now is {now!r}, not seconds")
        if self._draining:
            yield
            return
        if self._undrained is not None:
            raise HostContractError(f"{call}: the outputs of {self._undrained} were not carried out to their end")
        if not timer and self._deadline is not None and now > self._deadline + self._tolerance:
            late = now - self._deadline
            raise HostContractError(f"{call}: the deadline passed {late:.3f} s ago without timer_expired")
        self._undrained = call
        self._now = max(self._now, now)
        try:
            yield
        except LocalProtocolError:
            self._undrained = None
            raise

    def _note(self, output: Output) -> None:
        """Learn what the core asked for."""
        if isinstance(output, OpenStream):
            self._streams[output.stream] = _Stream(opened=True, up=False)
        elif isinstance(output, WriteStream):
            self._streams[output.stream].queued += len(output.data)
        elif isinstance(output, CloseStream | ResetStream):
            self._streams[output.stream].ended = True
        elif isinstance(output, HalfCloseStream) and output.stream not in self._streams:
            raise HostContractError(f"half-close of stream {output.stream}, which nobody opened")

    def _stream(self, call: str, stream: StreamId, *, connected: bool = True) -> _Stream:
        state = self._streams.get(stream)
        if state is None:
            raise HostContractError(f"{call}: stream {stream} was never issued")
        if state.lost:
            raise HostContractError(f"{call}: stream {stream} was reported lost")
        if connected and not state.up:
            raise HostContractError(f"{call}: stream {stream} was not reported connected")
        return state

    def _check_thread(self, call: str) -> None:
        if threading.get_ident() != self._thread:
            raise HostContractError(f"{call}: called from another thread")

    def _check_octets(self, call: str, data: bytes) -> None:
        if type(data) is not bytes:
            raise HostContractError(f"{call}: the data is {type(data).__name__}, not bytes")

    def _check_local(self, call: str, kind: Transport, address: Address) -> None:
        if (kind, address) not in self._locals:
            raise HostContractError(f"{call}: there is no {kind} socket at {address!r}; pass the address of its Local")

    def _check_address(self, call: str, address: Address) -> None:
        try:
            host, port = address
            ip_address(host)
            good = type(address) is tuple and 0 <= port <= 65_535 and "%" not in host
        except (TypeError, ValueError):
            good = False
        if not good:
            raise HostContractError(f"{call}: {address!r} is no pair of an IP literal and a port")
