"""Traffic selectors as sets (RFC 7296 sections 2.9 and 3.13)."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import LocalProtocolError
from ikecore.sa.selectors import covers, host_selector, in_words, intersect, narrow, parse_selector
from ikecore.wire import TrafficSelector, UnknownSelector
from ikecore.wire.numbers import TsType

OPAQUE = (65535, 0)
SMALL = st.integers(0, 12)


@st.composite
def selectors(draw: st.DrawFn, numbers: st.SearchStrategy[int] = SMALL) -> TrafficSelector:
    """Selectors over a universe so small that they meet often."""
    six = draw(st.booleans())
    low, high = sorted((draw(numbers), draw(numbers)))
    ports = draw(
        st.one_of(st.just((0, 65535)), st.just(OPAQUE), st.tuples(SMALL, SMALL).map(lambda pair: sorted(pair)))
    )
    size = 16 if six else 4
    return TrafficSelector(
        TsType.TS_IPV6_ADDR_RANGE if six else TsType.TS_IPV4_ADDR_RANGE,
        draw(st.sampled_from((0, 6, 17))),
        ports[0],
        ports[1],
        low.to_bytes(size, "big"),
        high.to_bytes(size, "big"),
    )


Packet = tuple[int, int, int | None, int]
"""Family, protocol, port (None where it cannot be seen), address."""

PACKETS: list[Packet] = [
    (family, protocol, port, address)
    for family in (4, 6)
    for protocol in (6, 17)
    for port in (None, 0, 3, 7, 12, 13, 65535)
    for address in range(14)
]


def selects(selector: TrafficSelector, packet: Packet) -> bool:
    """The meaning of a selector, written down independently of sets: does it select this packet?"""
    family, protocol, port, address = packet
    ports = (selector.start_port, selector.end_port)
    if ports == (0, 65535):
        port_fits = True
    elif ports == OPAQUE:
        port_fits = port is None
    else:
        port_fits = port is not None and ports[0] <= port <= ports[1]
    return (
        (selector.ts_type == TsType.TS_IPV6_ADDR_RANGE) == (family == 6)
        and selector.protocol in (0, protocol)
        and port_fits
        and int.from_bytes(selector.start, "big") <= address <= int.from_bytes(selector.end, "big")
    )


def selected(*chosen: TrafficSelector) -> set[Packet]:
    return {packet for packet in PACKETS if any(selects(selector, packet) for selector in chosen)}


@given(outer=selectors(), inner=selectors())
def test_what_covers_another_has_all_of_it_in_common(outer: TrafficSelector, inner: TrafficSelector) -> None:
    assert covers(outer, inner) is (intersect(outer, inner) == inner)
    common = intersect(outer, inner)
    assert common is None or (covers(outer, common) and covers(inner, common))


@pytest.mark.requirement("IKE-285", "IKE-286")
@given(selectors(), selectors())
def test_an_intersection_selects_what_both_select(one: TrafficSelector, other: TrafficSelector) -> None:
    common = intersect(one, other)
    both = selected(one) & selected(other)
    assert (selected(common) if common is not None else set()) == both
    assert intersect(other, one) == common
    assert intersect(one, one) == one


@given(selectors(), selectors())
def test_covering_is_selecting_no_more(outer: TrafficSelector, inner: TrafficSelector) -> None:
    if covers(outer, inner):
        assert selected(inner) <= selected(outer)
    assert covers(outer, outer)


@pytest.mark.requirement("IKE-139", "IKE-140", "IKE-141", "IKE-142")
@given(st.lists(selectors(), max_size=6), st.lists(selectors(), max_size=6))
def test_narrowing_gives_what_both_sides_select(offered: list[TrafficSelector], allowed: list[TrafficSelector]) -> None:
    narrowed = narrow(offered, allowed)
    assert selected(*narrowed) == selected(*offered) & selected(*allowed)
    for index, one in enumerate(narrowed):
        assert any(covers(each, one) for each in offered)
        assert any(covers(each, one) for each in allowed)
        assert not any(covers(other, one) for place, other in enumerate(narrowed) if place != index)
    if offered and any(covers(rule, offered[0]) for rule in allowed):
        assert any(covers(each, offered[0]) for each in narrowed)


@pytest.mark.requirement("IKE-140", "IKE-247")
@given(st.lists(selectors(), min_size=1, max_size=8), st.lists(selectors(), min_size=1, max_size=8), st.integers(1, 4))
def test_narrowing_is_bounded_and_keeps_the_first(
    offered: list[TrafficSelector], allowed: list[TrafficSelector], most: int
) -> None:
    narrowed = narrow(offered, allowed, most)
    assert len(narrowed) <= most
    if any(covers(rule, offered[0]) for rule in allowed):
        assert any(covers(each, offered[0]) for each in narrowed)


@pytest.mark.requirement("IKE-136")
def test_selectors_of_unknown_type_are_left_out() -> None:
    known = parse_selector("10.0.0.0/24")
    assert narrow([UnknownSelector(200, 0, b"abc"), known], [known]) == (known,)
    assert narrow([UnknownSelector(200, 0, b"abc")], [known]) == ()


@pytest.mark.requirement("IKE-137", "IKE-138", "IKE-139")
def test_examples_from_a_gateway() -> None:
    net, packet = parse_selector("10.1.0.0/16"), parse_selector("10.1.2.3[tcp/443]")
    anything = parse_selector("0.0.0.0/0")
    assert narrow([packet, anything], [net]) == (net,)
    assert narrow([packet], [net]) == (packet,)
    assert narrow([anything], [parse_selector("10.0.0.0/24"), parse_selector("10.1.0.0/24[udp]")]) == (
        parse_selector("10.0.0.0/24"),
        parse_selector("10.1.0.0/24[udp]"),
    )
    assert narrow([parse_selector("192.0.2.0/24")], [net]) == ()
    assert narrow([parse_selector("2001:db8::/32")], [net]) == ()


@pytest.mark.requirement("IKE-286")
def test_opaque_ports_meet_themselves_and_any() -> None:
    any_port = parse_selector("10.0.0.1[udp]")
    opaque = TrafficSelector(any_port.ts_type, 17, 65535, 0, any_port.start, any_port.end)
    assert intersect(opaque, opaque) == opaque
    assert intersect(opaque, any_port) == opaque
    assert intersect(any_port, opaque) == opaque
    assert intersect(opaque, parse_selector("10.0.0.1[udp/53]")) is None


# --- words --------------------------------------------------------------------------------------------------------


@given(selectors(st.integers(0, 0xFFFF_FFFF)))
def test_words_are_read_as_they_are_written(selector: TrafficSelector) -> None:
    assert parse_selector(in_words(selector)) == selector


@pytest.mark.requirement("IKE-285", "IKE-286", "IKE-288")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.0/24", "10.0.0.0/24"),
        ("10.0.0.77/24", "10.0.0.0/24"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1"),
        ("10.0.0.1 - 10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:db8::1-2001:db8::3", "2001:db8::1-2001:db8::3"),
        ("10.0.0.1[tcp]", "10.0.0.1[6]"),
        ("10.0.0.1[tcp/any]", "10.0.0.1[6]"),
        ("10.0.0.1[tcp/443]", "10.0.0.1[6/443]"),
        (" 10.0.0.1 [17/53-99] ", "10.0.0.1[17/53-99]"),
        ("10.0.0.1[0/53]", "10.0.0.1[0/53]"),
        ("10.0.0.1[udp/opaque]", "10.0.0.1[17/opaque]"),
        ("::1[ipv6-icmp/34560]", "::1[58/34560]"),
        ("10.0.0.1[icmp/8.0]", "10.0.0.1[1/2048]"),
        ("10.0.0.1[1/3.*]", "10.0.0.1[1/768-1023]"),
        ("10.0.0.1[sctp/1-65535]", "10.0.0.1[132/1-65535]"),
    ],
)
def test_selectors_in_words(text: str, words: str) -> None:
    assert in_words(parse_selector(text)) == words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nowhere",
        "10.0.0.0/33",
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-2001:db8::1",
        "10.0.0.1-",
        "10.0.0.1[",
        "10.0.0.1[tcp",
        "10.0.0.1]",
        "10.0.0.1[carrier-pigeon]",
        "10.0.0.1[256]",
        "10.0.0.1[tcp/65536]",
        "10.0.0.1[tcp/9-1]",
        "10.0.0.1[tcp/http]",
        "10.0.0.1[tcp/8.0]",
        "10.0.0.1[icmp/256.0]",
        "10.0.0.1[icmp/8.256]",
        "10.0.0.1[icmp/8.]",
        "10.0.0.1[]",
    ],
)
def test_a_selector_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="write an address, a network or first-last") as caught:
        parse_selector(text)
    assert repr(text) in str(caught.value)


def test_an_unknown_selector_has_words_too() -> None:
    assert in_words(UnknownSelector(200, 0, b"")) == "selector of type 200"


@given(st.ip_addresses())
def test_one_host(address: IPv4Address) -> None:
    selector = host_selector(str(address))
    assert selector.start == selector.end == address.packed
    assert (selector.protocol, selector.start_port, selector.end_port) == (0, 0, 65535)
    assert ip_address(in_words(selector)) == address
