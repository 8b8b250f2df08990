"""The notifications beside the selectors of a Child SA, which only state a fact or a wish (RFC 7296 section 1.3.1)."""

from __future__ import annotations

from itertools import compress

from ..config import ChildConfig
from ..record import shared
from ..wire import Contents, Notification, Payload
from ..wire.numbers import Notify
from .child_sa import ChildFacts, ChildSa, Mode
from .child_terms import Agreed

__all__ = ["answer_notifications", "facts_of", "offer_notifications"]


def offer_notifications(config: ChildConfig, mode: Mode) -> list[Payload]:
    """Return those of a request, in the order of RFC 7296 appendix C."""
    return _notifications(mode, config.tfc_padding, config.non_first_fragments)


def answer_notifications(child: ChildSa) -> list[Payload]:
    """Return those of the response that grants *child*."""
    return _notifications(child.mode, child.config.tfc_padding, child.facts.non_first_fragments)


def _notifications(mode: Mode, tfc_padding: bool, non_first_fragments: bool) -> list[Payload]:
    wanted = mode == "transport", not tfc_padding, non_first_fragments
    return [Notification(kind) for kind in compress(_KINDS, wanted)]


_KINDS = Notify.USE_TRANSPORT_MODE, Notify.ESP_TFC_PADDING_NOT_SUPPORTED, Notify.NON_FIRST_FRAGMENTS_ALSO


def facts_of(config: ChildConfig, agreed: Agreed, contents: Contents) -> ChildFacts:
    """Put together what both sides said. *contents* is the message of the peer, request or response."""
    return _facts(
        agreed.originals,
        contents.notify(Notify.ESP_TFC_PADDING_NOT_SUPPORTED) is None,
        config.non_first_fragments and contents.notify(Notify.NON_FIRST_FRAGMENTS_ALSO) is not None,
        agreed.additional or contents.notify(Notify.ADDITIONAL_TS_POSSIBLE) is not None,
    )


_facts = shared(ChildFacts)
