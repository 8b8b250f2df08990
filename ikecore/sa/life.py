"""How long an SA lasts: moments drawn from its configured life-times (RFC 7296 sections 2.8 and 2.8.1).

Each side keeps its own life-times and tells nobody. Both draw the moment of a rekey at random within bounds, so that
they seldom rekey at once. What is done when a moment has come is in `lifetimes`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import attrs

from ..config import Lifetimes
from ..limits import Limits
from .persistence import jitter

__all__ = ["Life", "retry_wait"]

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


def drawn(seconds: float, lifetimes: Lifetimes, random: Callable[[int], bytes], now: float) -> float:
    """Return the moment *seconds* after *now*, earlier by a random part of the configured `rand_time`."""
    spread = min(lifetimes.rand, seconds)
    return now + seconds - (spread * jitter(random(2)) if spread else 0.0)


def retry_wait(tries: int, limits: Limits, random: Callable[[int], bytes]) -> float:
    """Return the seconds until what has failed *tries* times is begun again: they double, and vary by up to half."""
    return float(limits.rekey_wait * 2.0 ** min(tries, MOST_DOUBLINGS) * (1.0 + jitter(random(2)) / 2))
