"""How long an SA lasts: moments drawn from its configured life-times (RFC 7296 sections 2.8 and 2.8.1).

Each side keeps its own life-times and tells nobody. Both draw the moment of a rekey at random within bounds, so that
they seldom rekey at once. What is done when a moment has come is in `expiry`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import attrs

from ..config import Lifetimes
from ..events import Role
from ..limits import Limits
from .persistence import jitter

__all__ = ["IkeLife", "Life", "retry_wait"]

LEAST_AUTH_LIFETIME = 10.0
"""Seconds: a peer that wants to be shown who we are all the time gets no more than that."""
MOST_DOUBLINGS = 6
"""A rekey that fails is repeated after waits that double so many times."""


@attrs.define
class Life:
    """The moments of one SA, in monotonic seconds; `math.inf` is never."""

    rekey_at: float = inf
    ends_at: float = inf
    """It is not used any longer, even if every rekey has failed."""
    tries: int = 0
    """Rekeys begun and not successful so far."""

    def renew(self, lifetimes: Lifetimes, random: Callable[[int], bytes], now: float) -> None:
        """Begin anew: the SA has new keys."""
        self.rekey_at = self.ends_at = inf
        self.tries = 0
        if lifetimes.rekey_time:
            self.rekey_at = drawn(lifetimes.rekey_time, lifetimes, random, now)
            self.ends_at = now + lifetimes.rekey_time + lifetimes.over

    @property
    def next(self) -> float:
        """The earlier of both moments."""
        return min(self.rekey_at, self.ends_at)

    def try_again(self, limits: Limits, random: Callable[[int], bytes], now: float) -> None:
        """A rekey begins. Unless it succeeds, which renews all this, another one does some time later."""
        self.rekey_at = now + retry_wait(self.tries, limits, random)
        self.tries += 1

    def replaced(self, limits: Limits, now: float) -> None:
        """Another SA has taken its place: it is not rekeyed again, and waits for its Delete."""
        self.rekey_at = inf
        self.ends_at = min(self.ends_at, now + limits.rekeyed_lifetime)


@attrs.define
class IkeLife(Life):
    """The moments of an IKE SA, which is also authenticated anew. Whoever was its first initiator does that."""

    reauth_at: float = inf
    auth_ends_at: float = inf
    """As *ends_at*, and not moved by a rekey."""
    reason: str = "its lifetime is over"
    retired: bool = False
    """Another IKE SA has taken its place."""

    def replaced(self, limits: Limits, now: float) -> None:
        """As for a Child SA; and no rekey by a peer that wants to keep both puts off the end."""
        super().replaced(limits, now)
        self.retired, self.reauth_at = True, inf
        self.auth_ends_at = min(self.auth_ends_at, self.ends_at)

    def authenticated(self, role: Role, lifetimes: Lifetimes, random: Callable[[int], bytes], now: float) -> None:
        """The peers have just proved who they are."""
        if lifetimes.reauth_time:
            if role == "initiator":
                self.reauth_at = drawn(lifetimes.reauth_time, lifetimes, random, now)
            self.auth_ends_at = now + lifetimes.reauth_time + lifetimes.over

    def told(self, seconds: int, random: Callable[[int], bytes], now: float) -> None:
        """The responder said AUTH_LIFETIME: in so many seconds it deletes the SA (RFC 4478). We are earlier."""
        early = max(LEAST_AUTH_LIFETIME, seconds * (0.9 - 0.1 * jitter(random(2))))
        self.reauth_at = min(self.reauth_at, now + early)

    @property
    def next(self) -> float:
        """The earliest moment of all."""
        return min(self.rekey_at, self.ends_at, self.reauth_at, self.auth_ends_at)

    @property
    def over_at(self) -> float:
        """When the SA ends at the latest."""
        return min(self.ends_at, self.auth_ends_at)


def drawn(seconds: float, lifetimes: Lifetimes, random: Callable[[int], bytes], now: float) -> float:
    """Return the moment *seconds* after *now*, earlier by a random part of the configured `rand_time`."""
    spread = lifetimes.rand  # never more than *seconds*
    return now + seconds - (spread * jitter(random(2)) if spread else 0.0)


def retry_wait(tries: int, limits: Limits, random: Callable[[int], bytes]) -> float:
    """Return the seconds until what has failed *tries* times is begun again: they double, and vary by up to half."""
    return float(limits.rekey_wait * 2.0 ** min(tries, MOST_DOUBLINGS) * (1.0 + jitter(random(2)) / 2))
