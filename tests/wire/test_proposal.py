"""SA payloads: golden octets, each rule of the substructures, and the table of shared transforms."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given

from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire import Attribute, Proposal, SecurityAssociation, Transform
from ikecore.wire.numbers import Encr, Esn, Ke, Prf, Protocol, TransformType
from ikecore.wire.proposal import (
    _FINAL,
    _FOLLOWED,
    _LISTS,
    MAX_ATTRIBUTES,
    MAX_TRANSFORMS,
    Transforms,
    decode_security_association,
    numbered,
    octets_of,
)
from tests.wire.strategies import transforms as any_transforms

AES = Transform(TransformType.ENCR, Encr.AES_CBC, (Attribute(14, 256),))
PRF = Transform(TransformType.PRF, Prf.HMAC_SHA2_256)


def read(octets: bytes) -> SecurityAssociation:
    return decode_security_association(octets, 0, len(octets))


def transform(
    kind: int = 2, number: int = 5, more: int = 0, attributes: bytes = b"", length: int | None = None
) -> bytes:
    size = 8 + len(attributes) if length is None else length
    return struct.pack("!BxHBxH", more, size, kind, number) + attributes


def proposal(
    *transforms: bytes, number: int = 1, more: int = 0, protocol: int = 1, spi: bytes = b"", count: int | None = None
) -> bytes:
    body = spi + b"".join(transforms)
    counted = len(transforms) if count is None else count
    return struct.pack("!BxHBBBB", more, 8 + len(body), number, protocol, len(spi), counted) + body


@pytest.mark.requirement("IKE-258")
def test_golden_sa() -> None:
    payload = SecurityAssociation((Proposal(1, Protocol.IKE, b"", (AES, PRF)),))
    octets = bytes.fromhex("0000001c 01010002 0300000c 0100000c 800e0100 00000008 02000005")
    assert payload.encode_body() == octets
    assert read(octets) == payload
    assert read(octets).proposals[0].transforms[0].key_length == 256
    assert read(octets).proposals[0].transforms[1].key_length is None


@given(any_transforms())
def test_transforms_with_their_octets_are_the_same_transforms(one: Transform) -> None:
    for transforms in ([one], [one, AES], [AES, PRF, one]):
        plain, shared = tuple(transforms), Transforms(transforms)
        assert shared == plain
        assert shared.octets == octets_of(plain) == octets_of(shared)
        assert Proposal(1, 1, b"", shared).encode(last=True) == Proposal(1, 1, b"", plain).encode(last=True)
        assert Proposal(1, 1, b"", shared).encode(last=True)[8:] == shared.octets


@pytest.mark.requirement("IKE-250")
def test_proposals_are_numbered_in_their_order() -> None:
    given = Proposal(7, Protocol.IKE, b"12345678", (AES,)), Proposal(7, Protocol.IKE, b"", (PRF,))
    assert numbered(given) == (Proposal(1, Protocol.IKE, b"", (AES,)), Proposal(2, Protocol.IKE, b"", (PRF,)))


@pytest.mark.requirement("IKE-250")
@pytest.mark.parametrize("numbers", [(0,), (0, 1), (1, 3), (2, 1), (1, 1), (2, 3)])
def test_proposals_out_of_number_are_malformed(numbers: tuple[int, ...]) -> None:
    octets = b"".join(
        [proposal(transform(), number=number, more=2 * (at < len(numbers) - 1)) for at, number in enumerate(numbers)]
    )
    with pytest.raises(InvalidSyntax, match="has number"):
        read(octets)


@pytest.mark.requirement("IKE-250")
@pytest.mark.parametrize("number", [1, 2, 255])
def test_the_accepted_proposal_keeps_its_number(number: int) -> None:
    assert read(proposal(transform(), number=number)).proposals[0].number == number


@pytest.mark.requirement("IKE-251")
@pytest.mark.parametrize("more", [1, 3, 255])
def test_wrong_mark_of_the_last_proposal_is_malformed(more: int) -> None:
    with pytest.raises(InvalidSyntax, match="Last Substruc"):
        read(proposal(transform(), more=more) + proposal(transform(), number=2))


@pytest.mark.requirement("IKE-251")
@pytest.mark.parametrize(("first", "last"), [(0, 0), (2, 0), (1, 0), (3, 3), (3, 2)])
def test_wrong_mark_of_the_last_transform_is_malformed(first: int, last: int) -> None:
    with pytest.raises(InvalidSyntax, match="Last Substruc"):
        read(proposal(transform(more=first), transform(more=last)))


@pytest.mark.requirement("IKE-252")
@pytest.mark.parametrize(
    ("protocol", "sizes"),
    [(Protocol.IKE, {0, 8}), (Protocol.AH, {4}), (Protocol.ESP, {4}), (99, set(range(10)))],
)
def test_spi_sizes(protocol: int, sizes: set[int]) -> None:
    for size in range(10):
        octets = proposal(transform(), protocol=protocol, spi=bytes(size))
        if size in sizes:
            assert read(octets).proposals[0].spi == bytes(size)
        else:
            with pytest.raises(InvalidSyntax, match=f"SPI of {size} octets"):
                read(octets)


@pytest.mark.requirement("IKE-253")
@pytest.mark.parametrize("count", [0, 1, 3, 255])
def test_number_of_transforms_has_to_be_true(count: int) -> None:
    with pytest.raises(InvalidSyntax):
        read(proposal(transform(more=3), transform(), count=count))


@pytest.mark.requirement("IKE-253")
def test_sa_without_transform_or_proposal_is_malformed() -> None:
    for octets in (proposal(), b""):
        with pytest.raises(InvalidSyntax):
            read(octets)


@pytest.mark.requirement("IKE-254")
def test_two_attributes_of_one_type_are_malformed() -> None:
    twice = bytes.fromhex("800e0080 800e0100")
    with pytest.raises(InvalidSyntax, match="two attributes of type 14"):
        read(proposal(transform(1, 12, attributes=twice)))
    both_codings = bytes.fromhex("800e0080 000e0000")
    with pytest.raises(InvalidSyntax, match="two attributes of type 14"):
        read(proposal(transform(1, 12, attributes=both_codings)))


@pytest.mark.requirement("IKE-262")
def test_key_length_in_the_wrong_coding_is_kept_but_no_key_length() -> None:
    found = read(proposal(transform(1, 12, attributes=bytes.fromhex("000e0002 0100")))).proposals[0].transforms[0]
    assert found.attributes == (Attribute(14, b"\x01\x00"),)
    assert found.key_length is None


@pytest.mark.requirement("IKE-086")
def test_reserved_octets_are_ignored() -> None:
    plain = bytearray(proposal(transform(more=3), transform(4, 31)))
    for offset in (1, 9, 13, 17, 21):
        plain[offset] = 0xFF
    assert read(bytes(plain)) == read(proposal(transform(more=3), transform(4, 31)))


@pytest.mark.requirement("IKE-247")
def test_too_many_proposals_or_transforms_are_malformed() -> None:
    many = [proposal(transform(), number=number % 256, more=2) for number in range(1, 1001)]
    with pytest.raises(InvalidSyntax, match="proposal 256 has number 0"):
        read(b"".join(many) + proposal(transform(), number=1))
    wide = [transform(more=3)] * 254 + [transform()]
    enough = [proposal(*wide, number=number, more=2) for number in range(1, 6)]
    with pytest.raises(InvalidSyntax, match="proposal 5 brings 255 transforms"):
        read(b"".join(enough))
    assert MAX_TRANSFORMS == 1024


def test_transforms_are_one_object_wherever_they_come_from() -> None:
    octets = proposal(transform(1, 20, 3, bytes.fromhex("800e0100")), transform(2, 7, 3), transform(4, 19))
    one, other = read(octets).proposals[0].transforms, read(octets).proposals[0].transforms
    assert all(left is right for left, right in zip(one, other, strict=True))


def test_table_of_transforms_forgets_but_never_errs() -> None:
    for number in range(3000):
        found = read(proposal(transform(4, number, 3), transform(4, number))).proposals[0].transforms
        assert [item.id for item in found] == [number, number]
    assert read(proposal(transform(4, 19))).proposals[0].transforms == (Transform(TransformType.KE, Ke.ECP_256),)


def test_a_known_transform_is_not_taken_from_beyond_the_proposal() -> None:
    read(proposal(transform(1, 12, attributes=bytes.fromhex("800e0100"))))
    octets = proposal(transform(1, 12, attributes=b"", length=12)) + bytes.fromhex("800e0100")
    for end in (16, 20):
        with pytest.raises(InvalidSyntax):
            decode_security_association(octets, 0, end)


@pytest.mark.parametrize("change", ["count", "length"])
def test_a_fault_is_told_alike_whatever_came_before(change: str) -> None:
    honest = proposal(transform(3, 9001, 3), transform(3, 9002, 3), transform(3, 9003))
    forged = bytearray(honest)
    if change == "count":
        forged[7] = 2
    else:
        forged[-5] = 12  # as long as a transform that is known, and beyond the end
    beyond = proposal(transform(3, 9003, attributes=bytes.fromhex("800e0100")))

    def told() -> str:
        with pytest.raises(InvalidSyntax) as caught:
            decode_security_association(bytes(forged) + beyond[-4:], 0, len(forged))
        return str(caught.value)

    for table in (_FOLLOWED, _FINAL, _LISTS):
        table.clear()
    at_first = told()
    for known in (honest, beyond):
        read(known)
    assert told() == at_first


def test_a_transform_has_few_attributes() -> None:
    def attributes(count: int) -> bytes:
        return b"".join(struct.pack("!HH", 0x8000 | kind, 0) for kind in range(count))

    assert len(read(proposal(transform(attributes=attributes(MAX_ATTRIBUTES)))).proposals[0].transforms) == 1
    with pytest.raises(InvalidSyntax, match="more than 16 attributes"):
        read(proposal(transform(attributes=attributes(MAX_ATTRIBUTES + 1))))


def test_numbers_get_their_registry_by_the_type_of_transform() -> None:
    found = read(proposal(transform(5, 1, 3), transform(6, 36, 3), transform(99, 1, 3), transform(1, 999)))
    one, two, three, four = found.proposals[0].transforms
    assert (one.id, two.id) == (Esn.ESN, Ke.ML_KEM_768)
    assert isinstance(one.id, Esn)
    assert isinstance(two.id, Ke)
    assert (type(three.type), type(three.id), type(four.id)) == (int, int, int)


@given(any_transforms())
def test_transform_octets_are_what_is_sent(value: Transform) -> None:
    octets = proposal(b"\0" + value.octets)
    assert read(octets).proposals[0].transforms == (value,)
    assert SecurityAssociation((Proposal(1, 1, b"", (value,)),)).encode_body() == octets


@pytest.mark.parametrize(
    ("kind", "number", "attributes"),
    [(256, 1, ()), (1, 65536, ()), (1, 1, (Attribute(14, 65536),)), (1, 1, (Attribute(14, bytes(65536)),))],
)
def test_transform_that_does_not_fit_is_our_own_fault(
    kind: int, number: int, attributes: tuple[Attribute, ...]
) -> None:
    with pytest.raises(LocalProtocolError):
        Transform(kind, number, attributes)


def test_proposal_without_transform_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError, match="proposal 1 has no transform"):
        SecurityAssociation((Proposal(1, 1, b"", ()),)).encode_body()
