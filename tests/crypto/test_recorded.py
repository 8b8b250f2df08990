"""Whole exchanges of strongSwan and libreswan, computed again: keys, protection, AUTH, Child SA keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ikecore.crypto import (
    SUPPORTED_HASHES,
    Identity,
    IkeKeys,
    IkeSuite,
    Protection,
    accepted_proposal,
    check_psk,
    child_suite,
    derive_child_keys,
    derive_ike_keys,
    ike_suite,
    load_certificates,
    pad_secret,
    prf,
    psk_auth,
    rekey_ike_keys,
    signed_octets,
    verify,
)
from ikecore.crypto.certificates import TrustStore, authority_hash, validate_chain
from ikecore.errors import AuthenticationFailed, IntegrityError
from ikecore.wire import (
    Authentication,
    Certificate,
    CertificateRequest,
    IdentificationInitiator,
    IdentificationResponder,
    Nonce,
    Payload,
    SecurityAssociation,
    decode_envelope,
    decode_payloads,
)

VECTORS = Path(__file__).parents[1] / "vectors"
RUNS = {path.stem: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json")) if path.stem != "published"}
WITH_SECRETS = [name for name, run in RUNS.items() if "dh" in run["ike_sas"][0]]
WITH_PSK = [name for name, run in RUNS.items() if run["psk"]]
WITH_CHILDREN = [name for name, run in RUNS.items() if "child_sas" in run]
WITH_CERTIFICATES = [name for name, run in RUNS.items() if not run["psk"]]
KEYS = ("sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr")
CHILD_KEYS = ("encr_i", "integ_i", "encr_r", "integ_r")
INITIATOR, RESPONSE = 0x08, 0x20
WITHIN = "2027-06-01"


class Opened(NamedTuple):
    """One message, with what was inside; of fragments only the pieces."""

    data: bytes
    plaintext: bytes
    body: int
    first: int

    @property
    def payloads(self) -> list[Payload]:
        return decode_payloads(self.first, self.plaintext, 0, len(self.plaintext))


def anchor(name: str) -> bytes:
    """Return the root that a run's certificates come from: its own, or that of the older runs."""
    if "anchor" in RUNS[name]:
        return bytes.fromhex(RUNS[name]["anchor"])
    (root,) = load_certificates((VECTORS / "pki" / "root.pem").read_bytes())
    return root


def find(payloads: list[Payload], kind: type[Any]) -> Any:
    return next(payload for payload in payloads if isinstance(payload, kind))


def octets(name: str) -> list[bytes]:
    return [bytes.fromhex(message["hex"]) for message in RUNS[name]["messages"]]


def keys_of(sa: dict[str, str]) -> IkeKeys:
    return IkeKeys(*[bytes.fromhex(sa.get(key, "")) for key in KEYS])


def suite_of(name: str) -> IkeSuite:
    return ike_suite(find(decode_envelope(octets(name)[1]).payloads, SecurityAssociation).proposals[0])


def protection(suite: IkeSuite, keys: IkeKeys, flags: int, iv: bytes = b"") -> Protection:
    encr, integ = (keys.sk_ei, keys.sk_ai) if flags & INITIATOR else (keys.sk_er, keys.sk_ar)
    return Protection(suite, encr, integ, random=lambda count: iv[:count])


@cache
def opened(name: str) -> list[Opened]:
    """Open every protected message of a run with its recorded keys."""
    sas = {bytes.fromhex(sa["spi_i"]): keys_of(sa) for sa in RUNS[name]["ike_sas"]}
    found = []
    for data in octets(name):
        envelope = decode_envelope(data)
        if envelope.encrypted is not None:
            opener = protection(suite_of(name), sas[data[:8]], data[19])
            found.append(Opened(data, opener.open(data, envelope.body), envelope.body, data[28]))
    return found


def whole(name: str, exchange: int, flags: int) -> Iterator[list[Payload]]:
    """Yield the payloads of each message of a kind, fragments put together."""
    first, chain = 0, b""
    for message in opened(name):
        if message.data[18] == exchange and message.data[19] & RESPONSE == flags & RESPONSE:
            first, chain = first or message.first, chain + message.plaintext
            if message.body == 32 or message.data[32:34] == message.data[34:36]:
                yield decode_payloads(first, chain, 0, len(chain))
                first, chain = 0, b""


