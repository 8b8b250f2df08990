"""Every payload and chains of them: what is encoded decodes to the same, anything else is a value or a typed error."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import InvalidSyntax, LocalProtocolError, RemoteProtocolError
from ikecore.wire import (
    Encrypted,
    EncryptedFragment,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    UnknownPayload,
    VendorId,
    decode_payloads,
    encode_payloads,
)
from ikecore.wire.chain import MAX_PAYLOADS
from ikecore.wire.numbers import Ke, Notify
from ikecore.wire.payloads import DECODERS, decode_encrypted_fragment
from tests.wire.strategies import BY_TYPE, CHAINS, SEALED_PAYLOADS, outcome

GENERIC = struct.Struct("!BBH")
NOTHING = 41, bytes((0, 0, 0, 8, 0, 0, 0x40, 0x00))


def chain(*payloads: tuple[int, bytes], flags: int = 0) -> tuple[int, bytes]:
    """Write payloads, each a type and a body, without asking whether they make sense."""
    types = [kind for kind, _ in payloads] + [0]
    octets = [GENERIC.pack(types[index + 1], flags, 4 + len(body)) + body for index, (_, body) in enumerate(payloads)]
    return types[0], b"".join(octets)


def read(first: int, data: bytes, **options: bool | int) -> list[Payload]:
    return decode_payloads(first, data, 0, len(data), **options)  # type: ignore[arg-type]


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("kind", BY_TYPE)
@given(data=st.data())
def test_each_payload_survives_the_wire(kind: int, data: st.DataObject) -> None:
    payload = data.draw(BY_TYPE[kind])
    before, after = data.draw(st.binary(max_size=5)), data.draw(st.binary(max_size=5))
    first, octets = encode_payloads([payload])
    assert decode_payloads(first, before + octets + after, len(before), len(before) + len(octets)) == [payload]
    assert encode_payloads(read(first, octets)) == (first, octets)


@given(CHAINS)
def test_chains_survive_the_wire(payloads: list[Payload]) -> None:
    first, octets = encode_payloads(payloads)
    assert read(first, octets) == payloads
    assert read(first, octets, outer=True) == payloads


@given(CHAINS, SEALED_PAYLOADS)
def test_encrypted_payload_ends_the_chain_of_a_message(payloads: list[Payload], sealed: Payload) -> None:
    first, octets = encode_payloads([*payloads, sealed])
    assert read(first, octets, outer=True) == [*payloads, sealed]


@pytest.mark.requirement("IKE-241", "FRAG-13")
@pytest.mark.parametrize("sealed", [Encrypted(0, b"secret"), EncryptedFragment(0, 1, 1, b"secret")])
def test_encrypted_payload_elsewhere_is_malformed(sealed: Payload) -> None:
    inside = encode_payloads([Nonce(bytes(16)), sealed])
    with pytest.raises(InvalidSyntax, match=r"octet 20"):
        read(*inside)
    _, octets = encode_payloads([sealed])
    with pytest.raises(InvalidSyntax, match=r"octet 0"):
        read(sealed.TYPE, octets + bytes(4), outer=True)


@pytest.mark.requirement("IKE-248")
@given(st.one_of(st.sampled_from(list(DECODERS)), st.integers(0, 255)), st.binary(max_size=120), st.booleans())
def test_any_octets_give_payloads_or_a_typed_error(first: int, octets: bytes, outer: bool) -> None:
    found = outcome(lambda: read(first, octets, outer=outer))
    if isinstance(found, RemoteProtocolError):
        assert isinstance(found, InvalidSyntax)
        assert found.octet is not None
        assert 0 <= found.octet <= len(octets)
    else:
        assert read(*encode_payloads(found), outer=outer) == found


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("decode", DECODERS.values(), ids=lambda decode: decode.__name__)
@given(data=st.data())
def test_any_body_gives_a_payload_or_a_typed_error(
    decode: Callable[[bytes, int, int], Payload], data: st.DataObject
) -> None:
    body, before, after = data.draw(st.binary(max_size=80)), data.draw(st.binary(max_size=3)), data.draw(st.binary())
    found = outcome(lambda: decode(before + body + after, len(before), len(before) + len(body)))
    if isinstance(found, RemoteProtocolError):
        assert isinstance(found, InvalidSyntax)
        assert found.octet is not None
        assert len(before) <= found.octet <= len(before) + len(body)
    else:
        assert decode(found.encode_body(), 0, len(found.encode_body())) == found


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("kind", BY_TYPE)
@given(data=st.data())
def test_every_change_of_one_octet_is_a_payload_or_a_typed_error(kind: int, data: st.DataObject) -> None:
    first, octets = encode_payloads([data.draw(BY_TYPE[kind])])
    changed = bytearray(octets)
    changed[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    found = outcome(lambda: read(first, bytes(changed)))
    assert not isinstance(found, RemoteProtocolError) or isinstance(found, InvalidSyntax)


@pytest.mark.requirement("IKE-243")
@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_length_below_the_header_is_malformed(length: int) -> None:
    with pytest.raises(InvalidSyntax, match="octet 2"):
        read(43, GENERIC.pack(0, 0, length))


@pytest.mark.requirement("IKE-243")
@pytest.mark.parametrize("length", [9, 10, 65535])
def test_length_beyond_the_end_is_malformed(length: int) -> None:
    with pytest.raises(InvalidSyntax, match="octet 2"):
        read(43, GENERIC.pack(0, 0, length) + bytes(4))


@pytest.mark.requirement("IKE-244")
def test_octets_after_the_last_payload_are_malformed() -> None:
    first, octets = chain(NOTHING)
    with pytest.raises(InvalidSyntax, match="1 octets after the last payload"):
        read(first, octets + b"\0")
    with pytest.raises(InvalidSyntax, match="4 octets after"):
        read(0, bytes(4))


@pytest.mark.requirement("IKE-244")
def test_chain_that_announces_one_more_payload_is_malformed() -> None:
    with pytest.raises(InvalidSyntax, match="cut off"):
        read(43, GENERIC.pack(43, 0, 4))


@pytest.mark.requirement("IKE-087", "IKE-245")
def test_unknown_payloads_are_kept_and_the_chain_goes_on() -> None:
    first, octets = chain((200, b"what"), (43, b"vendor"))
    assert read(first, octets) == [UnknownPayload(200, False, b"what"), VendorId(b"vendor")]
    with pytest.raises(InvalidSyntax):
        read(200, GENERIC.pack(43, 0, 3) + octets[4:])


@pytest.mark.requirement("IKE-091")
def test_critical_bit_of_a_known_payload_is_ignored() -> None:
    first, octets = chain((40, bytes(16)), (41, NOTHING[1][4:]), flags=0x80)
    assert read(first, octets) == [Nonce(bytes(16)), Notification(Notify.INITIAL_CONTACT)]


@pytest.mark.requirement("IKE-086")
def test_reserved_bits_of_the_generic_header_are_ignored() -> None:
    first, octets = chain((43, b"vendor"), (200, b"what"), flags=0x7F)
    assert read(first, octets) == [VendorId(b"vendor"), UnknownPayload(200, False, b"what")]


@pytest.mark.requirement("IKE-089", "IKE-246")
def test_critical_bit_is_sent_for_unknown_payloads_of_requests_only() -> None:
    payloads: list[Payload] = [VendorId(b"v"), UnknownPayload(200, True, b"what")]
    assert [encode_payloads(payloads)[1][at] for at in (1, 6)] == [0, 0x80]
    assert [encode_payloads(payloads, is_response=True)[1][at] for at in (1, 6)] == [0, 0]


@pytest.mark.requirement("IKE-247")
@pytest.mark.parametrize(("count", "most"), [(1000, MAX_PAYLOADS), (10_000, MAX_PAYLOADS), (4, 3)])
def test_too_many_payloads_are_refused_at_the_first_too_many(count: int, most: int) -> None:
    first, octets = chain(*[NOTHING] * count)
    with pytest.raises(InvalidSyntax, match=f"more than {most} payloads") as caught:
        read(first, octets, most=most)
    assert caught.value.octet == most * (4 + len(NOTHING[1]))


@pytest.mark.requirement("IKE-247")
def test_as_many_payloads_as_allowed_are_read() -> None:
    first, octets = chain(*[(43, b"")] * MAX_PAYLOADS)
    assert read(first, octets) == [VendorId(b"")] * MAX_PAYLOADS


@pytest.mark.requirement("IKE-146")
@pytest.mark.parametrize(("size", "good"), [(0, False), (15, False), (16, True), (256, True), (257, False)])
def test_nonce_length(size: int, good: bool) -> None:
    first, octets = chain((40, bytes(size)))
    if good:
        assert read(first, octets) == [Nonce(bytes(size))]
    else:
        with pytest.raises(InvalidSyntax, match=f"nonce of {size} octets"):
            read(first, octets)


@pytest.mark.requirement("IKE-086")
def test_reserved_octets_of_key_exchange_are_ignored() -> None:
    assert read(*chain((34, b"\x00\x1f\xff\xffpublic"))) == [KeyExchange(Ke.CURVE25519, b"public")]


@pytest.mark.requirement("FRAG-15", "FRAG-16", "FRAG-20", "FRAG-35", "FRAG-36")
@pytest.mark.parametrize(
    ("number", "total", "good"),
    [(0, 0, False), (0, 5, False), (5, 0, False), (3, 2, False), (1, 1, True), (2, 3, True), (65535, 65535, True)],
)
def test_fragment_numbers(number: int, total: int, good: bool) -> None:
    body = struct.pack("!HH", number, total) + b"sealed"
    if good:
        assert decode_encrypted_fragment(body, 0, len(body), 35) == EncryptedFragment(35, number, total, b"sealed")
    else:
        with pytest.raises(InvalidSyntax):
            decode_encrypted_fragment(body, 0, len(body), 35)


def test_fragment_cut_off() -> None:
    for size in range(4):
        with pytest.raises(InvalidSyntax, match="too short"):
            read(53, GENERIC.pack(0, 0, 4 + size) + b"\1" * size, outer=True)


@pytest.mark.requirement("FRAG-14")
def test_golden_fragment() -> None:
    first, octets = encode_payloads([EncryptedFragment(35, 1, 2, b"\xaa")])
    assert (first, octets.hex()) == (53, "2300000900010002aa")


@pytest.mark.parametrize(
    "payload",
    [
        VendorId(bytes(65532)),
        KeyExchange(70000, b""),
        Notification(70000),
        EncryptedFragment(0, 1, 70000, b""),
    ],
)
def test_what_does_not_fit_its_field_is_our_own_fault(payload: Payload) -> None:
    with pytest.raises(LocalProtocolError):
        encode_payloads([payload])


def test_empty_chain() -> None:
    assert encode_payloads([]) == (0, b"")
    assert read(0, b"") == []
