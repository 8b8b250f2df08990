"""The fate of our own bugs: the one SA concerned ends with an event, and all others live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ikecore.endpoint.endpoint
import ikecore.sa.ike_auth
import ikecore.sa.ike_sa_init
import ikecore.sa.informational
import ikecore.sa.key_exchange
import ikecore.sa.outgoing
import ikecore.sa.receiving
from ikecore.endpoint import Endpoint
from ikecore.endpoint.delivery import Delivery
from ikecore.endpoint.keeper import Keeper
from ikecore.endpoint.paths import Paths
from ikecore.errors import InternalFailure, LocalProtocolError
from ikecore.events import (
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    RequestCompleted,
    RequestFailed,
)
from ikecore.limits import Limits
from ikecore.outputs import RequestId, SaId, SendDatagram
from ikecore.sa import CreateChild, DeleteChild, DeleteIke, IkeSa, RekeyIke, UnknownSpi
from ikecore.sa.informational import Liveness
from ikecore.transport import Local
from ikecore.wire import Notification, decode_header
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import HERE, Puppet, Rig

INFO, AUTH = Exchange.INFORMATIONAL, Exchange.IKE_AUTH


class Bug(Exception):
    """What nobody thought of."""


def broken(*args: object, **kwargs: object) -> Any:
    raise Bug("nobody thought of this")


def refuses(*args: object, **kwargs: object) -> Any:
    raise LocalProtocolError("70000 octets of payloads do not fit")


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
        patch.setattr(ikecore.sa.key_exchange, "generate", broken)
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
        patch.setattr(ikecore.endpoint.endpoint, "timer_rang", broken)
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


# --- in what the application wishes for -------------------------------------------------------------------------------

Wish = Callable[[Endpoint, SaId, float], RequestId]


def a_child(endpoint: Endpoint, sa: SaId) -> Any:
    return endpoint.sa(sa).children[0].id


WISHES: dict[str, tuple[type, Wish]] = {
    "liveness": (Liveness, lambda endpoint, sa, now: endpoint.check_liveness(sa, now=now)),
    "child": (CreateChild, lambda endpoint, sa, now: endpoint.create_child(sa, now=now)),
    "rekey": (RekeyIke, lambda endpoint, sa, now: endpoint.rekey(sa, now=now)),
    "rekey child": (
        CreateChild,
        lambda endpoint, sa, now: endpoint.rekey(sa, child=a_child(endpoint, sa), now=now),
    ),
    "delete": (DeleteIke, lambda endpoint, sa, now: endpoint.delete(sa, now=now)),
    "delete child": (
        DeleteChild,
        lambda endpoint, sa, now: endpoint.delete(sa, child=a_child(endpoint, sa), now=now),
    ),
}


@pytest.mark.parametrize("place", ["build", "encode", "send"])
@pytest.mark.parametrize("name", WISHES)
def test_a_bug_in_a_wish_ends_that_sa_at_once(monkeypatch: pytest.MonkeyPatch, name: str, place: str) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    sa = Puppet(rig).establish()
    kind, wish = WISHES[name]
    with monkeypatch.context() as patch:
        if place == "build":
            patch.setattr(kind, "build", broken)
        elif place == "encode":
            patch.setattr(ikecore.sa.outgoing, "encode_payloads", broken)
        else:
            patch.setattr(Delivery, "send_request", broken)
        request = wish(rig.endpoint, sa, rig.now)
    rig.drain()
    assert told(rig).sa == sa
    assert rig.one(IkeSaClosed).by == "error"
    assert sa not in rig.endpoint.sas
    assert [event.request for event in rig.of(RequestFailed)] + [
        event.request for event in rig.of(RequestCompleted)
    ] == [request]
    all_live(peers)


def ends_of(rig: Rig) -> list[RequestId]:
    """The wishes that have ended, in the order of their ends."""
    return [event.request for event in rig.events if isinstance(event, RequestCompleted | RequestFailed)]


@pytest.mark.parametrize("name", WISHES)
def test_a_bug_while_it_is_seen_whether_a_wish_is_still_wanted_ends_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    sa = Puppet(rig).establish()
    kind, wish = WISHES[name]
    with monkeypatch.context() as patch:
        patch.setattr(kind, "still_wanted", broken)
        request = wish(rig.endpoint, sa, rig.now)
    rig.drain()
    assert told(rig).sa == sa
    assert sa not in rig.endpoint.sas
    assert ends_of(rig) == [request]
    failed = rig.one(RequestFailed)
    assert (failed.sa, type(failed.error)) == (sa, InternalFailure)
    all_live(peers)


@pytest.mark.parametrize("name", WISHES)
def test_a_bug_while_the_answer_is_taken_ends_the_wish(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """And whatever waits behind it; nothing of the SA is left in a table."""
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    puppet = Puppet(rig)
    sa = puppet.establish()
    kind, wish = WISHES[name]
    request = wish(rig.endpoint, sa, rig.now)
    waiting = [rig.endpoint.check_liveness(sa, now=rig.now) for _ in range(2)] if name != "delete" else []
    (sent,) = puppet.taken(rig.drain())
    with monkeypatch.context() as patch:
        patch.setattr(kind, "process", broken)
        exchange = decode_header(sent).exchange
        refusal = [Notification(Notify.NO_ADDITIONAL_SAS)] if exchange == Exchange.CREATE_CHILD_SA else []
        puppet.give(puppet.seal(exchange, refusal, message_id=0, response=True))
    assert told(rig).sa == sa
    assert sa not in rig.endpoint.sas
    assert sorted(ends_of(rig)) == [request, *waiting]
    keeper: Keeper = vars(rig.endpoint)["_keeper"]
    assert sa not in {each.id for each in keeper.by_spi.values()}
    all_live(peers)


def test_every_wish_that_was_put_off_ends_with_a_bug_in_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    puppet = Puppet(rig)
    sa = puppet.establish()
    wishes = [rig.endpoint.create_child(sa, now=rig.now) for _ in range(3)]
    rig.drain()
    for number in range(3):
        busy = [Notification(Notify.TEMPORARY_FAILURE)]
        puppet.give(puppet.seal(Exchange.CREATE_CHILD_SA, busy, message_id=number, response=True))
    assert ends_of(rig) == []
    monkeypatch.setattr(CreateChild, "still_wanted", broken)
    rig.run_for(2 * Limits().temporary_failure_wait)
    assert told(rig).sa == sa
    assert sorted(ends_of(rig)) == wishes


def test_every_wish_ends_even_where_a_bug_meets_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    puppet = Puppet(rig)
    sa = puppet.establish()
    wishes = [rig.endpoint.check_liveness(sa, now=rig.now) for _ in range(3)]
    wishes += [rig.endpoint.delete(sa, now=rig.now) for _ in range(2)]
    rig.drain()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.sa.receiving, "match", broken)
        patch.setattr(Liveness, "failed", broken)
        puppet.give(puppet.seal(INFO))
    assert len(rig.of(InternalError)) == 2
    assert sorted(ends_of(rig)) == wishes
    assert rig.endpoint.idle


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name in WISHES for place in ("build", "encode") if (name, place) != ("delete", "encode")],
)  # a Delete always fits
def test_a_wish_that_cannot_be_put_into_octets_has_had_no_effect(
    monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    """Not even on the Message IDs: the next request has the next one, and is answered."""
    rig = Rig(raise_bugs=False)
    puppet = Puppet(rig)
    sa = puppet.establish()
    kind, wish = WISHES[name]
    before = rig.picture()
    with monkeypatch.context() as patch:
        if place == "build":
            patch.setattr(kind, "build", refuses)
        else:
            patch.setattr(ikecore.sa.outgoing, "encode_payloads", refuses)
        with pytest.raises(LocalProtocolError, match="70000 octets"):
            wish(rig.endpoint, sa, rig.now)
    assert rig.drain() == []
    assert rig.picture() == before
    request = rig.endpoint.check_liveness(sa, now=rig.now)
    (sent,) = puppet.taken(rig.drain())
    assert decode_header(sent).message_id == 0
    puppet.give(puppet.seal(INFO, message_id=0, response=True))
    assert rig.one(RequestCompleted).request == request
    keeper: Keeper = vars(rig.endpoint)["_keeper"]
    assert not keeper.wishes.left(sa)
    assert len(keeper.child_spis.taken) == 1  # that of the Child SA: none is held by what came to nothing
    assert len(keeper.by_spi) == 1


def test_a_bug_in_one_sa_does_not_keep_the_others_from_shutting_down(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    unlucky = rig.endpoint.sas[0]
    honest: Callable[..., Any] = vars(DeleteIke)["build"]

    def sometimes(exchange: DeleteIke, now: float) -> Any:
        return broken() if exchange.sa.id == unlucky else honest(exchange, now)

    monkeypatch.setattr(DeleteIke, "build", sometimes)
    rig.endpoint.shutdown(now=rig.now)
    outputs = rig.drain()
    assert told(rig).sa == unlucky
    assert [len(peer.taken(outputs)) for peer in peers] == [0, 1, 1, 1, 1]
    rig.run_for(Limits().delete_timeout + 1.0)
    assert rig.endpoint.idle


def test_a_bug_while_an_sa_is_abandoned_ends_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    sa = Puppet(rig).establish()
    with monkeypatch.context() as patch:
        patch.setattr(ikecore.endpoint.endpoint, "last_words", broken)
        rig.endpoint.abandon(sa, now=rig.now)
    rig.drain()
    assert told(rig).sa == sa
    assert sa not in rig.endpoint.sas
    all_live(peers)


def test_a_bug_in_what_the_host_tells_of_esp_ends_that_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    first, second = Puppet(rig).establish(), Puppet(rig, address=("10.0.0.1", 501), seed=2).establish()
    with monkeypatch.context() as patch:
        patch.setattr(UnknownSpi, "build", broken)
        rig.endpoint.esp_unknown(first, bytes(4), now=rig.now)
        patch.setattr(CreateChild, "build", broken)
        rig.endpoint.child_expiring(second, a_child(rig.endpoint, second), now=rig.now)
    rig.drain()
    assert [event.sa for event in rig.of(InternalError)] == [first, second]
    assert not {first, second} & set(rig.endpoint.sas)
    all_live(peers)


def test_a_bug_in_one_sa_does_not_keep_the_others_from_their_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(raise_bugs=False)
    peers = good_peers(rig)
    unlucky, *others = rig.endpoint.sas
    honest: Callable[..., Any] = vars(Paths)["move"]

    def sometimes(paths: Paths, sa: IkeSa, *args: Any) -> Any:
        return broken() if sa.id == unlucky else honest(paths, sa, *args)

    rig.endpoint.local_removed(HERE, now=rig.now)
    monkeypatch.setattr(Paths, "move", sometimes)
    rig.endpoint.local_added(Local(HERE), now=rig.now)
    rig.drain()
    assert told(rig).sa == unlucky
    assert [rig.endpoint.sa(sa).local for sa in others] == [HERE] * 4
    all_live(peers[1:])
