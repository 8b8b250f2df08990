"""Putting one message on a path: as a datagram, in IKE fragments, or into a stream; and all that answers a request.

A response goes where its request came from, or nowhere (the draft, section 2.2). Which way a request takes, and when it
goes again, is in `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..events import MessageSent
from ..framing import add_marker
from ..limits import Limits
from ..outputs import Output, SendDatagram
from ..sa import IkeSa, Message, OutgoingRequest, OutgoingResponse
from ..transport import LEAST_PACKET, DatagramPath, Path, StreamPath, room_in, source_key
from ..wire.numbers import Exchange, name_of
from .keepalives import Keepalives
from .sockets import Sockets
from .streams import Streams

__all__ = ["Sender"]

MOST_SOURCES = 16
"""Streams and UDP sources to which a stored response is sent at once, at most; the oldest is forgotten first."""


class Sender:
    """Sends for all SAs of an endpoint, once each time it is asked to."""

    def __init__(
        self,
        limits: Limits,
        streams: Streams,
        emit: Callable[[Output], None],
        sockets: Sockets,
        keepalives: Keepalives,
        trace: bool,
    ) -> None:
        self._limits = limits
        self._streams = streams
        self._emit = emit
        self._locals = sockets.locals
        self._keepalives = keepalives
        self._trace = trace

    def send_response(self, sa: IkeSa | None, response: OutgoingResponse, paths: Sequence[Path], now: float) -> None:
        """Send a response on each of *paths* that still exists; a repeat only so often per stream or UDP source.

        A repeat proves no address, and whoever forges one may name a thousand: so many at once get none, but the
        address that the peer was authenticated at.
        """
        resent, interval = response.resent, 1.0 / self._limits.response_resends_per_second
        for path in paths:
            key = path.stream if isinstance(path, StreamPath) else source_key(path.remote[0])
            last = resent.get(key)
            if last is not None and now - last < interval:
                continue
            resent.pop(key, None)
            if len(resent) >= MOST_SOURCES:
                oldest = next(iter(resent))
                forged = isinstance(path, DatagramPath) and (sa is None or path != sa.path)
                if forged and now - resent[oldest] < interval:
                    continue
                del resent[oldest]
            resent[key] = now
            self._respond_on(sa, response, path, now, repeat=last is not None)

    def _respond_on(
        self, sa: IkeSa | None, response: OutgoingResponse, path: Path, now: float, *, repeat: bool
    ) -> None:
        if isinstance(path, DatagramPath):
            self.datagram(sa, response, path, "where the request came from", now, repeat=repeat, is_response=True)
            return
        stream = self._streams.get(path.stream)
        if stream is None:
            return
        stream.owed.discard((response.spi, response.message_id))
        self._streams.touched(stream)
        if stream.writable and stream.write(response.whole, now):
            self.trace_sent(sa, response, path, "where the request came from", is_response=True, repeat=repeat)

    def send_once(self, sa: IkeSa, message: Message, now: float) -> None:
        """Send without waiting for anything: by UDP, or where there is no path on the open connection of the SA."""
        stream = self._streams.of_sa(sa.id)
        if sa.path is not None:
            self.datagram(sa, message, sa.path, "nobody waits for an answer", now, repeat=False)
        elif stream is not None and stream.writable and stream.write(message.whole, now):
            self.trace_sent(sa, message, stream.path, "nobody waits for an answer", is_response=False, repeat=False)

    def send_octets(self, octets: bytes, path: Path) -> None:
        """Send to a stranger of whom nothing is kept, over UDP and untraced."""
        if isinstance(path, DatagramPath) and ("udp", path.local) in self._locals:
            self._emit(SendDatagram(add_marker(octets) if path.marker else octets, path.local, path.remote))

    def datagram(
        self,
        sa: IkeSa | None,
        message: Message,
        path: DatagramPath,
        reason: str,
        now: float,
        *,
        repeat: bool,
        is_response: bool = False,
    ) -> None:
        """Send *message* as a datagram, or as several if it goes in fragments; nothing where the socket is gone."""
        if ("udp", path.local) not in self._locals:
            return
        form = self.form(sa, message, path)
        if self._trace:
            self.trace_sent(sa, message, path, reason, is_response=is_response, repeat=repeat, form=form)
        for octets in form:
            self._emit(SendDatagram(add_marker(octets) if path.marker else octets, path.local, path.remote))
        if sa is not None and sa.nat.local_behind_nat:
            self._keepalives.sent(sa, path, now)

    def form(self, sa: IkeSa | None, message: Message, path: DatagramPath) -> tuple[bytes, ...]:
        """Return the messages that carry *message* over UDP: one, or its fragments.

        A request goes as its policy said. A response is of the size that packets of this SA may have; that of an SA
        which is gone, in the form that was kept.
        """
        if not message.divisible:
            return (message.whole,)
        if isinstance(message, OutgoingRequest):
            if not message.in_fragments or sa is None:
                return (message.whole,)
            return message.datagrams(room_in(path, message.packet or sa.packet_size))
        return message.datagrams(room_in(path, LEAST_PACKET if sa is None else sa.packet_size))

    def trace_sent(
        self,
        sa: IkeSa | None,
        message: Message,
        path: Path,
        reason: str,
        *,
        is_response: bool,
        repeat: bool,
        form: tuple[bytes, ...] = (),
    ) -> None:
        """Tell of a message that leaves, if that is traced. *form* is what it is sent as, nothing for the whole."""
        if self._trace:
            self._emit(
                MessageSent(
                    None if sa is None else sa.id,
                    name_of(Exchange, message.exchange),
                    message.message_id,
                    is_response,
                    sum(map(len, form)) or len(message.whole),
                    path.transport,
                    path.local,
                    path.remote,
                    repeat,
                    reason,
                    message.names,
                    len(form) if len(form) > 1 else 0,
                )
            )
