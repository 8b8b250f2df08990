"""IKE_SA_INIT as the responder: who gets an answer, who gets an SA, and what is kept (RFC 7296 sections 1.2, 2.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from ikecore.config import Transports
from ikecore.crypto import KeyAgreement, generate, ike_proposals
from ikecore.events import IkeSaEstablished, IkeSaFailed, NatDetected, Refused, TcpAnnounced
from ikecore.framing import MARKER
from ikecore.limits import Limits
from ikecore.outputs import SendDatagram
from ikecore.testing import psk_connection
from ikecore.wire import (
    Attribute,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    Transform,
    UnknownPayload,
    VendorId,
    decode_message,
    encode_message,
)
from ikecore.wire.notify_data import encode_tcp_port
from ikecore.wire.numbers import (
    IKE_TCP_SUPPORTED_DEFAULT,
    INITIATOR,
    RESPONSE,
    VENDOR_ID,
    Exchange,
    Ke,
    Notify,
    Protocol,
    TransformType,
)
from tests.rig import HERE, NAT_HERE, NAT_THERE, THERE, Puppet, Rig, notifications

INIT = Exchange.IKE_SA_INIT


def half_open(**changes: Any) -> tuple[Rig, Puppet]:
    rig = Rig(attrs.evolve(psk_connection("responder"), **changes))
    return rig, Puppet(rig)


def answer_to(rig: Rig, puppet: Puppet, payloads: list[Payload]) -> list[Payload]:
    (data,) = puppet.give(puppet.init_message(payloads))
    header, found = decode_message(data)
    assert (header.flags, header.message_id, header.spi_i) == (RESPONSE, 0, puppet.spi)
    return found


def with_proposals(puppet: Puppet, *proposals: Proposal) -> list[Payload]:
    return [SecurityAssociation(proposals), *puppet.init_payloads()[1:]]


# --- the answer -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-001", "IKE-107", "IKE-108", "IKE-206", "IKE-234", "IKE-057", "IKE-083")
def test_the_answer_as_it_leaves() -> None:
    _rig, puppet = half_open()
    (data,) = puppet.give(puppet.init_message())
    header, payloads = decode_message(data)
    assert (header.version, header.flags, header.message_id) == (0x20, RESPONSE, 0)
    assert header.spi_i == puppet.spi
    assert header.spi_r != bytes(8)
    assert [type(payload) for payload in payloads[:3]] == [SecurityAssociation, KeyExchange, Nonce]
    offer, exchange, nonce = payloads[:3]
    assert isinstance(offer, SecurityAssociation)
    assert isinstance(exchange, KeyExchange)
    assert isinstance(nonce, Nonce)
    (chosen,) = offer.proposals
    kinds = [transform.type for transform in chosen.transforms]
    assert sorted(kinds) == sorted({transform.type for transform in puppet.proposals[0].transforms})
    assert exchange.group == puppet.agreement.group
    assert nonce.data != puppet.nonce
    assert notifications(payloads)[:2] == [
        Notify.NAT_DETECTION_SOURCE_IP,
        Notify.NAT_DETECTION_DESTINATION_IP,
    ]


@pytest.mark.requirement("TCP-28", "TCP-54", "TCP-68", "TCP-69", "TCP-29", "TCP-49", "TCP-50", "TCP-51")
@pytest.mark.parametrize(
    ("announce", "listens", "behind_nat", "expected"),
    [
        (None, True, False, 500),
        (None, False, False, None),
        (None, True, True, None),
        (0, True, False, None),
        (10443, True, True, 10443),
        (10443, False, False, 10443),
    ],
)
def test_tcp_is_announced_where_the_peer_can_reach_it(
    announce: int | None, listens: bool, behind_nat: bool, expected: int | None
) -> None:
    connection = attrs.evolve(psk_connection("responder"), transports=Transports(announce_tcp=announce))
    rig = Rig(connection, tcp=listens)
    puppet = Puppet(rig)
    payloads = puppet.init_payloads()
    if behind_nat:
        payloads[4] = Notification(Notify.NAT_DETECTION_DESTINATION_IP, bytes(20))
    found = answer_to(rig, puppet, payloads)
    ports = [
        (each.data, each.protocol, each.spi)
        for each in found
        if isinstance(each, Notification) and each.notify_type == IKE_TCP_SUPPORTED_DEFAULT
    ]
    assert ports == ([] if expected is None else [(encode_tcp_port(expected), 0, b"")])
    assert VendorId(VENDOR_ID) in found


@pytest.mark.requirement("TCP-31", "TCP-32", "TCP-52", "TCP-53")
def test_the_announcement_of_an_initiator_is_noted() -> None:
    rig, puppet = half_open()
    announcement = Notification(IKE_TCP_SUPPORTED_DEFAULT, encode_tcp_port(1500))
    puppet.begin([*puppet.init_payloads(), announcement, VendorId(VENDOR_ID)])
    assert rig.events == [], "a stranger makes no events"
    puppet.authenticate()
    event = rig.one(TcpAnnounced)
    assert (event.port, event.usable) == (1500, True)
    assert rig.endpoint.sa(event.sa).peer_tcp_port == 1500


@pytest.mark.requirement("IKE-148", "IKE-149", "IKE-217", "IKE-044")
@pytest.mark.parametrize(
    ("address", "local"),
    [(THERE, HERE), (("10.0.0.1", 61234), HERE), (NAT_THERE, NAT_HERE), (("10.0.0.1", 9), NAT_HERE)],
)
def test_the_answer_goes_back_where_the_request_came_from(address: tuple[str, int], local: tuple[str, int]) -> None:
    rig = Rig()
    puppet = Puppet(rig, address=address, local=local)
    puppet.establish()
    for sent in rig.of(SendDatagram):
        assert (sent.local, sent.remote) == (local, address)
        assert sent.data.startswith(MARKER) is (local == NAT_HERE)


@pytest.mark.requirement("IKE-086", "IKE-083", "IKE-236", "IKE-237")
def test_reserved_bits_and_the_minor_version_mean_nothing() -> None:
    _rig, puppet = half_open()
    data = bytearray(puppet.init_message())
    data[17] = 0x2F
    data[19] |= 0x10 | 0x47
    assert len(puppet.give(bytes(data))) == 1


@pytest.mark.requirement("IKE-087", "IKE-091", "IKE-092", "IKE-284", "IKE-280", "IKE-245")
def test_order_unknown_payloads_and_unknown_words_mean_nothing() -> None:
    rig, puppet = half_open()
    extra: list[Payload] = [
        UnknownPayload(200, False, b"anything"),
        VendorId(b"somebody"),
        VendorId(b""),
        Notification(9999),
        Notification(50000, b"\0" * 100),
    ]
    payloads = [*extra, *reversed(puppet.init_payloads())]
    assert SecurityAssociation in map(type, answer_to(rig, puppet, payloads))
    puppet.rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-015", "IKE-008", "IKE-114")
def test_another_group_is_asked_for_without_keeping_anything() -> None:
    rig, puppet = half_open(proposals=ike_proposals("aes256gcm16-prfsha256-ecp256"))
    offer = ike_proposals("aes256gcm16-prfsha256-x25519-ecp256")
    puppet = Puppet(rig, proposals=offer)
    found = answer_to(rig, puppet, puppet.init_payloads())
    assert found == [Notification(Notify.INVALID_KE_PAYLOAD, Ke.ECP_256.to_bytes(2, "big"))]
    assert rig.endpoint.idle
    assert rig.of(Refused) == []  # that is how two sides come to a common group


@pytest.mark.requirement("IKE-107", "IKE-189")
def test_no_proposal_chosen_without_keeping_anything() -> None:
    rig, _ = half_open()
    puppet = Puppet(rig, proposals=ike_proposals("aes256gcm16-prfsha256-modp2048"))
    assert answer_to(rig, puppet, puppet.init_payloads()) == [Notification(Notify.NO_PROPOSAL_CHOSEN)]
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-107")
def test_proposals_that_nobody_takes_are_told_to_our_side_now_and_then() -> None:
    rig, _ = half_open()
    for suite in ("aes256gcm16-prfsha256-modp2048", "aes128-sha256-modp3072", "aes256-sha512-modp4096"):
        puppet = Puppet(rig, proposals=ike_proposals(suite))
        answer_to(rig, puppet, puppet.init_payloads())
    event = rig.one(Refused)
    assert (event.what, event.source, event.count) == ("IKE_SA_INIT", THERE, 1)
    assert event.reason == "no connection takes any of the proposals offered"
    rig.run_for(1.0)
    answer_to(rig, puppet, puppet.init_payloads())
    assert rig.of(Refused)[-1] == Refused(event.what, THERE, event.reason, 3)


BAD_ESP = Transform(TransformType.ENCR, 20)


@pytest.mark.requirement("IKE-107", "IKE-112", "IKE-113", "IKE-178", "IKE-252", "IKE-263", "IKE-109", "IKE-111")
def test_proposals_that_do_not_count_beside_one_that_does() -> None:
    """B4: an unknown transform type, a missing one, an SPI, another protocol, an unknown attribute, AEAD mixed."""
    rig, puppet = half_open()
    good = puppet.proposals[0]
    odd: list[Proposal] = [
        Proposal(1, Protocol.IKE, b"", (*good.transforms, Transform(77, 1))),
        Proposal(2, Protocol.IKE, b"", tuple(each for each in good.transforms if each.type != TransformType.PRF)),
        Proposal(3, Protocol.IKE, bytes(8), good.transforms),
        Proposal(4, Protocol.ESP, bytes(4), good.transforms),
        Proposal(
            5,
            Protocol.IKE,
            b"",
            (
                Transform(TransformType.ENCR, 20, (Attribute(14, 256), Attribute(99, 1))),
                *[each for each in good.transforms if each.type != TransformType.ENCR],
            ),
        ),
        Proposal(6, Protocol.IKE, b"", (*good.transforms, Transform(TransformType.INTEG, 12))),
        Proposal(7, Protocol.IKE, b"", good.transforms),
    ]
    found = answer_to(rig, puppet, with_proposals(puppet, *odd))
    (offer,) = [each for each in found if isinstance(each, SecurityAssociation)]
    (chosen,) = offer.proposals
    assert chosen.number == 7
    for transform in chosen.transforms:
        assert transform in good.transforms


@pytest.mark.requirement("IKE-189", "IKE-146", "IKE-243", "IKE-244", "IKE-088", "IKE-266", "IKE-205")
def test_malformed_requests_draw_nothing_and_keep_nothing() -> None:
    """B2 and B6 before there are keys: each payload missing or twice, a critical one unknown, values that cannot be."""
    rig, puppet = half_open()
    good = puppet.init_payloads()
    cases: list[list[Payload]] = [
        *[[*good[:place], *good[place + 1 :]] for place in range(3)],
        *[[*good, good[place]] for place in range(3)],
        [*good, UnknownPayload(200, True, b"")],
        [good[0], KeyExchange(Ke.CURVE25519, bytes(31)), *good[2:]],
        [good[0], KeyExchange(Ke.CURVE25519, bytes(32)), *good[2:]],
        [good[0], KeyExchange(Ke.CURVE25519, b""), *good[2:]],
        [],
    ]
    for payloads in cases:
        assert puppet.give(puppet.init_message(payloads)) == []
    message = puppet.init_message()
    for octets in (message[:-1], message + b"\0", message[:27], message[:16] + b"\2\3" + message[18:], b""):
        assert puppet.give(octets) == []
    nonce_cut = message.replace(puppet.nonce, puppet.nonce[:31] + b"\0")
    assert len(nonce_cut) == len(message)
    assert rig.endpoint.idle
    assert rig.events == []
    assert sum(rig.endpoint.counters.values()) == len(cases) + 5
    assert len(puppet.give(message)) == 1


@pytest.mark.requirement("IKE-146")
def test_a_nonce_shorter_than_half_the_key_of_the_prf_is_not_taken() -> None:
    rig, _ = half_open(proposals=ike_proposals("aes256gcm16-prfsha512-x25519"))
    puppet = Puppet(rig, proposals=ike_proposals("aes256gcm16-prfsha512-x25519"))
    payloads = puppet.init_payloads()
    payloads[2] = Nonce(bytes(31))
    assert puppet.give(puppet.init_message(payloads)) == []
    payloads[2] = Nonce(bytes(32))
    assert len(puppet.give(puppet.init_message(payloads))) == 1


@pytest.mark.requirement("IKE-055", "IKE-234", "IKE-241")
def test_an_initial_message_with_a_message_id_an_spi_or_encryption_is_none() -> None:
    rig, puppet = half_open()
    assert puppet.give(puppet.init_message(message_id=1)) == []
    message = bytearray(puppet.init_message())
    message[8:16] = b"\1" * 8
    assert puppet.give(bytes(message)) == []
    message[8:16] = bytes(8)
    message[:8] = bytes(8)
    assert puppet.give(bytes(message)) == []
    sealed = puppet.spi + bytes(8) + b"\x2e\x20\x22\x08" + bytes(4) + (40).to_bytes(4, "big") + b"\0\0\0\x0c"
    assert puppet.give(sealed + bytes(8)) == []
    assert rig.endpoint.counters["IKE_SA_INIT is not encrypted"] == 1
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-041", "IKE-084", "IKE-085", "IKE-239", "IKE-200", "IKE-053")
@pytest.mark.parametrize(
    ("version", "flags", "answered"),
    [(0x30, INITIATOR, True), (0xF0, 0, True), (0x10, INITIATOR, False), (0x00, 0, False), (0x30, RESPONSE, False)],
)
def test_other_major_versions(version: int, flags: int, answered: bool) -> None:
    rig, puppet = half_open()
    data = bytearray(puppet.init_message(flags=flags, message_id=7))
    data[17] = version
    replies = puppet.give(bytes(data))
    assert len(replies) == answered
    for reply in replies:
        header, payloads = decode_message(reply)
        assert payloads == [Notification(Notify.INVALID_MAJOR_VERSION)]
        assert (header.spi_i, header.spi_r, header.message_id) == (puppet.spi, bytes(8), 7)
        assert header.is_response
        assert header.is_initiator is not bool(flags & INITIATOR)
        assert header.version == 0x20
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-053", "IKE-199", "IKE-075")
def test_stateless_answers_are_rationed() -> None:
    rig = Rig(limits=Limits(stateless_per_second=10))
    puppet = Puppet(rig)
    data = bytearray(puppet.init_message())
    data[17] = 0x30
    assert sum(len(puppet.give(bytes(data))) for _ in range(100)) == 10
    rig.run_for(0.5)
    assert sum(len(puppet.give(bytes(data))) for _ in range(100)) == 5


@pytest.mark.requirement("IKE-053", "IKE-097")
def test_who_uses_up_what_strangers_are_told_leaves_nobody_without_a_word() -> None:
    """28 octets of another version are enough to use it up."""
    rig = Rig(limits=Limits(stateless_per_second=10))
    flood = bytearray(Puppet(rig, seed=9).init_message())
    flood[17] = 0x30
    puppet = Puppet(rig)

    def asked(*cookie: Payload) -> Notification:
        for _ in range(20):
            rig.datagram(bytes(flood), remote=("10.0.1.1", 500))
        wrong = [each for each in puppet.init_payloads() if not isinstance(each, KeyExchange)]
        (answer,) = puppet.give(puppet.init_message([*cookie, *wrong, KeyExchange(Ke.MODP_2048, bytes(256))]))
        (told,) = decode_message(answer)[1]
        assert isinstance(told, Notification)
        return told

    told = asked()
    assert told.notify_type == Notify.COOKIE
    assert asked(Notification(Notify.COOKIE, bytes(33))).notify_type == Notify.COOKIE
    told = asked(Notification(Notify.COOKIE, told.data))
    assert told.notify_type == Notify.INVALID_KE_PAYLOAD
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-097", "IKE-247")
def test_public_values_that_are_none_cost_no_more_than_so_many_key_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave no half-open SA behind, and so nothing that cookies go by."""
    made: list[int] = []

    def counted(group: int, octets: Callable[[int], bytes]) -> KeyAgreement:
        made.append(group)
        return generate(group, octets)

    monkeypatch.setattr("ikecore.sa.key_exchange.generate", counted)
    rig = Rig(limits=Limits(stateless_per_second=10, cookie_lifetime=20.0))
    puppet = Puppet(rig)

    def forged(number: int, *more: Payload) -> bytes:
        flood = Puppet(rig, seed=100 + number)
        rest = [each for each in flood.init_payloads() if not isinstance(each, KeyExchange)]
        return flood.init_message([*rest, KeyExchange(Ke.CURVE25519, bytes(32)), *more])

    answers = [rig.datagram(forged(number), remote=(f"10.1.0.{number}", 500)) for number in range(100)]
    answers += [rig.datagram(forged(200, VendorId(Notify.COOKIE.to_bytes(3, "big"))), remote=("10.1.1.1", 500))]
    assert len(made) == 11
    assert [len(each) for each in answers] == [0] * 11 + [1] * 90
    (demand,) = puppet.give(puppet.init_message())
    (cookie,) = decode_message(demand)[1]
    puppet.begin([cookie, *puppet.init_payloads()])
    assert len(rig.endpoint.sas) == 1, "who is where it says it is gets in"
    rig.run_for(21.0)
    assert len(rig.datagram(forged(300), remote=("10.1.1.2", 500))) == 0, "and by then everybody, as before"
    assert len(made) == 13


