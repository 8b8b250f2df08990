"""One message in flight, request or response: its plaintext, and its octets in each form, sealed once.

The octets of a form are made on first use and then stay the same on every path: RFC 7296 section 2.1 wants repeats
bit-identical, and no AEAD nonce may be used for two different plaintexts. What surrounds them on the wire (non-ESP
marker, length, prefix) belongs to the path.

There are two forms: the whole message, and IKE fragments of it (RFC 7383). Both are one message with one Message ID,
and it may go in one form by one path and in the other by another. Fragments only ever get smaller and more: then the
old ones are forgotten, and the receiver begins anew with the new ones, since there are more in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..events import Transport
from ..transport import Path, Way
from ..wire import Notification, Payload, UnknownPayload
from ..wire.numbers import Exchange, Notify, PayloadType, name_of
from .exchange import OurExchange
from .keys import SMALL

__all__ = ["Fragmenter", "Message", "OutgoingRequest", "OutgoingResponse", "payload_names"]

Fragmenter = Callable[[int, int], tuple[bytes, ...]]
"""Seals a message in fragments: the most octets of each, and how many there have to be at least."""
LARGEST = 28 + 0xFFFF
"""Octets of the largest message of one payload."""


class Message:
    """What we send, once. `whole` gives its octets as one IKE message, `datagrams` as messages that fit a packet.

    *seal* makes the whole message, *fragment* its fragments; without that it cannot be sent in any. They hold the
    plaintext, and are let go of when they cannot be wanted any more. *length* is that of the whole where it is known
    before: what goes in fragments need not be sealed whole besides.
    """

    __slots__ = ("_fragment", "_length", "_pieces", "_seal", "_whole", "exchange", "message_id", "names")

    def __init__(
        self,
        exchange: int,
        message_id: int,
        seal: Callable[[], bytes],
        names: tuple[str, ...],
        *,
        fragment: Fragmenter | None = None,
        length: int = 0,
    ) -> None:
        self.exchange = exchange
        self.message_id = message_id
        self.names = names
        self._seal: Callable[[], bytes] | None = seal
        self._fragment = fragment
        self._length = length
        self._whole = b""
        self._pieces: tuple[bytes, ...] = ()

    def seal(self) -> None:
        """Make the octets, unless they may go in fragments. LocalProtocolError where one payload cannot hold them."""
        if self._fragment is None or not 0 < self._length <= LARGEST:
            _ = self.whole

    @property
    def whole(self) -> bytes:
        """The message in one piece, without marker or framing."""
        if self._seal is not None:
            self._whole = self._seal()
            self._seal = None
            if len(self._whole) <= SMALL:
                self._fragment = None
        return self._whole

    @property
    def divisible(self) -> bool:
        """Whether it can go in fragments; of one that is not sealed yet, whether it may turn out that it can."""
        return self._fragment is not None or bool(self._pieces)

    def datagrams(self, room: int) -> tuple[bytes, ...]:
        """The message for datagrams of at most *room* octets: whole if it fits, else in fragments if it can be.

        Fragments stay as they are until smaller ones are wanted. Then there are more of them, even if as many would do:
        by that the receiver knows the new set from the old (RFC 7383 section 2.5.2).
        """
        if (self._length or len(self.whole)) <= room:
            return (self.whole,)
        if self._fragment is not None and (not self._pieces or len(self._pieces[0]) > room):
            self._pieces = self._fragment(room, len(self._pieces) + 1)
        return self._pieces or (self.whole,)

    def settle(self, room: int | None) -> None:
        """The keys are about to go: seal what may still be wanted, and let go of the plaintext.

        *room* is what a datagram to the peer may hold, None where fragments are not wanted.
        """
        _ = self.whole
        if room is not None:
            _ = self.datagrams(room)
        self._fragment = None


class OutgoingRequest(Message):
    """Our request until it is answered.

    *paths* are those that it went by; *tries* counts transmissions over UDP, *streams* connections that failed it.
    *expected* is the estimated size of the response in octets, *size* that of a request that cannot be built yet.
    *last* says that no other request is known to follow. *in_fragments* says that UDP carries it in IKE fragments, for
    IP packets of at most *packet* octets (None: as large as usual for its SA). When these get smaller *tries* begins
    anew, and *earlier* has those before.
    """

    __slots__ = (
        "_size",
        "earlier",
        "expected",
        "forms",
        "handler",
        "in_fragments",
        "last",
        "packet",
        "paths",
        "patience_until",
        "reason",
        "repeat_at",
        "started",
        "streams",
        "transport",
        "tried",
        "tries",
        "waits_for_path",
    )

    def __init__(
        self,
        exchange: int,
        message_id: int,
        seal: Callable[[], bytes],
        names: tuple[str, ...],
        *,
        handler: OurExchange,
        expected: int,
        started: float,
        fragment: Fragmenter | None = None,
        length: int = 0,
        last: bool = False,
        size: int = 0,
    ) -> None:
        super().__init__(exchange, message_id, seal, names, fragment=fragment, length=length)
        self.handler = handler
        self.expected = expected
        self.started = started
        self.last = last
        self.paths: list[Path] = []
        self.tries = 0
        self.earlier = 0
        self.in_fragments = False
        self.forms: set[Way] = set()
        """Those that UDP has carried it in."""
        self.packet: int | None = None
        self.streams = 0
        self.transport: Transport | None = None
        self._size = size
        self.reason = ""
        self.repeat_at: float | None = None
        self.tried: frozenset[Way] = frozenset()
        """Ways that came to nothing for it."""
        self.patience_until: float | None = None
        """When its present way counts as tried."""
        self.waits_for_path = False
        """There is nowhere to send datagrams to, or from."""

    @property
    def size(self) -> int:
        """Octets of the whole message; an estimate for an IKE_SA_INIT that has no path yet."""
        return self._size or self._length or len(self.whole)

    @property
    def way(self) -> Way | None:
        """Transport and form of the last transmission."""
        return "fragments" if self.transport == "udp" and self.in_fragments else self.transport

    def begin_anew(self) -> None:
        """It goes in a new form from now on: the intervals between transmissions begin again with the shortest."""
        self.earlier += self.tries
        self.tries = 0

    def built(self) -> None:
        """It can be built now, so that its size is no estimate any more."""
        self._size = 0

    def sent_on(self, path: Path) -> bool:
        """Tell whether this request went out by exactly *path*."""
        return path in self.paths

    def in_words(self) -> str:
        """Say what became of it so far."""
        name, by = name_of(Exchange, self.exchange), (self.transport or "nothing").upper()
        times = f", {self.earlier + self.tries} transmissions" if self.transport == "udp" else ""
        if self.way == "fragments":
            by += " in IKE fragments"
        to = " to {} port {}".format(*self.paths[-1].remote) if self.paths else ""
        return f"{name} of {self.size} octets{to} by {by}{times}, unanswered"

    def sent(self, path: Path) -> None:
        if path not in self.paths:
            self.paths.append(path)


class OutgoingResponse(Message):
    """Our response, kept to be repeated. *resent* maps a stream or a UDP source to the moment of its last copy.

    *spi* is our own of the IKE SA that it belongs to, empty where there is none. Once it is stored, *digest* is that of
    the octets of the request, and *answered_at* when that was answered.
    """

    __slots__ = ("answered_at", "digest", "resent", "spi")

    def __init__(
        self,
        exchange: int,
        message_id: int,
        seal: Callable[[], bytes],
        names: tuple[str, ...],
        *,
        fragment: Fragmenter | None = None,
        length: int = 0,
        spi: bytes = b"",
    ) -> None:
        super().__init__(exchange, message_id, seal, names, fragment=fragment, length=length)
        self.spi = spi
        self.digest = b""
        self.answered_at = 0.0
        self.resent: dict[object, float] = {}


def payload_names(payloads: Sequence[Payload], private: Mapping[int, str]) -> tuple[str, ...]:
    """Name payloads as a ladder shows them, notifications with their type; *private* names unassigned numbers."""
    names = []
    for payload in payloads:
        if isinstance(payload, Notification):
            number = payload.notify_type
            names.append(f"N({private.get(number) or name_of(Notify, number)})")
        else:
            kind = payload.payload_type if isinstance(payload, UnknownPayload) else payload.TYPE
            names.append(name_of(PayloadType, kind))
    return tuple(names)
