"""Captures to messages: link layers, IP fragments, TCP segments in any order, both framings."""

from __future__ import annotations

import io
import random
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.framing import PREFIX, Framing, frame_esp, frame_ike
from ikecore.wire import Nonce, encode_message
from ikecore_trio.cli.captures import read_captured
from ikecore_trio.cli.problems import UsageProblem

A4, B4 = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")
A6, B6 = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8::1", "2001:db8::2"))
ESP = b"\xc1\x02\x03\x04\0\0\0\7" + bytes(40)


def message(number: int = 0, octets: int = 32) -> bytes:
    return encode_message(
        spi_i=b"initiatr", spi_r=bytes(8), exchange=34, flags=8, message_id=number, payloads=[Nonce(bytes(octets))]
    )


def udp(data: bytes, source: int, target: int) -> dpkt.udp.UDP:
    return dpkt.udp.UDP(sport=source, dport=target, ulen=8 + len(data), data=data)


def ip4(payload: object, protocol: int = 17, **fields: int) -> dpkt.ip.IP:
    return dpkt.ip.IP(src=A4, dst=B4, p=protocol, data=payload, len=20 + len(bytes(payload)), **fields)  # type: ignore[call-overload]


def tcp(data: bytes, number: int, flags: int = dpkt.tcp.TH_ACK, source: int = 40000, target: int = 500) -> dpkt.ip.IP:
    return ip4(dpkt.tcp.TCP(sport=source, dport=target, seq=number % 2**32, flags=flags, data=data), 6)


def ethernet(packet: dpkt.ip.IP) -> bytes:
    kind = dpkt.ethernet.ETH_TYPE_IP6 if isinstance(packet, dpkt.ip6.IP6) else dpkt.ethernet.ETH_TYPE_IP
    return bytes(dpkt.ethernet.Ethernet(data=packet, type=kind))


def capture(packets: Iterable[bytes], link: int = 1, ng: bool = False) -> bytes:
    file = io.BytesIO()
    writer = dpkt.pcapng.Writer(file) if ng else dpkt.pcap.Writer(file, linktype=link)
    for at, packet in enumerate(packets):
        writer.writepkt(packet, ts=1000.0 + at)
    return file.getvalue()


def read(packets: Iterable[dpkt.ip.IP]) -> list[tuple[int, str, str, bytes]]:
    data = capture(map(ethernet, packets))
    return [(each.number, each.transport, each.kind, each.data) for each in read_captured(data, "file")]


def test_udp_on_both_ports() -> None:
    one, two = message(1), message(2)
    packets = [
        udp(one, 500, 500),
        udp(bytes(4) + two, 4500, 4500),
        udp(b"\xff", 4500, 4500),
        udp(ESP, 4500, 4500),
        udp(b"example.com", 5353, 53),
        udp(b"too short", 500, 500),
    ]
    assert read(map(ip4, packets)) == [
        (1, "UDP", "ike", one),
        (2, "UDP", "ike", two),
        (3, "UDP", "keepalive", b"\xff"),
        (4, "UDP", "esp", ESP),
        (6, "UDP", "ike", b"too short"),
    ]


def test_udp_on_other_ports_is_known_by_its_shape() -> None:
    one = message(1)
    assert read([ip4(udp(one, 40001, 40002)), ip4(udp(bytes(4) + one, 40003, 40004))]) == [
        (1, "UDP", "ike", one),
        (2, "UDP", "ike", one),
    ]


def test_addresses_and_times_are_kept() -> None:
    (found,) = read_captured(capture([ethernet(ip4(udp(message(), 500, 501)))]), "file")
    assert (found.source, found.destination, found.time) == (("192.0.2.1", 500), ("192.0.2.2", 501), 1000.0)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_ip_fragments_in_any_order(order: tuple[int, ...]) -> None:
    one = message(1, 4000)
    payload = bytes(udp(one, 500, 500))
    pieces = [payload[at : at + 1480] for at in range(0, len(payload), 1480)]
    packets = [ip4(piece, id=7, offset=at * 1480, mf=int(at < len(pieces) - 1)) for at, piece in enumerate(pieces)]
    assert read([packets[at] for at in order]) == [(3, "UDP", "ike", one)]


def test_ipv6() -> None:
    one = message(1)
    datagram = udp(one, 500, 500)
    packet = dpkt.ip6.IP6(src=A6, dst=B6, nxt=17, plen=len(bytes(datagram)), hlim=64, data=datagram)
    (found,) = read_captured(capture([ethernet(packet)]), "file")
    assert (found.source, found.kind, found.data) == (("2001:db8::1", 500), "ike", one)