@pytest.mark.requirement("IKE-314", "IKE-107")
def test_an_address_without_a_connection_gets_nothing() -> None:
    rig, puppet = half_open(remote_addresses=("192.0.2.0/24",))
    assert puppet.give(puppet.init_message()) == []
    event = rig.one(Refused)
    assert (event.what, event.source, event.reason) == ("IKE_SA_INIT", THERE, "no connection for this address")


@pytest.mark.requirement("IKE-201", "IKE-202", "IKE-039")
def test_a_message_for_no_sa_gets_nothing() -> None:
    rig, puppet = half_open()
    for exchange in (*Exchange, 200):
        for flags in (0, INITIATOR, RESPONSE, INITIATOR | RESPONSE):
            data = encode_message(
                spi_i=b"\1" * 8, spi_r=b"\2" * 8, exchange=exchange, flags=flags, message_id=0, payloads=[]
            )
            assert puppet.give(data) == []
    assert rig.endpoint.idle


# --- repeats --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-045", "IKE-046", "IKE-051", "IKE-052", "IKE-048")
def test_a_repeat_gets_the_same_octets_and_no_second_sa() -> None:
    rig, puppet = half_open()
    message = puppet.init_message()
    (first,) = puppet.give(message)
    rig.run_for(1.0)
    (again,) = puppet.give(message)
    assert again == first
    assert len(rig.endpoint.sas) == 1


