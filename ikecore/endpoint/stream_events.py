"""What becomes of SAs and their requests as TCP connections come and go (the draft, sections 2.1 to 2.3)."""

from __future__ import annotations

from collections.abc import Mapping

from ..sa import IkeSa
from ..transport import Stream, StreamState
from .admission import Refusals
from .choosing import Chooser
from .delivery import Delivery
from .streams import Streams
from .turn import Turn

__all__ = ["StreamEvents"]


class StreamEvents:
    """Takes them in. *by_spi* are the SAs by our SPIs."""

    def __init__(
        self,
        streams: Streams,
        by_spi: Mapping[bytes, IkeSa],
        chooser: Chooser,
        delivery: Delivery,
        refusals: Refusals,
        turn: Turn,
    ) -> None:
        self._streams = streams
        self._by_spi = by_spi
        self._chooser = chooser
        self._delivery = delivery
        self._refusals = refusals
        self._turn = turn

    def up(self, stream: Stream, now: float) -> None:
        """A connection of ours is up."""
        sa = self._streams.owner(stream.id)
        self._streams.touched(stream)
        if sa is not None:
            self._turn.is_for(sa)
            self._delivery.stream_up(sa, stream, now)

    def eof(self, stream: Stream, now: float) -> None:
        """The peer sent FIN. On a connection of ours that is a close that came too early: no answer can come by it."""
        stream.eof(now)
        self._streams.touched(stream)
        if stream.opened and (stream.awaited or stream.waiting or stream.state is StreamState.HALF_CLOSED_THERE):
            stream.close("the peer closed before it had answered")
            self.gone(stream, now)

    def gone(self, stream: Stream, now: float) -> None:
        """A stream is closed, for whatever reason: its requests go another way."""
        sa = self._streams.owner(stream.id)
        self._streams.forget(stream)
        for key in stream.owed:
            asker = self._by_spi.get(key[0]) if isinstance(key, tuple) else None
            if asker is not None and isinstance(key, tuple):
                for generation in asker.generations:
                    if generation.spi_local == key[0]:
                        generation.theirs.not_wanted_on(key[1], stream.path)
        if sa is not None and sa.alive:
            self._turn.is_for(sa)
            if stream.reserved and not stream.was_open:
                self._chooser.failed(sa, stream.remote[0], "tcp", now)
            self._delivery.stream_down(sa, stream, now)

    def expired(self, stream: Stream, now: float) -> None:
        """Some time of it is up."""
        reason = stream.expire(now)
        self._streams.touched(stream)
        if reason is not None and not stream.alive:
            if not stream.opened and not stream.heard:
                self._refusals.add("connection", stream.remote, "no message in time", now)
            self.gone(stream, now)
