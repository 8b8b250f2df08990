"""The Encrypted payload: what we seal opens, what anyone else touched does not, and nothing happens before the ICV."""

from __future__ import annotations

import hmac
import random
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore.crypto import IkeSuite, Protection, ike_proposals, ike_suite
from ikecore.errors import IntegrityError, InvalidSyntax, LocalProtocolError
from ikecore.wire import EncryptedFragment, decode_envelope
from tests.crypto.published import published

SUITES = [
    ike_suite(proposal)
    for proposal in ike_proposals(
        "aes256gcm16-prfsha256-x25519",
        "aes128gcm16-prfsha256-x25519",
        "chacha20poly1305-prfsha256-x25519",
        "aes128-sha256-x25519",
        "aes192-sha384-x25519",
        "aes256-sha512-x25519",
    )
]
GCM, CBC_SUITE = SUITES[0], SUITES[3]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=str)
SPI_I, SPI_R = b"initiatr", b"responde"
Random = Callable[[int], bytes]


def dice(seed: int = 1) -> Random:
    return random.Random(seed).randbytes


def keys(suite: IkeSuite, seed: int = 7) -> tuple[bytes, bytes]:
    draw = dice(seed)
    return draw(suite.encr_key_length), draw(suite.integ_key_length)


def pair(suite: IkeSuite, seed: int = 7) -> tuple[Protection, Protection]:
    return tuple(Protection(suite, *keys(suite, seed), random=dice()) for _ in range(2))  # type: ignore[return-value]


def seal(sealer: Protection, plaintext: bytes, inner_first: int = 41, message_id: int = 5) -> bytes:
    return sealer.seal(SPI_I, SPI_R, 37, 0x08, message_id, inner_first, plaintext)


def craft(suite: IkeSuite, encrypted: bytes, body: int = 32) -> bytes:
    """Encrypt *encrypted* as it is, padding or not, with the right keys: what a hostile peer could do."""
    encr, integ = keys(suite)
    length = body + suite.iv_length + len(encrypted) + suite.icv_length
    header = struct.pack("!8s8s4B2I", SPI_I, SPI_R, 46, 0x20, 37, 8, 5, length) + struct.pack(
        "!BBH", 41, 0, length - 28
    )
    iv = bytes(range(suite.iv_length))
    if suite.aead:
        return header + iv + AESGCM(encr[:-4]).encrypt(encr[-4:] + iv, encrypted, header)
    encryptor = Cipher(AES(encr), CBC(iv)).encryptor()
    data = header + iv + encryptor.update(encrypted + bytes(-len(encrypted) % 16))[: len(encrypted)]
    return data + hmac.digest(integ, data, "sha256")[: suite.icv_length]


@pytest.mark.requirement("IKE-290", "IKE-292", "IKE-294")
@every_suite
@given(plaintext=st.binary(max_size=400), first=st.integers(0, 255))
@settings(max_examples=40)
def test_what_is_sealed_opens(suite: IkeSuite, plaintext: bytes, first: int) -> None:
    sealer, opener = pair(suite)
    data = seal(sealer, plaintext, first)
    envelope = decode_envelope(data)
    assert (envelope.body, data[16], data[28]) == (32, 46, first)
    assert (envelope.header.spi_i, envelope.header.spi_r, envelope.header.message_id) == (SPI_I, SPI_R, 5)
    assert (len(data) - 32 - suite.iv_length - suite.icv_length) % suite.block == 0
    assert opener.open(data, envelope.body) == plaintext


@pytest.mark.requirement("IKE-293", "IKE-292", "IKE-294")
@every_suite
def test_every_flipped_bit_and_every_cut_is_noticed(suite: IkeSuite) -> None:
    sealer, opener = pair(suite)
    data = seal(sealer, b"some payloads in here")
    for position in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            opener.open(bytes(wrong), 32)
    for length in range(32, len(data)):
        with pytest.raises(IntegrityError):
            opener.open(data[:length], 32)
    with pytest.raises(IntegrityError):
        opener.open(data + b"\0", 32)
    assert opener.open(data, 32) == b"some payloads in here"


