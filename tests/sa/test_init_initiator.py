"""IKE_SA_INIT as the initiator: what is believed, what is repeated, what is given up (RFC 7296 sections 1.2, 2.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import attrs
import pytest

from ikecore.config import Transports
from ikecore.crypto import DEFAULT_IKE_PROPOSALS, ike_proposals
from ikecore.errors import InvalidSyntax, LocalProtocolError, NoProposalChosen, PeerRefused, PeerUnreachable
from ikecore.events import (
    CookieReceived,
    IkeSaEstablished,
    IkeSaFailed,
    KeyExchangeRetried,
    NatDetected,
    PathChanged,
    RefusalReceived,
    SpisChanged,
    TcpAnnounced,
)
from ikecore.limits import Limits
from ikecore.outputs import OpenStream, SendDatagram, WriteStream
from ikecore.testing import psk_connection
from ikecore.transport import WholeMission
from ikecore.wire import (
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    VendorId,
    decode_header,
    decode_message,
    encode_message,
)
from ikecore.wire.notify_data import encode_tcp_port, encode_wanted_group
from ikecore.wire.numbers import (
    IKE_TCP_SUPPORTED_DEFAULT,
    INITIATOR,
    RESPONSE,
    VENDOR_ID,
    Exchange,
    Ke,
    Notify,
)
from tests.rig import HERE, NAT_HERE, THERE, Puppet, Rig, notifications

INIT = Exchange.IKE_SA_INIT
TWO_GROUPS = ike_proposals("aes256gcm16-prfsha256-x25519-ecp256")


def rig_with(**changes: Any) -> Rig:
    """A rig whose endpoint has just begun an SA with a connection changed so."""
    limits = changes.pop("limits", None)
    rig = Rig(limits=limits)
    rig.initiate(attrs.evolve(psk_connection("initiator"), **changes))
    return rig


def request(rig: Rig) -> bytes:
    """The octets of the endpoint's latest IKE_SA_INIT request."""
    sent = [each.data for each in rig.of(SendDatagram) if each.remote == THERE]
    return [data for data in sent if decode_header(data).exchange == INIT][-1]


def answer(rig: Rig, payloads: Sequence[Payload], *, spi_r: bytes = bytes(8), to: bytes | None = None) -> bytes:
    """An unprotected response to the latest request, or to the request *to*."""
    return encode_message(
        spi_i=(to or request(rig))[:8],
        spi_r=spi_r,
        exchange=INIT,
        flags=RESPONSE,
        message_id=0,
        payloads=payloads,
    )


def establish(rig: Rig, puppet: Puppet | None = None) -> Puppet:
    puppet = puppet or Puppet(rig, "responder")
    puppet.answer_init()
    puppet.answer_auth()
    rig.one(IkeSaEstablished)
    return puppet


# --- the request ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-083", "IKE-093", "IKE-206", "IKE-235", "IKE-238", "IKE-250", "IKE-252", "IKE-055")
def test_the_request_as_it_leaves() -> None:
    header, payloads = decode_message(request(rig_with()))
    assert (header.version, header.flags, header.message_id, header.spi_r) == (0x20, INITIATOR, 0, bytes(8))
    assert [type(payload) for payload in payloads[:3]] == [SecurityAssociation, KeyExchange, Nonce]
    assert notifications(payloads)[:2] == [
        Notify.NAT_DETECTION_SOURCE_IP,
        Notify.NAT_DETECTION_DESTINATION_IP,
    ]
    offer, exchange, nonce = payloads[:3]
    assert isinstance(offer, SecurityAssociation)
    assert isinstance(exchange, KeyExchange)
    assert isinstance(nonce, Nonce)
    assert [proposal.number for proposal in offer.proposals] == list(range(1, len(DEFAULT_IKE_PROPOSALS) + 1))
    assert {proposal.spi for proposal in offer.proposals} == {b""}
    assert len(nonce.data) >= 16


@pytest.mark.requirement("IKE-261", "IKE-265", "IKE-014")
def test_the_key_exchange_is_the_first_group_proposed() -> None:
    _, payloads = decode_message(request(rig_with(proposals=TWO_GROUPS)))
    assert [each.group for each in payloads if isinstance(each, KeyExchange)] == [Ke.CURVE25519]


