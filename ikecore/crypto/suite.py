"""Transforms as algorithms: what a chosen proposal means, and which sizes follow from it.

The tables here are the whole of what ikecore can compute with. A transform that is in no table is known by number at
most, and is never chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final

import attrs

from ..errors import LocalProtocolError, NoProposalChosen
from ..wire.numbers import AttributeType, Encr, Esn, Integ, Ke, Prf, Protocol, TransformType, name_of
from ..wire.proposal import Attribute, Proposal, Transform

__all__ = [
    "CIPHERS",
    "ESP_TRANSFORMS",
    "IKE_TRANSFORMS",
    "INTEGRITY",
    "PRFS",
    "SUPPORTED_GROUPS",
    "ChildSuite",
    "Cipher",
    "IkeSuite",
    "Mac",
    "child_suite",
    "ike_suite",
    "supported_esp_transform",
    "supported_ike_transform",
]


@attrs.frozen
class Cipher:
    """An encryption algorithm. Lengths are octets, *key_bits* the lengths that can be negotiated.

    *fixed* is the key length in bits of an algorithm that has only one, and then the Key Length attribute is not sent
    (RFC 7296 section 3.3.5). *salt* octets follow the key in the keying material (RFC 5282 section 7.1, RFC 7634).
    """

    key_bits: tuple[int, ...]
    fixed: int | None
    salt: int
    iv: int
    icv: int
    block: int

    @property
    def aead(self) -> bool:
        """Encryption and integrity are one algorithm."""
        return self.icv > 0

    def key_octets(self, key_bits: int) -> int:
        """Return the octets of key and salt; *key_bits* is 0 where the length is fixed."""
        return (self.fixed if self.fixed is not None else key_bits) // 8 + self.salt


@attrs.frozen
class Mac:
    """A keyed hash: its `hashlib` name, octets of key (the hash's size, RFC 4868 section 2.1), octets of result."""

    hash: str
    key: int
    size: int


CIPHERS: Final[Mapping[int, Cipher]] = {
    Encr.AES_GCM_16: Cipher((128, 192, 256), None, salt=4, iv=8, icv=16, block=1),
    Encr.CHACHA20_POLY1305: Cipher((), 256, salt=4, iv=8, icv=16, block=1),
    Encr.AES_CBC: Cipher((128, 192, 256), None, salt=0, iv=16, icv=0, block=16),
}
"""Encryption for IKE and ESP (RFC 8247, RFC 8221)."""

NULL_CIPHER: Final = Cipher((), 0, salt=0, iv=0, icv=0, block=1)
"""ENCR_NULL: for ESP only, and only with integrity (RFC 8221 section 5)."""

INTEGRITY: Final[Mapping[int, Mac]] = {
    Integ.HMAC_SHA2_256_128: Mac("sha256", 32, 16),
    Integ.HMAC_SHA2_384_192: Mac("sha384", 48, 24),
    Integ.HMAC_SHA2_512_256: Mac("sha512", 64, 32),
}
"""Integrity algorithms for use with a cipher that has none (RFC 4868)."""

PRFS: Final[Mapping[int, Mac]] = {
    Prf.HMAC_SHA2_256: Mac("sha256", 32, 32),
    Prf.HMAC_SHA2_384: Mac("sha384", 48, 48),
    Prf.HMAC_SHA2_512: Mac("sha512", 64, 64),
}
"""Pseudorandom functions (RFC 4868)."""

SUPPORTED_GROUPS: Final[frozenset[int]] = frozenset(
    {
        Ke.CURVE25519,
        Ke.CURVE448,
        Ke.ECP_256,
        Ke.ECP_384,
        Ke.ECP_521,
        Ke.MODP_2048,
        Ke.MODP_3072,
        Ke.MODP_4096,
        Ke.MODP_6144,
        Ke.MODP_8192,
    }
)
"""Key exchange methods that `ikecore.crypto.kex` computes. MODP is in no default proposal."""


def _encr_text(encr: int, key_bits: int) -> str:
    return name_of(Encr, encr) + (f"-{key_bits}" if key_bits else "")


def _layout(*lengths: int) -> Struct:
    return Struct("".join([f"{length}s" for length in lengths]))


_set = object.__setattr__  # for what a frozen suite finds out about itself when it is made


@attrs.frozen
class IkeSuite:
    """The algorithms of one IKE SA. *key_bits* is 0 where the cipher has one length only, *integ* None with an AEAD."""

    encr: int
    key_bits: int
    prf: int
    integ: int | None
    group: int
    _words: str = attrs.field(init=False, eq=False, repr=False)
    cipher: Cipher = attrs.field(init=False, eq=False, repr=False)
    """The row of `CIPHERS`."""
    encr_key_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of SK_ei and of SK_er, with the salt of an AEAD."""
    integ_key_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of SK_ai and of SK_ar, 0 with an AEAD."""
    prf_key_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of SK_d, SK_pi and SK_pr: the preferred key size of the PRF."""
    key_layout: Struct = attrs.field(init=False, eq=False, repr=False)
    """How the key schedule's octets are cut into keys, in the order of RFC 7296 section 2.14."""
    iv_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of the IV at the start of an Encrypted payload."""
    icv_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of the Integrity Check Value at its end."""
    block: int = attrs.field(init=False, eq=False, repr=False)
    """The plaintext with padding is a multiple of so many octets."""

    def __attrs_post_init__(self) -> None:
        cipher, mac = CIPHERS.get(self.encr), None if self.integ is None else INTEGRITY.get(self.integ)
        if (
            cipher is None
            or (self.key_bits not in cipher.key_bits if cipher.fixed is None else self.key_bits != 0)
            or cipher.aead is not (self.integ is None)
            or (self.integ is not None and mac is None)
            or self.prf not in PRFS
            or self.group not in SUPPORTED_GROUPS
        ):
            raise LocalProtocolError(f"{self} is not a suite that can be computed")
        # Few suites live long, and each is asked for its lengths at every handshake.
        _set(self, "cipher", cipher)
        _set(self, "encr_key_length", cipher.key_octets(self.key_bits))
        _set(self, "integ_key_length", 0 if mac is None else mac.key)
        _set(self, "prf_key_length", PRFS[self.prf].key)
        derived, integ, encr = self.prf_key_length, self.integ_key_length, self.encr_key_length
        _set(self, "key_layout", _layout(derived, integ, integ, encr, encr, derived, derived))
        _set(self, "iv_length", cipher.iv)
        _set(self, "icv_length", cipher.icv if mac is None else mac.size)
        _set(self, "block", cipher.block)

    @property
    def aead(self) -> bool:
        """Encryption and integrity are one algorithm (RFC 5282)."""
        return self.cipher.aead

    def sealed_length(self, octets: int) -> int:
        """Return the octets of a whole message with *octets* octets of payloads in its Encrypted payload."""
        padding = -(octets + 1) % self.block
        return 28 + 4 + self.iv_length + octets + padding + 1 + self.icv_length

    @_words.default
    def _find_words(self) -> str:
        names = [_encr_text(self.encr, self.key_bits)]
        if self.integ is not None:
            names.append(name_of(Integ, self.integ))
        return "/".join([*names, f"PRF_{name_of(Prf, self.prf)}", name_of(Ke, self.group)])

    def __str__(self) -> str:
        return self._words


@attrs.frozen
class ChildSuite:
    """The algorithms of one Child SA. *group* is None where no key exchange was done for it."""

    protocol: int
    encr: int
    key_bits: int
    integ: int | None
    esn: int
    group: int | None
    _words: str = attrs.field(init=False, eq=False, repr=False)
    encr_key_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of the encryption key of one direction, with the salt of an AEAD; 0 for ENCR_NULL."""
    integ_key_length: int = attrs.field(init=False, eq=False, repr=False)
    """Octets of the integrity key of one direction, 0 with an AEAD."""
    key_layout: Struct = attrs.field(init=False, eq=False, repr=False)
    """How the key schedule's octets are cut into keys, in the order of RFC 7296 section 2.17."""

    def __attrs_post_init__(self) -> None:
        cipher = CIPHERS.get(self.encr, NULL_CIPHER if self.encr == Encr.NULL else None)
        if (
            self.protocol != Protocol.ESP
            or cipher is None
            or (self.key_bits not in cipher.key_bits if cipher.fixed is None else self.key_bits != 0)
            or cipher.aead is not (self.integ is None)
            or (self.integ is not None and self.integ not in INTEGRITY)
            or self.esn not in (Esn.NO_ESN, Esn.ESN)
            or (self.group is not None and self.group not in SUPPORTED_GROUPS)
        ):
            raise LocalProtocolError(f"{self} is not a suite that keys can be made for")
        _set(self, "encr_key_length", cipher.key_octets(self.key_bits))
        _set(self, "integ_key_length", 0 if self.integ is None else INTEGRITY[self.integ].key)
        _set(self, "key_layout", _layout(*[self.encr_key_length, self.integ_key_length] * 2))

    @_words.default
    def _find_words(self) -> str:
        names = [_encr_text(self.encr, self.key_bits)]
        if self.integ is not None:
            names.append(name_of(Integ, self.integ))
        if self.group is not None:
            names.append(name_of(Ke, self.group))
        return "/".join([*names, name_of(Esn, self.esn)])

    def __str__(self) -> str:
        return self._words


def ike_suite(proposal: Proposal) -> IkeSuite:
    """Read a chosen proposal for an IKE SA. Raises NoProposalChosen if it is not exactly one suite of ours."""
    return _ike_suite_of(proposal.protocol, proposal.transforms)


@lru_cache(maxsize=256)
def _ike_suite_of(protocol: int, transforms: tuple[Transform, ...]) -> IkeSuite:
    one = _one_of_each(protocol, transforms, Protocol.IKE)
    try:
        encr, prf, group = one[TransformType.ENCR], one[TransformType.PRF], one[TransformType.KE]
        return _ike_suite(encr.id, encr.key_length or 0, prf.id, _integ(one), group.id)
    except (KeyError, LocalProtocolError) as error:
        raise NoProposalChosen(f"the proposal for an IKE SA is not a suite: {error}") from None


def child_suite(proposal: Proposal) -> ChildSuite:
    """Read a chosen proposal for a Child SA. Raises NoProposalChosen if it is not exactly one suite of ours."""
    return _child_suite_of(proposal.protocol, proposal.transforms)


@lru_cache(maxsize=256)
def _child_suite_of(protocol: int, transforms: tuple[Transform, ...]) -> ChildSuite:
    one = _one_of_each(protocol, transforms, Protocol.ESP)
    try:
        encr, esn, group = one[TransformType.ENCR], one[TransformType.ESN], one.get(TransformType.KE)
        return _child_suite(
            protocol,
            encr.id,
            encr.key_length or 0,
            _integ(one),
            esn.id,
            None if group is None or group.id == Ke.NONE else group.id,
        )
    except (KeyError, LocalProtocolError) as error:
        raise NoProposalChosen(f"the proposal for a Child SA is not a suite: {error}") from None


# Few suites are used, over and over: each is checked and put into words once, whatever list of transforms it came from.
_ike_suite = lru_cache(maxsize=256)(IkeSuite)
_child_suite = lru_cache(maxsize=256)(ChildSuite)


def _one_of_each(protocol: int, transforms: tuple[Transform, ...], wanted: int) -> dict[int, Transform]:
    one = {transform.type: transform for transform in transforms}
    if protocol != wanted or len(one) != len(transforms):
        raise NoProposalChosen("the proposal is for another protocol, or has two transforms of one type")
    return one


def _integ(one: Mapping[int, Transform]) -> int | None:
    integ = one.get(TransformType.INTEG)
    return None if integ is None or integ.id == Integ.NONE else integ.id


def _encr_transforms(ciphers: Mapping[int, Cipher]) -> Iterator[Transform]:
    """Yield the transforms of *ciphers*: Key Length if and only if there is a choice (RFC 7296 section 3.3.5)."""
    for number, cipher in ciphers.items():
        if cipher.fixed is not None:
            yield Transform(TransformType.ENCR, number)
        for bits in cipher.key_bits:
            yield Transform(TransformType.ENCR, number, (Attribute(AttributeType.KEY_LENGTH, bits),))


def _transforms(kind: int, numbers: Iterable[int]) -> Iterator[Transform]:
    return (Transform(kind, number) for number in numbers)


_COMMON: Final = frozenset(
    [
        *_encr_transforms(CIPHERS),
        *_transforms(TransformType.INTEG, [*INTEGRITY, Integ.NONE]),
        *_transforms(TransformType.KE, SUPPORTED_GROUPS),
    ]
)

IKE_TRANSFORMS: Final = _COMMON | frozenset(_transforms(TransformType.PRF, PRFS))
"""Every transform that can be part of an `IkeSuite`: algorithm, key length, and no attribute unknown to us.

NONE for integrity counts: an AEAD goes with it (RFC 5282 section 8)."""

ESP_TRANSFORMS: Final = _COMMON | frozenset(
    [
        *_encr_transforms({Encr.NULL: NULL_CIPHER}),
        *_transforms(TransformType.KE, [Ke.NONE]),
        *_transforms(TransformType.ESN, [Esn.NO_ESN, Esn.ESN]),
    ]
)
"""Every transform that can be part of a `ChildSuite`, NONE for integrity and for key exchange among them."""


def supported_ike_transform(transform: Transform) -> bool:
    """Tell whether *transform* can be part of an `IkeSuite`."""
    return transform in IKE_TRANSFORMS


def supported_esp_transform(transform: Transform) -> bool:
    """Tell whether *transform* can be part of a `ChildSuite`."""
    return transform in ESP_TRANSFORMS
