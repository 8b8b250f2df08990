"""Bad input B6 for CREATE_CHILD_SA: it fails at each step, nothing of it stays, and the next good one succeeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ikecore.config import ChildConfig
from ikecore.crypto import esp_proposals
from ikecore.testing import psk_connection
from ikecore.wire import (
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
)
from ikecore.wire.numbers import Exchange, Ke, Notify, Protocol, TransformType
from tests.rig import Puppet, Rig, notifications

CHILD = Exchange.CREATE_CHILD_SA
SPI = b"\1\2\3\4"


def good(puppet: Puppet, what: str) -> list[Payload]:
    """What is granted: SA, Nonce, KE, and for a Child SA its selectors."""
    agreement = puppet.agreement
    between: list[Payload] = [Nonce(bytes(range(32))), KeyExchange(agreement.group, agreement.public)]
    if what == "rekey ike":
        offer = tuple(Proposal(each.number, each.protocol, b"new spi!", each.transforms) for each in puppet.proposals)
        return [SecurityAssociation(offer), *between]
    transforms = esp_proposals("aes128gcm16-x25519")[0].transforms
    _, ts_i, ts_r = puppet.child_payloads()
    named: list[Payload] = []
    if what == "rekey child":
        named = [Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in)]
    return [*named, SecurityAssociation((Proposal(1, Protocol.ESP, SPI, transforms),)), *between, ts_i, ts_r]


def swap(payloads: list[Payload], new: Payload) -> list[Payload]:
    return [new if type(each) is type(new) else each for each in payloads]


def other_cipher(payloads: list[Payload]) -> list[Payload]:
    """A cipher that the endpoint does not take."""
    offer = next(each for each in payloads if isinstance(each, SecurityAssociation)).proposals[0]
    kept = tuple(each for each in offer.transforms if each.type != TransformType.ENCR)
    transforms = (Transform(TransformType.ENCR, 3), *kept)
    return swap(payloads, SecurityAssociation((Proposal(1, offer.protocol, offer.spi, transforms),)))


def no_spi(payloads: list[Payload]) -> list[Payload]:
    offer = next(each for each in payloads if isinstance(each, SecurityAssociation)).proposals[0]
    spi = bytes(len(offer.spi))
    return swap(payloads, SecurityAssociation((Proposal(1, offer.protocol, spi, offer.transforms),)))


def elsewhere(payloads: list[Payload]) -> list[Payload]:
    """Selectors the other way around: none of the endpoint's."""
    by_type = {type(each): each for each in payloads}
    ts_i, ts_r = by_type[TrafficSelectorsInitiator], by_type[TrafficSelectorsResponder]
    assert isinstance(ts_i, TrafficSelectorsInitiator)
    assert isinstance(ts_r, TrafficSelectorsResponder)
    swapped = swap(payloads, TrafficSelectorsInitiator(ts_r.selectors))
    return swap(swapped, TrafficSelectorsResponder(ts_i.selectors))


def unknown_child(payloads: list[Payload]) -> list[Payload]:
    return [Notification(Notify.REKEY_SA, b"", Protocol.ESP, b"none"), *payloads[1:]]


FAULTS: dict[str, tuple[Callable[[list[Payload]], list[Payload]], Notify]] = {
    "proposal": (other_cipher, Notify.NO_PROPOSAL_CHOSEN),
    "spi": (no_spi, Notify.NO_PROPOSAL_CHOSEN),
    "group": (lambda good: swap(good, KeyExchange(Ke.MODP_1024, bytes(128))), Notify.INVALID_KE_PAYLOAD),
    "selectors": (elsewhere, Notify.TS_UNACCEPTABLE),
    "child": (unknown_child, Notify.CHILD_SA_NOT_FOUND),
}
CASES = [
    (what, fault)
    for what in ("create", "rekey child", "rekey ike")
    for fault in FAULTS
    if not (fault == "child" and what != "rekey child") and not (fault == "selectors" and what == "rekey ike")
]


def up() -> tuple[Rig, Puppet]:
    child = ChildConfig(proposals=esp_proposals("aes128gcm16-x25519"))
    rig = Rig(psk_connection("responder", children=[child]))
    puppet = Puppet(rig)
    puppet.establish()
    return rig, puppet


def kept(rig: Rig) -> tuple[object, ...]:
    """Everything that a request could leave behind."""
    keeper = rig.endpoint._keeper
    (sa,) = keeper.sas.values()
    return rig.picture()["sas"], set(keeper.by_spi), keeper.child_spis.taken, len(sa.others), sa.rival


@pytest.mark.requirement("IKE-017", "IKE-187", "IKE-223")
@pytest.mark.parametrize(("what", "fault"), CASES)
def test_it_fails_at_each_step_and_then_succeeds(what: str, fault: str) -> None:
    rig, puppet = up()
    before = kept(rig)
    spoil, notify = FAULTS[fault]
    for _ in range(3):
        assert notifications(puppet.request(CHILD, spoil(good(puppet, what)))) == [notify]
        assert kept(rig) == before
    assert not notifications(puppet.request(CHILD, good(puppet, what)))
    assert kept(rig) != before
    view = rig.endpoint.sa(rig.endpoint.sas[0])
    assert (len(view.children), len(view.replaced_spis)) == ((1, 1) if what == "rekey ike" else (2, 0))


@pytest.mark.requirement("IKE-198")
@pytest.mark.parametrize("what", ["create", "rekey child", "rekey ike"])
def test_a_payload_less_ends_this_sa_and_no_other(what: str) -> None:
    """B7: a peer that breaks the syntax has nothing to expect; its neighbour notices nothing."""
    rig, puppet = up()
    other = Puppet(rig, address=("10.0.0.9", 500), seed=2)
    other.establish()
    number = len(good(puppet, what))
    for missing in range(1 if what == "rekey child" else 0, number):
        payloads = good(puppet, what)
        del payloads[missing]
        if what != "rekey ike" and isinstance(good(puppet, what)[missing], KeyExchange):
            continue  # that one may be missing: it is then asked for
        assert notifications(puppet.request(CHILD, payloads)) == [Notify.INVALID_SYNTAX]
        assert len(rig.endpoint.sas) == 1
        puppet = Puppet(rig, seed=10 + missing)
        puppet.establish()
    assert not notifications(other.request(CHILD, good(other, "rekey ike")))
