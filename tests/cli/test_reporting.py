"""Events as lines that a person understands: what a rekey replaces, what came to nothing, what is gone."""

from __future__ import annotations

import pytest

from ikecore import (
    AddressesAssigned,
    ChildSaFailed,
    IkeSaFailed,
    IkeSaReauthenticated,
    Lease,
    LifetimeReached,
    NoProposalChosen,
    SaClosed,
    SaId,
    SpisChanged,
    SuccessorBegun,
    TransportChosen,
)
from ikecore.events import ChildSaClosed, ChildSaEstablished, RequestCompleted
from ikecore.outputs import ChildId, Output, RequestId
from ikecore.testing import Pair
from ikecore_trio.cli.reporting import event_line

SA = SaId(1)


def test_the_life_of_a_child_sa() -> None:
    pair = Pair()
    sa, _ = pair.establish()
    side = pair.initiator
    side.call(side.endpoint.rekey, sa, child=side.endpoint.sa(sa).children[0].id)
    pair.run_for(1.0)
    first, second = (event_line(event) for event in side.of(ChildSaEstablished))
    [gone] = (event_line(event) for event in side.of(ChildSaClosed))
    assert first is not None
    assert second is not None
    assert first.startswith("Child SA 1 of IKE SA 1 up: ")
    assert second.startswith("Child SA 2 of IKE SA 1 up in place of 1: ")
    assert gone == "Child SA 1 of IKE SA 1 down: it was rekeyed"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            SpisChanged(SA, b"initiatr", b"respondr", "the peer rekeyed the IKE SA", rekeyed=True),
            "IKE SA 1 has new keys: the peer rekeyed the IKE SA, "
            "SPIs 696e697469617472 initiator, 726573706f6e6472 responder",
        ),
        (SpisChanged(SA, b"initiatr", b"respondr", "IKE_SA_INIT was answered"), None),
        (LifetimeReached(SA, None, "rekey", "it is time to rekey"), "IKE SA 1: it is time to rekey"),
        (
            LifetimeReached(SA, ChildId(2), "delete", "its lifetime is over"),
            "Child SA 2 of IKE SA 1: its lifetime is over",
        ),
        (
            SuccessorBegun(SA, SaId(2), "the peer was silent"),
            "IKE SA 2 is being set up in place of IKE SA 1: the peer was silent",
        ),
        (
            TransportChosen(SA, "INFORMATIONAL", 0, 57, 100, "udp", "small"),
            "IKE SA 1: INFORMATIONAL 0 of 57 octets goes over UDP (small)",
        ),
        (
            TransportChosen(SA, "IKE_SA_INIT", 0, 400, 600, "udp", "first"),
            "IKE SA 1: IKE_SA_INIT 0 goes over UDP (first)",
        ),
        (
            AddressesAssigned(SA, Lease(addresses=["10.3.0.1"], dns=["10.2.0.53"], domains=["corp.example"]), True),
            "IKE SA 1: the peer has 10.3.0.1; of these, what it asked for: DNS 10.2.0.53, domains corp.example",
        ),
        (AddressesAssigned(SA, Lease(addresses=["10.3.0.1"]), True), "IKE SA 1: the peer has 10.3.0.1"),
        (
            AddressesAssigned(SA, Lease(addresses=["10.3.0.1"], dns=["10.2.0.53"]), False),
            "IKE SA 1: we have 10.3.0.1, DNS 10.2.0.53",
        ),
        (IkeSaReauthenticated(SA, SaId(2)), "IKE SA 2 has taken over from IKE SA 1"),
        (ChildSaFailed(SA, "net", NoProposalChosen("no")), "Child SA net of IKE SA 1 failed: NoProposalChosen: no"),
        (
            IkeSaFailed(SA, "office", "initiator", "IKE_SA_INIT", SaClosed("given up by the application"), None),
            "IKE SA 1 ended in IKE_SA_INIT: office, given up by the application",
        ),
        (ChildSaFailed(SA, "", NoProposalChosen("no")), "Child SA of IKE SA 1 failed: NoProposalChosen: no"),
        (RequestCompleted(SA, RequestId(1), "CREATE_CHILD_SA", ChildId(2)), None),
    ],
)
def test_lines(event: Output, line: str | None) -> None:
    assert event_line(event) == line
