"""How TCP gets octets through a network that loses packets: a model of the sender and the receiver of one direction.

What it has, and from where:

- segments of at most 1,460 octets; a FIN is one, too
- an initial window of 10 segments (RFC 6928), slow start, congestion avoidance (RFC 5681)
- fast retransmit after three duplicate acknowledgements, and recovery hole by hole (RFC 6582, NewReno)
- a retransmission timer computed from the round trip as in RFC 6298, but with at least 0.2 s for its variation in place
  of its minimum of 1 s (as Linux does); it doubles each time that it expires
- an acknowledgement for each segment, at once; it may be lost, too

What it has not: selective acknowledgements, tail loss probes and early retransmit, with which a real kernel recovers
somewhat sooner; delayed acknowledgements; pacing; a limit by the receiver (`Tcp.window` is kept by the host's queue).
SYN and SYN-ACK, which go again after 1, 2, 4 ... seconds, are in `ikecore.testing.streams`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

__all__ = ["Sender", "Wire"]

SEGMENT = 1460
INITIAL_WINDOW = 10
LEAST_VARIANCE = 0.2
LONGEST_TIMEOUT = 60.0
DUPLICATES = 3
TRIES = 15
"""Linux gives up after so many transmissions of one segment (tcp_retries2)."""

Kind = Literal["data", "fin"]


class Wire(Protocol):
    """What the model needs of the network."""

    @property
    def now(self) -> float:
        """The time."""

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Call *action* at *moment*."""

    def put(self, kind: Kind, data: bytes) -> float | None:
        """Put a segment on the wire; return when it arrives, None if it is lost."""

    def acknowledge(self) -> float | None:
        """Put an acknowledgement on the wire, the other way; likewise."""

    def arrived(self, kind: Kind, data: bytes) -> None:
        """Hand over the next segment, in order."""

    def given_up(self) -> None:
        """Tell that the connection timed out."""


class Sender:
    """One direction of a connection: what was pushed arrives whole and in order, sooner or later.

    *round_trip* is what the handshake measured (with timestamps, so that a repeated SYN does not matter).
    """

    def __init__(self, wire: Wire, round_trip: float) -> None:
        self._wire = wire
        self._segments: list[tuple[Kind, bytes]] = []
        self._sent_at: list[float | None] = []
        self._unacknowledged = 0
        self._next = 0
        self._window = float(INITIAL_WINDOW)
        self._threshold = float("inf")
        self._duplicates = 0
        self._recover: int | None = None
        self._smoothed: float | None = None
        self._variance = self._timeout = 0.0
        self._tries = 0
        self._alarm = 0
        self._stopped = False
        # The receiver's side.
        self._expected = 0
        self._early: set[int] = set()
        self._measured(round_trip)

    def push(self, kind: Kind, data: bytes) -> None:
        """Send *data* (or FIN) behind all that was pushed before."""
        pieces = [data[pos : pos + SEGMENT] for pos in range(0, len(data), SEGMENT)] or [b""]
        self._segments += [(kind, piece) for piece in pieces]
        self._sent_at += [None] * len(pieces)
        self._pump()

    def stop(self) -> None:
        """Forget everything: the connection is gone."""
        self._stopped = True
        self._alarm += 1

    # --- the sender -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send what the window allows."""
        idle = self._unacknowledged == self._next
        while self._next < len(self._segments) and self._next - self._unacknowledged < int(self._window):
            self._next += 1
            self._send(self._next - 1, again=self._sent_at[self._next - 1] is not None)
        if idle and self._unacknowledged < self._next:
            self._rearm()

    def _send(self, index: int, *, again: bool) -> None:
        self._sent_at[index] = float("nan") if again else self._wire.now
        arrival = self._wire.put(*self._segments[index])
        if arrival is not None:
            self._wire.at(arrival, lambda: self._take(index))

    def _rearm(self) -> None:
        self._alarm += 1
        alarm = self._alarm
        if self._unacknowledged < self._next and not self._stopped:
            self._wire.at(self._wire.now + self._timeout, lambda: self._expired(alarm))

    def _expired(self, alarm: int) -> None:
        """Nothing was acknowledged for too long: begin again with the first segment, and a window of one."""
        if alarm != self._alarm or self._stopped:
            return
        self._tries += 1
        if self._tries >= TRIES:
            self.stop()
            self._wire.given_up()
            return
        self._threshold = max((self._next - self._unacknowledged) / 2, 2.0)
        self._window = 1.0
        self._duplicates, self._recover = 0, None
        self._timeout = min(2 * self._timeout, LONGEST_TIMEOUT)
        self._next = self._unacknowledged + 1
        self._send(self._unacknowledged, again=True)
        self._rearm()

    def _acknowledged(self, upto: int) -> None:
        """An acknowledgement of all segments below *upto* is here."""
        if self._stopped or upto < self._unacknowledged:
            return
        if upto > self._unacknowledged:
            self._progress(upto)
        elif self._unacknowledged < self._next:
            self._duplicate()
        self._pump()

    def _progress(self, upto: int) -> None:
        newly, last = upto - self._unacknowledged, self._sent_at[upto - 1]
        self._unacknowledged, self._next = upto, max(self._next, upto)
        self._duplicates = self._tries = 0
        if last is not None and last == last:  # not a number: sent twice, and nobody knows which of them arrived
            self._measured(self._wire.now - last)
        if self._recover is None:
            for _ in range(newly):
                self._window += 1.0 if self._window < self._threshold else 1.0 / self._window
        elif upto >= self._recover:
            self._window, self._recover = self._threshold, None
        else:
            self._window = max(self._window - newly + 1, 1.0)
            self._send(upto, again=True)
        self._rearm()

    def _duplicate(self) -> None:
        self._duplicates += 1
        if self._recover is not None:
            self._window += 1
        elif self._duplicates == DUPLICATES:
            self._threshold = max((self._next - self._unacknowledged) / 2, 2.0)
            self._window = self._threshold + DUPLICATES
            self._recover = self._next
            self._send(self._unacknowledged, again=True)
            self._rearm()

    def _measured(self, round_trip: float) -> None:
        """Compute the timeout from one more round trip (RFC 6298, section 2)."""
        if self._smoothed is None:
            self._smoothed, self._variance = round_trip, round_trip / 2
        else:
            self._variance = 0.75 * self._variance + 0.25 * abs(self._smoothed - round_trip)
            self._smoothed = 0.875 * self._smoothed + 0.125 * round_trip
        self._timeout = self._smoothed + max(LEAST_VARIANCE, 4 * self._variance)

    # --- the receiver -----------------------------------------------------------------------------------------------

    def _take(self, index: int) -> None:
        """A segment is here: hand over what is in order, and acknowledge it."""
        if self._stopped:
            return
        if index >= self._expected:
            self._early.add(index)
        ready = []
        while self._expected in self._early:
            self._early.discard(self._expected)
            ready.append(self._segments[self._expected])
            self._expected += 1
        upto, arrival = self._expected, self._wire.acknowledge()
        if arrival is not None:
            self._wire.at(arrival, lambda: self._acknowledged(upto))
        for kind, data in ready:
            self._wire.arrived(kind, data)
