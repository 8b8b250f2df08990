"""Where the peer is now: addresses follow authenticated traffic (RFC 7296 section 2.23)."""

from __future__ import annotations

from ..transport import DatagramPath, Path
from .ike_sa import IkeSa

__all__ = ["came_by", "esp_came_by"]


def came_by(sa: IkeSa, path: Path, now: float, *, newest: bool) -> None:
    """A fresh, verified message came by *path*: it may be where the peer is now.

    Repeats never get here, since whoever recorded one could send it from anywhere; nor does a message move anything
    that is not the *newest* of its direction, since it may have been held back. TCP addresses never become the path of
    datagrams (TCP-73).
    """
    sa.heard_at = now
    sa.services.proved(sa, path)
    if not newest:
        return
    if sa.role == "responder" and not sa.setting_up:
        _at_host(sa, path)
    if isinstance(path, DatagramPath):
        _follow(sa, path, "authenticated traffic came this way", now)


def esp_came_by(sa: IkeSa, path: DatagramPath, now: float) -> None:
    """ESP that was authenticated and no replay came in UDP by *path*: it says as much as a message of IKE."""
    _follow(sa, path, "authenticated ESP came this way", now)


def _follow(sa: IkeSa, path: DatagramPath, reason: str, now: float) -> None:
    if path == sa.path or not (sa.path is None or _may_follow(sa)):
        return
    if not sa.setting_up:
        _at_host(sa, path)
    sa.services.paths.move(sa, path, reason, now)


def _may_follow(sa: IkeSa) -> bool:
    """Tell whether the peer's address is its own affair.

    In set-up the initiator alone moves, from port 500 to 4500, and AUTH will vouch for it. Later whoever is behind a
    NAT stays: its peer's address is the stable one, and a stranger on the path could move it with a packet held back.
    """
    if sa.setting_up:
        return sa.role == "responder"
    return not sa.nat.local_behind_nat or sa.connection.transports.static_nat


def _at_host(sa: IkeSa, path: Path) -> None:
    """Take note of another address of the peer.

    What it told of TCP was for the address it had (TCP-32). Until it is authenticated its address stays the one at
    which IKE_SA_INIT reached it: a forged one must not become its traffic selector.
    """
    if path.remote[0] != sa.hosts[1]:
        sa.hosts = (path.local[0], path.remote[0])
        sa.facts = sa.facts.but(announced_port=None, refused_port=None, used_port=None)