@pytest.mark.requirement("IKE-154", "IKE-155", "IKE-157", "IKE-153")
@pytest.mark.parametrize("name", WITH_SECRETS)
def test_the_keys_of_the_first_ike_sa(name: str) -> None:
    sa = RUNS[name]["ike_sas"][0]
    init, answer = (decode_envelope(data) for data in octets(name)[:2])
    accepted_proposal(
        find(init.payloads, SecurityAssociation).proposals, find(answer.payloads, SecurityAssociation).proposals
    )
    suite = suite_of(name)
    ni, nr = find(init.payloads, Nonce).data, find(answer.payloads, Nonce).data
    shared = bytes.fromhex(sa["dh"])
    assert prf(suite.prf, ni + nr, shared).hex() == sa["skeyseed"]
    keys = derive_ike_keys(suite, shared, ni, nr, bytes.fromhex(sa["spi_i"]), bytes.fromhex(sa["spi_r"]))
    assert {key: getattr(keys, key).hex() for key in KEYS} == {key: sa.get(key, "") for key in KEYS}


@pytest.mark.requirement("IKE-177")
@pytest.mark.parametrize("name", WITH_SECRETS)
def test_the_keys_of_the_rekeyed_ike_sa(name: str) -> None:
    old, new = RUNS[name]["ike_sas"]
    suite = suite_of(name)
    for request, response in zip(whole(name, 36, 0), whole(name, 36, RESPONSE), strict=True):
        offered = find(request, SecurityAssociation).proposals
        if offered[0].spi != bytes.fromhex(new["spi_i"]):
            continue
        accepted = accepted_proposal(offered, find(response, SecurityAssociation).proposals)
        assert ike_suite(accepted) == suite
        ni, nr = find(request, Nonce).data, find(response, Nonce).data
        shared, sk_d = bytes.fromhex(new["dh"]), bytes.fromhex(old["sk_d"])
        assert prf(suite.prf, sk_d, shared + ni + nr).hex() == new["skeyseed"]
        keys = rekey_ike_keys(suite.prf, sk_d, suite, shared, ni, nr, offered[0].spi, accepted.spi)
        assert {key: getattr(keys, key).hex() for key in KEYS} == {key: new.get(key, "") for key in KEYS}
        return
    pytest.fail("the run has no rekey of its IKE SA")


@pytest.mark.requirement("IKE-175", "IKE-176", "IKE-153")
@pytest.mark.parametrize("name", WITH_CHILDREN)
def test_the_keys_of_the_child_sas(name: str) -> None:
    """The first from the nonces of IKE_SA_INIT; its heir from those of its rekeying, and its key exchange if any."""
    first, heir = RUNS[name]["child_sas"]
    sk_d, alg = bytes.fromhex(RUNS[name]["ike_sas"][0]["sk_d"]), suite_of(name).prf
    init = [decode_envelope(data).payloads for data in octets(name)[:2]]
    rekey = [next(whole(name, 36, 0)), next(whole(name, 36, RESPONSE))]
    made = [(first, next(whole(name, 35, RESPONSE)), init), (heir, rekey[1], rekey)]
    for expected, response, (ours, theirs) in made:
        accepted = find(response, SecurityAssociation).proposals[0]
        assert accepted.spi.hex() == expected["spi_out"]
        ni, nr = find(ours, Nonce).data, find(theirs, Nonce).data
        keys = derive_child_keys(child_suite(accepted), alg, sk_d, ni, nr, bytes.fromhex(expected["dh"]))
        assert {part: getattr(keys, part).hex() for part in CHILD_KEYS} == {part: expected[part] for part in CHILD_KEYS}