@pytest.mark.parametrize(
    ("link", "wrap"),
    [
        (1, ethernet),
        (101, bytes),
        (228, bytes),
        (0, lambda packet: (2).to_bytes(4, "little") + bytes(packet)),
        (113, lambda packet: b"\0\0\3\4\0\0" + bytes(8) + b"\x08\0" + bytes(packet)),
        (276, lambda packet: b"\x08\0\0\0\0\0\0\1\3\4\0\0" + bytes(8) + bytes(packet)),
    ],
)
def test_link_layers(link: int, wrap: Callable[[dpkt.ip.IP], bytes]) -> None:
    one = message(1)
    data = capture([wrap(ip4(udp(one, 500, 500)))], link)
    assert [(each.kind, each.data) for each in read_captured(data, "file")] == [("ike", one)]


def test_pcapng() -> None:
    one = message(1)
    data = capture([ethernet(ip4(udp(one, 500, 500)))], ng=True)
    assert [(each.kind, each.data) for each in read_captured(data, "file")] == [("ike", one)]


def segments(stream: bytes, first: int, source: int = 40000, target: int = 500, size: int = 100) -> list[dpkt.ip.IP]:
    begin = tcp(b"", first, dpkt.tcp.TH_SYN, source, target)
    cuts = range(0, len(stream), size)
    return [begin, *(tcp(stream[at : at + size], first + 1 + at, source=source, target=target) for at in cuts)]


@pytest.mark.parametrize("first", [1000, 2**32 - 50])
def test_raw_tcp_with_segments_repeated_and_out_of_order(first: int) -> None:
    one, two = message(1, 200), message(2, 256)
    packets = segments(one + two, first)
    shuffled = packets[1:] * 2
    random.Random(4).shuffle(shuffled)
    kinds = [each[1:] for each in read([packets[0], *shuffled])]
    assert kinds == [("TCP", "ike", one), ("TCP", "ike", two)]


def test_overlapping_segments() -> None:
    one = message(1, 200)
    packets = [tcp(b"", 9, dpkt.tcp.TH_SYN), tcp(one[:100], 10), tcp(one[60:], 70)]
    assert read(packets) == [(3, "TCP", "ike", one)]


def test_rfc_9329_in_both_directions() -> None:
    one, two = message(1, 100), message(2, 100)
    there = PREFIX + frame_ike(Framing.ENCAPSULATED, one) + frame_esp(ESP)
    back = frame_ike(Framing.ENCAPSULATED, two)
    packets = [*segments(there, 1, 40000, 4500, 50), *segments(back, 1, 4500, 40000, 50)]
    assert [each[1:] for each in read(packets)] == [("TCP", "ike", one), ("TCP", "esp", ESP), ("TCP", "ike", two)]


def test_tcp_that_is_not_ike_is_passed_over() -> None:
    assert read(segments(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" * 5, 1, 40000, 80)) == []


def test_a_raw_stream_on_another_port_is_known_by_its_shape() -> None:
    one = message(1, 100)
    assert [each[1:] for each in read(segments(one, 1, 40000, 40001))] == [("TCP", "ike", one)]


def test_what_is_missing_is_told() -> None:
    one = message(1, 200)
    cut = read(segments(one, 1)[:-1])
    gap = read([each for at, each in enumerate(segments(one + one, 1)) if at != 2])
    assert [kind for _, _, kind, _ in cut] == ["fault"]
    assert [kind for _, _, kind, _ in gap] == ["fault"]


def test_a_stream_that_cannot_be_cut_is_told_once() -> None:
    broken = message(1, 100)[:24] + b"\0\0\0\5" + bytes(400)
    assert [kind for _, _, kind, _ in read(segments(broken, 1))] == ["fault"]


def test_an_unknown_link_type() -> None:
    with pytest.raises(UsageProblem, match="link type 105; read are the types 0, 1, 12"):
        read_captured(capture([b"x"], 105), "file")


def test_a_header_that_is_cut_off() -> None:
    with pytest.raises(UsageProblem, match="file: not a readable capture"):
        read_captured(capture([])[:10], "file")


@given(st.integers(0, 400), st.binary(max_size=4), st.randoms(use_true_random=False))
def test_damaged_captures_raise_nothing_else(cut: int, noise: bytes, rng: random.Random) -> None:
    data = bytearray(capture([ethernet(ip4(udp(message(1), 500, 500))), ethernet(tcp(message(2), 1))]))
    at = rng.randrange(len(data))
    data[at : at + len(noise)] = noise
    with suppress(UsageProblem):
        read_captured(bytes(data[: max(1, len(data) - cut)]), "file")
