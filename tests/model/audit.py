"""Reads what went over the wire of a run, with the keys, and says which rekeys succeeded and who deleted what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import attrs

from ikecore import ChildSaEstablished, IkeKeysDerived
from ikecore.testing import Insider
from ikecore.wire import Delete, Nonce, Notification, SecurityAssociation
from ikecore.wire.numbers import Exchange, Notify, Protocol
from tests.model.explorer import Run

__all__ = ["Outcome", "check_redundant"]


@attrs.frozen
class Rekey:
    """A rekey that the peer granted. *spi* is what its initiator, side *by*, calls the new SA in a Delete.

    Not *taken*, its initiator has never seen the answer.
    """

    by: int
    old: bytes
    spi: bytes
    lowest: bytes
    taken: bool


@attrs.frozen
class Outcome:
    """How many rekeys of the same SA the peer granted, which side initiated the one that remained, and whether the
    initiator of the other has seen its answer.
    """

    granted: int
    winner: int
    noticed: bool


def check_redundant(run: Run, what: str) -> Outcome:
    """Check RFC 7296 sections 2.8.1 and 2.8.2 on a run in which both sides rekeyed the same SA (*what*: child or ike).

    The one made with the lowest nonce was deleted by the side that made it, the old one by the other, neither twice.
    """
    messages = _opened(run)
    rekeys = sorted(_rekeys(run, messages, what), key=lambda each: each.lowest)
    assert len({each.by for each in rekeys}) == len(rekeys) >= 1, rekeys
    winner, losers = rekeys[-1], rekeys[:-1]
    noticed = [each for each in losers if each.taken]
    assert sorted(_deletes(messages, what)) == sorted(
        [(winner.by, winner.old), *((each.by, each.spi) for each in noticed)]
    )
    return Outcome(len(rekeys), winner.by, bool(noticed))


def _opened(run: Run) -> dict[tuple[Any, ...], list[Any]]:
    """Return the payloads of each message by its side, SPIs, exchange, response flag and Message ID; repeats once."""
    events = [event for side in run.sides for event in side.events]
    insider = Insider(cast(Any, SimpleNamespace(name="either", events=events)))
    found = {}
    for datagram in run.wire:
        header, payloads = insider.open(datagram.data.removeprefix(bytes(4)))
        key = 1 - datagram.to, header.spi_i, header.spi_r, header.exchange, header.is_response, header.message_id
        found[key] = payloads
    return found


def _rekeys(run: Run, messages: dict[tuple[Any, ...], list[Any]], what: str) -> list[Rekey]:
    found = []
    for (side, spi_i, spi_r, exchange, is_response, number), asked in messages.items():
        answer = messages.get((1 - side, spi_i, spi_r, exchange, True, number))
        if exchange != Exchange.CREATE_CHILD_SA or is_response or answer is None:
            continue
        offer, granted = (_of(each, SecurityAssociation) for each in (asked, answer))
        if granted is None or (offer.proposals[0].protocol == Protocol.IKE) != (what == "ike"):
            continue
        named = [each for each in asked if isinstance(each, Notification) and each.notify_type == Notify.REKEY_SA]
        old = spi_i + spi_r if what == "ike" else named[0].spi
        spi = offer.proposals[0].spi + (granted.proposals[0].spi if what == "ike" else b"")
        lowest = min(_of(asked, Nonce).data, _of(answer, Nonce).data)
        found.append(Rekey(side, old, spi, lowest, _knows(run, side, spi)))
    return found


def _knows(run: Run, side: int, spi: bytes) -> bool:
    """Tell whether a side has ever had the SA of *spi*: IKE SPIs, or the inbound one of a Child SA."""
    return any(
        (isinstance(event, IkeKeysDerived) and event.export_keys().spi_i + event.export_keys().spi_r == spi)
        or (isinstance(event, ChildSaEstablished) and event.spi_in == spi)
        for event in run.sides[side].events
    )


def _deletes(messages: dict[tuple[Any, ...], list[Any]], what: str) -> list[tuple[int, bytes]]:
    """Return every SA that a request deletes, with the side that asked."""
    found = []
    for (side, spi_i, spi_r, _, is_response, _), payloads in messages.items():
        for delete in [each for each in payloads if isinstance(each, Delete) and not is_response]:
            if (delete.protocol == Protocol.IKE) == (what == "ike"):
                found += [(side, spi) for spi in (delete.spis or [spi_i + spi_r])]
    return found


def _of(payloads: list[Any], kind: type) -> Any:
    return next((each for each in payloads if isinstance(each, kind)), None)
