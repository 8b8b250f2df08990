"""Key exchanges and the nonces beside them, for every exchange that has them (RFC 7296 sections 1.2, 1.3, 2.10, 3.4).

The side that begins sends the public value of one key exchange method, and keeps the private one until the peer's
answer is there (`OurKeyExchange`). The side that answers knows the peer's public value before it makes its own, and has
the secret with it (`answer_key_exchange`). Both hold the method against that of the chosen proposal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..crypto import generate
from ..errors import InvalidKePayload, InvalidSyntax, NoProposalChosen
from ..wire import Contents, KeyExchange, Nonce, Notification, Proposal
from ..wire.notify_data import decode_wanted_group
from ..wire.numbers import Ke, Notify, TransformType

__all__ = [
    "NONCE_OCTETS",
    "OurKeyExchange",
    "answer_key_exchange",
    "first_method",
    "method_to_retry",
    "methods_of",
    "peer_nonce",
]

Random = Callable[[int], bytes]

NONCE_OCTETS: Final = 32
"""At least half the key of every PRF that we offer (RFC 7296 section 2.10), and room to spare."""
_KE = TransformType.KE


# --- which method ---------------------------------------------------------------------------------------------------


def methods_of(proposals: Sequence[Proposal]) -> tuple[int, ...]:
    """Return every key exchange method that is proposed, in order of preference."""
    return tuple(transform.id for proposal in proposals for transform in proposal.transforms if transform.type == _KE)


def first_method(proposals: Sequence[Proposal]) -> int:
    """Return the method that the responder will most likely accept (RFC 7296 section 3.3.6), NONE if none is there."""
    for proposal in proposals:
        for transform in proposal.transforms:
            if transform.type == _KE:
                return transform.id
    return Ke.NONE


def method_to_retry(refusal: Notification | None, begun: int, offered: Sequence[Proposal]) -> int | None:
    """Return the method to begin with once more, where *refusal* is INVALID_KE_PAYLOAD and demands one (section 1.2).

    None if it is another notification, names no method, or one that is not followed: the one that we have just *begun*,
    and any that we never *offered*. How often this is done is for the exchange to bound.
    """
    if refusal is None or refusal.notify_type != Notify.INVALID_KE_PAYLOAD:
        return None
    wanted = decode_wanted_group(refusal.data)
    return None if wanted == begun or wanted not in methods_of(offered) else wanted


# --- the exchange itself --------------------------------------------------------------------------------------------


class OurKeyExchange:
    """A key exchange that we began with *method*; the private value is made of octets from *random*, for this one use.

    *payload* is our KE payload. Raises LocalProtocolError for a method that is not ours.
    """

    __slots__ = ("_agreement", "method", "payload")

    def __init__(self, method: int, random: Random) -> None:
        self.method = method
        self._agreement = generate(method, random)
        self.payload = KeyExchange(method, self._agreement.public)

    def finish(self, chosen: int | None, theirs: KeyExchange) -> bytes:
        """Return the shared secret, in the form that keys are derived from.

        Raises NoProposalChosen if the proposal that the peer chose has another method than ours, or *theirs* is of
        another one; InvalidSyntax for a public value that its method does not allow. It may be tried again then: what
        was wrong may have been forged.
        """
        if not chosen == self.method == theirs.group:
            raise NoProposalChosen("the response is for another key exchange method than ours")
        return self._agreement.shared(theirs.data)


def answer_key_exchange(chosen: int, theirs: KeyExchange | None, random: Random) -> tuple[KeyExchange, bytes]:
    """Return our KE payload and the shared secret, for what the peer began. *chosen* is the method of our choice.

    Raises InvalidKePayload if the peer began with another method, or with none; InvalidSyntax as `finish` does.
    """
    if theirs is None or theirs.group != chosen:
        raise InvalidKePayload(chosen)
    ours = generate(chosen, random)
    return KeyExchange(chosen, ours.public), ours.shared(theirs.data)


def peer_nonce(contents: Contents, prf_key_length: int) -> bytes:
    """Return the nonce of a message. Raises InvalidSyntax for one that no PRF, or this one, can do with (2.10, 3.9)."""
    nonce = contents.one(Nonce).data
    if not 16 <= len(nonce) <= 256 or 2 * len(nonce) < prf_key_length:
        raise InvalidSyntax(f"a nonce of {len(nonce)} octets")
    return nonce
