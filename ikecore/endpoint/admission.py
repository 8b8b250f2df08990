"""Who gets in: bounds on what strangers can make us hold, and the words for those turned away.

Decisions are taken from counts and come with a reason. Nothing here sends or parses.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Callable

from ..events import Refused, Transport
from ..limits import Limits
from ..outputs import Address, Output, SaId
from ..transport import source_key

__all__ = ["Admission", "Refusals", "Verdict"]


class Verdict(enum.Enum):
    """What happens to a new IKE_SA_INIT."""

    ADMIT = "admit"
    COOKIE = "cookie"
    """Only with a cookie: the address is not proved, and it is crowded (UDP only: TCP has proved it, TCP-36)."""
    REFUSE = "refuse"


class Admission:
    """Counts half-open SAs, in all and by source, UDP and TCP apart.

    Those of a source that has not proved its address are counted apart from those of one that has, by a cookie or a
    TCP handshake: whoever forges an address must not use up the share of its owner.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._half_open: dict[Transport, dict[SaId, tuple[str, bool]]] = {"udp": {}, "tcp": {}}
        self._by_source: Counter[tuple[str, bool]] = Counter()

    def half_open(self, transport: Transport) -> int:
        """The number of half-open SAs that came by *transport*."""
        return len(self._half_open[transport])

    @property
    def crowded(self) -> bool:
        """Whether IKE_SA_INIT over UDP needs a cookie."""
        return len(self._half_open["udp"]) >= self._limits.cookie_threshold

    def judge(self, transport: Transport, host: str, sas: int, *, proved: bool) -> tuple[Verdict, str]:
        """Decide on a new request from *host*; *proved* tells that it brought a good cookie. *sas* is their number."""
        limits = self._limits
        if sas >= limits.sas:
            return Verdict.REFUSE, f"{sas} SAs exist"
        most = limits.half_open_udp if transport == "udp" else limits.half_open_tcp
        waiting = self.half_open(transport)
        proved = proved or transport == "tcp"
        source = self._by_source[source_key(host), proved]
        if not proved:
            if self.crowded:
                return Verdict.COOKIE, f"{waiting} half-open SAs"
            if source >= limits.half_open_per_source:
                return Verdict.COOKIE, f"{source} half-open SAs from this source"
        if waiting >= most:
            return Verdict.REFUSE, f"{waiting} half-open SAs over {transport.upper()}"
        if source >= limits.half_open_per_source:
            return Verdict.REFUSE, f"{source} half-open SAs from this source"
        return Verdict.ADMIT, ""

    def opened(self, sa: SaId, transport: Transport, host: str, *, proved: bool) -> None:
        """Count a new half-open SA."""
        source = source_key(host), proved or transport == "tcp"
        self._half_open[transport][sa] = source
        self._by_source[source] += 1

    def settled(self, sa: SaId) -> None:
        """The SA is established or gone: it counts no more."""
        for waiting in self._half_open.values():
            source = waiting.pop(sa, None)
            if source is None:
                continue
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]


class Refusals:
    """Counts what is turned away, and says so at most so often per reason."""

    MOST_REASONS = 256

    def __init__(self, interval: float, counters: Counter[str], emit: Callable[[Output], None]) -> None:
        self._interval = interval
        self._counters = counters
        self._emit = emit
        self._said: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def add(self, what: str, source: Address, reason: str, now: float) -> None:
        """Count one, and say so if it is time."""
        self._counters[f"{what} refused: {reason}" if what == "connection" else what] += 1
        key = (what, reason)
        said, silent = self._said.get(key, (float("-inf"), 0))
        if now - said < self._interval:
            self._said[key] = (said, silent + 1)
            return
        self._said[key] = (now, 0)
        self._said.move_to_end(key)
        if len(self._said) > self.MOST_REASONS:
            self._said.popitem(last=False)
        self._emit(Refused(what, source, reason, silent + 1))