@pytest.mark.requirement("TCP-18", "TCP-54", "TCP-69", "TCP-48")
@pytest.mark.parametrize(("announce", "expected"), [(None, []), (0, []), (500, [500]), (10443, [10443])])
def test_tcp_is_announced_where_configured(announce: int | None, expected: list[int]) -> None:
    _, payloads = decode_message(request(rig_with(transports=Transports(announce_tcp=announce))))
    found = [
        int.from_bytes(each.data, "big")
        for each in payloads
        if isinstance(each, Notification) and each.notify_type == IKE_TCP_SUPPORTED_DEFAULT
    ]
    assert found == expected
    assert VendorId(VENDOR_ID) in payloads


@pytest.mark.requirement("TCP-79", "IKE-094", "IKE-234")
@pytest.mark.parametrize("bad", [bytes(8), b"IKETCPxx", bytes(4) + b"abcd"])
def test_spis_that_could_be_taken_for_something_else_are_not_used(bad: bytes) -> None:
    draws = iter([bad, bad, b"12345678"])
    rig = Rig(new_spi=lambda: next(draws))
    rig.initiate()
    assert request(rig)[:8] == b"12345678"


@pytest.mark.requirement("IKE-094")
def test_an_spi_in_use_is_not_used_again() -> None:
    draws = iter([b"12345678", b"12345678", b"abcdefgh"])
    rig = Rig(new_spi=lambda: next(draws))
    rig.initiate()
    rig.initiate()
    assert request(rig)[:8] == b"abcdefgh"


@pytest.mark.requirement("IKE-147", "IKE-150")
def test_no_nonce_key_or_spi_is_used_twice() -> None:
    rig = Rig()
    seen: set[bytes] = set()
    for _ in range(50):
        rig.initiate()
        _, payloads = decode_message(request(rig))
        seen |= {request(rig)[:8]}
        seen |= {each.data for each in payloads if isinstance(each, Nonce | KeyExchange)}
    assert len(seen) == 150


# --- cookies and groups -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-099", "IKE-098", "IKE-104", "IKE-096", "TCP-19", "IKE-235")
@pytest.mark.parametrize("octets", [1, 64])
@pytest.mark.parametrize("spi_r", [bytes(8), b"\1" * 8])
def test_a_cookie_comes_first_and_the_rest_stays(octets: int, spi_r: bytes) -> None:
    rig = rig_with()
    before = request(rig)
    rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"c" * octets)], spi_r=spi_r))
    rig.one(CookieReceived)
    after = request(rig)
    assert decode_message(after)[1] == [Notification(Notify.COOKIE, b"c" * octets), *decode_message(before)[1]]
    assert after[:16] == before[:16]
    assert decode_header(after).message_id == 0
    puppet = establish(rig)
    assert puppet.init_received == after


@pytest.mark.requirement("IKE-098")
@pytest.mark.parametrize("octets", [0, 65, 200])
def test_a_cookie_of_impossible_length_is_not_followed(octets: int) -> None:
    rig = rig_with()
    before = request(rig)
    rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"c" * octets)]))
    assert request(rig) == before
    assert rig.of(CookieReceived) == []
    establish(rig)


@pytest.mark.requirement("IKE-103")
def test_the_same_cookie_is_not_followed_twice() -> None:
    rig = rig_with()
    for _ in range(2):
        rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"cookie")]))
    rig.one(CookieReceived)
    establish(rig)


@pytest.mark.requirement("IKE-103")
def test_rounds_are_bounded() -> None:
    rig = rig_with(limits=Limits(cookie_rounds=2))
    for number in range(5):
        rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"%d" % number)]))
    sent = {each.data for each in rig.of(SendDatagram)}
    assert len(sent) == 3
    rig.run_for(Limits().init_error_wait)
    assert isinstance(rig.one(IkeSaFailed).error, InvalidSyntax)


@pytest.mark.requirement("IKE-006", "IKE-007", "IKE-104", "IKE-055")
def test_another_group_is_followed_with_all_suites() -> None:
    rig = rig_with(proposals=TWO_GROUPS)
    before = decode_message(request(rig))[1]
    rig.datagram(answer(rig, [Notification(Notify.INVALID_KE_PAYLOAD, encode_wanted_group(Ke.ECP_256))]))
    event = rig.one(KeyExchangeRetried)
    assert (event.offered, event.wanted) == ("CURVE25519", "ECP_256")
    header, after = decode_message(request(rig))
    assert (header.message_id, header.spi_r) == (0, bytes(8))
    assert after[0] == before[0]
    assert isinstance(after[1], KeyExchange)
    assert after[1].group == Ke.ECP_256
    puppet = Puppet(rig, "responder", proposals=ike_proposals("aes256gcm16-prfsha256-ecp256"))
    establish(rig, puppet)


