"""CREATE_CHILD_SA that makes or rekeys a Child SA, both roles (RFC 7296 sections 1.3.1, 1.3.3, 2.8.1, 2.17, 2.25.1).

The side that rekeyed a Child SA deletes the old one. Where both sides rekey the same one at once there are two new
ones: the one with the lowest of the four nonces loses, and is deleted by the side that made it. That is why a rekey in
flight remembers what the peer's rekey made meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ..config import ChildConfig
from ..crypto import child_suite
from ..errors import (
    ChildSaNotFound,
    IkeError,
    InternalAddressFailure,
    InvalidSyntax,
    LocalProtocolError,
    NoProposalChosen,
    RemoteProtocolError,
    TemporaryFailure,
    TsUnacceptable,
)
from ..events import ChildSaFailed
from ..outputs import RequestId
from ..transport import Path
from ..wire import Contents, KeyExchange, Nonce, Notification, Payload, SecurityAssociation
from ..wire.numbers import Exchange, Ke, Notify
from .beginning import go_on, try_later
from .child_ends import ends_of
from .child_negotiation import ChildOffer, add_child, agree, answer_payloads
from .child_sa import ChildSa
from .child_terms import no_host, offered_selectors
from .exchange import OurExchange
from .granting import Granting
from .ike_sa import IkeSa
from .incoming import Incoming
from .informational import DeleteChild, DeleteSpi
from .key_exchange import (
    NONCE_OCTETS,
    OurKeyExchange,
    answer_key_exchange,
    first_method,
    method_to_retry,
    methods_of,
    peer_nonce,
)
from .persistence import Persistence
from .refusals import CHILD_REFUSED, refusal
from .rekey_ike_sa import answer_rekey_ike

__all__ = ["CreateChild", "answer_create_child_sa"]

REKEYED = "it was rekeyed"
REDUNDANT = "both sides rekeyed the Child SA, and the other side's remains"


@attrs.define
class RivalChild:
    """What the peer's rekey of the same Child SA made while ours is under way, and the lower nonce of that exchange."""

    child: ChildSa
    lowest: bytes = attrs.field(repr=False)