@pytest.mark.requirement("IKE-052", "IKE-095")
def test_other_octets_or_another_path_are_a_new_request() -> None:
    rig, puppet = half_open()
    puppet.give(puppet.init_message())
    Puppet(rig, address=("10.0.0.1", 501)).give(puppet.init_message())
    puppet.give(puppet.init_message([*puppet.init_payloads(), VendorId(b"x")]))
    assert len(rig.endpoint.sas) == 3
    assert len({rig.endpoint.sa(sa).spi_r for sa in rig.endpoint.sas}) == 3


@pytest.mark.requirement("IKE-052")
def test_a_repeat_after_ike_auth_is_ignored() -> None:
    rig, puppet = half_open()
    puppet.establish()
    rig.run_for(2.0)
    assert puppet.give(puppet.init_sent) == []
    assert len(rig.endpoint.sas) == 1
    assert rig.endpoint.counters["IKE_SA_INIT of an SA that is further on"] == 1
    rig.run_for(Limits().half_open_lifetime)
    assert len(rig.endpoint.sas) == 1


@pytest.mark.requirement("IKE-045", "IKE-199")
def test_repeats_are_answered_at_a_bounded_rate() -> None:
    rig, puppet = half_open()
    message = puppet.init_message()
    replies = 0
    for _ in range(100):
        replies += len(puppet.give(message))
        rig.run_for(0.05)
    assert 9 <= replies <= 11


