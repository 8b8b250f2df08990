"""The exchanges in tests/vectors, and what is inside their encrypted payloads.

Opening is done here with the algorithms of `cryptography` and nothing of ours, so that it can judge ours.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

VECTORS = Path(__file__).parent / "vectors"
SK, SKF = 46, 53


class Inner(NamedTuple):
    """The payloads inside of one recorded message: type of the first, and their octets."""

    name: str
    exchange: int
    is_response: bool
    first: int
    chain: bytes


@cache
def exchanges() -> dict[str, dict[str, Any]]:
    """Return the recorded exchanges by the names of their files."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}
    return {name: content for name, content in files.items() if "ike_sas" in content and "messages" in content}


@cache
def messages() -> dict[str, bytes]:
    """Return all recorded messages by a name."""
    return {
        f"{name}-{number}": bytes.fromhex(message["hex"])
        for name, content in exchanges().items()
        for number, message in enumerate(content["messages"])
    }


@cache
def inner_chains() -> list[Inner]:
    """Return what is inside of the messages whose keys and algorithms are known, fragments put together."""
    return [inner for name, content in exchanges().items() for inner in _opened(name, content)]


def _opened(name: str, content: dict[str, Any]) -> Iterator[Inner]:
    keys = {bytes.fromhex(sa["spi_i"] + sa["spi_r"]): sa for sa in content["ike_sas"]}
    collected: dict[tuple[bytes, int], tuple[int, bytes]] = {}
    for number, message in enumerate(content["messages"]):
        data = bytes.fromhex(message["hex"])
        sa = keys.get(data[:16])
        if sa is None or data[16] not in (SK, SKF):
            continue
        body = 32 if data[16] == SK else 36
        plaintext = _decrypt(sa, data, body)
        if plaintext is None:
            continue
        first, chain = data[28], plaintext[: -1 - plaintext[-1]]
        if data[16] == SKF:
            fragment, total = data[32:34], data[34:36]
            key = (data[:24], data[19])
            first, before = collected.pop(key, (first, b""))
            chain = before + chain
            if fragment != total:
                collected[key] = (first, chain)
                continue
        yield Inner(f"{name}-{number}", data[18], bool(data[19] & 0x20), first, chain)


def _decrypt(sa: dict[str, Any], data: bytes, body: int) -> bytes | None:
    side = "i" if data[19] & 0x08 else "r"
    key = bytes.fromhex(sa[f"sk_e{side}"])
    if sa["encr"].startswith("AES-GCM") and "16 octet ICV" in sa["encr"]:
        return AESGCM(key[:-4]).decrypt(key[-4:] + data[body : body + 8], data[body + 8 :], data[:body])
    if sa["encr"].startswith("AES-CBC") and sa["integ"].startswith("HMAC_SHA2_256_128"):
        tag = hmac.digest(bytes.fromhex(sa[f"sk_a{side}"]), data[:-16], "sha256")[:16]
        if tag != data[-16:]:
            raise ValueError("the recorded ICV is wrong")
        decryptor = Cipher(AES(key), CBC(data[body : body + 16])).decryptor()
        return decryptor.update(data[body + 16 : -16]) + decryptor.finalize()
    return None