@pytest.mark.requirement("IKE-105", "IKE-106")
def test_the_cookie_is_kept_when_another_group_is_wanted() -> None:
    rig = rig_with(proposals=TWO_GROUPS)
    rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"cookie")]))
    rig.datagram(answer(rig, [Notification(Notify.INVALID_KE_PAYLOAD, encode_wanted_group(Ke.ECP_256))]))
    assert decode_message(request(rig))[1][0] == Notification(Notify.COOKIE, b"cookie")
    rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"another")]))
    assert decode_message(request(rig))[1][0] == Notification(Notify.COOKIE, b"another")


@pytest.mark.requirement("IKE-008")
@pytest.mark.parametrize(
    "data",
    [encode_wanted_group(Ke.CURVE25519), encode_wanted_group(Ke.ECP_521), b"", b"\x13", b"\0\x13\0"],
    ids=["the one offered", "never proposed", "nothing", "one octet", "three octets"],
)
def test_a_group_that_makes_no_sense_is_not_followed(data: bytes) -> None:
    rig = rig_with(proposals=TWO_GROUPS)
    before = request(rig)
    rig.datagram(answer(rig, [Notification(Notify.INVALID_KE_PAYLOAD, data)]))
    assert request(rig) == before
    assert rig.of(KeyExchangeRetried) == []
    establish(rig)


# --- what anyone could have sent ------------------------------------------------------------------------------------


def altered(change: Callable[[Puppet, list[Payload]], list[Payload]]) -> Callable[[Rig], bytes]:
    """A response that is honest but for *change*."""

    def make(rig: Rig) -> bytes:
        puppet = Puppet(rig, "responder", seed=7)
        puppet.take_init(request(rig))
        return puppet.init_message(change(puppet, puppet.init_answer()))

    return make


def other_transform(puppet: Puppet, payloads: list[Payload]) -> list[Payload]:
    (chosen,) = ike_proposals("aes256gcm16-prfsha256-modp2048")
    return [
        SecurityAssociation((Proposal(puppet.chosen.number, puppet.chosen.protocol, b"", chosen.transforms),)),
        *payloads[1:],
    ]


def zero_spi(rig: Rig) -> bytes:
    data = bytearray(altered(lambda _, payloads: payloads)(rig))
    data[8:16] = bytes(8)
    return bytes(data)


FORGERIES: dict[str, Callable[[Rig], bytes]] = {
    "no proposal chosen": lambda rig: answer(rig, [Notification(Notify.NO_PROPOSAL_CHOSEN)]),
    "invalid syntax": lambda rig: answer(rig, [Notification(Notify.INVALID_SYNTAX)]),
    "unknown error": lambda rig: answer(rig, [Notification(9999)]),
    "error beside an SA": altered(lambda _, payloads: [*payloads, Notification(Notify.NO_PROPOSAL_CHOSEN)]),
    "nothing inside": lambda rig: answer(rig, []),
    "a status only": lambda rig: answer(rig, [Notification(Notify.INITIAL_CONTACT)]),
    "two SA payloads": altered(lambda _, payloads: [payloads[0], *payloads]),
    "no nonce": altered(lambda _, payloads: [each for each in payloads if not isinstance(each, Nonce)]),
    "a proposal not offered": altered(other_transform),
    "two proposals": altered(
        lambda puppet, payloads: [
            SecurityAssociation((puppet.chosen, Proposal(2, puppet.chosen.protocol, b"", puppet.chosen.transforms))),
            *payloads[1:],
        ]
    ),
    "a group not ours": altered(lambda _, payloads: [payloads[0], KeyExchange(Ke.ECP_256, bytes(64)), *payloads[2:]]),
    "a value of small order": altered(
        lambda _, payloads: [payloads[0], KeyExchange(Ke.CURVE25519, bytes(32)), *payloads[2:]]
    ),
    "a value cut short": altered(
        lambda puppet, payloads: [payloads[0], KeyExchange(Ke.CURVE25519, bytes(31)), *payloads[2:]]
    ),
    "no SPI": zero_spi,
}


@pytest.mark.requirement("IKE-188", "IKE-080", "IKE-110", "IKE-279", "IKE-186", "IKE-266", "IKE-151")
@pytest.mark.parametrize("case", FORGERIES)
def test_a_forged_response_over_udp_changes_nothing_while_the_true_one_may_come(case: str) -> None:
    rig = rig_with()
    rig.datagram(FORGERIES[case](rig))
    assert rig.of(IkeSaFailed, IkeSaEstablished) == []
    assert sum(rig.endpoint.counters.values()) >= 1
    rig.run_for(1.5)
    establish(rig)