@pytest.mark.requirement("IKE-293")
@pytest.mark.parametrize("suite", [GCM, CBC_SUITE], ids=str)
@given(body=st.binary(max_size=200))
@settings(max_examples=60)
def test_any_octets_are_refused(suite: IkeSuite, body: bytes) -> None:
    _, opener = pair(suite)
    with pytest.raises(IntegrityError):
        opener.open(bytes(32) + body, 32)


@pytest.mark.requirement("IKE-295")
@every_suite
def test_every_length_without_room_for_iv_block_and_icv_is_refused_before_decryption(suite: IkeSuite) -> None:
    _, opener = pair(suite)
    for length in range(suite.iv_length + suite.block + suite.icv_length):
        with pytest.raises(IntegrityError, match="short"):
            opener.open(bytes(32 + length), 32)


@pytest.mark.requirement("IKE-290", "IKE-291")
@pytest.mark.parametrize("suite", [GCM, CBC_SUITE], ids=str)
@pytest.mark.parametrize("blocks", [1, 2, 17])
def test_every_pad_length_is_accepted_as_far_as_there_is_padding(suite: IkeSuite, blocks: int) -> None:
    _, opener = pair(suite)
    size = 16 * blocks
    content = dice()(size - 1)
    for pad in range(256):
        data = craft(suite, content + bytes([pad]))
        if pad < size:
            assert opener.open(data, 32) == content[: size - 1 - pad]
        else:
            with pytest.raises(InvalidSyntax, match="Pad Length"):
                opener.open(data, 32)


@pytest.mark.requirement("IKE-290", "IKE-295")
def test_with_a_good_icv_every_length_that_is_no_multiple_of_the_block_is_malformed() -> None:
    _, opener = pair(CBC_SUITE)
    for length in range(16, 49):
        data = craft(CBC_SUITE, bytes(length))
        if length % 16:
            with pytest.raises(InvalidSyntax, match="block"):
                opener.open(data, 32)
        else:
            assert opener.open(data, 32) == bytes(length - 1)


@pytest.mark.requirement("IKE-291")
def test_a_wrong_icv_comes_before_a_wrong_padding() -> None:
    _, opener = pair(CBC_SUITE)
    data = bytearray(craft(CBC_SUITE, bytes(15) + b"\xff"))
    data[-1] ^= 1
    with pytest.raises(IntegrityError):
        opener.open(bytes(data), 32)


@pytest.mark.requirement("IKE-294")
def test_the_message_of_rfc_7634_opens() -> None:
    vector = published()["chacha20poly1305"]
    suite = ike_suite(*ike_proposals("chacha20poly1305-prfsha256-x25519"))
    opener = Protection(suite, bytes.fromhex(vector["key"]), b"", random=dice())
    assert opener.open(bytes.fromhex(vector["message"]), 32).hex() == vector["plaintext"]


@pytest.mark.requirement("IKE-289")
def test_the_nonces_of_an_aead_count_up_and_never_repeat() -> None:
    sealer, _ = pair(GCM)
    ivs = []
    for _ in range(20):
        ivs.append(seal(sealer, b"the same")[32:40])
        ivs += [data[36:44] for data in fragments(sealer, bytes(300), 200)]
    sealer = Protection(GCM, *keys(GCM), random=dice(), sealed=sealer.sealed)
    ivs.append(seal(sealer, b"made again")[32:40])
    assert [int.from_bytes(iv, "big") for iv in ivs] == list(range(len(ivs)))


