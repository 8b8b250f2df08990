"""Which established SAs are between the same two identities, and what becomes of the others when one more comes up.

INITIAL_CONTACT (RFC 7296 section 2.4) says that its sender knows of no other SA: what we still have is left over from
before a crash. It is believed in IKE_AUTH alone, after AUTH: until a peer has proved who it is it ends nothing of
anybody.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..config import Connection
from ..crypto import Identity
from ..limits import Limits
from ..outputs import SaId
from ..sa import IkeSa, delete_ike
from .turn import Turn

__all__ = ["Contacts"]

BEGAN_ANEW = "the peer began anew (INITIAL_CONTACT)"
REPLACED = "another SA with the same peer has replaced it"


class Contacts:
    """The established ones of *sas* by their identities."""

    def __init__(self, sas: Mapping[SaId, IkeSa], limits: Limits, turn: Turn) -> None:
        self._sas = sas
        self._limits = limits
        self._turn = turn
        self._between: dict[Identity, dict[Identity, tuple[SaId, ...]]] = {}
        """By our identity and the peer's, as proved. Most have one SA with a peer: they share all but a number."""

    def add(self, sa: IkeSa) -> None:
        """*sa* is established."""
        if sa.peer_identity is not None:
            peers = self._between.setdefault(sa.connection.local_identity, {})
            peers[sa.peer_identity] = (*peers.get(sa.peer_identity, ()), sa.id)

    def remove(self, sa: IkeSa) -> None:
        """*sa* is gone, if it ever was there."""
        found, ours = self._with_peer_of(sa), sa.connection.local_identity
        if sa.peer_identity is None or sa.id not in found:
            return
        peers = self._between[ours]
        peers[sa.peer_identity] = tuple(each for each in found if each != sa.id)
        if len(found) == 1:
            del peers[sa.peer_identity]
        if not peers:
            del self._between[ours]

    def others(self, sa: IkeSa) -> list[IkeSa]:
        """Return the SAs with the peer of *sa*, without itself.

        The same name proved by other means may be somebody else, so only those count whose peer was verified alike.
        """
        found = [self._sas[each] for each in self._with_peer_of(sa) if each != sa.id]
        return [each for each in found if _verified_alike(each.connection, sa.connection)]

    def first(self, sa: IkeSa) -> bool:
        """Tell whether INITIAL_CONTACT is true of *sa*, which we set up, and our configuration wants it sent."""
        connection, wanted = sa.connection, sa.connection.remote_identity
        if connection.unique not in ("replace", "keep"):
            return False
        known = self._between.get(connection.local_identity, {})
        return wanted is not None and not wanted.is_pattern and wanted not in known

    def replaced_by(self, sa: IkeSa) -> list[SaId]:
        """Return the SAs with the peer of *sa* at the same address: it is being authenticated anew (section 2.8.3)."""
        return [each.id for each in self.others(sa) if each.hosts[1] == sa.hosts[1]]

    def too_many(self, sa: IkeSa) -> bool:
        """Tell whether *sa*, whose peer has just proved itself, is refused because there is another one.

        One from the address of the other is the peer's way to authenticate anew (RFC 7296 section 2.8.3).
        """
        return sa.connection.unique == "keep" and any(each.hosts[1] != sa.hosts[1] for each in self.others(sa))

    def met(self, sa: IkeSa, initial: bool, now: float) -> None:
        """*sa* is established, and its peer said INITIAL_CONTACT or not.

        Of others only the one before it may stay for a while: a peer that sets up one after another keeps no more.
        """
        unique = sa.connection.unique
        if initial and unique != "never":
            for each in self.others(sa):
                each.close(BEGAN_ANEW, "peer", now)
        elif unique in ("replace", "keep") and sa.role == "responder":
            for each in self.others(sa):
                if each.hosts[1] == sa.hosts[1] and not each.life.retired:
                    self._retire(each, now)
                elif each.delete_under_way is None:
                    delete_ike(each, REPLACED, now)
        self.add(sa)

    def _retire(self, sa: IkeSa, now: float) -> None:
        """Another SA has replaced *sa*. Its peer may carry over Child SAs yet, then it deletes it; else we do."""
        sa.life.reason = REPLACED
        sa.life.replaced(self._limits, now)
        sa.watch_life()
        self._turn.touched(sa)

    def _with_peer_of(self, sa: IkeSa) -> tuple[SaId, ...]:
        if sa.peer_identity is None:
            return ()
        return self._between.get(sa.connection.local_identity, {}).get(sa.peer_identity, ())


def _verified_alike(one: Connection, other: Connection) -> bool:
    return one.name == other.name or one.remote == other.remote
