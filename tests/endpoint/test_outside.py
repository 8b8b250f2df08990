"""Errors outside of an SA (RFC 7296 sections 1.5 and 2.21.4): what we say to strangers, and believe of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaClosed
from ikecore.limits import Limits
from ikecore.outputs import SaId, SendDatagram
from ikecore.testing import psk_connection
from ikecore.wire import Notification, Payload, decode_envelope, encode_message
from ikecore.wire.numbers import INITIATOR, RESPONSE, Exchange, Notify
from tests.rig import HERE, THERE, Puppet, Rig, notifications

INFO, CHILD, AUTH, INIT = Exchange.INFORMATIONAL, Exchange.CREATE_CHILD_SA, Exchange.IKE_AUTH, Exchange.IKE_SA_INIT
ATTACKER = ("10.0.0.66", 666)


def forgotten(**limits: float) -> tuple[Rig, Puppet]:
    """An endpoint that has lost its SA, and a peer that still has it."""
    rig = Rig()
    puppet = Puppet(rig)
    puppet.establish()
    rebooted = Rig(limits=Limits(**limits), seed=2)  # type: ignore[arg-type]
    puppet.rig = rebooted
    return rebooted, puppet


@pytest.mark.requirement("IKE-040", "IKE-201")
@pytest.mark.parametrize("exchange", [INFO, CHILD, AUTH, 200])
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_a_protected_request_for_no_sa_is_told_so(exchange: int, role: str) -> None:
    rig, puppet = Rig(limits=Limits()), None
    puppet = Puppet(rig, role)  # type: ignore[arg-type]
    puppet.establish()
    other = Rig(limits=Limits(), seed=2)
    puppet.rig = other
    request = puppet.seal(exchange, message_id=7)
    (answer,) = puppet.give(request)
    envelope = decode_envelope(answer)
    assert answer[:16] == request[:16], "the same SPIs"
    assert (envelope.header.exchange, envelope.header.message_id) == (exchange, 7)
    assert envelope.header.flags == RESPONSE | (0 if role == "initiator" else INITIATOR)
    assert envelope.encrypted is None
    assert envelope.payloads == [Notification(Notify.INVALID_IKE_SPI)]
    assert len(answer) < len(request)
    assert other.endpoint.counters["unknown SPI"] == 1
    assert other.endpoint.idle


@pytest.mark.requirement("IKE-039", "IKE-200", "IKE-202")
def test_responses_notifications_and_requests_to_begin_draw_no_word() -> None:
    rig, puppet = forgotten()
    assert puppet.give(puppet.seal(INFO, response=True)) == []
    assert puppet.give(puppet.seal(INIT)) == []
    for flags in (0, INITIATOR, RESPONSE, RESPONSE | INITIATOR):
        for notify in (Notify.INVALID_IKE_SPI, Notify.INVALID_SPI, Notify.INVALID_MAJOR_VERSION):
            for spis in (puppet.spis, (bytes(8), bytes(8))):
                assert puppet.give(unprotected(spis, [Notification(notify, b"\1\2\3\4")], flags=flags)) == []
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-199")
def test_what_strangers_are_told_is_bounded() -> None:
    rig, puppet = forgotten(unknown_spi_per_second=3)
    request = puppet.seal(INFO)
    assert [len(puppet.give(request)) for _ in range(6)] == [1, 1, 1, 0, 0, 0]
    rig.now += 1.0
    assert sum(len(puppet.give(request)) for _ in range(6)) == 3


@pytest.mark.requirement("IKE-201")
def test_nobody_is_told_where_configuration_says_so() -> None:
    _, puppet = forgotten(unknown_spi_per_second=0)
    assert puppet.give(puppet.seal(INFO)) == []


def test_a_stream_for_no_sa_ends_without_a_word() -> None:
    rig, puppet = forgotten()
    puppet.connect()
    assert puppet.give(puppet.seal(INFO)) == []
    assert rig.endpoint.idle


# --- hints ------------------------------------------------------------------------------------------------------------


def unprotected(
    spis: tuple[bytes, bytes], payloads: Sequence[Payload], *, flags: int, exchange: int = INFO, message_id: int = 0
) -> bytes:
    return encode_message(
        spi_i=spis[0], spi_r=spis[1], exchange=exchange, flags=flags, message_id=message_id, payloads=payloads
    )


def hint(puppet: Puppet, notify: int = Notify.INVALID_IKE_SPI, *, response: bool = True) -> bytes:
    flags = (INITIATOR if puppet.role == "initiator" else 0) | (RESPONSE if response else 0)
    return unprotected(puppet.spis, [Notification(notify)], flags=flags)


def up(role: str = "initiator", **limits: float) -> tuple[Rig, Puppet, SaId]:
    rig = Rig(psk_connection("responder" if role == "initiator" else "initiator"), limits=Limits(**limits))  # type: ignore[arg-type]
    puppet = Puppet(rig, role)  # type: ignore[arg-type]
    return rig, puppet, puppet.establish()


@pytest.mark.requirement("IKE-202")
@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize(
    ("notify", "response"),
    [
        (Notify.INVALID_IKE_SPI, True),
        (Notify.INVALID_MAJOR_VERSION, True),
        (Notify.INVALID_SPI, False),
    ],
)
def test_an_unprotected_error_makes_us_ask_the_peer_and_nothing_else(role: str, notify: int, response: bool) -> None:
    rig, puppet, sa = up(role)
    before = rig.endpoint.sa(sa)
    rig.drain()
    outputs = rig.datagram(hint(puppet, notify, response=response), remote=ATTACKER)
    assert [(each.local, each.remote) for each in outputs if isinstance(each, SendDatagram)] == [(HERE, THERE)]
    ((header, contents),) = puppet.requests(outputs)
    assert header.exchange == INFO
    assert contents == []
    assert rig.endpoint.sa(sa) == before
    puppet.give(puppet.seal(INFO, message_id=header.message_id, response=True))
    rig.run_for(1000.0)
    assert rig.endpoint.sa(sa) == before


@pytest.mark.requirement("IKE-202", "IKE-199")
def test_a_flood_of_hints_makes_few_checks_and_ends_nothing() -> None:
    rig, puppet, sa = up()
    checks = 0
    for _ in range(600):
        rig.run_for(0.2)
        for header, _ in puppet.requests(rig.datagram(hint(puppet), remote=ATTACKER)):
            checks += 1
            puppet.give(puppet.seal(INFO, message_id=header.message_id, response=True))
    assert checks == 4, "120 s of it, one each 30 s"
    assert rig.endpoint.sas == (sa,)


@pytest.mark.requirement("IKE-202")
def test_hints_for_all_sas_together_are_bounded() -> None:
    rig = Rig(limits=Limits(hints_per_second=2))
    puppets = [Puppet(rig, seed=seed) for seed in range(10, 15)]
    for puppet in puppets:
        puppet.establish()
    sent = [len(puppet.requests(rig.datagram(hint(puppet), remote=ATTACKER))) for puppet in puppets]
    assert sent == [1, 1, 0, 0, 0]


@pytest.mark.requirement("IKE-202")
def test_while_a_request_is_under_way_a_hint_adds_nothing() -> None:
    rig, puppet, sa = up()
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert not [each for each in rig.datagram(hint(puppet)) if isinstance(each, SendDatagram)]
    answer = puppet.seal(INFO, message_id=0, response=True)
    assert puppet.give(answer) == [], "nor does it wait for its turn"


@pytest.mark.requirement("IKE-202", "IKE-203")
@pytest.mark.parametrize("notify", [Notify.AUTHENTICATION_FAILED, Notify.INVALID_SYNTAX, Notify.NO_ADDITIONAL_SAS])
def test_other_errors_without_protection_are_not_even_hints(notify: int) -> None:
    rig, puppet, _ = up()
    before = rig.picture()
    assert rig.datagram(hint(puppet, notify), remote=ATTACKER) == []
    assert rig.picture() == before


@pytest.mark.requirement("IKE-202")
def test_before_the_peer_is_authenticated_hints_count_for_nothing() -> None:
    rig = Rig(psk_connection("initiator"))
    puppet = Puppet(rig, "responder")
    rig.initiate()
    puppet.answer_init()
    before = rig.picture()
    assert puppet.give(hint(puppet)) == []
    assert rig.picture() == before


@pytest.mark.requirement("IKE-038", "IKE-203")
def test_an_invalid_spi_inside_the_sa_changes_nothing_either() -> None:
    rig, puppet, sa = up()
    before = rig.endpoint.sa(sa)
    assert notifications(puppet.request(INFO, [Notification(Notify.INVALID_SPI, puppet.spi_in)])) == []
    assert rig.endpoint.sa(sa) == before


@pytest.mark.requirement("IKE-040", "IKE-202")
def test_a_peer_that_rebooted_is_found_out_by_its_own_word() -> None:
    """INVALID_IKE_SPI leads to a check, and only the silence that meets it ends the SA."""
    rig, puppet, sa = up(retransmit_tries=4)
    rig.datagram(hint(puppet))
    assert rig.endpoint.sas == (sa,)
    rig.run_for(60.0)
    assert rig.one(IkeSaClosed).by == "silence"


# --- ESP that nobody knows --------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-038", "IKE-203", "IKE-199")
def test_the_peer_is_told_of_esp_with_an_unknown_spi_now_and_then() -> None:
    rig, puppet, sa = up()
    before = rig.endpoint.sa(sa)
    told = []
    for _ in range(600):
        rig.run_for(0.1)
        rig.endpoint.esp_unknown(sa, b"\1\2\3\4", now=rig.now)
        for header, contents in puppet.requests(rig.drain()):
            told.append(contents)
            puppet.give(puppet.seal(INFO, message_id=header.message_id, response=True))
    assert told == [[Notification(Notify.INVALID_SPI, b"\1\2\3\4")]] * 2
    assert rig.endpoint.sa(sa) == before


def test_before_the_sa_is_up_and_after_it_nobody_is_told() -> None:
    rig = Rig(psk_connection("initiator"))
    sa = rig.initiate()
    rig.endpoint.esp_unknown(sa, b"\1\2\3\4", now=rig.now)
    assert rig.drain() == []
    with pytest.raises(LocalProtocolError, match="spi: 3 octets; an SPI of ESP has 4"):
        rig.endpoint.esp_unknown(sa, b"\1\2\3", now=rig.now)
    with pytest.raises(LocalProtocolError, match="there is no SA 9"):
        rig.endpoint.esp_unknown(SaId(9), b"\1\2\3\4", now=rig.now)