@pytest.mark.requirement("IKE-289")
@pytest.mark.parametrize("suite", [GCM, SUITES[2]], ids=str)
def test_an_aead_that_has_used_every_nonce_seals_nothing_more(suite: IkeSuite) -> None:
    sealer, opener = pair(suite)
    sealer.sealed = 2**64 - 1
    assert opener.open(seal(sealer, b"the last"), 32) == b"the last"
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="nonce"):
            seal(sealer, b"one too many")


@pytest.mark.requirement("IKE-289")
def test_the_ivs_of_cbc_are_drawn_anew() -> None:
    sealer, _ = pair(CBC_SUITE)
    expected = dice()
    assert [seal(sealer, b"same")[32:48] for _ in range(3)] == [expected(16) for _ in range(3)]


@pytest.mark.requirement("IKE-157")
@every_suite
def test_other_keys_open_nothing(suite: IkeSuite) -> None:
    sealer, _ = pair(suite)
    stranger = Protection(suite, *keys(suite, seed=8), random=dice())
    with pytest.raises(IntegrityError):
        stranger.open(seal(sealer, b"secret"), 32)


@every_suite
def test_the_largest_payload_fits_and_one_octet_more_does_not(suite: IkeSuite) -> None:
    sealer, opener = pair(suite)
    room = 0xFFFF - 4 - suite.iv_length - suite.icv_length
    most = room - room % suite.block - 1
    data = seal(sealer, bytes(most))
    assert opener.open(data, 32) == bytes(most)
    with pytest.raises(LocalProtocolError, match="fit"):
        seal(sealer, bytes(most + 1))


# --- fragments --------------------------------------------------------------------------------------------------------


def fragments(sealer: Protection, plaintext: bytes, size: int) -> tuple[bytes, ...]:
    return sealer.seal_fragments(SPI_I, SPI_R, 35, 0x08, 1, 35, plaintext, size=size)


@every_suite
@given(plaintext=st.binary(max_size=3000), size=st.integers(140, 1300))
@settings(max_examples=25)
def test_fragments_fit_and_hold_the_whole(suite: IkeSuite, plaintext: bytes, size: int) -> None:
    sealer, opener = pair(suite)
    messages = fragments(sealer, plaintext, size)
    assert all(len(message) <= size for message in messages)
    whole = b""
    for number, message in enumerate(messages, 1):
        envelope = decode_envelope(message)
        fragment = envelope.encrypted
        assert isinstance(fragment, EncryptedFragment)
        assert (fragment.number, fragment.total) == (number, len(messages))
        assert message[28] == (35 if number == 1 else 0)
        assert envelope.body == 36
        whole += opener.open(message, envelope.body)
    assert whole == plaintext
    if len(messages) > 1:
        assert len(messages[0]) > size - suite.block, "no fragment is smaller than it has to be"


@every_suite
def test_the_number_of_a_fragment_is_protected(suite: IkeSuite) -> None:
    sealer, opener = pair(suite)
    message = bytearray(fragments(sealer, bytes(500), 200)[0])
    message[33] ^= 2
    with pytest.raises(IntegrityError):
        opener.open(bytes(message), 36)


@every_suite
def test_fragments_without_room_or_number_are_refused(suite: IkeSuite) -> None:
    sealer, opener = pair(suite)
    least = 36 + suite.iv_length + suite.icv_length + max(suite.block, 2)
    assert opener.open(fragments(sealer, b"x", least)[0], 36) == b"x"
    for size in (least - 1, 36, 0, -5):
        with pytest.raises(LocalProtocolError, match="size"):
            fragments(sealer, b"x", size)
    with pytest.raises(LocalProtocolError, match="65535"):
        fragments(sealer, bytes(65536 * (15 if suite.block == 16 else 1)), least)


@every_suite
def test_keys_of_the_wrong_length_are_refused(suite: IkeSuite) -> None:
    encr, integ = keys(suite)
    for wrong in ((encr[:-1], integ), (encr, integ + b"\0"), (b"", b"")):
        with pytest.raises(LocalProtocolError, match="octets"):
            Protection(suite, *wrong, random=dice())
