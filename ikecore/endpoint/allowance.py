"""How often something may be done for strangers."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """So many per second, with as many saved up at most."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._left = per_second
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Tell whether it may be done once more at the moment *now*."""
        if self._at is not None:
            self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
