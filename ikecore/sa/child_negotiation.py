"""Agreeing on a Child SA, both sides, the same in IKE_AUTH and CREATE_CHILD_SA (RFC 7296 sections 1.2, 1.3, 2.9, 2.17).

`ChildOffer` is the side that asks: it holds what was offered until the response is there. `agree`, `add_child` and
`answer_payloads` are the side that answers. Nonces, and the shared secret where there is a key exchange, come from the
exchange around them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config import ChildConfig
from ..crypto import child_suite, derive_child_keys
from ..errors import LocalProtocolError, NoProposalChosen
from ..wire import (
    Contents,
    KeyExchange,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from ..wire.numbers import Notify
from .child_ends import ends_of, wants_addresses
from .child_facts import answer_notifications, facts_of, offer_notifications
from .child_sa import ChildSa
from .child_terms import Agreed, accept_answer, choose, no_host, offer, offered_selectors
from .configuration import configuration_request, take_addresses
from .ike_sa import IkeSa
from .key_exchange import OurKeyExchange
from .keys import SaKeys
from .refusals import refusal
from .selectors import packed

__all__ = ["ChildOffer", "add_child", "agree", "answer_payloads"]


class ChildOffer:
    """What we offer for one Child SA: an inbound SPI, proposals, traffic selectors, and the mode.

    One that *replaces* another Child SA offers the selectors that were agreed on for that one, so that the new one
    carries what the old one did (RFC 7296 section 2.9.2).
    """

    def __init__(
        self, sa: IkeSa, config: ChildConfig, *, with_group: bool = False, replaces: ChildSa | None = None
    ) -> None:
        self.sa = sa
        self.config = config
        self.replaces = replaces
        self.spi_in = sa.services.child_spis.new(sa.id)
        self.proposals: tuple[Proposal, ...] = offer(config, self.spi_in, with_group=with_group)
        self.asks = replaces is None and wants_addresses(sa)
        """The request asks for addresses too, and ours in the selectors are those that will be assigned."""
        terms = None if replaces is not None else offered_selectors(config, ends_of(sa, asking=self.asks))
        if terms is not None:
            self.ts_i, self.ts_r, self.mode = terms
        elif replaces is not None:
            self.ts_i, self.ts_r, self.mode = replaces.local_ts, replaces.remote_ts, replaces.mode
        else:
            raise LocalProtocolError(no_host(config))

    @property
    def notifications(self) -> list[Payload]:
        """What comes before the SA payload."""
        request = configuration_request(self.sa) if self.asks else None
        return [*([] if request is None else [request]), *offer_notifications(self.config, self.mode)]

    @property
    def selectors(self) -> list[Payload]:
        return [TrafficSelectorsInitiator(self.ts_i), TrafficSelectorsResponder(self.ts_r)]

    def accept(
        self,
        contents: Contents,
        keys: SaKeys,
        nonces: tuple[bytes, bytes],
        now: float,
        key_exchange: OurKeyExchange | None = None,
    ) -> ChildSa:
        """Take the Child SA of the response. Raises what is wrong with it, or the peer's refusal; nothing is kept then.

        *nonces* are Ni and Nr; *key_exchange* is the one that we began, None if there was none.
        """
        answer = contents.maybe(SecurityAssociation)
        if answer is None:
            raise refusal(contents)
        if self.asks:
            take_addresses(self.sa, contents)
        agreed = accept_answer(
            self.proposals,
            self.ts_i,
            self.ts_r,
            answer.proposals,
            contents.one(TrafficSelectorsInitiator).selectors,
            contents.one(TrafficSelectorsResponder).selectors,
            ends=ends_of(self.sa),
            config=self.config,
            transport=contents.notify(Notify.USE_TRANSPORT_MODE) is not None,
            offered_mode=self.mode,
        )
        chosen, shared = child_suite(agreed.proposal).group, b""
        if key_exchange is not None and (theirs := contents.maybe(KeyExchange)) is not None:
            shared = key_exchange.finish(chosen, theirs)
        elif chosen is not None:
            raise NoProposalChosen("the accepted proposal names a key exchange method, and none was used")
        return add_child(
            self.sa,
            self.config,
            agreed,
            keys,
            (*nonces, shared),
            self.spi_in,
            contents,
            now,
            initiator=True,
            replaces=self.replaces,
        )

    def withdraw(self) -> None:
        """Nothing came of it: the SPI is free again."""
        self.sa.services.child_spis.release(self.sa.id, self.spi_in)


def agree(
    sa: IkeSa,
    children: Sequence[ChildConfig],
    contents: Contents,
    *,
    group: int | None = None,
    with_group: bool,
    replaces: ChildSa | None = None,
) -> tuple[ChildConfig, Agreed]:
    """As the side that answers, find the configured child that the offer fits. *group* is that of the KE payload.

    Raises NoProposalChosen, TsUnacceptable or SinglePairRequired.
    """
    return choose(
        children,
        contents.one(SecurityAssociation).proposals,
        contents.one(TrafficSelectorsInitiator).selectors,
        contents.one(TrafficSelectorsResponder).selectors,
        ends=ends_of(sa),
        transport=contents.notify(Notify.USE_TRANSPORT_MODE) is not None,
        with_group=with_group,
        group=group,
        kept=replaces,
    )


def answer_payloads(child: ChildSa, agreed: Agreed, between: Sequence[Payload] = ()) -> list[Payload]:
    """Return what tells the peer of *child*, with the payloads *between* in their place behind the SA payload."""
    chosen = agreed.proposal
    return [
        *answer_notifications(child),
        SecurityAssociation((Proposal(chosen.number, chosen.protocol, child.spi_in, chosen.transforms),)),
        *between,
        TrafficSelectorsInitiator(agreed.ts_i),
        TrafficSelectorsResponder(agreed.ts_r),
        *([Notification(Notify.ADDITIONAL_TS_POSSIBLE)] if agreed.additional else []),
    ]


def add_child(
    sa: IkeSa,
    config: ChildConfig,
    agreed: Agreed,
    keys: SaKeys,
    secrets: tuple[bytes, bytes, bytes],
    spi_in: bytes,
    contents: Contents,
    now: float,
    *,
    initiator: bool,
    replaces: ChildSa | None = None,
) -> ChildSa:
    """Derive the Child SA's keys (RFC 7296 section 2.17), add it to *sa* and hand it out.

    *keys* are those of the IKE SA on which it was negotiated; *secrets* are Ni, Nr and the shared secret, empty where
    there was no key exchange; *contents* is the peer's message; *initiator* says that we initiated that exchange.
    """
    suite = child_suite(agreed.proposal)
    ni, nr, shared = secrets
    material = derive_child_keys(suite, keys.suite.prf, keys.sk_d, ni, nr, shared)
    local_ts, remote_ts = (agreed.ts_i, agreed.ts_r) if initiator else (agreed.ts_r, agreed.ts_i)
    child = ChildSa(
        sa.services.new_child_id(),
        config,
        suite,
        spi_in,
        agreed.proposal.spi,
        packed(local_ts),
        packed(remote_ts),
        agreed.mode,
        material.joined(),
        initiator,
        facts_of(config, agreed, contents),
    )
    sa.children[child.id] = child
    child.life.renew(config.lifetimes, sa.services.random, now)
    if replaces is not None:
        replaces.heir = child
        replaces.life.replaced(sa.services.limits, now)
    sa.watch_children()
    sa.services.emit(child.established(sa.id, sa.esp_route, None if replaces is None else replaces.id))
    return child
