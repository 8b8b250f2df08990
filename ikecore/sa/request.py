"""One message in flight, request or response: its plaintext, and its octets in each form, sealed once.

The octets of a form are made on first use and then stay the same on every path: RFC 7296 section 2.1 wants repeats
bit-identical, and no AEAD nonce may be used for two different plaintexts. What surrounds them on the wire (non-ESP
marker, length, prefix) belongs to the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..events import Transport
from ..transport import Path
from ..wire import Notification, Payload, UnknownPayload
from ..wire.numbers import Exchange, Notify, PayloadType, name_of
from .exchange import OurExchange

__all__ = ["Message", "OutgoingRequest", "OutgoingResponse", "payload_names"]


class Message:
    """What we send, once. `whole` gives its octets as one IKE message."""

    __slots__ = ("_seal", "_whole", "exchange", "message_id", "names")

    def __init__(self, exchange: int, message_id: int, seal: Callable[[], bytes], names: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.message_id = message_id
        self.names = names
        self._seal: Callable[[], bytes] | None = seal
        self._whole = b""

    def seal(self) -> None:
        """Make the octets now. Raises LocalProtocolError where one payload cannot hold them."""
        _ = self.whole

    @property
    def whole(self) -> bytes:
        """The message in one piece, without marker or framing."""
        if self._seal is not None:
            self._whole = self._seal()
            self._seal = None
        return self._whole


class OutgoingRequest(Message):
    """Our request until it is answered.

    *paths* are those that it went by; *tries* counts transmissions over UDP, *streams* connections that failed it.
    *expected* is the estimated size of the response in octets, *size* that of a request that cannot be built yet.
    *last* says that no other request is known to follow.
    """

    __slots__ = (
        "_size",
        "expected",
        "handler",
        "last",
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
        last: bool = False,
        size: int = 0,
    ) -> None:
        super().__init__(exchange, message_id, seal, names)
        self.handler = handler
        self.expected = expected
        self.started = started
        self.last = last
        self.paths: list[Path] = []
        self.tries = 0
        self.streams = 0
        self.transport: Transport | None = None
        self._size = size
        self.reason = ""
        self.repeat_at: float | None = None
        self.tried: frozenset[Transport] = frozenset()
        """Transports that came to nothing for it."""
        self.patience_until: float | None = None
        """When its present transport counts as tried."""
        self.waits_for_path = False
        """There is nowhere to send datagrams to, or from."""

    @property
    def size(self) -> int:
        """Octets of the whole message; an estimate for an IKE_SA_INIT that has no path yet."""
        return self._size or len(self.whole)

    def built(self) -> None:
        """It can be built now, so that its size is no estimate any more."""
        self._size = 0

    def sent_on(self, path: Path) -> bool:
        """Tell whether this request went out by exactly *path*."""
        return path in self.paths

    def in_words(self) -> str:
        """Say what became of it so far."""
        name, by = name_of(Exchange, self.exchange), (self.transport or "nothing").upper()
        times = f", {self.tries} transmissions" if self.transport == "udp" else ""
        return f"{name} of {self.size} octets by {by}{times}, unanswered"

    def sent(self, path: Path) -> None:
        if path not in self.paths:
            self.paths.append(path)


class OutgoingResponse(Message):
    """Our response, kept to be repeated. *resent* maps a stream or a UDP source to the moment of its last copy."""

    __slots__ = ("resent",)

    def __init__(self, exchange: int, message_id: int, seal: Callable[[], bytes], names: tuple[str, ...]) -> None:
        super().__init__(exchange, message_id, seal, names)
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
