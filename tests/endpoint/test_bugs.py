"""The fate of our own bugs: the one SA concerned ends with an event, and all others live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ikecore.sa.ike_auth
import ikecore.sa.ike_sa_init
import ikecore.sa.informational
import ikecore.sa.receiving
from ikecore.endpoint.delivery import Delivery
from ikecore.events import IkeSaClosed, IkeSaEstablished, IkeSaFailed, InternalError, RequestFailed
from ikecore.limits import Limits
from ikecore.outputs import SendDatagram
from ikecore.sa import IkeSa
from ikecore.sa.informational import Liveness
from ikecore.wire.numbers import Exchange
from tests.rig import Puppet, Rig

INFO, AUTH = Exchange.INFORMATIONAL, Exchange.IKE_AUTH


class Bug(Exception):
    """What nobody thought of."""


def broken(*args: object, **kwargs: object) -> Any:
    raise Bug("nobody thought of this")


def good_peers(rig: Rig, count: int = 5) -> list[Puppet]:
    peers = [Puppet(rig, address=("10.0.1.1", 1000 + number), seed=50 + number) for number in range(count)]
    for peer in peers:
        peer.establish()
    return peers


def all_live(peers: list[Puppet]) -> None:
    for peer in peers:
        assert peer.request(INFO) == []


def told(rig: Rig) -> InternalError:
    event = rig.one(InternalError)
    assert "Bug: nobody thought of this" in event.detail
    return event


@pytest.mark.requirement("IKE-313")
def test_a_bug_while_a_request_is_read_ends_that_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    sa = puppet.establish()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.receiving, "match", broken)
        assert puppet.give(puppet.seal(INFO)) == []
    assert told(rig).sa == sa
    closed = rig.one(IkeSaClosed)
    assert (closed.sa, closed.by) == (sa, "error")
    all_live(peers)
    assert len(rig.endpoint.sas) == len(peers)


def test_a_bug_in_ike_auth_fails_that_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    puppet.begin()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.ike_auth, "prove", broken)
        puppet.give(puppet.seal(AUTH, puppet.auth()))
    told(rig)
    assert rig.one(IkeSaFailed).step == "IKE_AUTH"
    all_live(peers)


def test_a_bug_while_an_sa_is_being_made_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.ike_sa_init, "hash_notification", broken)
        assert puppet.give(puppet.init_message()) == []
    told(rig)
    assert len(rig.endpoint.sas) == len(peers)
    puppet.establish()
    all_live([*peers, puppet])


def test_a_bug_in_initiate_fails_that_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.ike_sa_init, "generate", broken)
        sa = rig.initiate()
    assert told(rig).sa == sa
    assert rig.one(IkeSaFailed).sa == sa
    all_live(peers)


def test_a_bug_when_a_timer_rings_ends_that_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    puppet.begin()
    with monkeypatch.context() as patch:
        patch.setattr(IkeSa, "expired", broken)
        rig.run_for(Limits().half_open_lifetime)
    told(rig)
    all_live(peers)
    assert len(rig.endpoint.sas) == len(peers)
    rig.run_for(100.0)
    all_live(peers)


def test_a_bug_while_a_bug_is_cleaned_up_still_takes_the_sa_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    sa = puppet.establish()
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.receiving, "match", broken)
        patch.setattr(Liveness, "failed", broken)
        puppet.give(puppet.seal(INFO))
    details = [event.detail for event in rig.of(InternalError)]
    assert len(details) == 2
    assert details[1].startswith("while closing: Bug")
    assert sa not in rig.endpoint.sas
    all_live(peers)
    rig.run_for(1000.0)
    all_live(peers)
    assert len(rig.of(InternalError)) == 2


def test_a_bug_upon_a_bug_in_initiate_takes_the_sa_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "send_request", broken)
        patch.setattr(IkeSa, "_end", broken)
        rig.initiate()
    assert len(rig.of(InternalError)) == 2
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


def test_a_bug_over_tcp_ends_that_sa_and_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    puppet.connect()
    puppet.establish()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.receiving, "match", broken)
        puppet.give(puppet.seal(INFO))
    told(rig)
    all_live(peers)
    rig.run_for(Limits().stream_idle + Limits().stream_linger + 1)
    for peer in peers:
        peer.request(INFO, [])
    rig.endpoint.shutdown(now=rig.now)
    rig.run_for(100.0)
    assert rig.endpoint.idle


def test_a_bug_before_any_sa_is_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import ikecore.endpoint.reception

    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.endpoint.reception, "triage", broken)
        rig.datagram(bytes(27) + bytes((28,)))
    assert told(rig).sa is None
    all_live(peers)


def test_what_is_misconfigured_deep_down_is_no_exception_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A LocalProtocolError from within, caused by a peer's message, never leaves an input for facts."""
    from ikecore.errors import LocalProtocolError

    def refuses(*args: object, **kwargs: object) -> Any:
        raise LocalProtocolError("70000 octets of payloads do not fit")

    rig = Rig(raise_bugs=False)
    puppet = Puppet(rig)
    puppet.begin()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.ike_auth, "prove", refuses)
        puppet.give(puppet.seal(AUTH, puppet.auth()))
    assert "70000 octets" in str(rig.one(IkeSaFailed).error)
    assert rig.endpoint.idle


@pytest.mark.parametrize("place", ["match", "fails"])
def test_in_tests_a_bug_is_raised(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    rig = Rig(raise_bugs=True)
    puppet = Puppet(rig)
    puppet.establish()
    monkeypatch.setattr(ikecore.sa.receiving, "match", broken)
    with pytest.raises(Bug):
        puppet.give(puppet.seal(INFO))


def test_every_wish_of_an_sa_lost_to_a_bug_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    puppet = Puppet(rig)
    sa = puppet.establish()
    wishes = [rig.endpoint.check_liveness(sa, now=rig.now) for _ in range(3)]
    rig.drain()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.receiving, "match", broken)
        puppet.give(puppet.seal(INFO))
    assert [event.request for event in rig.of(RequestFailed)] == wishes
    assert rig.endpoint.deadline is None


def test_one_bug_in_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """B7: among many handshakes at once one meets a bug; all others complete."""
    rig = Rig(raise_bugs=False, limits=Limits(half_open_per_source=200, cookie_threshold=200))
    puppets = [Puppet(rig, address=("10.0.1.1", 1000 + number), seed=number) for number in range(100)]
    for puppet in puppets:
        puppet.begin()
    honest: Callable[..., Any] = vars(ikecore.sa.ike_auth)["prove"]
    count = 0

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return broken() if count == 50 else honest(*args, **kwargs)

    monkeypatch.setattr(ikecore.sa.ike_auth, "prove", sometimes)
    for puppet in puppets:
        puppet.give(puppet.seal(AUTH, puppet.auth()))
    told(rig)
    assert len(rig.of(IkeSaEstablished)) == 99
    assert len(rig.endpoint.sas) == 99
    assert rig.of(SendDatagram)
