"""Which established SAs are between the same two identities, and what becomes of the others when one more comes up.

INITIAL_CONTACT (RFC 7296 section 2.4) says that its sender knows of no other SA: what we still have is left over from
before a crash. It is believed in IKE_AUTH alone, after AUTH: until a peer has proved who it is it ends nothing of
anybody.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config import Connection
from ..crypto import Identity
from ..sa import IkeSa, delete_ike

__all__ = ["Contacts"]

Pair = tuple[Identity, Identity]
"""Our identity and the peer's, as proved."""
BEGAN_ANEW = "the peer began anew (INITIAL_CONTACT)"
REPLACED = "another SA with the same peer has replaced it"


class Contacts:
    """The established SAs by their identities."""

    def __init__(self) -> None:
        self._by_pair: dict[Pair, dict[int, IkeSa]] = {}

    def add(self, sa: IkeSa) -> None:
        """*sa* is established."""
        pair = _pair(sa)
        if pair is not None:
            self._by_pair.setdefault(pair, {})[sa.id] = sa

    def remove(self, sa: IkeSa) -> None:
        """*sa* is gone, if it ever was there."""
        pair = _pair(sa)
        found = None if pair is None else self._by_pair.get(pair)
        if pair is not None and found is not None and found.pop(sa.id, None) is not None and not found:
            del self._by_pair[pair]

    def others(self, sa: IkeSa) -> list[IkeSa]:
        """Return the SAs with the peer of *sa*, without itself.

        The same name proved by other means may be somebody else, so only those count whose peer was verified alike.
        """
        pair = _pair(sa)
        found = {} if pair is None else self._by_pair.get(pair, {})
        return [each for each in found.values() if each is not sa and _verified_alike(each.connection, sa.connection)]

    def first(self, sa: IkeSa) -> bool:
        """Tell whether INITIAL_CONTACT is true of *sa*, which we set up, and our configuration wants it sent."""
        connection, wanted = sa.connection, sa.connection.remote_identity
        if connection.unique not in ("replace", "keep") or sa.predecessor is not None:
            return False
        return wanted is not None and not wanted.is_pattern and (connection.local_identity, wanted) not in self._by_pair

    def too_many(self, sa: IkeSa) -> bool:
        """Tell whether *sa*, whose peer has just proved itself, is refused because there is another one.

        One from the address of the other is the peer's way to authenticate anew (RFC 7296 section 2.8.3).
        """
        return sa.connection.unique == "keep" and any(each.hosts[1] != sa.hosts[1] for each in self.others(sa))

    def met(self, sa: IkeSa, initial: bool, retire: Callable[[IkeSa, str], None], now: float) -> None:
        """*sa* is established, and its peer said INITIAL_CONTACT or not. *retire* ends an SA if its peer does not.

        Only the one before it may stay for that while: a peer that sets up one after another keeps no more.
        """
        unique = sa.connection.unique
        if initial and unique != "never":
            for each in self.others(sa):
                each.close(BEGAN_ANEW, "peer", now)
        elif unique in ("replace", "keep") and sa.role == "responder":
            for each in self.others(sa):
                if each.hosts[1] == sa.hosts[1] and not each.life.retired:
                    retire(each, REPLACED)
                elif each.delete_under_way is None:
                    delete_ike(each, REPLACED, now)
        self.add(sa)


def _pair(sa: IkeSa) -> Pair | None:
    return None if sa.peer_identity is None else (sa.connection.local_identity, sa.peer_identity)


def _verified_alike(one: Connection, other: Connection) -> bool:
    return one.name == other.name or one.remote == other.remote
