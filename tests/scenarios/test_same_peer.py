"""Several IKE SAs with one peer: INITIAL_CONTACT, and what `Connection.unique` does (RFC 7296 section 2.4)."""

from __future__ import annotations

from typing import Any

import pytest

from ikecore import ChildConfig, Connection, Lifetimes, LocalProtocolError
from ikecore.config import Config
from ikecore.events import ChildSaClosed, IkeSaClosed, IkeSaEstablished, IkeSaFailed, IkeSaReauthenticated, Role
from ikecore.outputs import SendDatagram
from ikecore.testing import Pair, psk_connection
from ikecore.wire import Notification, Payload
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import Puppet, Rig, notifications

INITIAL = Notification(Notify.INITIAL_CONTACT)
OTHER_HOST = ("10.0.0.77", 500)


def side(role: Role, unique: str, **more: Any) -> Connection:
    return psk_connection(role, unique=unique, children=(ChildConfig(lifetimes=Lifetimes()),), **more)


def come(rig: Rig, seed: int, *more: Payload, address: tuple[str, int] = ("10.0.0.1", 500), **auth: Any) -> Puppet:
    """Another SA of the peer, with *more* payloads in IKE_AUTH."""
    puppet = Puppet(rig, seed=seed, address=address)
    puppet.begin()
    puppet.answered = puppet.request(Exchange.IKE_AUTH, [*puppet.auth(**auth), *more])  # type: ignore[attr-defined]
    return puppet


def sent(rig: Rig, before: int) -> list[SendDatagram]:
    return [each for each in rig.outputs[before:] if isinstance(each, SendDatagram)]


# --- INITIAL_CONTACT, received --------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-069", "IKE-071", "IKE-073")
@pytest.mark.parametrize("unique", ["no", "replace", "keep"])
def test_a_peer_that_began_anew_has_no_other_sas(unique: str) -> None:
    rig = Rig(side("responder", unique))
    come(rig, 1)
    (old,) = rig.endpoint.sas
    before = len(rig.outputs)
    come(rig, 2, INITIAL, address=OTHER_HOST)
    closed = rig.one(IkeSaClosed)
    assert (closed.sa, closed.reason, closed.by) == (old, "the peer began anew (INITIAL_CONTACT)", "peer")
    assert rig.one(ChildSaClosed).sa == old
    assert {each.remote for each in sent(rig, before)} == {OTHER_HOST}, "nothing is sent to the old SA"
    (new,) = rig.endpoint.sas
    assert new != old


@pytest.mark.requirement("IKE-069")
@pytest.mark.parametrize("unique", ["never", "no"])
def test_other_sas_are_none_of_anybodys_business_otherwise(unique: str) -> None:
    rig = Rig(side("responder", unique))
    come(rig, 1)
    come(rig, 2, *([INITIAL] if unique == "never" else []), address=OTHER_HOST)
    assert rig.of(IkeSaClosed) == []
    assert len(rig.endpoint.sas) == 2


@pytest.mark.requirement("IKE-069", "IKE-072")
def test_whoever_has_not_proved_anything_ends_nothing() -> None:
    rig = Rig(side("responder", "replace"))
    come(rig, 1)
    (old,) = rig.endpoint.sas
    puppet = come(rig, 2, INITIAL, address=OTHER_HOST, secret=b"a guess")
    assert notifications(puppet.answered) == [Notify.AUTHENTICATION_FAILED]  # type: ignore[attr-defined]
    assert rig.endpoint.sas == (old,)
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-071")
def test_later_it_means_nothing() -> None:
    rig = Rig(side("responder", "replace"))
    come(rig, 1)
    second = come(rig, 2)
    assert second.request(Exchange.INFORMATIONAL, [INITIAL]) == []
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-069")
def test_the_same_name_proved_by_other_means_may_be_somebody_else() -> None:
    """Whoever may prove an identity to one connection must not end the SAs of another one."""
    strict = psk_connection("responder", secret=b"of the strict one", name="strict")
    weak = psk_connection("responder", secret=b"known to many", name="weak")
    rig = Rig(config=Config(connections=(strict, weak)))
    come(rig, 1, secret=b"of the strict one")
    (old,) = rig.endpoint.sas
    come(rig, 2, INITIAL, secret=b"known to many", address=OTHER_HOST)
    assert rig.of(IkeSaEstablished)[-1].connection == "weak"
    assert old in rig.endpoint.sas
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-069")
def test_another_peer_is_another_peer() -> None:
    anybody = psk_connection("responder", unique="replace")
    anybody = Connection(
        name=anybody.name,
        local_identity=anybody.local_identity,
        local=anybody.local,
        remote=anybody.remote,
        unique="replace",
    )
    rig = Rig(anybody)
    come(rig, 1, identity="a.example")
    come(rig, 2, INITIAL, identity="b.example")
    assert len(rig.endpoint.sas) == 2
    come(rig, 3, INITIAL, identity="a.example")
    assert rig.one(IkeSaClosed).sa == 1


