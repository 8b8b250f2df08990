"""NAT detection and sources (RFC 7296 section 2.23)."""

from __future__ import annotations

import hashlib

import pytest

from ikecore.transport import NatFacts, detect, nat_digest, source_key
from ikecore.wire import Notification, decode_envelope
from ikecore.wire.numbers import Notify
from tests.recorded import exchanges

SPI_I, SPI_R = bytes.fromhex("0123456789abcdef"), bytes.fromhex("fedcba9876543210")
V4, V6 = ("192.0.2.1", 500), ("2001:db8::1", 4500)


@pytest.mark.requirement("IKE-207")
@pytest.mark.parametrize(
    ("address", "octets"),
    [
        (V4, "c0000201" + "01f4"),
        (("192.0.2.1", 65535), "c0000201" + "ffff"),
        (V6, "20010db8000000000000000000000001" + "1194"),
    ],
)
@pytest.mark.parametrize("spi_r", [SPI_R, bytes(8)], ids=["answered", "first message"])
def test_the_digest_is_of_spis_address_and_port(address: tuple[str, int], octets: str, spi_r: bytes) -> None:
    expected = hashlib.sha1(SPI_I + spi_r + bytes.fromhex(octets)).digest()
    assert nat_digest(SPI_I, spi_r, address) == expected


@pytest.mark.requirement("IKE-206", "IKE-207")
def test_the_digests_of_a_recorded_exchange_are_ours() -> None:
    """What another implementation sent without a NAT in between."""
    request, response = exchanges()["strongswan-udp-psk-aes-gcm"]["messages"][:2]
    for message, peer in ((request, response), (response, request)):
        envelope = decode_envelope(bytes.fromhex(message["hex"]))
        header = envelope.header
        found = {each.notify_type: each.data for each in envelope.payloads if isinstance(each, Notification)}
        for kind, host in (
            (Notify.NAT_DETECTION_SOURCE_IP, message["src"]),
            (Notify.NAT_DETECTION_DESTINATION_IP, peer["src"]),
        ):
            assert found[kind] == nat_digest(header.spi_i, header.spi_r, (host, 500))


def seen(*, sources: list[tuple[str, int]], destinations: list[tuple[str, int]]) -> NatFacts:
    """What we find as V6 when a peer at V4 sends digests of these addresses."""
    return detect(
        SPI_I,
        SPI_R,
        sources=[nat_digest(SPI_I, SPI_R, address) for address in sources],
        destinations=[nat_digest(SPI_I, SPI_R, address) for address in destinations],
        remote=V4,
        local=V6,
    )


OTHER = ("10.0.0.1", 500)


@pytest.mark.requirement("IKE-206", "IKE-208", "IKE-209")
@pytest.mark.parametrize(
    ("sources", "destinations", "local", "peer"),
    [
        ([V4], [V6], False, False),
        ([OTHER], [V6], False, True),
        ([V4], [OTHER], True, False),
        ([OTHER], [OTHER], True, True),
        ([OTHER, V4], [V6], False, False),
        ([OTHER, ("10.0.0.2", 500)], [V6], False, True),
        ([], [], False, False),
        ([], [OTHER], True, False),
        ([OTHER], [], False, True),
        ([(V4[0], 501)], [V6], False, True),
        ([V4], [(V6[0], 500)], True, False),
    ],
)
def test_who_is_behind_a_nat(
    sources: list[tuple[str, int]], destinations: list[tuple[str, int]], local: bool, peer: bool
) -> None:
    facts = seen(sources=sources, destinations=destinations)
    assert facts == NatFacts(local_behind_nat=local, peer_behind_nat=peer)
    assert facts.any is (local or peer)


@pytest.mark.requirement("IKE-209")
def test_digests_of_another_length_match_nothing() -> None:
    facts = detect(SPI_I, SPI_R, sources=[b""], destinations=[b"short"], remote=V4, local=V6)
    assert facts == NatFacts(local_behind_nat=True, peer_behind_nat=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:0:1::", "2001:db8::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "32.1.13.184", False),
    ],
)
def test_a_source_is_an_address_or_a_slash_64(one: str, other: str, same: bool) -> None:
    assert (source_key(one) == source_key(other)) is same
