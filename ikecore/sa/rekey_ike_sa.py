"""CREATE_CHILD_SA that rekeys the IKE SA, both roles (RFC 7296 sections 1.3.2, 2.8.2, 2.18, 2.25.2).

The exchange makes a new pair of SPIs; the Child SAs stay where they are, with the SA that the application knows. The
side that initiated the rekey then deletes the old pair. Where both sides rekey at once there are two new pairs: the one
with the lowest of the four nonces loses, and is deleted by the side that made it.
"""

from __future__ import annotations

from ..crypto import accepted_proposal, choose_proposal, ike_suite, rekey_ike_keys
from ..errors import IkeError, InvalidSyntax, NoProposalChosen, SaClosed, Superseded, TemporaryFailure
from ..events import IkeKeysDerived, Role
from ..outputs import RequestId
from ..transport import Path
from ..wire import Contents, KeyExchange, Nonce, Payload, Proposal, SecurityAssociation
from ..wire.numbers import Exchange, Protocol
from .beginning import go_on, try_later
from .exchange import OurExchange
from .generation import Generation, Rival
from .ike_sa import IkeSa
from .incoming import Incoming
from .informational import DeleteGeneration, WindowSize
from .key_exchange import (
    NONCE_OCTETS,
    OurKeyExchange,
    answer_key_exchange,
    first_method,
    method_to_retry,
    peer_nonce,
)
from .keys import SaKeys
from .persistence import Persistence
from .refusals import refusal
from .states import State

__all__ = ["RekeyIke", "answer_rekey_ike", "delete_overdue"]

SPI_OCTETS = 8


class RekeyIke(OurExchange):
    """Our rekey of the IKE SA. It is for the pair of SPIs that is current when it is made, and for no later one."""

    exchange = int(Exchange.CREATE_CHILD_SA)
    alone = True

    def __init__(self, sa: IkeSa, wish: RequestId | None = None, *, method: int | None = None, rounds: int = 0) -> None:
        self.sa = sa
        self.wish = wish
        self.old = sa.current
        self.method = first_method(sa.connection.proposals) if method is None else method
        self.rounds = rounds
        self.persistence = Persistence()
        self.spi = b""
        """What we offer, while it is on offer."""

    def still_wanted(self, now: float) -> bool:
        if self.sa.current is self.old:
            return True
        self.sa.wish_done(self)  # the peer did it
        return False

    def expected_octets(self) -> int:
        return 500

    def build(self, now: float) -> list[Payload]:
        services = self.sa.services
        self.spi = services.ike_spis.new()
        services.ike_spis.claim(self.spi, self.sa)
        self.nonce = services.random(NONCE_OCTETS)
        self.key_exchange = OurKeyExchange(self.method, services.random)
        self.proposals = tuple(
            Proposal(number, each.protocol, self.spi, each.transforms)
            for number, each in enumerate(self.sa.connection.proposals, 1)
        )
        return [SecurityAssociation(self.proposals), Nonce(self.nonce), self.key_exchange.payload]

    # --- the response -----------------------------------------------------------------------------------------------

    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Take over, or find out who does. Raises the peer's refusal, or what is wrong with its answer."""
        if contents.shape == "refused":
            self._refused(contents, now)
            return
        if contents.shape != "rekey ike":
            raise InvalidSyntax("the response makes a Child SA, the request rekeyed the IKE SA")
        try:
            made, nonce = self._made(contents)
        except NoProposalChosen as error:  # it is about this rekey, not about the SA
            self.failed(error, now)
            return
        sa, rival = self.sa, self.sa.rival
        sa.others += (made,)
        if sa.current is not self.old:  # the peer's rekey has taken over already
            self._lost(made, now)
        elif rival is not None and min(self.nonce, nonce) < rival.lowest:
            if rival.deleted:
                self._over(now)
                return
            sa.replace(rival.generation, "both sides rekeyed the IKE SA, and the peer's remains", now)
            self._lost(made, now)
        else:
            old = sa.replace(made, "we rekeyed the IKE SA", now)
            if rival is not None and not rival.deleted:
                sa.await_delete(rival.generation, now)  # the peer made it, and deletes it
            go_on(sa, DeleteGeneration(sa, old), now, old)
        announce_window(sa, now)
        sa.wish_done(self)

    def _made(self, contents: Contents) -> tuple[Generation, bytes]:
        """Derive the keys of the new pair of SPIs."""
        chosen = accepted_proposal(self.proposals, contents.one(SecurityAssociation).proposals)
        suite = ike_suite(chosen)
        if len(chosen.spi) != SPI_OCTETS or not any(chosen.spi):
            raise NoProposalChosen(f"the response has an IKE SPI of {len(chosen.spi)} octets, or of zeros")
        nonce = peer_nonce(contents, suite.prf_key_length)
        shared = self.key_exchange.finish(suite.group, contents.one(KeyExchange))
        made = make_generation(
            self.sa, self.keys, "initiator", chosen, (self.spi, chosen.spi), (self.nonce, nonce), shared
        )
        return made, nonce

    def _lost(self, made: Generation, now: float) -> None:
        """What we made is one too many: we delete it, and the peer the old one."""
        self.sa.await_delete(made, now)
        go_on(self.sa, DeleteGeneration(self.sa, made), now, made)

    def _refused(self, contents: Contents, now: float) -> None:
        sa, error = self.sa, refusal(contents)
        method = method_to_retry(contents.error(), self.method, sa.connection.proposals)
        if sa.rival is not None or sa.current is not self.old:
            pass  # the peer's is the one that counts, and to ask again would be one too many
        elif method is not None and self.rounds < sa.services.limits.cookie_rounds:
            again = RekeyIke(sa, self.wish, method=method, rounds=self.rounds + 1)
            self.wish = None
            self.withdraw()
            go_on(sa, again, now)
            return
        elif isinstance(error, TemporaryFailure):
            self.withdraw()
            try_later(sa, self, self.persistence, now)
            return
        self.failed(error, now)

    def failed(self, error: IkeError, now: float) -> None:
        """There is no new pair of SPIs of ours. If the peer made one meanwhile, that is as good."""
        sa = self.sa
        self.withdraw()
        if sa.alive and sa.rival is not None and sa.current is self.old:
            if sa.rival.deleted:
                self._over(now)
                return
            sa.replace(sa.rival.generation, "the peer rekeyed the IKE SA", now)
            announce_window(sa, now)
        if sa.alive and sa.current is not self.old:
            sa.wish_done(self)
        else:
            sa.wish_failed(self, error)

    def _over(self, now: float) -> None:
        """The peer's rekey was the one that counts, and the peer has deleted what it made: the SA."""
        reason = "the peer deleted it"
        self.sa.close(reason, "peer", now)
        self.sa.wish_failed(self, SaClosed(reason))

    def withdraw(self) -> None:
        """Let go of the SPI that was offered."""
        if self.spi:
            self.sa.services.ike_spis.release(self.spi)
            self.spi = b""