@pytest.mark.requirement("IKE-069", "IKE-071")
def test_a_responder_may_say_it_as_well() -> None:
    rig = Rig()
    first = Puppet(rig, "responder", seed=1)
    first.establish()
    rig.outputs.clear()
    second = Puppet(rig, "responder", seed=2)
    rig.initiate()
    second.answer_init()
    second.answer_auth([*second.auth(), INITIAL])
    assert rig.one(IkeSaClosed).sa == 1


# --- sent -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-069", "IKE-070", "IKE-071")
@pytest.mark.parametrize(("unique", "says"), [("never", False), ("no", False), ("replace", True), ("keep", True)])
def test_the_initiator_says_it_where_it_is_true_and_wanted(unique: str, says: bool) -> None:
    connection = side("initiator", unique)
    rig = Rig(connection)
    for number in range(2):
        rig.outputs.clear()
        puppet = Puppet(rig, "responder", seed=number)
        rig.initiate(connection)
        puppet.answer_init()
        ((_, payloads),) = puppet.requests()
        assert (INITIAL in payloads) is (says and number == 0), "with one SA there it would not be true"
        puppet.answer_auth()
    assert len(rig.of(IkeSaEstablished)) == 1


def test_a_restarted_host_gets_rid_of_what_it_left() -> None:
    pair = Pair(side("initiator", "replace"), side("responder", "no"))
    mine, theirs = pair.establish()
    forgetful = pair.initiator.endpoint._endpoint
    old = forgetful._keeper.sas[mine]
    old.services.remove(old, pair.now)  # it crashed
    pair.establish()
    assert pair.responder.one(IkeSaClosed).sa == theirs
    assert len(pair.responder.endpoint.sas) == 1


# --- unique ---------------------------------------------------------------------------------------------------------


def test_replace_deletes_the_other_one_of_another_address_in_order() -> None:
    rig = Rig(side("responder", "replace"))
    first = come(rig, 1)
    (old,) = rig.endpoint.sas
    come(rig, 2, address=OTHER_HOST)
    ((header, payloads),) = first.requests()
    assert len(payloads) == 1
    first.give(first.seal(Exchange.INFORMATIONAL, [], message_id=header.message_id, response=True))
    closed = rig.one(IkeSaClosed)
    assert (closed.sa, closed.reason, closed.by) == (old, "another SA with the same peer has replaced it", "us")


@pytest.mark.requirement("IKE-134")
def test_replace_leaves_time_to_a_peer_that_authenticates_anew() -> None:
    """From the same address it is its task to delete the old one, when it has carried over its Child SAs."""
    rig = Rig(side("responder", "replace"))
    first = come(rig, 1)
    come(rig, 2)
    assert first.requests() == []
    assert len(rig.endpoint.sas) == 2
    rig.run_for(239.0)
    assert first.requests() == []
    rig.run_for(2.0)
    assert {header.message_id for header, _ in first.requests()} == {0}, "then we do it"
    rig.run_for(60.0)
    assert rig.one(IkeSaClosed).sa == 1
    assert len(rig.endpoint.sas) == 1


def test_keep_refuses_a_second_one() -> None:
    rig = Rig(side("responder", "keep"))
    come(rig, 1)
    (old,) = rig.endpoint.sas
    puppet = come(rig, 2, address=OTHER_HOST)
    assert notifications(puppet.answered) == [Notify.AUTHENTICATION_FAILED]  # type: ignore[attr-defined]
    assert rig.endpoint.sas == (old,)
    assert "already" in str(rig.one(IkeSaFailed).error)


@pytest.mark.requirement("IKE-134")
@pytest.mark.parametrize("unique", ["never", "no", "replace", "keep"])
def test_reauthentication_goes_with_every_choice(unique: str) -> None:
    pair = Pair(
        side("initiator", unique, lifetimes=Lifetimes(reauth_time=3600.0)),
        side("responder", unique),
    )
    pair.establish()
    for number in range(1, 6):
        pair.run_for(3700.0)
        assert len(pair.initiator.of(IkeSaReauthenticated)) >= number
        for host in (pair.initiator, pair.responder):
            assert len(host.endpoint.sas) == 1
            assert len(host.endpoint.sa(host.endpoint.sas[0]).children) == 1
    assert pair.initiator.of(IkeSaFailed) == pair.responder.of(IkeSaFailed) == []
    assert {each.by for each in pair.initiator.of(IkeSaClosed)} == {"us"}


def test_the_index_holds_nothing_of_the_dead() -> None:
    pair = Pair(side("initiator", "replace"), side("responder", "replace"))
    for _ in range(3):
        mine, _ = pair.establish()
        pair.initiator.call(pair.initiator.endpoint.delete, mine)
        pair.run_for(60.0)
    for host in (pair.initiator, pair.responder):
        assert host.endpoint._endpoint._keeper.contacts._between == {}


def test_a_word_that_is_unknown() -> None:
    with pytest.raises(LocalProtocolError, match="unique"):
        side("responder", "sometimes")
