"""Notify and Delete payloads, and what notification data mean."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire import Delete, Notification, decode_payloads, encode_payloads, notify_data
from ikecore.wire.notify import decode_delete, decode_notification
from ikecore.wire.notify_data import IpCompSupported
from ikecore.wire.numbers import (
    IKE_TCP_SUPPORTED_DEFAULT,
    HashAlgorithm,
    IpCompTransform,
    Ke,
    Notify,
    Protocol,
)


@pytest.mark.requirement("TCP-48", "TCP-49", "TCP-50", "TCP-51", "TCP-54")
def test_golden_ike_tcp_supported() -> None:
    for number in (IKE_TCP_SUPPORTED_DEFAULT, 41234):
        payload = Notification(number, notify_data.encode_tcp_port(500))
        octets = bytes.fromhex("0000000a0000") + number.to_bytes(2, "big") + bytes.fromhex("01f4")
        assert encode_payloads([payload]) == (41, octets)
        assert decode_payloads(41, octets, 0, 10) == [payload]
        assert notify_data.decode_tcp_port(payload.data) == 500


@pytest.mark.requirement("TCP-55")
@pytest.mark.parametrize("data", [b"", b"\1", b"\1\2\3", b"\0\0", b"\0\0\1\xf4"])
def test_unusable_ike_tcp_supported_is_no_port_and_no_error(data: bytes) -> None:
    body = Notification(IKE_TCP_SUPPORTED_DEFAULT, data).encode_body()
    assert notify_data.decode_tcp_port(decode_notification(body, 0, len(body)).data) is None


@pytest.mark.requirement("FRAG-04")
def test_golden_fragmentation_supported() -> None:
    assert encode_payloads([Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])[1].hex() == "000000080000402e"


@pytest.mark.requirement("IKE-276")
def test_golden_rekey_sa() -> None:
    octets = bytes.fromhex("03044009 01020304")
    payload = Notification(Notify.REKEY_SA, b"", Protocol.ESP, b"\1\2\3\4")
    assert payload.encode_body() == octets
    assert decode_notification(octets, 0, 8) == payload
    assert notify_data.rekeyed_sa(payload) == (Protocol.ESP, b"\1\2\3\4")


@pytest.mark.requirement("TCP-50", "IKE-277")
@pytest.mark.parametrize("protocol", [0, 1, 3, 255])
def test_protocol_without_spi_is_ignored_and_not_sent(protocol: int) -> None:
    octets = bytes((protocol, 0)) + bytes.fromhex("4006") + b"cookie"
    assert decode_notification(octets, 0, len(octets)) == Notification(Notify.COOKIE, b"cookie")
    assert Notification(Notify.COOKIE, b"cookie", protocol).encode_body()[0] == 0


@pytest.mark.requirement("IKE-278")
@pytest.mark.parametrize("size", [1, 4, 255])
def test_spi_beyond_the_payload_is_malformed(size: int) -> None:
    octets = bytes((3, size)) + bytes.fromhex("4009") + bytes(size)
    assert decode_notification(octets, 0, len(octets)).spi == bytes(size)
    with pytest.raises(InvalidSyntax, match="SPI"):
        decode_notification(octets, 0, len(octets) - 1)


@pytest.mark.parametrize("size", range(4))
def test_too_short(size: int) -> None:
    for decode in (decode_notification, decode_delete):
        with pytest.raises(InvalidSyntax, match="too short"):
            decode(bytes(9), 1, 1 + size)


@pytest.mark.requirement("IKE-280")
def test_range_of_errors() -> None:
    assert Notification(Notify.INVALID_SYNTAX).is_error
    assert Notification(16383).is_error
    assert not Notification(16384).is_error


@pytest.mark.requirement("IKE-282")
@pytest.mark.parametrize(
    ("octets", "good"),
    [
        ("01000000", True),
        ("01000001", False),
        ("01080001 0102030405060708", False),
        ("01040000", False),
        ("03040000", True),
        ("03040002 0102030405060708", True),
        ("03080001 0102030405060708", False),
        ("02040001 01020304", True),
        ("02000000", False),
        ("63030001 010203", True),
    ],
)
def test_deletes(octets: str, good: bool) -> None:
    data = bytes.fromhex(octets)
    if good:
        found = decode_delete(data, 0, len(data))
        assert found.encode_body() == data
        assert len(found.spis) == data[3]
    else:
        with pytest.raises(InvalidSyntax):
            decode_delete(data, 0, len(data))


@pytest.mark.requirement("IKE-283")
@pytest.mark.parametrize(
    "octets", ["03040001", "03040001 0102030405", "03040002 01020304", "0304ffff 01020304", "6300ffff"]
)
def test_number_of_spis_has_to_be_true(octets: str) -> None:
    data = bytes.fromhex(octets)
    with pytest.raises(InvalidSyntax):
        decode_delete(data, 0, len(data))


@pytest.mark.parametrize("delete", [Delete(1, (b"spi of 8",)), Delete(3, (b"abc",)), Delete(99, (b"a", b"bc"))])
def test_spis_of_the_wrong_size_are_our_own_fault(delete: Delete) -> None:
    with pytest.raises(LocalProtocolError):
        delete.encode_body()


Decode = Callable[[bytes], object]


@pytest.mark.parametrize(
    ("decode", "data", "value"),
    [
        (notify_data.decode_cookie, "00", b"\0"),
        (notify_data.decode_cookie, "00" * 64, bytes(64)),
        (notify_data.decode_cookie, "", None),
        (notify_data.decode_cookie, "00" * 65, None),
        (notify_data.decode_critical_payload, "c8", 200),
        (notify_data.decode_critical_payload, "", None),
        (notify_data.decode_critical_payload, "c8c8", None),
        (notify_data.decode_wanted_group, "001f", Ke.CURVE25519),
        (notify_data.decode_wanted_group, "ff00", 0xFF00),
        (notify_data.decode_wanted_group, "1f", None),
        (notify_data.decode_wanted_group, "00001f", None),
        (notify_data.decode_message_id, "00000007", 7),
        (notify_data.decode_message_id, "000007", None),
        (notify_data.decode_window_size, "00000005", 5),
        (notify_data.decode_window_size, "00000000", None),
        (notify_data.decode_window_size, "05", None),
        (notify_data.decode_nat_detection, "11" * 20, b"\x11" * 20),
        (notify_data.decode_nat_detection, "11" * 19, None),
        (notify_data.decode_hash_algorithms, "00020005ffff", (HashAlgorithm.SHA2_256, HashAlgorithm.IDENTITY, 0xFFFF)),
        (notify_data.decode_hash_algorithms, "", ()),
        (notify_data.decode_hash_algorithms, "000200", None),
        (notify_data.decode_ipcomp_supported, "123402", IpCompSupported(0x1234, IpCompTransform.IPCOMP_DEFLATE)),
        (notify_data.decode_ipcomp_supported, "1234ff00", IpCompSupported(0x1234, 255, b"\0")),
        (notify_data.decode_ipcomp_supported, "1234", None),
        (notify_data.decode_auth_lifetime, "00000e10", 3600),
        (notify_data.decode_auth_lifetime, "0e10", None),
        (notify_data.decode_additional_address, "0a000001", IPv4Address("10.0.0.1")),
        (notify_data.decode_additional_address, "00" * 15 + "01", IPv6Address("::1")),
        (notify_data.decode_additional_address, "00" * 5, None),
    ],
)
def test_notification_data(decode: Decode, data: str, value: object) -> None:
    assert decode(bytes.fromhex(data)) == value


def test_data_functions_survive_the_wire() -> None:
    data = notify_data
    assert data.decode_wanted_group(data.encode_wanted_group(Ke.ECP_256)) is Ke.ECP_256
    assert data.decode_message_id(data.encode_message_id(2**32 - 1)) == 2**32 - 1
    assert data.decode_window_size(data.encode_window_size(9)) == 9
    assert data.decode_hash_algorithms(data.encode_hash_algorithms((2, 5))) == (2, 5)
    assert data.decode_auth_lifetime(data.encode_auth_lifetime(60)) == 60
    assert data.decode_tcp_port(data.encode_tcp_port(65535)) == 65535
    ipcomp = IpCompSupported(7, IpCompTransform.IPCOMP_LZS, b"x")
    assert data.decode_ipcomp_supported(data.encode_ipcomp_supported(ipcomp)) == ipcomp
    for text in ("192.0.2.1", "2001:db8::1"):
        address = IPv4Address(text) if "." in text else IPv6Address(text)
        assert data.decode_additional_address(data.encode_additional_address(address)) == address


@given(st.sampled_from(sorted(notify_data.DATA)), st.binary(max_size=70))
def test_any_data_are_a_value_or_none(kind: int, data: bytes) -> None:
    notify_data.DATA[kind](data)


@pytest.mark.parametrize(
    "notification",
    [
        Notification(Notify.REKEY_SA),
        Notification(Notify.REKEY_SA, b"", Protocol.IKE, b"\1\2\3\4"),
        Notification(Notify.REKEY_SA, b"", Protocol.ESP, b"\1\2\3\4\5\6\7\x08"),
    ],
)
def test_rekey_sa_without_a_child_sa(notification: Notification) -> None:
    assert notify_data.rekeyed_sa(notification) is None


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_impossible_port_is_our_own_fault(port: int) -> None:
    with pytest.raises(LocalProtocolError):
        notify_data.encode_tcp_port(port)