def make_generation(
    sa: IkeSa,
    old: SaKeys,
    role: Role,
    chosen: Proposal,
    spis: tuple[bytes, bytes],
    nonces: tuple[bytes, bytes],
    shared: bytes,
) -> Generation:
    """Derive a new pair of SPIs from the keys of the *old* one (RFC 7296 section 2.18), established from the start."""
    services, suite = sa.services, ike_suite(chosen)
    keys = rekey_ike_keys(old.suite.prf, old.sk_d, suite, shared, *nonces, *spis)
    made = Generation(role, State.ESTABLISHED)
    made.spi_i, made.spi_r = spis
    made.keys = SaKeys.make(role, spis, suite, nonces, keys, services.random)
    if services.config.trace:
        services.emit(IkeKeysDerived(sa.id, made.keys.export()))
    return made


def announce_window(sa: IkeSa, now: float) -> None:
    """Every pair of SPIs begins with a window of one; tell the peer if ours is larger."""
    if sa.services.limits.window > 1:
        go_on(sa, WindowSize(sa), now)


def delete_overdue(sa: IkeSa, now: float) -> None:
    """Delete the pairs of SPIs that the peer replaced and should have deleted long ago.

    One that nothing was ever sent on is what the peer's rekey made while ours won. The peer knows it only if our answer
    came before our Delete of the old pair, and then has deleted it; so it goes without a word that nobody would answer.
    """
    for generation in sa.overdue_generations(now):
        if generation.unused:
            sa.drop_generation(generation, Superseded(), now)
        else:
            go_on(sa, DeleteGeneration(sa, generation), now, generation)


# --- the side that answers ------------------------------------------------------------------------------------------


def answer_rekey_ike(sa: IkeSa, asked: Incoming, now: float) -> list[Payload]:
    """Answer with a new pair of SPIs, which takes over at once unless our own rekey is under way.

    Raises TemporaryFailure while a Child SA is changed by us, or while there are too many pairs of SPIs already;
    NoProposalChosen or InvalidKePayload as IKE_SA_INIT does.
    """
    if asked.generation is not sa.current or sa.rival is not None:
        raise TemporaryFailure("the IKE SA is being rekeyed")
    if any(request.handler.changes_children for request in asked.generation.ours.unanswered.values()):
        raise TemporaryFailure("a Child SA is being created, rekeyed or closed")
    if len(sa.generations) >= sa.services.limits.generations:
        raise TemporaryFailure(f"{len(sa.others)} replaced pairs of IKE SPIs wait for their Delete")
    contents, services, theirs = asked.contents, sa.services, asked.contents.one(KeyExchange)
    chosen = choose_proposal(
        [each for each in contents.one(SecurityAssociation).proposals if any(each.spi)],
        sa.connection.proposals,
        protocol=Protocol.IKE,
        spi_size=SPI_OCTETS,
        with_group=True,
        group=theirs.group,
    )
    if chosen is None:
        raise NoProposalChosen("the connection's proposals do not meet the offered ones")
    suite = ike_suite(chosen)
    ni = peer_nonce(contents, suite.prf_key_length)
    ours, shared = answer_key_exchange(suite.group, theirs, services.random)
    spi, nr = services.ike_spis.new(), services.random(NONCE_OCTETS)
    made = make_generation(sa, asked.generation.need_keys(), "responder", chosen, (chosen.spi, spi), (ni, nr), shared)
    services.ike_spis.claim(spi, sa)
    sa.others += (made,)
    if any(isinstance(request.handler, RekeyIke) for request in asked.generation.ours.unanswered.values()):
        sa.rival = Rival(made, min(ni, nr))
    else:
        sa.replace(made, "the peer rekeyed the IKE SA", now)
    return [
        SecurityAssociation((Proposal(chosen.number, chosen.protocol, spi, chosen.transforms),)),
        Nonce(nr),
        ours,
    ]