@pytest.mark.requirement("IKE-188", "IKE-279")
@pytest.mark.parametrize(
    ("notify", "kind"),
    [
        (Notify.NO_PROPOSAL_CHOSEN, NoProposalChosen),
        (Notify.INVALID_SYNTAX, PeerRefused),
        (9999, PeerRefused),
    ],
)
def test_the_first_refusal_is_reported_when_nothing_better_came(notify: int, kind: type[Exception]) -> None:
    rig = rig_with()
    rig.datagram(answer(rig, [Notification(notify)]))
    rig.datagram(answer(rig, [Notification(Notify.TEMPORARY_FAILURE)]))
    told = rig.one(RefusalReceived)
    assert (told.remote, told.seconds) == (THERE, Limits().init_error_wait)
    assert isinstance(told.error, kind)
    rig.run_for(Limits().init_error_wait - 0.1)
    assert rig.of(IkeSaFailed) == []
    rig.run_for(0.2)
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, kind)
    assert (failed.step, failed.role) == ("IKE_SA_INIT", "initiator")
    assert rig.endpoint.idle


@pytest.mark.requirement("TCP-17", "IKE-148")
@pytest.mark.parametrize(
    ("local", "remote", "marker"),
    [
        (HERE, (THERE[0], 501), b""),
        (HERE, ("10.0.0.3", 500), b""),
        (NAT_HERE, THERE, bytes(4)),
    ],
    ids=["another port", "another host", "another socket"],
)
def test_an_unprotected_response_only_counts_on_the_exact_path(
    local: tuple[str, int], remote: tuple[str, int], marker: bytes
) -> None:
    rig = rig_with()
    puppet = Puppet(rig, "responder")
    puppet.take_init(puppet.taken(rig.outputs)[-1])
    good = puppet.init_message(puppet.init_answer())
    before = rig.picture()
    rig.datagram(marker + good, local=local, remote=remote)
    assert rig.picture() == before
    assert rig.endpoint.counters["IKE_SA_INIT response on another path than its request"] == 1
    rig.datagram(good)
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "authenticating"


@pytest.mark.requirement("TCP-17")
def test_an_unprotected_response_to_a_udp_request_does_not_count_over_tcp() -> None:
    rig = rig_with()
    puppet = Puppet(rig, "responder")
    puppet.take_init(puppet.taken(rig.outputs)[-1])
    stream = rig.endpoint.stream_accepted(local=HERE, remote=(THERE[0], 40000), now=rig.now)
    rig.endpoint.stream_received(stream, puppet.init_message(puppet.init_answer()), now=rig.now)
    rig.drain()
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "initiating"


@pytest.mark.requirement("IKE-080", "IKE-239")
@pytest.mark.parametrize("flags", [INITIATOR, 0, INITIATOR | RESPONSE])
def test_what_is_no_response_to_us_is_dropped(flags: int) -> None:
    rig = rig_with()
    puppet = Puppet(rig, "responder")
    puppet.take_init(puppet.taken(rig.outputs)[-1])
    rig.datagram(puppet.init_message(puppet.init_answer(), flags=flags))
    rig.datagram(puppet.init_message(puppet.init_answer(), message_id=1))
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "initiating"
    establish(rig, puppet)


@pytest.mark.requirement("IKE-080")
def test_after_one_response_verified_others_are_ignored() -> None:
    rig = rig_with()
    puppet, other = Puppet(rig, "responder"), Puppet(rig, "responder", seed=9)
    other.take_init(puppet.taken(rig.outputs)[-1])
    puppet.answer_init()
    before = rig.picture()
    assert other.give(other.init_message(other.init_answer())) == []
    assert rig.picture() == before
    puppet.answer_auth()
    rig.one(IkeSaEstablished)


