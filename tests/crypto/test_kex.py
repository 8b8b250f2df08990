"""Key exchanges: published vectors, agreement, and every bad public value that a peer could send (RFC 6989)."""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore.crypto import SUPPORTED_GROUPS, generate, modp
from ikecore.crypto.modp import prime
from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire.numbers import Ke
from tests.crypto.published import published

MODP = [Ke.MODP_2048, Ke.MODP_3072, Ke.MODP_4096, Ke.MODP_6144, Ke.MODP_8192]
ECP = {Ke.ECP_256: ec.SECP256R1(), Ke.ECP_384: ec.SECP384R1(), Ke.ECP_521: ec.SECP521R1()}
OCTETS: dict[int, int] = {
    Ke.CURVE25519: 32,
    Ke.CURVE448: 56,
    Ke.ECP_256: 64,
    Ke.ECP_384: 96,
    Ke.ECP_521: 132,
    Ke.MODP_2048: 256,
    Ke.MODP_3072: 384,
    Ke.MODP_4096: 512,
    Ke.MODP_6144: 768,
    Ke.MODP_8192: 1024,
}
"""The octets of a public value."""
SMALL = [Ke.CURVE25519, Ke.CURVE448, *ECP, Ke.MODP_2048]


def dice(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def fixed(octets: bytes) -> Callable[[int], bytes]:
    """Random octets that are no more random than this: *octets*, with zeros before them where more are wanted."""
    return lambda count: octets.rjust(count, b"\0")


@pytest.mark.parametrize("vector", published()["ecp"], ids=lambda vector: Ke(vector["group"]).name)
@pytest.mark.requirement("IKE-155")
def test_ecp_gives_the_published_secret_which_is_x_alone(vector: dict[str, str]) -> None:
    # The private key is one more than the octets drawn, modulo the order less one.
    ours, theirs = (
        generate(
            int(vector["group"]), fixed((int(vector[f"private_{side}"], 16) - 1).to_bytes(74, "big").lstrip(b"\0"))
        )
        for side in "ir"
    )
    assert ours.public.hex() == vector["public_i"]
    assert theirs.public.hex() == vector["public_r"]
    assert ours.shared(theirs.public).hex() == theirs.shared(ours.public).hex() == vector["shared"]


@pytest.mark.parametrize("vector", published()["montgomery"], ids=lambda vector: Ke(vector["group"]).name)
def test_x25519_and_x448_give_the_published_secret(vector: dict[str, str]) -> None:
    ours = generate(int(vector["group"]), fixed(bytes.fromhex(vector["private_i"])))
    assert ours.public.hex() == vector["public_i"]
    assert ours.shared(bytes.fromhex(vector["public_r"])).hex() == vector["shared"]


@pytest.mark.parametrize("group", sorted(SUPPORTED_GROUPS))
def test_both_sides_agree_and_the_same_octets_give_the_same_keys(group: int) -> None:
    ours, theirs, again = generate(group, dice(1)), generate(group, dice(2)), generate(group, dice(1))
    assert ours.group == group
    assert ours.public == again.public != theirs.public
    assert len(ours.public) == OCTETS[group]
    assert ours.shared(theirs.public) == theirs.shared(ours.public) == again.shared(theirs.public)


@pytest.mark.requirement("IKE-266")
@pytest.mark.parametrize("group", SMALL)
def test_a_public_value_of_the_wrong_length_is_refused(group: int) -> None:
    ours, theirs = generate(group, dice(1)), generate(group, dice(2))
    for wrong in (b"", theirs.public[:-1], theirs.public[1:], theirs.public + b"\0", b"\0" + theirs.public, b"\4"):
        with pytest.raises(InvalidSyntax, match="expected"):
            ours.shared(wrong)


@pytest.mark.requirement("IKE-151")
@pytest.mark.parametrize("group", MODP)
def test_modp_refuses_0_1_p_minus_1_and_more(group: int) -> None:
    ours, octets, p = generate(group, dice(1)), OCTETS[group], prime(group)
    for wrong in (0, 1, p - 1, p, p + 1, p + 2, 2 ** (8 * octets) - 1):
        with pytest.raises(InvalidSyntax):
            ours.shared(wrong.to_bytes(octets, "big"))
    assert len(ours.shared((2).to_bytes(octets, "big"))) == octets


@pytest.mark.requirement("IKE-155", "IKE-264")
def test_modp_values_and_secrets_keep_their_leading_zeros() -> None:
    p, octets = prime(Ke.MODP_2048), OCTETS[Ke.MODP_2048]

    def exponent(seed: int) -> int:
        return int.from_bytes(dice(seed)(64), "big") | 1 << 511

    # Seeds and exponents found by trying: one in 256 begins with a zero.
    public = generate(Ke.MODP_2048, dice(387)).public
    assert public == pow(2, exponent(387), p).to_bytes(octets, "big")
    assert public[0] == 0
    secret = generate(Ke.MODP_2048, dice(1)).shared(pow(2, 334, p).to_bytes(octets, "big"))
    assert secret == pow(2, 334 * exponent(1), p).to_bytes(octets, "big")
    assert secret[0] == 0


def test_a_modp_secret_is_that_of_plain_arithmetic() -> None:
    p, octets = prime(Ke.MODP_3072), OCTETS[Ke.MODP_3072]
    drawn = dice(5)(64)
    exponent, peer = int.from_bytes(drawn, "big") | 1 << 511, pow(2, 998877, p)
    secret = generate(Ke.MODP_3072, fixed(drawn)).shared(peer.to_bytes(octets, "big"))
    assert secret == pow(peer, exponent, p).to_bytes(octets, "big")


@pytest.mark.parametrize("group", MODP)
def test_modp_primes_have_the_form_of_rfc_3526(group: int) -> None:
    bits = 8 * OCTETS[group]
    p = prime(group)
    assert p.bit_length() == bits
    assert p >> (bits - 64) == p & (2**64 - 1) == 2**64 - 1
    assert hex(p)[18:].startswith("c90fdaa22168c234c4c6628b80dc1cd1"), "the digits of pi"
    # A wrong constant would not survive these: p and (p-1)/2 pass a Fermat test.
    if bits <= 4096:
        assert pow(3, p - 1, p) == 1
        assert pow(3, p // 2 - 1, p // 2) == 1


def test_a_value_that_openssl_refuses_for_reasons_of_its_own_is_the_peers_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not today")

    ours, theirs = generate(Ke.MODP_2048, dice(1)), generate(Ke.MODP_2048, dice(2))
    monkeypatch.setattr(modp, "DHPublicNumbers", refuse)
    with pytest.raises(InvalidSyntax, match="not today"):
        ours.shared(theirs.public)


def test_modp_is_quiet_and_leaves_the_filters_of_warnings_alone() -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fresh = importlib.reload(modp)
        fresh.ModpAgreement(Ke.MODP_2048, dice(1)).shared(generate(Ke.MODP_2048, dice(2)).public)
    assert caught == []
    assert warnings.filters == before


@pytest.mark.requirement("IKE-151")
@pytest.mark.parametrize("group", ECP)
@given(data=st.data())
@settings(max_examples=30)
def test_points_off_the_curve_are_refused(group: int, data: st.DataObject) -> None:
    ours, theirs = generate(group, dice(1)), generate(group, dice(2))
    octets = len(theirs.public)
    position, flip = data.draw(st.integers(0, octets - 1)), data.draw(st.integers(1, 255))
    wrong = bytearray(theirs.public)
    wrong[position] ^= flip
    with pytest.raises(InvalidSyntax):
        ours.shared(bytes(wrong))


@pytest.mark.requirement("IKE-151")
@pytest.mark.parametrize("group", ECP)
def test_coordinates_of_zero_or_beyond_the_field_are_refused(group: int) -> None:
    ours = generate(group, dice(1))
    half = OCTETS[group] // 2
    point = generate(group, dice(2)).public
    for wrong in (bytes(2 * half), b"\xff" * 2 * half, point[:half] + bytes(half), point[half:] + point[:half]):
        with pytest.raises(InvalidSyntax):
            ours.shared(wrong)


LOW_25519 = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]
LOW_448 = [bytes(56), b"\1" + bytes(55), (2**448 - 2**224 - 2).to_bytes(56, "little")]


@pytest.mark.requirement("IKE-151")
@pytest.mark.parametrize(
    ("group", "point"), [*[(Ke.CURVE25519, p) for p in LOW_25519], *[(Ke.CURVE448, p) for p in LOW_448]]
)
def test_points_of_small_order_are_refused(group: int, point: bytes) -> None:
    with pytest.raises(InvalidSyntax, match="small order"):
        generate(group, dice(1)).shared(point)


@given(group=st.sampled_from([Ke.CURVE25519, Ke.CURVE448, Ke.ECP_256, Ke.MODP_2048]), data=st.data())
@settings(max_examples=50)
def test_any_octets_give_a_secret_or_an_error_of_the_peer(group: int, data: st.DataObject) -> None:
    public = data.draw(st.binary(max_size=80) | st.binary(min_size=OCTETS[group], max_size=OCTETS[group]))
    ours = generate(group, dice(3))
    try:
        secret = ours.shared(public)
    except InvalidSyntax:
        return
    assert secret.strip(b"\0")


@pytest.mark.parametrize("group", [Ke.NONE, Ke.MODP_768, Ke.MODP_1024, Ke.MODP_1536, Ke.ML_KEM_768, 40000])
def test_groups_that_are_not_ours_are_refused(group: int) -> None:
    with pytest.raises(LocalProtocolError):
        generate(group, dice(1))
