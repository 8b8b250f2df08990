"""Traffic selectors: golden octets and each rule."""

from __future__ import annotations

import pytest

from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire import TrafficSelector, TrafficSelectorsInitiator, TrafficSelectorsResponder, UnknownSelector
from ikecore.wire.numbers import TsType
from ikecore.wire.selectors import Selector, decode_traffic_selectors_initiator, decode_traffic_selectors_responder

NET = bytes.fromhex("07 00 0010 0000 ffff 0a000000 0a0000ff")
V6 = bytes.fromhex("08 3a 0028 8000 80ff") + bytes(16) + b"\xff" * 16


def read(octets: bytes) -> tuple[Selector, ...]:
    one = decode_traffic_selectors_initiator(octets, 0, len(octets)).selectors
    assert decode_traffic_selectors_responder(octets, 0, len(octets)).selectors == one
    return one


def payload(*selectors: bytes, count: int | None = None) -> bytes:
    return bytes((len(selectors) if count is None else count, 0, 0, 0)) + b"".join(selectors)


@pytest.mark.requirement("IKE-285", "IKE-286")
def test_golden_selectors() -> None:
    octets = payload(NET, V6)
    four, six = read(octets)
    assert four == TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, 0, 65535, b"\n\0\0\0", b"\n\0\0\xff")
    assert six == TrafficSelector(TsType.TS_IPV6_ADDR_RANGE, 58, 0x8000, 0x80FF, bytes(16), b"\xff" * 16)
    assert TrafficSelectorsInitiator((four, six)).encode_body() == octets
    assert TrafficSelectorsResponder((four, six)).encode_body() == octets


@pytest.mark.requirement("IKE-288")
def test_icmp_type_and_code_are_the_octets_of_a_port() -> None:
    (selector,) = read(payload(V6))
    assert isinstance(selector, TrafficSelector)
    assert (selector.start_port >> 8, selector.start_port & 255, selector.end_port & 255) == (128, 0, 255)


@pytest.mark.requirement("IKE-286")
def test_opaque_ports_are_allowed_and_other_downward_ports_are_not() -> None:
    (selector,) = read(payload(NET[:4] + bytes.fromhex("ffff 0000") + NET[8:]))
    assert isinstance(selector, TrafficSelector)
    assert (selector.start_port, selector.end_port) == (65535, 0)
    for ports in ("ffff 0001", "0002 0001", "0001 0000"):
        with pytest.raises(InvalidSyntax, match="ports go downwards"):
            read(payload(NET[:4] + bytes.fromhex(ports) + NET[8:]))


@pytest.mark.requirement("IKE-287")
def test_addresses_that_go_downwards_are_malformed() -> None:
    with pytest.raises(InvalidSyntax, match="addresses go downwards"):
        read(payload(NET[:8] + NET[12:] + NET[8:12]))


@pytest.mark.requirement("IKE-287")
@pytest.mark.parametrize(("selectors", "count"), [((), 0), ((NET,), 0), ((NET,), 2), ((NET, NET), 1), ((NET,), 255)])
def test_number_of_selectors_has_to_be_true_and_not_zero(selectors: tuple[bytes, ...], count: int) -> None:
    with pytest.raises(InvalidSyntax):
        read(payload(*selectors, count=count))


@pytest.mark.requirement("IKE-285")
@pytest.mark.parametrize("length", [0, 3, 4, 8, 15, 17, 40, 65535])
def test_length_is_that_of_the_type(length: int) -> None:
    with pytest.raises(InvalidSyntax):
        read(payload(NET[:2] + length.to_bytes(2, "big") + NET[4:] + bytes(max(0, min(length, 60) - 16))))


def test_selector_of_unknown_type_is_kept() -> None:
    octets = payload(NET, bytes.fromhex("0a 00 0009 0000 6c6162"), NET)
    assert read(octets)[1] == UnknownSelector(TsType.TS_SECLABEL, 0, b"\0\0lab")
    assert TrafficSelectorsInitiator(read(octets)).encode_body() == octets


@pytest.mark.requirement("IKE-086")
def test_reserved_octets_are_ignored() -> None:
    assert read(b"\x01\xff\xff\xff" + NET) == read(payload(NET))


@pytest.mark.parametrize("count", [0, 256])
def test_impossible_number_of_selectors_is_our_own_fault(count: int) -> None:
    selector = TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, 0, 65535, bytes(4), bytes(4))
    with pytest.raises(LocalProtocolError):
        TrafficSelectorsInitiator((selector,) * count).encode_body()


def test_addresses_of_the_wrong_family_are_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, 0, 65535, bytes(16), bytes(16)).encode()
