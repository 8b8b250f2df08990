"""How often something may be done for strangers."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """So many per second, and at most as many saved up, but a whole one. With 0 there is none ever."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._left = self._most if per_second else 0.0
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Tell whether it may be done once more at the moment *now*."""
        if self._at is not None:
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
