"""How long to go on where the peer answers TEMPORARY_FAILURE (RFC 7296 section 2.25).

The peer must not be asked again at once, may be asked some times over several minutes, and has lost track of the SA if
that does not help.
"""

from __future__ import annotations

from ..limits import Limits

__all__ = ["Persistence", "jitter"]


def jitter(octets: bytes) -> float:
    """Turn random octets into a fraction from 0 up to 1."""
    return int.from_bytes(octets, "big") / (1 << 8 * len(octets))


class Persistence:
    """The refusals of one wish."""

    __slots__ = ("_since", "_times")

    def __init__(self) -> None:
        self._since: float | None = None
        self._times = 0

    def wait(self, limits: Limits, octets: bytes, now: float) -> float | None:
        """Count one refusal. Return the seconds after which to ask again, None if it has been refused for too long.

        The wait doubles, and is drawn out by up to half by the random *octets*: both sides may have met this way.
        """
        if self._since is None:
            self._since = now
        if now - self._since >= limits.temporary_failure_limit:
            return None
        least = limits.temporary_failure_wait * 2.0 ** min(self._times, 4)
        self._times += 1
        return float(least * (1.0 + jitter(octets) / 2))
