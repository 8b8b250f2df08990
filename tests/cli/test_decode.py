"""`ikecore decode` on recorded messages: payloads, sections, offsets, and the octet at which something is wrong."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

from ikecore.crypto import Identity
from ikecore.testing import Pair, Udp, psk_connection
from ikecore_trio.cli.key_table import row_of

ROOT = Path(__file__).resolve().parents[1]


@cache
def recorded(name: str) -> tuple[list[bytes], str]:
    """Return the messages of a recorded exchange, and its keys as a table."""
    content: dict[str, Any] = json.loads((ROOT / "vectors" / f"{name}.json").read_text())
    rows = [
        f'{sa["spi_i"]},{sa["spi_r"]},{sa["sk_ei"]},{sa["sk_er"]},"{sa["encr"]}",'
        f'{sa.get("sk_ai", "")},{sa.get("sk_ar", "")},"{sa["integ"]}"\n'
        for sa in content["ike_sas"]
    ]
    return [bytes.fromhex(message["hex"]) for message in content["messages"]], "".join(rows)


INIT = """\
#1  296 octets
IKE_SA_INIT request 0, from the original initiator
  0-27       HDR  IKE header, RFC 7296 section 3.1
             initiator's SPI  d494a0b2ac42843f
             responder's SPI  0000000000000000
             version          2.0
             exchange         IKE_SA_INIT
             flags            0x08 (initiator)
             Message ID       0
             length           296
  28-67      SA  Security Association, RFC 7296 section 3.3
             proposal 1  IKE: AES_GCM_16-256, HMAC_SHA2_384, ECP_384
  68-171     KE  Key Exchange, RFC 7296 section 3.4
             method  ECP_384
             data    8d5cade712523d85a191439a4fc4343a37ba8ffb76d9e36e98883749ee1
                     4f5b0324d8a3a641e82fd5c3db3a13e7fd916... (96 octets)
  172-207    NONCE  Nonce, RFC 7296 section 3.9
             data  0c3abca3321e14ce1c95fb3e6b3f39515102fe30b016b165363b3f62f851b
                   6a3
  208-235    N(NAT_DETECTION_SOURCE_IP)  Notify, RFC 7296 section 3.10
             kind  status 16388
             data  75a1c4c10092ca53a3911f57be8a6710eaede389
  236-263    N(NAT_DETECTION_DESTINATION_IP)  Notify, RFC 7296 section 3.10
             kind  status 16389
             data  22966e7ba3a66f20fd6e0233dc19c036110d7f2a
  264-271    N(IKEV2_FRAGMENTATION_SUPPORTED)  Notify, RFC 7296 section 3.10
             kind  status 16430
  272-287    N(SIGNATURE_HASH_ALGORITHMS)  Notify, RFC 7296 section 3.10
             kind  status 16431
             data  SHA2_256, SHA2_384, SHA2_512, IDENTITY
  288-295    N(REDIRECT_SUPPORTED)  Notify, RFC 7296 section 3.10
             kind  status 16406

