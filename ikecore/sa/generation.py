"""One pair of IKE SPIs with its keys and Message IDs: what a rekey replaces, while the SA that the user knows goes on.

RFC 7296 section 2.18 makes a new IKE SA of a rekey, which inherits the Child SAs and begins its Message IDs at 0. For
the application it is the same SA with other SPIs, so an `IkeSa` has one generation that is current and, until they are
deleted, those that it replaced. Each has its own windows, its own fragments, its own state, and its own roles: whoever
initiated the rekey is the original initiator of the new one, whatever it was of the old one.
"""

from __future__ import annotations

import attrs

from ..errors import LocalProtocolError
from ..events import Role
from .fragments import FragmentBudget, Fragments
from .keys import SaKeys
from .states import AUTHENTICATED, Input, State, may_begin, step
from .window import RequestWindow, ResponseWindow

__all__ = ["Generation", "Rival"]


class Generation:
    """A pair of SPIs, with everything that ends with it. *role* is that of its own original initiator or responder.

    *strangers* bounds what the fragments of all peers take together that are not authenticated yet.
    """

    __slots__ = ("_strangers", "delete_by", "fragments", "keys", "ours", "role", "spi_i", "spi_r", "state", "theirs")

    def __init__(self, role: Role, state: State, strangers: FragmentBudget | None = None) -> None:
        self.role = role
        self.state = state
        self.spi_i = self.spi_r = bytes(8)
        self.keys: SaKeys | None = None
        self.ours = RequestWindow()
        self.theirs = ResponseWindow()
        self.fragments: Fragments | None = None
        """Those of incomplete messages, while there are any."""
        self._strangers = strangers
        self.delete_by: float | None = None
        """Replaced: when we delete it ourselves if the peer, whose task it is, has not."""

    @property
    def spi_local(self) -> bytes:
        return self.spi_i if self.role == "initiator" else self.spi_r

    @property
    def authenticated(self) -> bool:
        """Whether the peer has proved who it is."""
        return self.state in AUTHENTICATED

    @property
    def unused(self) -> bool:
        """Whether no request was ever sent or taken on it."""
        return not (self.ours.next_id or self.theirs.touched)

    def move(self, what: Input) -> None:
        """Change the state as the table says."""
        self.state = step(self.state, self.role, what)

    def may_begin(self, exchange: int) -> bool:
        """Tell whether we may begin *exchange* on it now."""
        return may_begin(self.state, self.role, exchange)

    def need_fragments(self) -> Fragments:
        """Return what keeps fragments, for one that has come."""
        if self.fragments is None:
            self.fragments = Fragments(self._strangers)
        return self.fragments

    def fragments_done(self) -> None:
        """Let go of all fragments."""
        if self.fragments is not None:
            self.fragments.clear()
            self.fragments = None

    def proved(self) -> None:
        """The peer is no stranger any more: only its own bounds are left."""
        self._strangers = None
        if self.fragments is not None:
            self.fragments.authenticated()

    def need_keys(self) -> SaKeys:
        """Return the keys; only called where the state says that there are some."""
        if self.keys is None:
            raise LocalProtocolError("the SA has no keys yet")
        return self.keys

    def forget_keys(self) -> None:
        """Let go of them (RFC 7296 section 2.12)."""
        if self.keys is not None:
            self.keys.forget()
            self.keys = None


@attrs.define
class Rival:
    """What the peer's rekey made while ours of the same IKE SA is under way, and the lower nonce of that exchange.

    *deleted* says that the peer has deleted it already. That is the end of the SA if it is what remains, which only the
    answer to our own rekey tells.
    """

    generation: Generation
    lowest: bytes = attrs.field(repr=False)
    deleted: bool = False
