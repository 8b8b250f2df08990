"""What an IKE SA knows only while it is set up, in IKE_SA_INIT and IKE_AUTH.

An `IkeSa` has it until both sides have proved who they are, or until it ends. Whatever works on the set-up is handed
it, and so need not ask whether it is still there; only what comes from outside, a message or a timer, has to look.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from ..crypto import Identity
from ..errors import IkeError
from ..events import Transport
from ..outputs import SaId
from ..transport import Path, Way
from ..wire import Contents, Envelope, Payload
from .incoming import Incoming
from .request import OutgoingRequest

__all__ = ["Attempt", "AuthResponder", "Setup"]


class Attempt(Protocol):
    """An attempt at IKE_SA_INIT that still listens."""

    setup: Setup
    host: str
    transport: Transport
    tried: frozenset[Way]
    request: OutgoingRequest | None
    refusal: IkeError | None

    def received(self, envelope: Envelope, contents: Contents, path: Path, now: float) -> None:
        """Take a response that came on the path of the request."""

    def drop(self, now: float) -> None:
        """Forget it."""

    def failed(self, error: IkeError, now: float) -> None:
        """It came to nothing."""


class AuthResponder(Protocol):
    """What answers the next IKE_AUTH request of a half-open SA."""

    def answer(self, setup: Setup, asked: Incoming, now: float) -> list[Payload] | None:
        """Return the payloads of the response, or None while the application decides."""


@attrs.define(eq=False)
class Setup:
    """One set-up. As the initiator: *remotes* are addresses that may still be tried if IKE_SA_INIT fails.

    *predecessor* is the SA that it is to replace. *restarts* says how often it was begun anew since the peer was last
    there; it is None for one that the application wished for.
    """

    remotes: tuple[str, ...] = ()
    predecessor: SaId | None = None
    addresses: tuple[str, ...] = ()
    """As the initiator: what the peer had assigned to the SA before this one, and is asked for again."""
    restarts: int | None = None
    attempts: dict[bytes, Attempt] = attrs.field(factory=dict, init=False)
    """As the initiator: IKE_SA_INIT attempts that still listen, by their SPI."""
    responder: AuthResponder | None = attrs.field(default=None, init=False)
    """As the responder: what waits for IKE_AUTH."""
    claimed_identity: Identity | None = attrs.field(default=None, init=False)
    """Who the peer says it is, before it has proved it."""