def test_a_half_open_sa_is_given_up_in_time() -> None:
    rig = Rig(limits=Limits(half_open_lifetime=7.0))
    puppet = Puppet(rig)
    puppet.begin()
    rig.run_for(6.9)
    assert rig.of(IkeSaFailed) == []
    rig.run_for(0.2)
    failed = rig.one(IkeSaFailed)
    assert (failed.role, failed.step) == ("responder", "IKE_AUTH")
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-209", "TCP-72")
@pytest.mark.parametrize(("place", "expected"), [(3, (False, True)), (4, (True, False))])
def test_a_nat_is_told(place: int, expected: tuple[bool, bool]) -> None:
    rig, puppet = half_open()
    payloads = puppet.init_payloads()
    changed = payloads[place]
    assert isinstance(changed, Notification)
    payloads[place] = Notification(changed.notify_type, bytes(20))
    puppet.begin(payloads)
    assert rig.events == [], "a stranger makes no events"
    puppet.authenticate()
    event = rig.one(NatDetected)
    assert (event.local_behind_nat, event.peer_behind_nat) == expected


@pytest.mark.requirement("TCP-72", "TCP-20", "TCP-21", "TCP-22")
def test_over_tcp_the_digests_are_of_the_connection() -> None:
    rig, puppet = half_open()
    puppet.connect(port=54321)
    puppet.begin()
    assert rig.of(NatDetected) == []
    assert rig.of(SendDatagram) == []
    puppet.authenticate()
    rig.one(IkeSaEstablished)


def test_shutting_down_admits_nobody() -> None:
    rig, puppet = half_open()
    rig.endpoint.shutdown(now=rig.now)
    assert puppet.give(puppet.init_message()) == []
    assert rig.endpoint.counters["shutting down"] == 1
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-313", "IKE-248")
def test_the_order_of_connections_decides() -> None:
    strict = attrs.evolve(
        psk_connection("responder", name="strict"), proposals=ike_proposals("aes256gcm16-prfsha256-ecp256")
    )
    rig = Rig(strict, psk_connection("responder", name="easy"))
    puppet = Puppet(rig, proposals=ike_proposals("aes256gcm16-prfsha256-x25519"))
    puppet.establish()
    assert rig.one(IkeSaEstablished).connection == "easy"
