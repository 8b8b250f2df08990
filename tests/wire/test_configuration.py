"""Configuration and EAP payloads."""

from __future__ import annotations

import pytest

from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire import Configuration, ConfigurationAttribute, Eap
from ikecore.wire.configuration import MAX_ATTRIBUTES, decode_configuration, decode_eap
from ikecore.wire.numbers import CfgAttribute, CfgType, EapCode


@pytest.mark.requirement("IKE-296")
def test_golden_configuration() -> None:
    octets = bytes.fromhex("02000000 00010004 0a000001 00070000 7fff0001 aa")
    payload = Configuration(
        CfgType.CFG_REPLY,
        (
            ConfigurationAttribute(CfgAttribute.INTERNAL_IP4_ADDRESS, b"\n\0\0\1"),
            ConfigurationAttribute(CfgAttribute.APPLICATION_VERSION),
            ConfigurationAttribute(0x7FFF, b"\xaa"),
        ),
    )
    assert payload.encode_body() == octets
    assert decode_configuration(octets, 0, len(octets)) == payload


@pytest.mark.requirement("IKE-086", "IKE-296")
def test_reserved_octets_and_bit_are_ignored() -> None:
    plain, junk = bytes.fromhex("01000000 00010000"), bytes.fromhex("01ffffff 80010000")
    assert decode_configuration(junk, 0, 8) == decode_configuration(plain, 0, 8)


@pytest.mark.requirement("IKE-296", "IKE-298")
@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (CfgAttribute.INTERNAL_IP4_ADDRESS, {0, 4}),
        (CfgAttribute.INTERNAL_IP4_NETMASK, {0, 4}),
        (CfgAttribute.INTERNAL_IP4_DNS, {0, 4}),
        (CfgAttribute.INTERNAL_IP6_ADDRESS, {0, 16, 17}),
        (CfgAttribute.INTERNAL_IP6_DNS, {0, 16}),
        (CfgAttribute.INTERNAL_IP4_SUBNET, {0, 8}),
        (CfgAttribute.INTERNAL_IP6_SUBNET, {0, 17}),
        (CfgAttribute.P_CSCF_IP4_ADDRESS, {0, 4}),
        (CfgAttribute.P_CSCF_IP6_ADDRESS, {0, 16}),
        (5, set(range(20))),
        (20000, set(range(20))),
    ],
)
def test_lengths_of_attributes(kind: int, good: set[int]) -> None:
    for size in range(20):
        octets = Configuration(CfgType.CFG_REQUEST, (ConfigurationAttribute(kind, bytes(size)),)).encode_body()
        if size in good:
            assert decode_configuration(octets, 0, len(octets)).attributes[0].value == bytes(size)
        else:
            with pytest.raises(InvalidSyntax) as caught:
                decode_configuration(octets, 0, len(octets))
            assert caught.value.octet == 6


@pytest.mark.requirement("IKE-247")
def test_attributes_are_not_of_any_number() -> None:
    def many(count: int) -> bytes:
        return Configuration(CfgType.CFG_REQUEST, (ConfigurationAttribute(20000),) * count).encode_body()

    octets = many(MAX_ATTRIBUTES)
    assert len(decode_configuration(octets, 0, len(octets)).attributes) == MAX_ATTRIBUTES
    with pytest.raises(InvalidSyntax, match="more than 1024"):
        decode_configuration(many(MAX_ATTRIBUTES + 1), 0, len(octets) + 4)


@pytest.mark.parametrize("octets", ["", "01", "010000", "01000000 00", "01000000 000100", "01000000 00010001"])
def test_cut_off(octets: str) -> None:
    data = bytes.fromhex(octets)
    with pytest.raises(InvalidSyntax):
        decode_configuration(data, 0, len(data))


@pytest.mark.parametrize(
    "payload",
    [Configuration(256), Configuration(1, (ConfigurationAttribute(0x8000),)), Configuration(-1)],
)
def test_number_that_does_not_fit_is_our_own_fault(payload: Configuration) -> None:
    with pytest.raises(LocalProtocolError):
        payload.encode_body()


def test_golden_eap() -> None:
    assert Eap(EapCode.SUCCESS, 9).encode_body().hex() == "03090004"
    assert decode_eap(bytes.fromhex("01090006 0161"), 0, 6) == Eap(EapCode.REQUEST, 9, b"\1a")
    found = decode_eap(bytes.fromhex("09090005 01"), 0, 5)
    assert found == Eap(9, 9, b"\1")
    assert type(found.code) is int


@pytest.mark.requirement("IKE-304")
@pytest.mark.parametrize(
    "octets",
    [
        "",
        "030900",
        "03090005",
        "03090003",
        "03090000",
        "03090005 00",
        "04090005 00",
        "01090004",
        "02090004",
        "01090006 01",
        "01090005 0100",
    ],
)
def test_malformed_eap(octets: str) -> None:
    data = bytes.fromhex(octets)
    with pytest.raises(InvalidSyntax):
        decode_eap(data, 0, len(data))
