"""Cryptography of IKEv2: suites and their negotiation, key exchange, key schedule, SK protection, authentication.

Built on `cryptography`; nothing here keeps state of an exchange. `ikecore.crypto.certificates` is imported by whoever
needs X.509, since it loads more than all the rest.
"""

from .auth import (
    SUPPORTED_HASHES,
    Scheme,
    check_psk,
    choose_scheme,
    pad_secret,
    psk_auth,
    sign_with,
    signed_octets,
    verify,
)
from .hash_and_url import LARGEST_FETCHED, Reference, check_url, read_reference, reference_to, take_fetched
from .identity import Identity
from .kex import SUPPORTED_GROUPS, KeyAgreement, generate
from .keys import ChildKeys, IkeKeys, derive_child_keys, derive_ike_keys, rekey_ike_keys
from .keywords import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    esp_proposals,
    ike_proposals,
    parse_esp_proposal,
    parse_ike_proposal,
)
from .negotiation import accepted_proposal, choose_proposal
from .pem import load_certificates, load_crls
from .prf import prf, prf_plus
from .protection import Protection
from .public_keys import PrivateKey, PublicKey, load_private_key, load_public_key, subject_public_key_info
from .suite import (
    ChildSuite,
    IkeSuite,
    child_suite,
    ike_suite,
    supported_esp_transform,
    supported_ike_transform,
)

__all__ = [
    "DEFAULT_ESP_PROPOSALS",
    "DEFAULT_IKE_PROPOSALS",
    "SUPPORTED_GROUPS",
    "SUPPORTED_HASHES",
    "ChildKeys",
    "ChildSuite",
    "Identity",
    "IkeKeys",
    "IkeSuite",
    "KeyAgreement",
    "LARGEST_FETCHED",
    "PrivateKey",
    "Protection",
    "PublicKey",
    "Reference",
    "Scheme",
    "accepted_proposal",
    "check_psk",
    "check_url",
    "child_suite",
    "choose_proposal",
    "choose_scheme",
    "derive_child_keys",
    "derive_ike_keys",
    "esp_proposals",
    "generate",
    "ike_proposals",
    "ike_suite",
    "load_certificates",
    "load_crls",
    "load_private_key",
    "load_public_key",
    "parse_esp_proposal",
    "parse_ike_proposal",
    "pad_secret",
    "prf",
    "prf_plus",
    "psk_auth",
    "read_reference",
    "reference_to",
    "rekey_ike_keys",
    "sign_with",
    "signed_octets",
    "subject_public_key_info",
    "supported_esp_transform",
    "supported_ike_transform",
    "take_fetched",
    "verify",
]