@pytest.mark.requirement("IKE-292", "IKE-294", "IKE-290")
@pytest.mark.parametrize("name", RUNS)
def test_every_protected_message_opens_and_seals_again(name: str) -> None:
    """Padding is free, so ours may differ in octets; where there is none to choose, not one octet may differ."""
    messages = opened(name)
    assert len(messages) == len(octets(name)) - 2
    suite = suite_of(name)
    sas = {bytes.fromhex(sa["spi_i"]): keys_of(sa) for sa in RUNS[name]["ike_sas"]}
    for message in messages:
        data = message.data
        if message.body != 32:
            continue
        keys, iv = sas[data[:8]], data[message.body : message.body + suite.iv_length]
        sealer = protection(suite, keys, data[19], iv)
        number = int.from_bytes(data[20:24], "big")
        again = sealer.seal(data[:8], data[8:16], data[18], data[19], number, message.first, message.plaintext)
        assert len(again) == len(data)
        assert again[:32] == data[:32]
        assert protection(suite, keys, data[19]).open(again, 32) == message.plaintext
        if suite.block > 1 and (len(message.plaintext) + 1) % suite.block == 0:
            assert again == data


@pytest.mark.requirement("IKE-157")
@pytest.mark.parametrize("name", RUNS)
def test_the_keys_of_the_other_direction_open_nothing(name: str) -> None:
    message = opened(name)[0]
    keys = keys_of(RUNS[name]["ike_sas"][0])
    with pytest.raises(IntegrityError):
        protection(suite_of(name), keys, message.data[19] ^ INITIATOR).open(message.data, message.body)


def authenticated(name: str, flags: int) -> tuple[list[Payload], Any, bytes]:
    """Return one side's IKE_AUTH payloads, its identity, and what its AUTH is over."""
    request, response = octets(name)[:2]
    keys, suite = keys_of(RUNS[name]["ike_sas"][0]), suite_of(name)
    payloads = next(whole(name, 35, flags))
    if flags & RESPONSE:
        mine, theirs, sk_p, identity = response, request, keys.sk_pr, find(payloads, IdentificationResponder)
    else:
        mine, theirs, sk_p, identity = request, response, keys.sk_pi, find(payloads, IdentificationInitiator)
    nonce = find(decode_envelope(theirs).payloads, Nonce).data
    return payloads, identity, signed_octets(mine, nonce, suite.prf, sk_p, identity.body)


@pytest.mark.requirement("IKE-158", "IKE-159", "IKE-160", "IKE-161", "IKE-104")
@pytest.mark.parametrize("flags", [0, RESPONSE])
@pytest.mark.parametrize("name", WITH_PSK)
def test_auth_with_a_pre_shared_key(name: str, flags: int) -> None:
    payloads, _, over = authenticated(name, flags)
    auth, alg, secret = find(payloads, Authentication), suite_of(name).prf, RUNS[name]["psk"].encode()
    assert auth.method == 2
    assert psk_auth(alg, pad_secret(alg, secret), over) == auth.data
    check_psk(alg, pad_secret(alg, secret), over, auth.data)
    for wrong in (secret + b"!", secret[:-1], b""):
        with pytest.raises(AuthenticationFailed):
            check_psk(alg, pad_secret(alg, wrong), over, auth.data)


@pytest.mark.requirement("IKE-004", "IKE-275")
@pytest.mark.parametrize("flags", [0, RESPONSE])
@pytest.mark.parametrize("name", WITH_CERTIFICATES)
def test_auth_with_a_certificate(name: str, flags: int) -> None:
    payloads, identity, over = authenticated(name, flags)
    auth = find(payloads, Authentication)
    ders = [payload.data for payload in payloads if isinstance(payload, Certificate)]
    at = datetime.fromisoformat(RUNS[name].get("recorded", WITHIN))
    peer = validate_chain(ders[0], ders[1:], TrustStore.load([anchor(name)]), at=at)
    assert peer.is_named(Identity(identity.id_type, identity.data))
    assert auth.method == 14
    verify(peer.public_key, auth.method, auth.data, over, hashes=SUPPORTED_HASHES)
    for position in range(0, len(over), 97):
        wrong = over[:position] + bytes([over[position] ^ 1]) + over[position + 1 :]
        with pytest.raises(AuthenticationFailed):
            verify(peer.public_key, auth.method, auth.data, wrong, hashes=SUPPORTED_HASHES)


@pytest.mark.requirement("IKE-272")
@pytest.mark.parametrize("name", WITH_CERTIFICATES)
def test_the_authorities_that_were_asked_for(name: str) -> None:
    request = find(decode_envelope(octets(name)[1]).payloads, CertificateRequest)
    assert authority_hash(anchor(name)) in request.authorities
