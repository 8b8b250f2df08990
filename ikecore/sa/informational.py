"""INFORMATIONAL, both roles (RFC 7296 sections 1.4, 2.4): liveness, Delete, and word of a failure."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import IkeError, InternalAddressFailure, Superseded
from ..outputs import RequestId
from ..transport import Path
from ..wire import Contents, Delete, Notification, Payload
from ..wire.notify_data import decode_auth_lifetime, decode_window_size, encode_auth_lifetime, encode_window_size
from ..wire.numbers import Exchange, Notify, Protocol
from .beginning import pump
from .child_sa import ChildSa
from .exchange import OurExchange
from .generation import Generation
from .granting import answer_configuration
from .ike_sa import IkeSa
from .incoming import Incoming
from .outgoing import respond
from .states import Input

__all__ = [
    "DeleteChild",
    "DeleteGeneration",
    "DeleteIke",
    "DeleteSpi",
    "Liveness",
    "WindowSize",
    "auth_lifetime",
    "note_auth_lifetime",
    "answer_informational",
    "note_window",
    "window_notification",
]

SMALL_RESPONSE = 100
"""Octets of an empty protected response, about."""


class Informational(OurExchange):
    """What our INFORMATIONAL exchanges have in common."""

    exchange = int(Exchange.INFORMATIONAL)

    def __init__(self, sa: IkeSa, wish: RequestId | None = None) -> None:
        self.sa = sa
        self.wish = wish

    def build(self, now: float) -> list[Payload]:
        return []

    def expected_octets(self) -> int:
        return SMALL_RESPONSE

    def process(self, contents: Contents, path: Path, now: float) -> None:
        self.sa.wish_done(self)

    def failed(self, error: IkeError, now: float) -> None:
        self.sa.wish_failed(self, error)


class UnknownSpi(Informational):
    """Tell that ESP came with an SPI that we do not know (RFC 7296 sections 1.5 and 2.21.4)."""

    def __init__(self, sa: IkeSa, spi: bytes) -> None:
        super().__init__(sa)
        self.spi = spi

    def build(self, now: float) -> list[Payload]:
        return [Notification(Notify.INVALID_SPI, self.spi)]


class Liveness(Informational):
    """Ask whether the peer is there: an empty request (RFC 7296 section 2.4)."""

    liveness = True

    def failed(self, error: IkeError, now: float) -> None:
        """Where the SPIs went and the SA did not, the peer has just shown that it is there."""
        keys = getattr(self, "keys", None)  # there are none before it is sent
        if self.sa.alive and keys is not None and keys is not self.sa.current.keys:
            self.sa.wish_done(self)
        else:
            self.sa.wish_failed(self, error)


class WindowSize(Informational):
    """Tell the peer how many requests we keep at once (RFC 7296 section 2.3): every pair of SPIs begins with one."""

    def build(self, now: float) -> list[Payload]:
        return list(window_notification(self.sa, self.sa.current))


def window_notification(sa: IkeSa, generation: Generation) -> Sequence[Payload]:
    """Return what announces our window, if it is larger than 1, and widen it: from now on the peer may use it."""
    size = sa.services.limits.window
    if size <= 1:
        return ()
    generation.theirs.size = size
    return (Notification(Notify.SET_WINDOW_SIZE, encode_window_size(size)),)


def note_window(sa: IkeSa, generation: Generation, contents: Contents) -> None:
    """Take down the peer's window: so many requests of ours it keeps. It never gets smaller (RFC 7296 section 2.3)."""
    found = contents.notify(Notify.SET_WINDOW_SIZE)
    size = None if found is None else decode_window_size(found.data)
    if size is not None:
        generation.ours.size = max(generation.ours.size, min(size, sa.services.limits.requests_in_flight))


def auth_lifetime(sa: IkeSa) -> Sequence[Payload]:
    """Return what tells the initiator how long its authentication counts, if it does not for ever (RFC 4478)."""
    seconds = sa.connection.lifetimes.reauth_time
    return (Notification(Notify.AUTH_LIFETIME, encode_auth_lifetime(max(1, int(seconds)))),) if seconds else ()


def note_auth_lifetime(sa: IkeSa, contents: Contents, now: float) -> None:
    """Take down when the responder of the SA wants to be shown anew who we are (RFC 4478)."""
    found = contents.notify(Notify.AUTH_LIFETIME)
    seconds = None if found is None or sa.role != "initiator" else decode_auth_lifetime(found.data)
    if seconds is not None:
        sa.life.told(seconds, sa.services.random, now)
        sa.watch_life()


class DeleteIke(Informational):
    """Delete the IKE SA, and with it all its Child SAs (RFC 7296 section 1.4.1)."""

    ends_sa = True

    def __init__(self, sa: IkeSa, wish: RequestId | None = None, *, reason: str = "we deleted it") -> None:
        super().__init__(sa, wish)
        self.reason = reason
        self.more_wishes: list[RequestId] = []
        """Wished again while it was on its way."""

    def build(self, now: float) -> list[Payload]:
        self.sa.current.move(Input.DELETE_SENT)
        return [Delete(Protocol.IKE, ())]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        self._all_done()
        self.sa.close(self.reason, "us", now)

    def failed(self, error: IkeError, now: float) -> None:
        """Unanswered or crossed by the peer's own Delete, the SA is gone all the same: the wish is fulfilled."""
        self._all_done()

    def _all_done(self) -> None:
        for wish in [self.wish, *self.more_wishes]:
            self.wish = wish
            self.sa.wish_done(self)
        self.more_wishes.clear()


