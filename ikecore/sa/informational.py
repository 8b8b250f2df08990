"""INFORMATIONAL, both roles (RFC 7296 sections 1.4, 2.4): liveness, Delete, and word of a failure."""

from __future__ import annotations

from ..errors import IkeError
from ..outputs import RequestId
from ..transport import Path
from ..wire import Contents, Delete, Payload
from ..wire.numbers import Exchange, Notify, Protocol
from .child_sa import ChildSa
from .ike_sa import IkeSa
from .states import Input

__all__ = ["DeleteChild", "DeleteIke", "Liveness", "answer_informational"]

SMALL_RESPONSE = 100
"""Octets of an empty protected response, about."""


class Informational:
    """What our INFORMATIONAL exchanges have in common."""

    exchange = int(Exchange.INFORMATIONAL)
    liveness = False
    ends_sa = False

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


class Liveness(Informational):
    """Ask whether the peer is there: an empty request (RFC 7296 section 2.4)."""

    liveness = True


class DeleteIke(Informational):
    """Delete the IKE SA, and with it all its Child SAs (RFC 7296 section 1.4.1)."""

    ends_sa = True

    def __init__(self, sa: IkeSa, wish: RequestId | None = None) -> None:
        super().__init__(sa, wish)
        self.more_wishes: list[RequestId] = []
        """Wished again while it was on its way."""

    def build(self, now: float) -> list[Payload]:
        self.sa.move(Input.DELETE_SENT)
        return [Delete(Protocol.IKE, ())]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        self._all_done()
        self.sa.close("we deleted it", "us", now)

    def failed(self, error: IkeError, now: float) -> None:
        """Unanswered or crossed by the peer's own Delete, the SA is gone all the same: the wish is fulfilled."""
        self._all_done()

    def _all_done(self) -> None:
        for wish in [self.wish, *self.more_wishes]:
            self.wish = wish
            self.sa.wish_done(self)
        self.more_wishes.clear()


class DeleteChild(Informational):
    """Delete one Child SA: our inbound SPI goes out, the peer's comes back (RFC 7296 section 1.4.1)."""

    def __init__(self, sa: IkeSa, spi_in: bytes, wish: RequestId | None = None) -> None:
        super().__init__(sa, wish)
        self.spi_in = spi_in

    def build(self, now: float) -> list[Payload]:
        return [Delete(Protocol.ESP, (self.spi_in,))]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        for child in list(self.sa.children.values()):
            if child.spi_in == self.spi_in:
                self.sa.close_child(child, "we deleted it", "us")
        self.sa.wish_done(self)


def answer_informational(
    sa: IkeSa, contents: Contents, message_id: int, path: Path, now: float
) -> list[Payload] | None:
    """Answer a request; unknown content gets an empty response (RFC 7296 section 1.4)."""
    if contents.notify(Notify.AUTHENTICATION_FAILED) is not None:
        sa.respond(Exchange.INFORMATIONAL, message_id, [], now)
        sa.close("the peer could not authenticate us", "peer", now)
        return None
    deletes = contents.all(Delete)
    if any(each.protocol == Protocol.IKE for each in deletes):
        # The answer is empty and comes first; then everything goes (RFC 7296 section 1.4.1).
        sa.respond(Exchange.INFORMATIONAL, message_id, [], now)
        sa.close("the peer deleted it", "peer", now)
        return None
    gone: list[bytes] = []
    for each in deletes:
        gone += _delete_children(sa, each)
    return [Delete(Protocol.ESP, tuple(gone))] if gone else []


def _delete_children(sa: IkeSa, delete: Delete) -> list[bytes]:
    """Close the Child SAs whose outbound SPIs the peer names; return our halves.

    Where our own Delete for the pair is on its way the answer leaves it out (RFC 7296 section 1.4.1); what we do not
    know is not answered.
    """
    ours_going = {
        request.handler.spi_in for request in sa.ours.unanswered.values() if isinstance(request.handler, DeleteChild)
    }
    halves: list[bytes] = []
    named = set(delete.spis)
    doomed: list[ChildSa] = [
        child for child in sa.children.values() if child.suite.protocol == delete.protocol and child.spi_out in named
    ]
    for child in doomed:
        sa.close_child(child, "the peer deleted it", "peer")
        if child.spi_in not in ours_going:
            halves.append(child.spi_in)
    return halves