# --- repeats, time, and other addresses -------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-047", "IKE-050", "IKE-051", "IKE-054", "IKE-076", "IKE-077", "IKE-073")
def test_silence_is_met_with_equal_octets_at_growing_intervals() -> None:
    rig = rig_with(limits=Limits(retransmit_tries=6))
    times = [rig.now]
    while not rig.of(IkeSaFailed):
        before = len(rig.of(SendDatagram))
        deadline = rig.endpoint.deadline
        assert deadline is not None
        rig.run_for(deadline - rig.now)
        times += [rig.now] * (len(rig.of(SendDatagram)) - before)
    assert len({each.data for each in rig.of(SendDatagram)}) == 1
    assert len(times) == 6
    gaps = [after - before for before, after in pairwise(times)]
    assert all(later == pytest.approx(earlier * 1.8) for earlier, later in pairwise(gaps))
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, PeerUnreachable)
    assert "IKE_SA_INIT" in str(failed.error)
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-077")
def test_intervals_grow_to_a_bound() -> None:
    rig = rig_with(limits=Limits(retransmit_cap=3.0, retransmit_tries=6))
    moments = []
    while rig.endpoint.deadline is not None:
        count = len(rig.of(SendDatagram))
        rig.run_for(rig.endpoint.deadline - rig.now)
        moments += [rig.now] * (len(rig.of(SendDatagram)) - count)
    assert [round(after - before, 3) for before, after in pairwise(moments)][1:] == [3.0] * 3


def test_the_time_to_establish_is_bounded_whatever_the_peer_does() -> None:
    limits = Limits(establish_timeout=7.0, cookie_rounds=1000)
    rig = rig_with(limits=limits)
    for number in range(20):
        rig.run_for(0.5)
        if not rig.of(IkeSaFailed):
            rig.datagram(answer(rig, [Notification(Notify.COOKIE, b"%d" % number)]))
    assert isinstance(rig.one(IkeSaFailed).error, PeerUnreachable)


@pytest.mark.requirement("IKE-188")
def test_the_next_address_is_tried_after_a_refusal() -> None:
    rig = Rig()
    sa = rig.initiate(remotes=("10.0.0.9", THERE[0]))
    first = rig.last(SendDatagram)
    assert first.remote == ("10.0.0.9", 500)
    refusal = encode_message(
        spi_i=first.data[:8],
        spi_r=bytes(8),
        exchange=INIT,
        flags=RESPONSE,
        message_id=0,
        payloads=[Notification(Notify.NO_PROPOSAL_CHOSEN)],
    )
    rig.datagram(refusal, remote=("10.0.0.9", 500))
    rig.run_for(Limits().init_error_wait)
    assert request(rig)[:8] != first.data[:8]
    assert "begins anew" in rig.last(SpisChanged).reason
    establish(rig)
    assert rig.endpoint.sas == (sa,)


@pytest.mark.requirement("IKE-279", "IKE-188")
def test_a_refusal_over_tcp_is_believed_at_once() -> None:
    """Nobody but the peer can write into the connection; and it would refuse the same over UDP."""
    rig = rig_with(transports=Transports(policy=WholeMission(), tcp_port=500))
    stream = rig.one(OpenStream).stream
    rig.endpoint.stream_connected(stream, local=("10.0.0.2", 40000), now=rig.now)
    rig.drain()
    sent = rig.one(WriteStream).data
    rig.endpoint.stream_received(stream, answer(rig, [Notification(Notify.NO_PROPOSAL_CHOSEN)], to=sent), now=rig.now)
    rig.drain()
    assert isinstance(rig.one(IkeSaFailed).error, NoProposalChosen)
    assert rig.of(SendDatagram) == []


@pytest.mark.requirement("TCP-13", "IKE-188")
def test_nonsense_over_tcp_is_no_refusal_and_udp_is_tried() -> None:
    rig = rig_with(transports=Transports(policy=WholeMission(), tcp_port=500))
    stream = rig.one(OpenStream).stream
    rig.endpoint.stream_connected(stream, local=("10.0.0.2", 40000), now=rig.now)
    rig.drain()
    sent = rig.one(WriteStream).data
    rig.endpoint.stream_received(stream, answer(rig, [], to=sent), now=rig.now)
    rig.drain()
    rig.run_for(Limits().stream_answer_timeout)
    assert rig.of(SendDatagram)
    establish(rig)


def test_an_encrypted_answer_or_one_with_our_own_flag_is_none() -> None:
    rig = rig_with()
    spi = request(rig)[:8]
    sealed = spi + b"\1" * 8 + b"\x2e\x20\x22\x20" + bytes(4) + (40).to_bytes(4, "big") + b"\0\0\0\x0c" + bytes(8)
    rig.datagram(sealed)
    assert rig.endpoint.counters["IKE_SA_INIT is not encrypted"] == 1
    ours = b"\1" * 8 + spi + b"\0\x20\x22\x28" + bytes(4) + (28).to_bytes(4, "big")
    rig.datagram(ours)
    assert rig.endpoint.counters["our own Initiator flag"] == 1
    establish(rig)


