"""The key schedule: from a shared secret to the keys of IKE SAs and Child SAs (RFC 7296 sections 2.14, 2.17, 2.18)."""

from __future__ import annotations

import attrs

from ..record import record
from .prf import prf, prf_plus
from .suite import ChildSuite, IkeSuite

__all__ = ["ChildKeys", "IkeKeys", "derive_child_keys", "derive_ike_keys", "rekey_ike_keys"]


def _secret() -> bytes:
    return attrs.field(repr=False)  # type: ignore[no-any-return]


@record
class IkeKeys:
    """The seven keys of an IKE SA, by their names in RFC 7296 section 2.14. SK_ai and SK_ar are empty with an AEAD."""

    sk_d: bytes = _secret()
    sk_ai: bytes = _secret()
    sk_ar: bytes = _secret()
    sk_ei: bytes = _secret()
    sk_er: bytes = _secret()
    sk_pi: bytes = _secret()
    sk_pr: bytes = _secret()

    def joined(self) -> bytes:
        """Return the octets that `cut` takes apart."""
        return b"".join((self.sk_d, self.sk_ai, self.sk_ar, self.sk_ei, self.sk_er, self.sk_pi, self.sk_pr))

    @classmethod
    def cut(cls, suite: IkeSuite, octets: bytes) -> IkeKeys:
        """Take apart what the key schedule makes for an IKE SA (RFC 7296 section 2.14)."""
        return cls(*suite.key_layout.unpack(octets))


@record
class ChildKeys:
    """The keys of a Child SA. *_i* protects what the initiator of the exchange sends, *_r* what its responder sends.

    The encryption key of an AEAD ends in its salt. Keys that the suite does not need are empty.
    """

    encr_i: bytes = _secret()
    integ_i: bytes = _secret()
    encr_r: bytes = _secret()
    integ_r: bytes = _secret()

    def joined(self) -> bytes:
        """Return the octets that `ChildSuite.key_layout` takes apart."""
        return self.encr_i + self.integ_i + self.encr_r + self.integ_r


def derive_ike_keys(suite: IkeSuite, shared: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes) -> IkeKeys:
    """Derive the keys of a first IKE SA from *shared* (g^ir, padded to the method's length), nonces and SPIs."""
    return _expand(suite, prf(suite.prf, ni + nr, shared), ni, nr, spi_i, spi_r)


def rekey_ike_keys(
    old_prf: int, sk_d_old: bytes, suite: IkeSuite, shared: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """Derive the keys of an IKE SA that replaces one with *old_prf* and *sk_d_old* (RFC 7296 section 2.18).

    The old PRF mixes the secrets, the new one expands them. *ni*, *nr* and the SPIs are those of the rekey.
    """
    return _expand(suite, prf(old_prf, sk_d_old, shared + ni + nr), ni, nr, spi_i, spi_r)


def _expand(suite: IkeSuite, skeyseed: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes) -> IkeKeys:
    layout = suite.key_layout
    return IkeKeys(*layout.unpack(prf_plus(suite.prf, skeyseed, ni + nr + spi_i + spi_r, layout.size)))


def derive_child_keys(
    suite: ChildSuite, prf_alg: int, sk_d: bytes, ni: bytes, nr: bytes, shared: bytes = b""
) -> ChildKeys:
    """Derive the keys of a Child SA with the IKE SA's PRF and SK_d (RFC 7296 section 2.17).

    *ni* and *nr* are those of IKE_SA_INIT for the first Child SA, else those of its CREATE_CHILD_SA; *shared* is empty
    unless that exchange brought a key exchange.
    """
    layout = suite.key_layout
    return ChildKeys(*layout.unpack(prf_plus(prf_alg, sk_d, shared + ni + nr, layout.size)))
