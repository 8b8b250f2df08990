"""Attempts at IKE_SA_INIT: with which host and on which transport the next one is, while there is any way left."""

from __future__ import annotations

from collections.abc import Callable

from ..events import SpisChanged
from ..outputs import Output
from ..sa import Attempt, IkeSa, InitAttempt, Setup, begin_auth
from ..transport import Choice, Way
from .choosing import Chooser

__all__ = ["Attempts"]


class Attempts:
    """Begins those of all SAs of an endpoint."""

    def __init__(self, chooser: Chooser, emit: Callable[[Output], None]) -> None:
        self._chooser = chooser
        self._emit = emit

    def begin(self, sa: IkeSa, setup: Setup, host: str, now: float) -> None:
        """Begin IKE_SA_INIT with *host*, on the transport that the policy chooses."""
        nothing = frozenset[Way]()
        self._begin(sa, setup, host, self._chooser.for_attempt(sa, host, nothing, now), nothing, now)

    def another(self, sa: IkeSa, attempt: Attempt, tried: frozenset[Way], now: float) -> bool:
        """Begin anew on a transport not among *tried*, while *attempt*, if it lives, goes on listening."""
        choice = self._chooser.for_attempt(sa, attempt.host, tried, now)
        if choice.transport in tried:
            return False
        self._begin(sa, attempt.setup, attempt.host, choice, tried, now)
        return True

    def failed(self, sa: IkeSa, attempt: Attempt, now: float) -> bool:
        """Nothing of IKE_SA_INIT with this host is left: another transport, or another host. False without either."""
        if attempt.refusal is None and self.another(sa, attempt, attempt.tried | {attempt.transport}, now):
            return True
        setup = attempt.setup
        if not setup.remotes:
            return False
        host, *rest = setup.remotes
        setup.remotes = tuple(rest)
        sa.hosts = (sa.hosts[0], host)
        self.begin(sa, setup, host, now)
        return True

    def _begin(self, sa: IkeSa, setup: Setup, host: str, choice: Choice, tried: frozenset[Way], now: float) -> None:
        attempt = InitAttempt(sa, setup, host, choice, tried, begin_auth)
        if setup.attempts or sa.progress:
            self._emit(SpisChanged(sa.id, attempt.spi_i, bytes(8), f"IKE_SA_INIT begins anew: {choice.reason}"))
        attempt.send(now)
