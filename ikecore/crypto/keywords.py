"""Proposals in words, as swanctl writes them: "aes256gcm16-prfsha384-x25519", "aes128-sha256-modp2048-esn"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import LocalProtocolError
from ..wire.numbers import AttributeType, Encr, Esn, Integ, Ke, Prf, Protocol, TransformType
from ..wire.proposal import Attribute, Proposal, Transform
from .suite import CIPHERS

__all__ = [
    "DEFAULT_ESP_PROPOSALS",
    "DEFAULT_IKE_PROPOSALS",
    "esp_proposals",
    "ike_proposals",
    "parse_esp_proposal",
    "parse_ike_proposal",
]


def _encr(number: int, bits: int = 0) -> Transform:
    attributes = (Attribute(AttributeType.KEY_LENGTH, bits),) if bits else ()
    return Transform(TransformType.ENCR, number, attributes)


def _named(kind: TransformType, **numbers: int) -> dict[str, Transform]:
    return {name: Transform(kind, number) for name, number in numbers.items()}


_CIPHERS: Final[Mapping[str, Transform]] = {
    **{f"aes{bits}gcm16": _encr(Encr.AES_GCM_16, bits) for bits in (128, 192, 256)},
    **{f"aes{bits}gcm128": _encr(Encr.AES_GCM_16, bits) for bits in (128, 192, 256)},
    "chacha20poly1305": _encr(Encr.CHACHA20_POLY1305),
    **{f"aes{bits}": _encr(Encr.AES_CBC, bits) for bits in (128, 192, 256)},
}
_INTEGRITY: Final = _named(
    TransformType.INTEG,
    sha256=Integ.HMAC_SHA2_256_128,
    sha384=Integ.HMAC_SHA2_384_192,
    sha512=Integ.HMAC_SHA2_512_256,
)
_PRFS: Final = _named(
    TransformType.PRF, prfsha256=Prf.HMAC_SHA2_256, prfsha384=Prf.HMAC_SHA2_384, prfsha512=Prf.HMAC_SHA2_512
)
_GROUPS: Final = _named(
    TransformType.KE,
    x25519=Ke.CURVE25519,
    curve25519=Ke.CURVE25519,
    x448=Ke.CURVE448,
    curve448=Ke.CURVE448,
    ecp256=Ke.ECP_256,
    ecp384=Ke.ECP_384,
    ecp521=Ke.ECP_521,
    modp2048=Ke.MODP_2048,
    modp3072=Ke.MODP_3072,
    modp4096=Ke.MODP_4096,
    modp6144=Ke.MODP_6144,
    modp8192=Ke.MODP_8192,
)
_SEQUENCE_NUMBERS: Final = _named(TransformType.ESN, noesn=Esn.NO_ESN, esn=Esn.ESN)
_NULL: Final = {"null": _encr(Encr.NULL)}
_NO_GROUP: Final = {"modpnone": Transform(TransformType.KE, Ke.NONE)}

_IKE_WORDS: Final = {**_CIPHERS, **_INTEGRITY, **_PRFS, **_GROUPS}
_ESP_WORDS: Final = {**_CIPHERS, **_NULL, **_INTEGRITY, **_GROUPS, **_NO_GROUP, **_SEQUENCE_NUMBERS}


def parse_ike_proposal(text: str) -> tuple[Transform, ...]:
    """Read the transforms of an IKE proposal, each type in order of preference.

    Without a PRF the ones of the integrity algorithms are taken. Raises LocalProtocolError naming what is allowed.
    """
    transforms = _read(text, _IKE_WORDS)
    aead = _check_ciphers(text, transforms)
    if not any(each.type == TransformType.PRF for each in transforms):
        if aead:
            raise LocalProtocolError(f"proposal {text!r}: an AEAD needs a PRF beside it: {', '.join(_PRFS)}")
        hashes = [word for word, each in _INTEGRITY.items() if each in transforms]
        transforms += [_PRFS[f"prf{word}"] for word in hashes]
    if not any(each.type == TransformType.KE for each in transforms):
        raise LocalProtocolError(f"proposal {text!r}: a key exchange method is needed: {', '.join(_GROUPS)}")
    return tuple(sorted(transforms, key=lambda each: each.type))


def parse_esp_proposal(text: str) -> tuple[Transform, ...]:
    """Read the transforms of an ESP proposal. "noesn" is understood where neither it nor "esn" is written.

    Raises LocalProtocolError naming what is allowed.
    """
    transforms = _read(text, _ESP_WORDS)
    _check_ciphers(text, transforms)
    if not any(each.type == TransformType.ESN for each in transforms):
        transforms.append(_SEQUENCE_NUMBERS["noesn"])
    return tuple(sorted(transforms, key=lambda each: each.type))


def ike_proposals(*texts: str) -> tuple[Proposal, ...]:
    """Read IKE proposals, the preferred one first, and number them."""
    return tuple(Proposal(number, Protocol.IKE, b"", parse_ike_proposal(text)) for number, text in enumerate(texts, 1))


def esp_proposals(*texts: str) -> tuple[Proposal, ...]:
    """Read ESP proposals, the preferred one first, and number them."""
    return tuple(Proposal(number, Protocol.ESP, b"", parse_esp_proposal(text)) for number, text in enumerate(texts, 1))


def _read(text: str, words: Mapping[str, Transform]) -> list[Transform]:
    transforms: dict[Transform, None] = {}
    for word in text.strip().lower().split("-"):
        transform = words.get(word)
        if transform is None:
            raise LocalProtocolError(f"proposal {text!r}: {word!r} is not known; allowed are {', '.join(words)}")
        transforms[transform] = None
    return list(transforms)


def _check_ciphers(text: str, transforms: list[Transform]) -> bool:
    """Check that ciphers and integrity go together, and tell whether the ciphers are AEADs (RFC 7296 section 3.3)."""
    ciphers = {each.id in CIPHERS and CIPHERS[each.id].aead for each in transforms if each.type == TransformType.ENCR}
    integrity = any(each.type == TransformType.INTEG for each in transforms)
    if not ciphers:
        raise LocalProtocolError(f"proposal {text!r}: a cipher is needed: {', '.join(_CIPHERS)}")
    if len(ciphers) > 1:
        raise LocalProtocolError(f"proposal {text!r}: AEADs and other ciphers go in different proposals")
    aead = ciphers.pop()
    if aead and integrity:
        raise LocalProtocolError(f"proposal {text!r}: an AEAD has no integrity algorithm beside it")
    if not aead and not integrity:
        raise LocalProtocolError(f"proposal {text!r}: an integrity algorithm is needed: {', '.join(_INTEGRITY)}")
    return aead


DEFAULT_IKE_PROPOSALS: Final = ike_proposals(
    "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-x448-ecp521",
    "aes256-aes128-sha256-sha384-sha512-x25519-ecp256-ecp384-x448-ecp521",
)
"""What is offered and accepted unless configured otherwise: no MODP, nothing that RFC 8247 advises against."""

DEFAULT_ESP_PROPOSALS: Final = esp_proposals(
    "aes256gcm16-aes128gcm16-chacha20poly1305-noesn-esn",
    "aes256-aes128-sha256-sha384-sha512-noesn-esn",
)
"""The same for Child SAs, without a key exchange of their own."""
