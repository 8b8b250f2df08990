"""Wishes of the application that have not ended: whatever goes wrong, each ends exactly once."""

from __future__ import annotations

from ..outputs import RequestId, SaId

__all__ = ["Wishes"]


class Wishes:
    """Issues the handles of wishes, and knows those that are open. An SA without any costs nothing."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[SaId, dict[RequestId, int]] = {}

    def begin(self, sa: SaId, exchange: int) -> RequestId:
        """Return the handle of a wish of *sa* that an *exchange* of this type is to fulfil."""
        self._last += 1
        wish = RequestId(self._last)
        self._open.setdefault(sa, {})[wish] = exchange
        return wish

    def ended(self, sa: SaId, wish: RequestId) -> bool:
        """Tell whether *wish* of *sa* was open. It is no more."""
        wishes = self._open.get(sa, {})
        was_open = wishes.pop(wish, None) is not None
        if not wishes:
            self._open.pop(sa, None)
        return was_open

    def left(self, sa: SaId) -> list[tuple[RequestId, int]]:
        """Return the open ones of *sa* with their exchanges, in the order in which they were made."""
        return list(self._open.get(sa, {}).items())