class CreateChild(OurExchange):
    """Our request for a new Child SA, or for one that *replaces* another."""

    exchange = int(Exchange.CREATE_CHILD_SA)
    changes_children = True

    def __init__(
        self,
        sa: IkeSa,
        config: ChildConfig,
        wish: RequestId | None = None,
        *,
        replaces: ChildSa | None = None,
        method: int | None = None,
        rounds: int = 0,
        then: Callable[[float], None] | None = None,
    ) -> None:
        self.sa = sa
        self.then = then
        """What comes next, whether there is a Child SA or not."""
        self.config = config
        self.wish = wish
        self.replaces = replaces
        self.method = _first_method(config, replaces) if method is None else method
        self.rounds = rounds
        self.persistence = Persistence()
        self.rival: RivalChild | None = None
        self.offer: ChildOffer | None = None
        self.key_exchange: OurKeyExchange | None = None
        self.nonce = b""

    @property
    def concerns(self) -> list[ChildSa]:
        return [] if self.replaces is None else [self.replaces]

    def still_wanted(self, now: float) -> bool:
        """A rekey is for a Child SA that still is there, and that nobody has replaced; a new one needs selectors."""
        old = self.replaces
        if old is None and offered_selectors(self.config, ends_of(self.sa)) is None:
            self.failed(LocalProtocolError(no_host(self.config)), now)
            return False
        if old is None or (old.id in self.sa.children and old.heir is None):
            return True
        if old.heir is not None:
            self.sa.wish_done(self, old.heir.id)
        else:
            self.sa.wish_failed(self, ChildSaNotFound("the Child SA is gone"))
        return False

    def expected_octets(self) -> int:
        return 500

    def build(self, now: float) -> list[Payload]:
        """Return [N(REKEY_SA)], notifications, SA, Ni, [KEi], TSi, TSr (RFC 7296 sections 1.3.1 and 1.3.3)."""
        services, old = self.sa.services, self.replaces
        self.offer = offer = ChildOffer(self.sa, self.config, with_group=True, replaces=old)
        self.nonce = services.random(NONCE_OCTETS)
        payloads: list[Payload] = []
        if old is not None:
            payloads.append(Notification(Notify.REKEY_SA, b"", old.suite.protocol, old.spi_in))
        payloads += [*offer.notifications, SecurityAssociation(offer.proposals), Nonce(self.nonce)]
        if self.method != Ke.NONE:
            self.key_exchange = OurKeyExchange(self.method, services.random)
            payloads.append(self.key_exchange.payload)
        return [*payloads, *offer.selectors]

    # --- the response -----------------------------------------------------------------------------------------------

    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Take the Child SA, or find out what to do instead."""
        if contents.shape == "refused":
            self._refused(contents, now)
            return
        offer = self.offer
        if contents.shape != "child" or offer is None:
            raise InvalidSyntax("the response rekeys the IKE SA, the request was for a Child SA")
        try:
            child, lowest = self._made(contents, offer, now)
        except (NoProposalChosen, TsUnacceptable, InternalAddressFailure) as error:
            # The peer believes that it is there. The IKE SA is none the worse.
            self.offer = None
            go_on(self.sa, DeleteSpi(self.sa, offer.spi_in), now)
            self.failed(error, now)
            return
        self.offer = None
        if self.replaces is not None:
            self._settle(self.replaces, child, lowest, now)
        self.sa.wish_done(self, child.id)
        self._go_on(now)

    def follow(self, then: Callable[[float], None]) -> None:
        """Let *then* come next as well, behind what was to come next so far."""
        earlier = self.then

        def both(now: float) -> None:
            if earlier is not None:
                earlier(now)
            then(now)

        self.then = both

    def _go_on(self, now: float) -> None:
        then, self.then = self.then, None
        if then is not None:
            then(now)

    def _made(self, contents: Contents, offer: ChildOffer, now: float) -> tuple[ChildSa, bytes]:
        nonce = peer_nonce(contents, self.keys.suite.prf_key_length)
        child = offer.accept(contents, self.keys, (self.nonce, nonce), now, self.key_exchange)
        return child, min(self.nonce, nonce)

    def _settle(self, old: ChildSa, made: ChildSa, lowest: bytes, now: float) -> None:
        """Delete what has to go: the old one, or what we made, if the peer rekeyed it as well and ours loses."""
        rival, children = self.rival, self.sa.children
        if rival is not None and lowest < rival.lowest:
            old.heir = rival.child
            go_on(self.sa, DeleteChild(self.sa, made, heirs=False, reason=REDUNDANT), now)
        else:
            old.heir = made
            if rival is not None:
                rival.child.heir = made
                rival.child.life.replaced(self.sa.services.limits, now)
                self.sa.watch_children()
            if old.id in children:
                go_on(self.sa, DeleteChild(self.sa, old, heirs=False, reason=REKEYED), now)

    def _refused(self, contents: Contents, now: float) -> None:
        sa, old, error = self.sa, self.replaces, refusal(contents)
        method = method_to_retry(contents.error(), self.method, self.config.proposals)
        if method is not None and self.rounds < sa.services.limits.cookie_rounds:
            self._again(method, now)
            return
        elif self.rival is None and isinstance(error, TemporaryFailure) and (old is None or old.id in sa.children):
            self.withdraw()
            try_later(sa, self, self.persistence, now)
            return
        elif self.rival is None and isinstance(error, ChildSaNotFound) and old is not None and old.id in sa.children:
            # The peer has lost it, or we missed its Delete: what it carried is set up anew (RFC 7296 section 2.25).
            sa.close_child(old, "the peer has no such Child SA", "peer")
            wish, self.wish = self.wish, None
            self.withdraw()
            go_on(sa, CreateChild(sa, self.config, wish), now)
            return
        self.failed(error, now)

    def _again(self, method: int, now: float) -> None:
        old, rounds = self.replaces, self.rounds + 1
        again = CreateChild(self.sa, self.config, self.wish, replaces=old, method=method, rounds=rounds, then=self.then)
        self.wish = self.then = None
        again.rival = self.rival
        self.withdraw()
        go_on(self.sa, again, now)

    def failed(self, error: IkeError, now: float) -> None:
        """There is no new Child SA of ours. If the peer's rekey made one meanwhile, that is as good."""
        self.withdraw()
        if self.rival is not None and self.sa.alive:
            self.sa.wish_done(self, self.rival.child.id)
            return
        if self.sa.alive:
            self.sa.services.emit(ChildSaFailed(self.sa.id, self.config.name, error))
        self.sa.wish_failed(self, error)
        self._go_on(now)

    def withdraw(self) -> None:
        if self.offer is not None:
            self.offer.withdraw()
            self.offer = None