class DeleteGeneration(Informational):
    """Delete a pair of SPIs that was replaced; the SA goes on (RFC 7296 section 2.8)."""

    def __init__(self, sa: IkeSa, generation: Generation) -> None:
        super().__init__(sa)
        self.generation = generation

    def build(self, now: float) -> list[Payload]:
        self.generation.move(Input.DELETE_SENT)
        return [Delete(Protocol.IKE, ())]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        self.sa.drop_generation(self.generation, Superseded(), now)


class DeleteSpi(Informational):
    """Delete a Child SA that the peer made and we cannot take, by the inbound SPI that we offered for it."""

    changes_children = True

    def __init__(self, sa: IkeSa, spi_in: bytes) -> None:
        super().__init__(sa)
        self.spi_in = spi_in

    def build(self, now: float) -> list[Payload]:
        return [Delete(Protocol.ESP, (self.spi_in,))]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        self.sa.services.child_spis.release(self.sa.id, self.spi_in)


class DeleteChild(Informational):
    """Delete one Child SA: our inbound SPI goes out, the peer's comes back (RFC 7296 section 1.4.1).

    Wished for by the application it means the traffic, so whatever a rekey made of the Child SA meanwhile goes as well.
    Without *heirs* it is the end of a rekey, and only the one that was replaced, or was one too many, goes.
    """

    changes_children = True

    def __init__(
        self, sa: IkeSa, child: ChildSa, wish: RequestId | None = None, *, heirs: bool = True, reason: str = ""
    ) -> None:
        super().__init__(sa, wish)
        self.child = child
        self.heirs = heirs
        self.reason = reason or "we deleted it"
        self.spis: tuple[bytes, ...] = ()

    @property
    def concerns(self) -> list[ChildSa]:
        """Return those that it closes; until it is sent a rekey may add to them."""
        return self._doomed()

    def _doomed(self) -> list[ChildSa]:
        found, children = [], self.sa.children
        child: ChildSa | None = self.child
        while child is not None:
            if child.id in children:
                found.append(child)
            child = child.heir if self.heirs else None
        return found

    def still_wanted(self, now: float) -> bool:
        if self._doomed():
            return True
        self.sa.wish_done(self)
        return False

    def build(self, now: float) -> list[Payload]:
        self.spis = tuple(child.spi_in for child in self._doomed())
        return [Delete(Protocol.ESP, self.spis)]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        for child in list(self.sa.children.values()):
            if child.spi_in in self.spis:
                self.sa.close_child(child, self.reason, "us")
        self.sa.wish_done(self)

    def failed(self, error: IkeError, now: float) -> None:
        """Where the Child SA is gone all the same, with its IKE SA for one, the wish is fulfilled."""
        if self._doomed():
            self.sa.wish_failed(self, error)
        else:
            self.sa.wish_done(self)


def answer_informational(sa: IkeSa, asked: Incoming, now: float) -> list[Payload] | None:
    """Answer a request; unknown content gets an empty response (RFC 7296 section 1.4)."""
    contents = asked.contents
    if not contents.payloads:
        return []  # whether we are there: mostly nothing else is asked
    if contents.notify(Notify.AUTHENTICATION_FAILED) is not None:
        respond(sa, asked, [], now)
        sa.close("the peer could not authenticate us", "peer", now)
        return None
    note_window(sa, asked.generation, contents)
    note_auth_lifetime(sa, contents, now)
    deletes = contents.all(Delete)
    if any(each.protocol == Protocol.IKE for each in deletes):
        # The answer is empty and comes first; then everything goes (RFC 7296 section 1.4.1).
        respond(sa, asked, [], now)
        _peer_deleted(sa, asked.generation, now)
        return None
    gone: list[bytes] = []
    for each in deletes:
        gone += _delete_children(sa, each)
    answer: list[Payload] = [Delete(Protocol.ESP, tuple(gone))] if gone else []
    try:
        return [*answer, *answer_configuration(sa, contents, asked.chosen)]
    except InternalAddressFailure as error:
        return [*answer, Notification(error.notify)]


def _peer_deleted(sa: IkeSa, generation: Generation, now: float) -> None:
    """The peer deleted a pair of SPIs: one that was replaced, or the current one and with it the SA.

    While both sides rekey, a Delete of the old SPIs says that the peer is done and knows nothing of our own rekey: what
    it made takes over, and ours is forgotten (RFC 7296 section 2.8.2).
    """
    if generation is sa.current and sa.rival is not None and not sa.rival.deleted:
        sa.replace(sa.rival.generation, "the peer rekeyed the IKE SA", now)
    if generation is sa.current:
        sa.close("the peer deleted it", "peer", now)
    else:
        sa.drop_generation(generation, Superseded(), now)
        pump(sa, now)


def _delete_children(sa: IkeSa, delete: Delete) -> list[bytes]:
    """Close the Child SAs whose outbound SPIs the peer names; return our halves.

    Where our own Delete for the pair is on its way the answer leaves it out (RFC 7296 section 1.4.1); what we do not
    know is not answered.
    """
    ours_going = {
        spi
        for generation in sa.generations
        for request in generation.ours.unanswered.values()
        if isinstance(request.handler, DeleteChild)
        for spi in request.handler.spis
    }
    halves: list[bytes] = []
    named = set(delete.spis)
    doomed: list[ChildSa] = [
        child for child in sa.children.values() if child.suite.protocol == delete.protocol and child.spi_out in named
    ]
    if sa.awaiting in named:
        sa.awaiting = b""
    for child in doomed:
        sa.close_child(child, "the peer deleted it", "peer")
        if child.spi_in not in ours_going:
            halves.append(child.spi_in)
    return halves
