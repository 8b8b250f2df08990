"""By which path the datagrams of an SA go: peers move, and so do our sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..events import PathChanged
from ..outputs import Address, Output, SaId
from ..sa import IkeSa
from ..transport import DatagramPath, Local
from .delivery import Delivery
from .keepalives import Keepalives
from .turn import Turn

__all__ = ["Paths"]


class Paths:
    """Moves *sas* from path to path."""

    def __init__(
        self,
        sas: Mapping[SaId, IkeSa],
        emit: Callable[[Output], None],
        keepalives: Keepalives,
        delivery: Delivery,
        turn: Turn,
    ) -> None:
        self._sas = sas
        self._emit = emit
        self._keepalives = keepalives
        self._delivery = delivery
        self._turn = turn

    def move(self, sa: IkeSa, path: DatagramPath, reason: str, now: float) -> None:
        """Send datagrams of *sa* by *path* from now on, and say so."""
        had_none, sa.path, sa.lost_path = sa.path is None, path, None
        sa.packet = None
        self._emit(PathChanged(sa.id, path.local, path.remote, reason, sa.esp_route.udp_encapsulation))
        self._keepalives.arm(sa, now)
        if had_none:
            self._delivery.path_found(sa, now)

    def socket_gone(self, address: Address) -> None:
        """Our socket on *address* is gone: no SA sends from it, until it is back or the peer shows another path."""
        for sa in self._sas.values():
            if sa.path is not None and sa.path.local == address:
                sa.path, sa.lost_path = None, sa.path

    def waiting_for(self, local: Local) -> list[IkeSa]:
        """Return the SAs whose datagrams went by the socket *local*, and by nothing since that was lost."""
        found = []
        for sa in self._sas.values():
            lost = sa.lost_path
            if sa.path is None and lost is not None and (lost.local, lost.marker) == (local.address, local.marker):
                found.append(sa)
        return found

    def socket_back(self, sa: IkeSa, now: float) -> None:
        """There is a socket again where the one of *sa* was: interfaces come and go."""
        if sa.lost_path is not None:
            self._turn.touched(sa)
            self.move(sa, sa.lost_path, "our socket is back", now)
