"""Key exchanges and nonces by themselves: both sides agree, each method is held against the choice, retries are few."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore.crypto import SUPPORTED_GROUPS, esp_proposals, ike_proposals
from ikecore.errors import InvalidKePayload, InvalidSyntax, LocalProtocolError, NoProposalChosen
from ikecore.sa.key_exchange import (
    NONCE_OCTETS,
    OurKeyExchange,
    answer_key_exchange,
    first_method,
    method_to_retry,
    methods_of,
    peer_nonce,
)
from ikecore.wire import KeyExchange, Nonce, Notification, Payload, SecurityAssociation, match
from ikecore.wire.notify_data import encode_wanted_group
from ikecore.wire.numbers import Exchange, Ke, Notify

X25519, ECP_256 = Ke.CURVE25519, Ke.ECP_256
QUICK = [X25519, Ke.CURVE448, ECP_256, Ke.MODP_2048]


def dice(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def no_dice(count: int) -> bytes:
    raise AssertionError(f"{count} octets were drawn for nothing")


# --- the exchange itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(SUPPORTED_GROUPS))
def test_both_sides_come_to_one_secret(method: int) -> None:
    ours = OurKeyExchange(method, dice(1))
    theirs, secret = answer_key_exchange(method, ours.payload, dice(2))
    assert ours.method == ours.payload.group == theirs.group == method
    assert ours.payload.data != theirs.data
    assert ours.finish(method, theirs) == secret
    assert secret.strip(b"\0")


@pytest.mark.requirement("IKE-150")
def test_every_exchange_has_a_private_value_of_its_own() -> None:
    drawn = dice(1)
    begun = [OurKeyExchange(X25519, drawn) for _ in range(3)]
    answers = [answer_key_exchange(X25519, begun[0].payload, drawn) for _ in range(3)]
    assert len({each.payload.data for each in begun} | {theirs.data for theirs, _ in answers}) == 6
    assert len({secret for _, secret in answers}) == 3


@pytest.mark.requirement("IKE-110", "IKE-265")
@pytest.mark.parametrize("chosen", [ECP_256, X25519, None, 40000])
@pytest.mark.parametrize("method", [ECP_256, X25519, 40000])
def test_an_answer_of_another_method_or_for_another_choice_is_refused(chosen: int | None, method: int) -> None:
    ours = OurKeyExchange(X25519, dice(1))
    theirs, secret = answer_key_exchange(X25519, ours.payload, dice(2))
    answer = KeyExchange(method, theirs.data)
    if chosen == method == X25519:
        assert ours.finish(chosen, answer) == secret
    else:
        with pytest.raises(NoProposalChosen, match="another key exchange method"):
            ours.finish(chosen, answer)


@pytest.mark.requirement("IKE-015", "IKE-265")
@pytest.mark.parametrize("theirs", [KeyExchange(X25519, bytes(32)), KeyExchange(Ke.NONE, b""), None])
def test_what_was_begun_with_another_method_is_told_ours_and_costs_nothing(theirs: KeyExchange | None) -> None:
    with pytest.raises(InvalidKePayload) as caught:
        answer_key_exchange(ECP_256, theirs, no_dice)
    assert (caught.value.notify, caught.value.notify_data) == (Notify.INVALID_KE_PAYLOAD, b"\0\x13")
    assert caught.value.scope == "message"


@pytest.mark.requirement("IKE-151", "IKE-266")
@pytest.mark.parametrize("method", QUICK)
def test_a_bad_value_is_refused_on_both_sides_and_the_true_answer_may_still_come(method: int) -> None:
    ours = OurKeyExchange(method, dice(1))
    theirs, secret = answer_key_exchange(method, ours.payload, dice(2))
    for wrong in (b"", theirs.data[1:], theirs.data + b"\0", bytes(len(theirs.data))):
        with pytest.raises(InvalidSyntax):
            ours.finish(method, KeyExchange(method, wrong))
        with pytest.raises(InvalidSyntax):
            answer_key_exchange(method, KeyExchange(method, wrong), dice(3))
    assert ours.finish(method, theirs) == secret


@given(method=st.sampled_from(QUICK), data=st.binary(max_size=80) | st.binary(min_size=256, max_size=256))
@settings(max_examples=50)
def test_any_octets_give_a_secret_or_an_error_of_the_peer_alike_in_both_roles(method: int, data: bytes) -> None:
    theirs = KeyExchange(method, data)
    try:
        secret = OurKeyExchange(method, dice(1)).finish(method, theirs)
    except InvalidSyntax:
        with pytest.raises(InvalidSyntax):
            answer_key_exchange(method, theirs, dice(1))
    else:
        assert secret.strip(b"\0")
        assert answer_key_exchange(method, theirs, dice(1))[1] == secret, "the same private value"


def test_a_method_that_is_not_ours_cannot_be_begun() -> None:
    for method in (Ke.NONE, Ke.MODP_1024, 40000):
        with pytest.raises(LocalProtocolError):
            OurKeyExchange(method, dice(1))


def test_nothing_secret_is_shown() -> None:
    private = bytes(range(32))
    ours = OurKeyExchange(X25519, lambda _: private)
    _, secret = answer_key_exchange(X25519, ours.payload, dice(2))
    for octets in (private, secret):
        assert octets.hex() not in repr(ours)
        assert repr(octets)[2:-1] not in repr(ours)


# --- which method ---------------------------------------------------------------------------------------------------


TWO = ike_proposals("aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-ecp256-x25519")


@pytest.mark.requirement("IKE-261", "IKE-014")
def test_the_first_method_of_the_first_proposal_that_has_one_is_begun_with() -> None:
    plain, with_method = esp_proposals("aes128gcm16")[0], esp_proposals("aes128gcm16-ecp256-x25519")[0]
    assert methods_of(TWO) == (X25519, ECP_256, X25519)
    assert first_method(TWO) == X25519
    assert first_method([plain, with_method]) == ECP_256
    assert methods_of([plain]) == ()
    assert first_method([plain]) == first_method([]) == Ke.NONE


def demand(data: bytes) -> Notification:
    return Notification(Notify.INVALID_KE_PAYLOAD, data)


@pytest.mark.requirement("IKE-006", "IKE-008")
@pytest.mark.parametrize(
    ("refusal", "followed"),
    [
        (demand(encode_wanted_group(ECP_256)), ECP_256),
        (demand(encode_wanted_group(X25519)), None),
        (demand(encode_wanted_group(Ke.ECP_384)), None),
        (demand(encode_wanted_group(Ke.NONE)), None),
        (demand(b"\xff\xff"), None),
        (demand(b""), None),
        (demand(b"\x13"), None),
        (demand(b"\0\0\x13"), None),
        (Notification(Notify.NO_PROPOSAL_CHOSEN, encode_wanted_group(ECP_256)), None),
        (None, None),
    ],
)
def test_only_another_method_that_we_offered_is_followed(refusal: Notification | None, followed: int | None) -> None:
    assert method_to_retry(refusal, X25519, TWO) == followed


@pytest.mark.requirement("IKE-008")
@given(data=st.binary(max_size=4), begun=st.sampled_from([Ke.NONE, *SUPPORTED_GROUPS]), notify=st.integers(0, 65535))
def test_whatever_is_demanded_is_on_offer_and_new(data: bytes, begun: int, notify: int) -> None:
    for refusal in (demand(data), Notification(notify, data)):
        wanted = method_to_retry(refusal, begun, TWO)
        assert wanted is None or (wanted != begun and wanted in methods_of(TWO))


# --- nonces ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-146")
@pytest.mark.parametrize(
    ("octets", "prf_key_length", "fits"),
    [
        *[(octets, 32, 16 <= octets <= 256) for octets in (0, 15, 16, 32, 256, 257)],
        (23, 48, False),
        (24, 48, True),
        (31, 64, False),
        (NONCE_OCTETS, 64, True),
    ],
)
def test_a_nonce_has_half_the_key_of_the_prf_and_a_length_within_bounds(
    octets: int, prf_key_length: int, fits: bool
) -> None:
    payloads: list[Payload] = [SecurityAssociation(TWO), KeyExchange(X25519, bytes(32)), Nonce(bytes(octets))]
    contents = match(Exchange.IKE_SA_INIT, False, payloads)
    if fits:
        assert peer_nonce(contents, prf_key_length) == bytes(octets)
    else:
        with pytest.raises(InvalidSyntax, match=f"a nonce of {octets} octets"):
            peer_nonce(contents, prf_key_length)