"""


def test_a_recorded_message(run: Any, tmp_path: Path) -> None:
    messages, _ = recorded("strongswan-udp-psk-aes-gcm")
    for content in (messages[0], messages[0].hex().encode()):
        path = tmp_path / "message"
        path.write_bytes(content)
        result = run("decode", path)
        assert (result.stdout, result.exit_code) == (INIT, 0)
        result = run("decode", input=content)
        assert (result.stdout, result.exit_code) == (INIT, 0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "strongswan-udp-psk-aes-gcm",
            ['identity  "a.lab"', "SHARED_KEY_MESSAGE_INTEGRITY_CODE", "REKEY_SA"],
        ),
        ("strongswan-udp-psk-aes-cbc", ["TSi  Traffic Selectors of the initiator", "10.1.0.0 to 10.1.255.255"]),
        (
            "strongswan-udp-cert-frag",
            ["3 of 3: 287 octets decrypted; all are there, and make 2653 octets", "CERT "],
        ),
        ("libreswan-tcp-shim", ["IKE_AUTH response 1", "D  Delete"]),
    ],
)
def test_with_keys_everything_is_shown(run: Any, tmp_path: Path, name: str, words: Any) -> None:
    messages, keys = recorded(name)
    (tmp_path / "keys").write_text(keys)
    (tmp_path / "messages").write_text("\n\n".join(message.hex() for message in messages))
    result = run("decode", tmp_path / "messages", "--keys", tmp_path / "keys")
    assert result.exit_code == 0, result.stdout
    for word in words:
        assert word in result.stdout
    assert "WRONG" not in result.stdout
    opened = ("decrypted (offsets count from", " octets decrypted\n", "decrypted: there is no payload inside")
    assert sum(map(result.stdout.count, opened)) == sum(message[16] in (46, 53) for message in messages)
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_fragments_that_got_smaller_are_joined_with_their_like(run: Any, tmp_path: Path) -> None:
    """Recorded between two endpoints where 576 octets pass; one large fragment comes late."""
    us, them = (Identity.parse(f"keyid:{letter * 3000}") for letter in "ir")
    ours = attrs.evolve(psk_connection("initiator"), local_identity=us, remote_identity=them)
    theirs = attrs.evolve(psk_connection("responder"), local_identity=them, remote_identity=us)
    pair = Pair(ours, theirs, udp=Udp(max_datagram=548))
    sa, _ = pair.establish()
    messages = [packet.data for packet in pair.network.wire if packet.source[0] == "10.0.0.1"]
    large = [data for data in messages if len(data) > 600]
    messages.insert(-3, large[0])
    (tmp_path / "keys").write_text(row_of(pair.initiator.endpoint.sa(sa).export_keys()))
    (tmp_path / "messages").write_text("\n\n".join(message.hex() for message in messages))
    result = run("decode", tmp_path / "messages", "--keys", tmp_path / "keys")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0, result.stdout
    assert re.search(r"fragment 1 of 6: \d+ octets decrypted; the sender has begun anew with 13 smaller ones", text)
    assert len(re.findall(r"all are there, and make 6244 octets", text)) == 4, "three times large, once small"
    assert "IDi Identification" in text


def test_without_keys_it_says_so(run: Any) -> None:
    messages, _ = recorded("strongswan-udp-psk-aes-gcm")
    result = run("decode", input=messages[2])
    assert "  encrypted; --keys FILE decrypts it\n" in result.stdout
    assert result.exit_code == 0


def test_keys_of_another_sa(run: Any, tmp_path: Path) -> None:
    messages, _ = recorded("strongswan-udp-psk-aes-gcm")
    (tmp_path / "keys").write_text(recorded("strongswan-udp-psk-aes-cbc")[1])
    result = run("decode", "-", "--keys", tmp_path / "keys", input=messages[2])
    assert "the key table has no row for these SPIs" in result.stdout


def test_an_algorithm_that_we_do_not_compute(run: Any, tmp_path: Path) -> None:
    messages, keys = recorded("strongswan-udp-psk-aes-gcm")
    (tmp_path / "keys").write_text(keys.replace("AES-GCM-256 with 16 octet ICV [RFC5282]", "3DES [RFC2451]"))
    result = run("decode", "-", "--keys", tmp_path / "keys", input=messages[2])
    assert "not decrypted: 3DES [RFC2451] is not known here" in result.stdout


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (25, 0xFF, "WRONG: Length is 16711976, the message has 296 octets (octet 24)"),
        (17, 0x10, "WRONG: major version 1 is not supported (octet 17)"),
        (31, 0x03, "WRONG: payload 33 says it is 3 octets long (octet 30)"),
        (63, 0x0F, "  WRONG: "),
        (175, 0x0F, "(octet 17"),
    ],
)
def test_the_octet_at_fault_is_named(run: Any, at: int, value: int, words: Any) -> None:
    message = bytearray(recorded("strongswan-udp-psk-aes-gcm")[0][0])
    message[at] = value
    result = run("decode", input=bytes(message))
    assert words in result.stdout
    assert result.exit_code == 1


def test_a_wrong_icv(run: Any, tmp_path: Path) -> None:
    messages, keys = recorded("strongswan-udp-psk-aes-gcm")
    (tmp_path / "keys").write_text(keys)
    message = bytearray(messages[2])
    message[-1] ^= 1
    result = run("decode", "-", "--keys", tmp_path / "keys", input=bytes(message))
    assert "WRONG: the Integrity Check Value is wrong (octet " in result.stdout
    assert result.exit_code == 1


def test_a_message_without_the_payloads_of_its_exchange(run: Any) -> None:
    from ikecore.wire import Nonce, encode_message

    message = encode_message(
        spi_i=b"initiatr", spi_r=bytes(8), exchange=34, flags=8, message_id=0, payloads=[Nonce(bytes(32))]
    )
    result = run("decode", input=message)
    assert "  0-27       HDR" in result.stdout
    assert "WRONG: " in result.stdout
    assert result.exit_code == 1


def test_json_is_one_object_per_message(run: Any, tmp_path: Path) -> None:
    messages, keys = recorded("strongswan-udp-psk-aes-gcm")
    (tmp_path / "keys").write_text(keys)
    result = run("decode", "-", "--json", "--keys", tmp_path / "keys", input=messages[0] + messages[2])
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["title"] == "IKE_SA_INIT request 0, from the original initiator"
    assert (first["octets"], first["faults"], first["decrypted"]) == (296, [], [])
    assert first["payloads"][1] == {
        "name": "SA",
        "title": "Security Association",
        "section": "RFC 7296 section 3.3",
        "offset": 28,
        "length": 40,
        "fields": [["proposal 1", "IKE: AES_GCM_16-256, HMAC_SHA2_384, ECP_384"]],
        "error": None,
        "octet": None,
    }
    assert [part["name"] for part in second["decrypted"]][:4] == ["IDi", "N(INITIAL_CONTACT)", "IDr", "AUTH"]


def test_words_of_the_peer_stay_on_their_line(run: Any) -> None:
    from ikecore.wire import Nonce, Payload, VendorId, encode_message

    payloads: list[Payload] = [Nonce(bytes(32)), VendorId(b"\x1b[2Jevil\nRC 0")]
    message = encode_message(spi_i=b"initiatr", spi_r=bytes(8), exchange=34, flags=8, message_id=0, payloads=payloads)
    result = run("decode", input=message)
    assert "\x1b" not in result.stdout
    assert "\nRC 0" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.pcap"], "nowhere.pcap: No such file or directory"),
        (["-", "--keys", "nowhere"], "nowhere: No such file or directory"),
        (["-"], "standard input: the file is empty"),
    ],
)
def test_what_cannot_be_read(run: Any, arguments: list[str], words: Any) -> None:
    result = run("decode", *arguments, input=b"")
    assert result.exit_code == 2
    assert f"ikecore: {words}\n" in result.stderr
