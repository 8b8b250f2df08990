"""All TCP connections of an endpoint: their table, their limits, and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

from ..framing import Framing, RawHeader, receiver
from ..limits import Limits
from ..outputs import Address, Output, SaId, StreamId
from ..sa import IkeSa, OutgoingRequest
from ..transport import Stream, StreamPath, StreamState, source_key
from ..wire.numbers import INITIATOR, RESPONSE

__all__ = ["Streams"]


class Streams:
    """Connections opened by us for an SA, and those accepted from peers.

    *known* tells whether an SPI of ours is, or lately was, that of an SA. *gone* is told of each stream that is
    forgotten. *dirty* holds the streams whose work may be done: they are looked at after each input.
    """

    def __init__(
        self,
        limits: Limits,
        emit: Callable[[Output], None],
        known: Callable[[bytes], bool],
        gone: Callable[[Stream], None],
    ) -> None:
        self._limits = limits
        self._emit = emit
        self._known = known
        self._gone = gone
        self._streams: dict[StreamId, Stream] = {}
        self._owner: dict[StreamId, IkeSa] = {}
        self._of_sa: dict[SaId, tuple[StreamId, ...]] = {}
        """The oldest first. Before the last one there are only half-closed ones, on which answers may yet come."""
        self._accepted_by_source: Counter[str] = Counter()
        self._accepted = 0
        self._unfinished: dict[StreamId, int] = {}
        """What connections of strangers keep of messages that are not whole yet, in octets, the oldest first."""
        self._unfinished_octets = 0
        self._closing = False
        self._numbers = count(1)
        self._last = 0
        self.dirty: dict[StreamId, Stream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, stream: StreamId) -> Stream | None:
        """Return a live stream."""
        return self._streams.get(stream)

    def was_issued(self, stream: StreamId) -> bool:
        """Tell whether the handle was ever given out."""
        return 1 <= stream <= self._last

    def of_sa(self, sa: SaId) -> Stream | None:
        """Return the connection that we opened for *sa*, if it still lives: the last one."""
        streams = self._of_sa.get(sa)
        return None if streams is None else self._streams.get(streams[-1])

    def carrier(self, sa: SaId, request: OutgoingRequest) -> Stream | None:
        """Return the connection on which *request* of *sa* awaits its answer, or waits to be sent."""
        for number in self._of_sa.get(sa, ()):
            stream = self._streams[number]
            if request in stream.awaited or request in stream.waiting:
                return stream
        return None

    def owner(self, stream: StreamId) -> IkeSa | None:
        """Return the SA for which we opened *stream*."""
        return self._owner.get(stream)

    # --- beginning --------------------------------------------------------------------------------------------------

    def open(self, sa: IkeSa, remote: Address, local: str | None, now: float) -> Stream:
        """Begin a connection for *sa*: one at a time, only for what it has to send."""
        stream = self._make(remote, opened=True)
        self._owner[stream.id] = sa
        self._of_sa[sa.id] = (*self._of_sa.get(sa.id, ()), stream.id)
        stream.open(local, now)
        self.touched(stream)
        return stream

    def accept(self, local: Address, remote: Address, framings: frozenset[Framing], now: float) -> tuple[Stream, str]:
        """Take in a peer's connection. The reason is empty, or says why it was reset at once.

        At the limit the oldest connection without an authenticated message makes room: an attacker's connections
        displace one another, and honest peers finish in milliseconds.
        """
        source = source_key(remote[0])
        reason = ""
        if self._closing:
            reason = "the endpoint is shutting down"
        elif self._accepted_by_source[source] >= self._limits.streams_per_source:
            reason = f"{self._limits.streams_per_source} connections from this source"
        elif self._accepted >= self._limits.streams:
            oldest = next((each for each in self._streams.values() if not each.opened and not each.proved), None)
            if oldest is None:
                reason = f"{self._limits.streams} connections, all of them authenticated"
            else:
                oldest.reset("it made room for a newer connection")
                self.forget(oldest)
        stream = self._make(remote, opened=False, framings=framings)
        self._accepted += 1
        self._accepted_by_source[source] += 1
        stream.connected(local, now)
        if reason:
            stream.reset(reason)
            self.forget(stream)
        else:
            self.touched(stream)
        return stream, reason

    def _make(
        self, remote: Address, *, opened: bool, framings: frozenset[Framing] = frozenset({Framing.IKE_TCP})
    ) -> Stream:
        self._last = next(self._numbers)
        bound, unasked = (self._response_bound, 0) if opened else (self._request_bound, self._limits.message_init)
        stream = Stream(
            StreamId(self._last),
            remote,
            opened=opened,
            receiver=receiver(framings, prefix=not opened, bound=bound, unasked=unasked),
            limits=self._limits,
            emit=self._emit,
        )
        self._streams[stream.id] = stream
        return stream

    def _response_bound(self, header: RawHeader) -> int:
        """On a connection of ours only responses are valid (TCP-77); they may be as large as a message can be."""
        return self._limits.message_known if header[5] & RESPONSE else 0

    def _request_bound(self, header: RawHeader) -> int:
        """On a peer's connection nothing is kept for SPIs that we do not know.

        Of a size that anyone may make us keep, with an IKE_SA_INIT, messages are taken unasked: who they are for is
        seen when they are whole.
        """
        flags = header[5]
        ours = header[1] if flags & INITIATOR else header[0]
        return self._limits.message_known if not flags & RESPONSE and self._known(ours) else 0

    # --- ending -----------------------------------------------------------------------------------------------------

    def touched(self, stream: Stream) -> None:
        """Have it looked at after this input."""
        self.dirty[stream.id] = stream

    def proved(self, path: StreamPath) -> None:
        """Its peer showed who it is. Keys alone prove nothing, since any stranger gets some."""
        stream = self._streams.get(path.stream)
        if stream is not None:
            stream.proved = True
            self._kept(stream.id, 0)

    def read(self, stream: Stream) -> list[Stream]:
        """Note what is kept of a message on the connection of a stranger. Returns those that have to make room."""
        if stream.opened or stream.proved or stream.id not in self._streams:
            return []
        self._kept(stream.id, stream.unfinished)
        found, octets = [], self._unfinished_octets
        for each, kept in self._unfinished.items():
            if octets <= self._limits.streams_unproved:
                break
            found.append(self._streams[each])
            octets -= kept
        return found

    def _kept(self, stream: StreamId, octets: int) -> None:
        self._unfinished_octets += octets - self._unfinished.get(stream, 0)
        if octets:
            self._unfinished[stream] = octets
        else:
            self._unfinished.pop(stream, None)

    def let_go(self, sa: IkeSa, request: OutgoingRequest) -> None:
        """The request is over: its streams await it no longer."""
        for number in self._of_sa.get(sa.id, ()):
            stream = self._streams[number]
            stream.awaited.discard(request)
            if request in stream.waiting:
                stream.waiting.remove(request)
            self.touched(stream)

    def tidy(self, stream: Stream, now: float) -> None:
        """Close what has done its work (the draft, sections 2.1 and 2.2), and forget what is closed."""
        if stream.alive:
            if stream.opened:
                if not stream.awaited and not stream.waiting and not self._is_kept(stream):
                    self._done(stream, now)
            elif stream.state is StreamState.HALF_CLOSED_THERE and not stream.owed:
                stream.finish("all is answered, and the peer had closed its side", now)
            elif self._closing and not stream.owed and not stream.unsent:
                stream.close("the endpoint is shutting down")
        if not stream.alive:
            self.forget(stream)

    def _done(self, stream: Stream, now: float) -> None:
        """All responses are in and nothing waits: the side that opened the connection closes it (TCP-12)."""
        if stream.unsent:
            stream.finish("nothing more to send or to wait for", now)
        else:
            stream.close("all is answered" if stream.was_open else "not needed any more")

    def forget(self, stream: Stream) -> None:
        """Drop a closed stream from the table."""
        if self._streams.pop(stream.id, None) is None:
            return
        self.dirty.pop(stream.id, None)
        self._kept(stream.id, 0)
        self._gone(stream)
        owner = self._owner.pop(stream.id, None)
        if owner is not None:
            left = tuple(each for each in self._of_sa.pop(owner.id) if each != stream.id)
            if left:
                self._of_sa[owner.id] = left
        if not stream.opened:
            source = source_key(stream.remote[0])
            self._accepted -= 1
            self._accepted_by_source[source] -= 1
            if not self._accepted_by_source[source]:
                del self._accepted_by_source[source]

    def _is_kept(self, stream: Stream) -> bool:
        """Whether it was opened early and still waits, bounded by its idle time, for its first request (TCP-09)."""
        owner = self._owner.get(stream.id)
        return stream.reserved and owner is not None and owner.alive and owner.setting_up

    def look_at_those_of(self, sas: Iterable[IkeSa]) -> None:
        """Something about *sas* changed: their connections may have done their work."""
        if self._of_sa:
            for sa in sas:
                for number in self._of_sa.get(sa.id, ()):
                    self.touched(self._streams[number])

    def shut_down(self) -> None:
        """Take no new connection; end each accepted one as soon as nothing is owed on it."""
        self._closing = True
        for stream in self._streams.values():
            self.touched(stream)

    def drop_sa(self, sa: IkeSa) -> None:
        """The SA is gone: its connection is of no use, and what it owed to accepted ones will not come."""
        for generation in sa.generations:
            for message_id, path in generation.theirs.undecided():
                accepted = self._streams.get(path.stream) if isinstance(path, StreamPath) else None
                if accepted is not None:
                    accepted.owed.discard((generation.spi_local, message_id))
                    self.touched(accepted)
        for number in self._of_sa.get(sa.id, ()):
            stream = self._streams[number]
            stream.awaited.clear()
            stream.waiting.clear()
            self.touched(stream)
