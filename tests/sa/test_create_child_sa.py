"""CREATE_CHILD_SA is refused, as RFC 7296 section 1.3 allows, in every form, and harms nothing."""

from __future__ import annotations

import pytest

from ikecore.events import ChildSaClosed, IkeSaClosed
from ikecore.wire import (
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
)
from ikecore.wire.numbers import Exchange, Notify, Protocol
from tests.rig import Puppet, Rig

CHILD, INFO = Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL


def another_child(puppet: Puppet) -> list[Payload]:
    return [Nonce(bytes(32)), *puppet.child_payloads()]


def rekeyed_child(puppet: Puppet) -> list[Payload]:
    return [Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in), *another_child(puppet)]


def rekeyed_ike_sa(puppet: Puppet) -> list[Payload]:
    offer = tuple(Proposal(each.number, each.protocol, b"new spi!", each.transforms) for each in puppet.proposals)
    return [
        SecurityAssociation(offer),
        Nonce(bytes(32)),
        KeyExchange(puppet.agreement.group, puppet.agreement.public),
    ]


@pytest.mark.requirement("IKE-013", "IKE-016", "IKE-017", "IKE-311", "IKE-196")
@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize("form", [another_child, rekeyed_child, rekeyed_ike_sa])
def test_every_form_is_refused_with_the_word_for_it(form: object, role: str) -> None:
    rig = Rig()
    puppet = Puppet(rig, role)  # type: ignore[arg-type]
    sa = puppet.establish()
    before = rig.endpoint.sa(sa)
    assert puppet.request(CHILD, form(puppet)) == [Notification(Notify.NO_ADDITIONAL_SAS)]  # type: ignore[operator]
    assert rig.endpoint.sa(sa) == before
    assert rig.of(ChildSaClosed, IkeSaClosed) == []
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-198", "IKE-196")
def test_a_malformed_one_ends_the_sa() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.establish()
    assert puppet.request(CHILD, [Nonce(bytes(32))]) == [Notification(Notify.INVALID_SYNTAX)]
    rig.one(IkeSaClosed)
