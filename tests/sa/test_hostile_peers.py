"""A peer with keys is still hostile: what it may send past the ICV, before and after it has proved who it is.

For each message the rule is the same: a typed error or a counted drop, no other SA touched, nothing half-done left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from ikecore.crypto import ike_proposals
from ikecore.events import ChildSaClosed, IkeSaClosed, IkeSaEstablished, IkeSaFailed, InternalError, RequestFailed
from ikecore.limits import Limits
from ikecore.outputs import Output, SendDatagram
from ikecore.testing import psk_connection
from ikecore.wire import (
    Authentication,
    Delete,
    Nonce,
    Notification,
    Payload,
    UnknownPayload,
    encode_message,
    encode_payloads,
)
from ikecore.wire.numbers import INITIATOR, RESPONSE, Exchange, Notify, Protocol
from tests.rig import THERE, Puppet, Rig, notifications

AUTH, CHILD, INFO = Exchange.IKE_AUTH, Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL
CBC = ike_proposals("aes256-sha256-x25519")


def half_open(seed: int = 1) -> tuple[Rig, Puppet]:
    rig = Rig()
    puppet = Puppet(rig, seed=seed)
    puppet.begin()
    return rig, puppet


def up(**kwargs: object) -> tuple[Rig, Puppet]:
    rig = Rig(limits=Limits(response_resends_per_second=1000.0, unknown_spi_per_second=0))
    puppet = Puppet(rig, **kwargs)  # type: ignore[arg-type]
    puppet.establish()
    return rig, puppet


def mangled(draw: Callable[..., Any], payloads: Sequence[Payload]) -> list[Payload]:
    """Delete, double and move payloads."""
    changed = list(payloads)
    for _ in range(draw(st.integers(1, 4))):
        what = draw(st.sampled_from(("delete", "double", "swap")))
        if not changed:
            break
        place = draw(st.integers(0, len(changed) - 1))
        if what == "delete":
            del changed[place]
        elif what == "double":
            changed.insert(draw(st.integers(0, len(changed))), changed[place])
        else:
            other = draw(st.integers(0, len(changed) - 1))
            changed[place], changed[other] = changed[other], changed[place]
    return changed


# --- payloads -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-092", "IKE-185", "IKE-193", "IKE-196", "IKE-198", "IKE-313", "IKE-004", "IKE-281")
@given(st.data())
def test_an_ike_auth_with_payloads_deleted_doubled_and_moved(data: st.DataObject) -> None:
    """B2 and B8: only what is left whole gets in, and whatever is refused is answered once and forgotten."""
    rig, puppet = half_open()
    honest = puppet.auth()
    payloads = mangled(data.draw, honest)
    (answer,) = puppet.give(puppet.seal(AUTH, payloads))
    _, contents = puppet.open(answer)
    kinds = [type(payload) for payload in payloads]
    if rig.of(IkeSaEstablished):
        assert len(kinds) == len(set(kinds))
        assert {type(honest[0]), Authentication} <= set(kinds)
    else:
        assert set(notifications(contents)) <= {Notify.INVALID_SYNTAX, Notify.AUTHENTICATION_FAILED}
        assert len(contents) == 1
        rig.one(IkeSaFailed)
        assert rig.endpoint.idle
    if sorted(map(str, payloads)) == sorted(map(str, honest)):
        rig.one(IkeSaEstablished)


REQUESTS: list[list[Payload]] = [
    [Delete(Protocol.ESP, (b"abcd",)), Notification(Notify.INITIAL_CONTACT)],
    [Nonce(bytes(32)), Notification(Notify.REKEY_SA, b"", Protocol.ESP, b"abcd")],
]


@pytest.mark.requirement("IKE-013", "IKE-185", "IKE-196", "IKE-247")
@given(st.data(), st.sampled_from((CHILD, INFO)))
def test_requests_with_payloads_deleted_doubled_and_moved(data: st.DataObject, exchange: int) -> None:
    rig, puppet = up()
    honest = [*data.draw(st.sampled_from(REQUESTS)), *puppet.child_payloads()]
    contents = puppet.request(exchange, mangled(data.draw, honest))
    if Notify.INVALID_SYNTAX in notifications(contents):
        assert len(contents) == 1
        rig.one(IkeSaClosed)
        assert rig.endpoint.idle
    else:
        assert rig.of(IkeSaClosed) == []
        assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-243", "IKE-244", "IKE-248", "IKE-249", "IKE-313", "IKE-281", "IKE-283", "IKE-287")
@given(st.sampled_from((AUTH, CHILD, INFO)), st.integers(0, 255), st.binary(max_size=200))
@example(INFO, 0, b"\0")
@example(INFO, 41, b"\0\0\0\3")
@example(INFO, 42, b"\0\0\0\x0c\3\4\0\2abcd")
@example(INFO, 46, b"\0\0\0\4")
@example(INFO, 53, b"\0\0\0\4")
def test_any_octets_as_inner_payloads(exchange: int, first: int, octets: bytes) -> None:
    """B1 and B6: one answer, and the SA is whole or gone."""
    rig, puppet = half_open() if exchange == AUTH else up()
    answers = puppet.give(puppet.seal_octets(exchange, first, octets))
    assert len(answers) == 1
    puppet.open(answers[0])
    assert rig.of(InternalError) == []
    assert len(rig.endpoint.sas) == len(rig.of(IkeSaEstablished)) - len(rig.of(IkeSaClosed))


@pytest.mark.requirement("IKE-088", "IKE-196", "IKE-193")
@pytest.mark.parametrize("place", ["inside", "before SK"])
@pytest.mark.parametrize("exchange", [INFO, CHILD])
def test_a_critical_payload_unknown_is_named_and_the_sa_lives(exchange: int, place: str) -> None:
    rig, puppet = up()
    critical = UnknownPayload(200, True, b"x")
    delete = Delete(Protocol.ESP, (puppet.spi_in,))
    if place == "inside":
        message = puppet.seal(exchange, [delete, critical])
    else:
        message = by_hand(puppet, b"\0", exchange=exchange, before=b"\x2e\x80\0\5x")
    (answer,) = puppet.give(message)
    _, contents = puppet.open(answer)
    assert contents == [Notification(Notify.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8")]
    assert rig.of(ChildSaClosed, IkeSaClosed) == []
    puppet.next_id += 1
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-247", "IKE-248")
def test_a_thousand_payloads_are_refused() -> None:
    rig, puppet = up()
    (answer,) = puppet.give(puppet.seal(INFO, [Notification(50000)] * 1000))
    assert notifications(puppet.open(answer)[1]) == [Notify.INVALID_SYNTAX]
    rig.one(IkeSaClosed)


# --- the envelope -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-241", "IKE-244", "IKE-293", "IKE-313", "IKE-240", "IKE-292", "IKE-294", "IKE-295")
@pytest.mark.parametrize("suite", ["AEAD", "CBC"])
@given(data=st.data())
def test_a_message_changed_on_the_way_has_no_effect(suite: str, data: st.DataObject) -> None:
    """No effect before the ICV: no answer, no timer, no state, whichever octet is changed, cut or added."""
    rig, puppet = up(proposals=CBC) if suite == "CBC" else up()
    message = bytearray(puppet.seal(INFO, [Delete(Protocol.IKE)]))
    change = data.draw(st.sampled_from(("flip", "cut", "add")))
    if change == "flip":
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] ^= data.draw(st.integers(1, 255))
    elif change == "cut":
        keep = data.draw(st.integers(0, len(message) - 1))
        del message[keep:]
        if keep >= 28 and data.draw(st.booleans()):
            message[24:28] = keep.to_bytes(4, "big")
    else:
        message += data.draw(st.binary(min_size=1, max_size=40))
        if data.draw(st.booleans()):
            message[24:28] = len(message).to_bytes(4, "big")
    before = rig.picture()
    answers = puppet.give(bytes(message))
    if change == "flip" and message[17] >> 4 > 2:
        # Another major version, which is told ours without an SA (RFC 7296 section 2.5).
        assert len(answers) <= 1
    else:
        assert answers == []
    assert rig.picture() == before
    assert rig.of(IkeSaClosed, InternalError) == []
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-241", "IKE-244")
def test_payloads_after_the_encrypted_one_are_not_taken() -> None:
    rig, puppet = up()
    message = bytearray(puppet.seal(INFO))
    extra = encode_payloads([Notification(Notify.INITIAL_CONTACT)])[1]
    message[24:28] = (len(message) + len(extra)).to_bytes(4, "big")
    assert puppet.give(bytes(message + extra)) == []
    assert rig.endpoint.counters["InvalidSyntax"] == 1


@pytest.mark.requirement("IKE-293", "IKE-313")
@given(st.binary(min_size=32, max_size=200), st.sampled_from((AUTH, CHILD, INFO, 200)), st.sampled_from((0, 1, 2, 7)))
def test_octets_sealed_with_other_keys_have_no_effect(body: bytes, exchange: int, message_id: int) -> None:
    rig, puppet = up()
    assert puppet.keys is not None
    header = puppet.seal(exchange, message_id=message_id)[:28]
    message = header[:24] + (32 + len(body)).to_bytes(4, "big") + b"\0\0" + (4 + len(body)).to_bytes(2, "big") + body
    before = rig.picture()
    assert puppet.give(message) == []
    assert rig.picture() == before
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-291", "IKE-290", "IKE-198", "IKE-281", "IKE-295")
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_a_padding_that_cannot_be_is_the_peers_fault(role: str) -> None:
    """B12: past the ICV an impossible Pad Length is answered, since only the peer can have sent it."""
    rig, puppet = up(role=role)
    (answer,) = puppet.give(with_padding(puppet, b"", 200))
    assert notifications(puppet.open(answer)[1]) == [Notify.INVALID_SYNTAX]
    rig.one(IkeSaClosed)
    rig, puppet = up(role=role)
    rig.endpoint.check_liveness(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    assert puppet.give(with_padding(puppet, b"", 200, response=True)) == []
    rig.one(RequestFailed)
    rig.one(IkeSaClosed)


@pytest.mark.requirement("IKE-290")
@given(st.integers(0, 255))
def test_any_padding_that_can_be_is_taken(padding: int) -> None:
    _, puppet = up()
    (answer,) = puppet.give(with_padding(puppet, bytes(padding), padding))
    assert puppet.open(answer)[1] == []


def with_padding(puppet: Puppet, padding: bytes, said: int, *, response: bool = False) -> bytes:
    """An empty INFORMATIONAL with this padding and Pad Length."""
    # The endpoint's first request is 0 as responder, 2 after IKE_SA_INIT and IKE_AUTH.
    message_id = (0 if puppet.role == "initiator" else 2) if response else None
    return by_hand(puppet, padding + bytes([said]), message_id=message_id, response=response)


def by_hand(
    puppet: Puppet,
    plaintext: bytes,
    *,
    exchange: int = INFO,
    before: bytes = b"",
    message_id: int | None = None,
    response: bool = False,
) -> bytes:
    """Seal with AES-GCM alone: *plaintext* with its padding, and behind octets of payloads that are not encrypted."""
    assert puppet.keys is not None
    keys = puppet.keys.ike
    key = keys.sk_ei if puppet.role == "initiator" else keys.sk_er
    model = puppet.seal(exchange, message_id=message_id, response=response)
    payload = 4 + 8 + len(plaintext) + 16
    first = bytes([200 if before else 46])
    header = model[:16] + first + model[17:24] + (28 + len(before) + payload).to_bytes(4, "big")
    header += before + model[28:30] + payload.to_bytes(2, "big")
    iv = b"\xff" * 8
    return header + iv + AESGCM(key[:-4]).encrypt(key[-4:] + iv, plaintext, header)


# --- Message IDs ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-046", "IKE-049", "IKE-063", "IKE-068", "IKE-058")
@pytest.mark.parametrize("message_id", [3, 4, 1000, 0xFFFF_FFFF])
def test_ids_ahead_of_the_window_are_dropped(message_id: int) -> None:
    """B11: whoever has the keys cannot move the window."""
    rig, puppet = up()
    before = rig.picture()
    assert puppet.give(puppet.seal(INFO, [Delete(Protocol.IKE)], message_id=message_id)) == []
    assert rig.picture() == before
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-045", "IKE-046", "IKE-048", "IKE-049", "IKE-051")
@given(st.lists(st.integers(0, 5), max_size=30))
def test_replays_at_any_later_time(order: list[int]) -> None:
    """B11: each request is executed once; the last is answered in the same octets, those before not at all."""
    rig, puppet = up()
    sent, answers = [], []
    for number in range(6):
        message = puppet.seal(INFO, [Notification(50000, b"%d" % number)], message_id=2 + number)
        (answer,) = puppet.give(message)
        sent.append(message)
        answers.append(answer)
    before = rig.picture()
    for number in order:
        rig.now += 0.01
        assert puppet.give(sent[number]) == ([answers[5]] if number == 5 else [])
    assert rig.picture()["sas"] == before["sas"]


@pytest.mark.requirement("IKE-046", "IKE-048")
def test_a_known_id_in_new_octets_is_not_executed() -> None:
    rig, puppet = up()
    (answer,) = puppet.give(puppet.seal(INFO, message_id=2))
    rig.now += 1.0
    assert puppet.give(puppet.seal(INFO, [Delete(Protocol.IKE)], message_id=2)) == [answer]
    assert rig.of(IkeSaClosed) == []
    forged = bytearray(puppet.seal(INFO, message_id=2))
    forged[-1] ^= 1
    assert puppet.give(bytes(forged)) == []


@pytest.mark.requirement("IKE-095", "IKE-057", "IKE-238", "IKE-239")
def test_flags_and_spis_have_to_be_the_peers() -> None:
    rig, puppet = up()
    good = puppet.seal(INFO)
    before = rig.picture()
    for place in (0, 8):
        changed = bytearray(good)
        changed[place] ^= 1
        assert puppet.give(bytes(changed)) == []
    reflected = bytearray(good)
    reflected[19] ^= INITIATOR
    assert puppet.give(bytes(reflected)) == []
    assert rig.picture() == before


@pytest.mark.requirement("IKE-001", "IKE-029", "IKE-293")
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_what_is_not_protected_has_no_effect(role: str) -> None:
    rig, puppet = up(role=role)
    before = rig.picture()
    for exchange in (*Exchange, 200):
        for message_id in (0, 1, 2):
            for response in (0, RESPONSE):
                message = encode_message(
                    spi_i=puppet.spis[0],
                    spi_r=puppet.spis[1],
                    exchange=exchange,
                    flags=response | (INITIATOR if role == "initiator" else 0),
                    message_id=message_id,
                    payloads=[Delete(Protocol.IKE), Notification(Notify.AUTHENTICATION_FAILED)],
                )
                assert puppet.give(message) == []
    assert rig.picture()["sas"] == before["sas"]
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-238", "IKE-095")
def test_our_own_messages_sent_back_have_no_effect() -> None:
    rig, puppet = up()
    rig.endpoint.check_liveness(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    before = rig.picture()
    for data in [each.data for each in rig.of(SendDatagram)]:
        assert puppet.give(data) == []
    assert rig.picture()["sas"] == before["sas"]


# --- others live ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-313", "IKE-037", "IKE-079")
def test_one_hostile_peer_among_many_good_ones() -> None:
    """B7: errors of each kind by one peer, and every other SA goes on."""
    rig = Rig()
    good = [Puppet(rig, address=("10.0.1.1", 1000 + number), seed=100 + number) for number in range(20)]
    for each in good:
        each.establish()
    for seed, (exchange, payloads) in enumerate(
        (
            (AUTH, []),
            (AUTH, [UnknownPayload(200, True, b"")]),
            (INFO, []),
            (CHILD, []),
            (200, []),
        )
    ):
        hostile = Puppet(rig, seed=seed)
        hostile.begin()
        hostile.give(hostile.seal(exchange, payloads))
        hostile.give(hostile.seal_octets(INFO, 255, b"\xff" * 50))
    for each in good:
        assert each.request(INFO) == []
    rig.run_for(Limits().half_open_lifetime + 1)
    assert len(rig.endpoint.sas) == len(good)
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-036", "IKE-048", "IKE-049")
def test_the_last_answer_outlives_the_sa_for_a_while() -> None:
    """B16: a Delete repeated because its answer was lost is answered from memory, also on another path."""
    rig, puppet = up()
    message = puppet.seal(INFO, [Delete(Protocol.IKE)])
    (answer,) = puppet.give(message)
    assert rig.endpoint.idle
    rig.now += 1.0
    assert puppet.give(message) == [answer]
    assert puppet.give(message[:-1] + bytes([message[-1] ^ 1])) == []
    rig.now += 1.0
    elsewhere = Puppet(rig, address=("10.0.0.1", 777))
    assert elsewhere.give(message) == [answer]
    rig.now += 60.0
    assert puppet.give(message) == []
    assert len(rig.of(IkeSaClosed)) == 1


@pytest.mark.requirement("IKE-215", "IKE-216", "IKE-217", "IKE-148")
@pytest.mark.parametrize("behind_nat", [False, True])
def test_the_path_follows_fresh_authenticated_requests_only(behind_nat: bool) -> None:
    rig = Rig()
    puppet = Puppet(rig)
    payloads = puppet.init_payloads()
    if behind_nat:
        payloads[4] = Notification(Notify.NAT_DETECTION_DESTINATION_IP, bytes(20))
    puppet.begin(payloads)
    puppet.authenticate()
    sa = rig.endpoint.sas[0]
    moved = ("10.0.0.99", 1234)
    old = puppet.seal(INFO)
    assert len(puppet.give(old)) == 1
    rig.now += 5.0

    def from_elsewhere(data: bytes) -> list[Output]:
        return rig.datagram(data, remote=moved)

    replayed = from_elsewhere(old)
    assert [each.remote for each in replayed if isinstance(each, SendDatagram)] == [moved]
    from_elsewhere(puppet.seal(INFO, message_id=900))
    forged = bytearray(puppet.seal(INFO, message_id=3))
    forged[-1] ^= 1
    from_elsewhere(bytes(forged))
    assert rig.endpoint.sa(sa).remote == THERE
    fresh = from_elsewhere(puppet.seal(INFO, message_id=3))
    assert [each.remote for each in fresh if isinstance(each, SendDatagram)] == [moved]
    assert rig.endpoint.sa(sa).remote == (THERE if behind_nat else moved)


@pytest.mark.requirement("IKE-215", "IKE-216")
def test_a_request_that_was_held_back_does_not_move_the_path() -> None:
    """With a window above one it is still fresh when later ones are answered, and may come from anywhere."""
    rig = Rig(limits=Limits(window=4, unknown_spi_per_second=0))
    puppet = Puppet(rig)
    sa = puppet.establish()
    held, later = puppet.seal(INFO, message_id=2), puppet.seal(INFO, message_id=3)
    rig.datagram(later, remote=("10.0.0.1", 1111))
    assert rig.endpoint.sa(sa).remote == ("10.0.0.1", 1111)
    answers = [each for each in rig.datagram(held, remote=("10.0.0.66", 666)) if isinstance(each, SendDatagram)]
    assert [each.remote for each in answers] == [("10.0.0.66", 666)]
    assert rig.endpoint.sa(sa).remote == ("10.0.0.1", 1111)


@pytest.mark.requirement("IKE-190", "IKE-313")
def test_an_application_that_is_asked_is_never_asked_twice_for_one_request() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    puppet.begin()
    for _ in range(3):
        puppet.give(puppet.seal(AUTH, puppet.auth()))
        puppet.give(puppet.seal(AUTH, puppet.auth(), message_id=2))
    assert len([each for each in rig.events if type(each).__name__ == "AuthorizationNeeded"]) == 1