# --- what the response tells ----------------------------------------------------------------------------------------


def announced(port: bytes, *, vendor: bool = True, number: int = IKE_TCP_SUPPORTED_DEFAULT) -> list[Payload]:
    return [Notification(number, port), *([VendorId(VENDOR_ID)] if vendor else [])]


@pytest.mark.requirement("TCP-52", "TCP-53", "TCP-55", "TCP-32", "TCP-60", "TCP-49")
@pytest.mark.parametrize(
    ("extra", "port", "usable"),
    [
        (announced(encode_tcp_port(500)), 500, True),
        (announced(encode_tcp_port(4500)), 4500, True),
        (announced(encode_tcp_port(22)), 22, False),
        (announced(encode_tcp_port(500), vendor=False), None, False),
        (announced(b"\0\0"), None, False),
        (announced(b"\1"), None, False),
        (announced(b"\1\2\3"), None, False),
        (announced(encode_tcp_port(500), number=IKE_TCP_SUPPORTED_DEFAULT + 7), None, False),
        ([], None, False),
    ],
)
def test_what_is_believed_about_tcp(extra: list[Payload], port: int | None, usable: bool) -> None:
    rig = rig_with()
    puppet = Puppet(rig, "responder")
    puppet.answer_init(extra=extra)
    said = rig.of(TcpAnnounced)
    assert [(each.port, each.usable) for each in said] == ([] if port is None else [(port, usable)])
    puppet.answer_auth()
    assert rig.endpoint.sa(rig.endpoint.sas[0]).peer_tcp_port == (port if usable else None)


@pytest.mark.requirement("IKE-209", "IKE-210", "IKE-044", "IKE-217")
def test_behind_a_nat_all_goes_on_at_port_4500_with_the_marker() -> None:
    rig = rig_with()
    puppet = Puppet(rig, "responder")
    puppet.take_init(puppet.taken(rig.outputs)[-1])
    payloads: list[Payload] = [each for each in puppet.init_answer() if not isinstance(each, Notification)]
    payloads += [
        Notification(Notify.NAT_DETECTION_SOURCE_IP, bytes(20)),
        Notification(Notify.NAT_DETECTION_DESTINATION_IP, bytes(20)),
    ]
    puppet.give(puppet.init_message(payloads))
    event = rig.one(NatDetected)
    assert (event.local_behind_nat, event.peer_behind_nat) == (True, True)
    moved = rig.one(PathChanged)
    assert (moved.local, moved.remote) == (NAT_HERE, (THERE[0], 4500))
    auth = rig.last(SendDatagram)
    assert (auth.local, auth.remote, auth.data[:4]) == (NAT_HERE, (THERE[0], 4500), bytes(4))


def test_without_a_udp_socket_it_fails_with_the_reason() -> None:
    rig = Rig(udp=False)
    rig.initiate()
    error = rig.one(IkeSaFailed).error
    assert isinstance(error, PeerUnreachable)
    assert "UDP socket" in str(error)


def test_an_ipv6_peer_needs_an_ipv6_socket() -> None:
    rig = Rig()
    rig.initiate(remotes=("2001:db8::1",))
    assert isinstance(rig.one(IkeSaFailed).error, PeerUnreachable)


@pytest.mark.requirement("IKE-213")
def test_port_4500_from_the_start() -> None:
    rig = rig_with(transports=Transports(udp_start="nat"))
    sent = rig.last(SendDatagram)
    assert (sent.local, sent.remote, sent.data[:4]) == (NAT_HERE, (THERE[0], 4500), bytes(4))
    puppet = Puppet(rig, "responder", address=(THERE[0], 4500), local=NAT_HERE)
    puppet.answer_init()
    puppet.answer_auth()
    rig.one(IkeSaEstablished)


@pytest.mark.parametrize("remotes", [(), ("vpn.example",), ("10.0.0.1", "nowhere")])
def test_wishes_that_make_no_sense_are_refused(remotes: tuple[str, ...]) -> None:
    rig = Rig()
    with pytest.raises(LocalProtocolError, match="remotes: "):
        rig.endpoint.initiate(psk_connection("initiator"), list(remotes), now=rig.now)
    with pytest.raises(LocalProtocolError, match="local: "):
        rig.endpoint.initiate(psk_connection("initiator"), [THERE[0]], now=rig.now, local="nowhere")
    assert rig.drain() == []
    assert rig.endpoint.idle