def _first_method(config: ChildConfig, replaces: ChildSa | None) -> int:
    """Return the key exchange method to begin with: what the peer took last time, else our first, which may be NONE."""
    taken = None if replaces is None else replaces.suite.group
    return taken if taken in methods_of(config.proposals) else first_method(config.proposals)


# --- the side that answers ------------------------------------------------------------------------------------------


def answer_create_child_sa(sa: IkeSa, asked: Incoming, now: float) -> list[Payload]:
    """Answer any of the three uses of the exchange. What cannot be done is refused; the IKE SA lives."""
    try:
        if asked.contents.shape == "rekey ike":
            return answer_rekey_ike(sa, asked, now)
        return _answer_child(sa, asked, now)
    except ChildSaNotFound:
        named = asked.contents.notifies(Notify.REKEY_SA)[0]
        return [Notification(Notify.CHILD_SA_NOT_FOUND, b"", named.protocol, named.spi)]
    except CHILD_REFUSED as error:
        if asked.contents.shape == "child":
            sa.services.emit(ChildSaFailed(sa.id, "", error))
        return [Notification(error.notify or 0, error.notify_data)]


def _answer_child(sa: IkeSa, asked: Incoming, now: float) -> list[Payload]:
    contents, services = asked.contents, sa.services
    if any(request.handler.alone for request in asked.generation.ours.unanswered.values()):
        raise TemporaryFailure("we are rekeying the IKE SA")
    old = _named(sa, asked)
    if len(sa.children) >= services.limits.children * (1 if old is None else 2):  # each may be there with its successor
        return [Notification(Notify.NO_ADDITIONAL_SAS)]
    granting = Granting(sa, contents, asked.chosen, rekey=old is not None)
    try:
        return _grant_child(sa, asked, old, granting, now)
    except RemoteProtocolError:
        granting.undo()
        raise


def _grant_child(sa: IkeSa, asked: Incoming, old: ChildSa | None, granting: Granting, now: float) -> list[Payload]:
    contents, services = asked.contents, sa.services
    theirs, keys = contents.maybe(KeyExchange), asked.generation.need_keys()
    ni = peer_nonce(contents, keys.suite.prf_key_length)
    configs = sa.connection.children if old is None else (old.config,)
    offered = None if theirs is None else theirs.group
    config, agreed = agree(sa, configs, contents, group=offered, with_group=True, replaces=old)
    nr = services.random(NONCE_OCTETS)
    shared = b""
    between: list[Payload] = [Nonce(nr)]
    chosen = child_suite(agreed.proposal).group
    if chosen is not None:
        ours, shared = answer_key_exchange(chosen, theirs, services.random)
        between.append(ours)
    reply = granting.done()
    child = add_child(
        sa,
        config,
        agreed,
        keys,
        (ni, nr, shared),
        services.child_spis.new(sa.id),
        contents,
        now,
        initiator=False,
        replaces=old,
    )
    if old is not None:
        _note_rival(sa, old, child, min(ni, nr))
    return [*reply, *answer_payloads(child, agreed, between)]


def _named(sa: IkeSa, asked: Incoming) -> ChildSa | None:
    """Return the Child SA that the request rekeys, None if it is for a new one.

    Raises ChildSaNotFound, or TemporaryFailure where we are about to delete it (RFC 7296 section 2.25.1).
    """
    rekeys = asked.contents.notify(Notify.REKEY_SA)
    if rekeys is None:
        return None
    for child in sa.children.values():
        if child.spi_out == rekeys.spi and child.suite.protocol == rekeys.protocol:
            break
    else:
        raise ChildSaNotFound("the request rekeys a Child SA that does not exist")
    going = any(isinstance(each, DeleteChild) and each.child is child for each in sa.begun)
    if going or child.heir is not None:
        raise TemporaryFailure("the Child SA is being replaced or closed")
    return child


def _note_rival(sa: IkeSa, old: ChildSa, made: ChildSa, lowest: bytes) -> None:
    """Tell our own rekey of the same Child SA, if it is under way, what the peer's has made."""
    for request in [each for one in sa.generations for each in one.ours.unanswered.values()]:
        if isinstance(request.handler, CreateChild) and request.handler.replaces is old:
            request.handler.rival = RivalChild(made, lowest)
