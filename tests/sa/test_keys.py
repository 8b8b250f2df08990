"""The keys of an IKE SA: kept as octets, and what computes with them made when it is wanted."""

from __future__ import annotations

import random

import pytest

from ikecore.crypto import IkeSuite, derive_ike_keys, ike_proposals, ike_suite
from ikecore.errors import LocalProtocolError
from ikecore.events import Role
from ikecore.sa.keys import SaKeys
from ikecore.wire import decode_envelope
from ikecore.wire.numbers import INITIATOR

GCM = ike_suite(*ike_proposals("aes256gcm16-prfsha256-x25519"))
CBC = ike_suite(*ike_proposals("aes128-sha256-x25519"))
SPIS = b"initiatr", b"responde"


def keys_of(role: Role, suite: IkeSuite = GCM) -> SaKeys:
    nonces = bytes(32), bytes(range(32))
    derived = derive_ike_keys(suite, bytes(32), *nonces, *SPIS)
    return SaKeys.make(role, SPIS, suite, nonces, derived, random.Random(1).randbytes)


@pytest.mark.parametrize("suite", [GCM, CBC], ids=str)
def test_each_side_opens_what_the_other_seals(suite: IkeSuite) -> None:
    initiator, responder = (keys_of(role, suite) for role in ("initiator", "responder"))
    for sealing, opening in ((initiator, responder), (responder, initiator)):
        envelope = decode_envelope(sealing.seal(37, 0, 2, 41, b"payloads"))
        assert bool(envelope.header.flags & INITIATOR) is (sealing is initiator)
        assert opening.open(envelope) == b"payloads"
    assert initiator.ike == responder.ike == derive_ike_keys(suite, bytes(32), initiator.ni, initiator.nr, *SPIS)


@pytest.mark.parametrize("suite", [GCM, CBC], ids=str)
def test_one_key_alone_is_that_of_the_seven(suite: IkeSuite) -> None:
    keys = keys_of("responder", suite)
    assert (keys.sk_d, keys.sk_p(initiator=True), keys.sk_p(initiator=False)) == (
        keys.ike.sk_d,
        keys.ike.sk_pi,
        keys.ike.sk_pr,
    )


@pytest.mark.requirement("IKE-289")
def test_no_nonce_comes_twice_however_often_the_cipher_is_made_again() -> None:
    keys = keys_of("initiator")
    ivs = []
    for _ in range(20):
        ivs.append(keys.seal(37, 0, 2, 41, b"the same")[32:40])
        ivs += [data[36:44] for data in keys.seal_fragments(37, 0, 2, 41, bytes(300), 200, 1)]
    assert [int.from_bytes(iv, "big") for iv in ivs] == list(range(len(ivs)))


@pytest.mark.requirement("IKE-289")
def test_nonces_that_a_failure_used_up_do_not_come_again() -> None:
    keys = keys_of("initiator")
    keys._sealed = 2**64 - 1
    with pytest.raises(LocalProtocolError, match="nonce"):
        keys.seal_fragments(37, 0, 2, 41, bytes(300), 200, 1)
    with pytest.raises(LocalProtocolError, match="nonce"):
        keys.seal(37, 0, 2, 41, b"one too many")


@pytest.mark.requirement("IKE-150")
@pytest.mark.parametrize("suite", [GCM, CBC], ids=str)
def test_keys_can_be_forgotten(suite: IkeSuite) -> None:
    ours, theirs = keys_of("initiator", suite), keys_of("responder", suite)
    envelope = decode_envelope(ours.seal(37, 0, 2, 41, b"x"))
    assert theirs.open(envelope) == b"x"
    theirs.forget()
    theirs.forget()
    for use in (
        lambda: theirs.open(envelope),
        lambda: theirs.seal(37, 0, 2, 41, b"x"),
        lambda: theirs.ike,
        lambda: theirs.sk_d,
        lambda: theirs.sk_p(initiator=True),
    ):
        with pytest.raises(LocalProtocolError, match="forgotten"):
            use()


def test_keys_are_not_in_reprs() -> None:
    keys = keys_of("initiator")
    assert keys.ike.sk_d.hex() not in repr(keys)
    assert repr(keys.ike.sk_d)[2:-1] not in repr(keys)
