"""Half-open SAs: how many there are, and the IKE_SA_INIT requests that made them, whose repeats make no more."""

from __future__ import annotations

from collections.abc import Callable

from ..events import CookiesDemanded
from ..outputs import Output, SaId
from ..sa import IkeSa
from ..transport import Path
from .admission import Admission

__all__ = ["HalfOpen"]


class HalfOpen:
    """Those of an endpoint, counted by *admission*, and for a while those that were half-open."""

    def __init__(self, admission: Admission, emit: Callable[[Output], None]) -> None:
        self._admission = admission
        self._emit = emit
        self._by_request: dict[tuple[bytes, Path], IkeSa] = {}
        self._requests: dict[SaId, tuple[bytes, Path]] = {}
        self._cookies_on = False

    def opened(self, sa: IkeSa, digest: bytes, path: Path, *, proved: bool) -> None:
        """An IKE_SA_INIT request with this *digest* made *sa*. *proved*: it brought a good cookie."""
        self._by_request[digest, path] = sa
        self._requests[sa.id] = (digest, path)
        self._admission.opened(sa.id, path.transport, path.remote[0], proved=proved)
        self._say_cookies()

    def known(self, digest: bytes, path: Path) -> IkeSa | None:
        """Return the SA of a request that came before, by its octets and its exact path (RFC 7296 section 2.1)."""
        return self._by_request.get((digest, path))

    def settled(self, sa: IkeSa) -> None:
        """Its peer is authenticated, or it is gone: it counts no more."""
        self._admission.settled(sa.id)
        self._say_cookies()

    def forget(self, sa: IkeSa) -> None:
        """Its request need not be told from a new one any longer."""
        request = self._requests.pop(sa.id, None)
        if request is not None:
            self._by_request.pop(request, None)

    def _say_cookies(self) -> None:
        if self._admission.crowded is not self._cookies_on:
            self._cookies_on = self._admission.crowded
            self._emit(CookiesDemanded(self._cookies_on, self._admission.half_open("udp")))
