"""Between whom Child SAs are: hosts, or addresses that one side assigns (RFC 7296 sections 2.9 and 2.19)."""

from __future__ import annotations

from .ends import Ends
from .ike_sa import IkeSa

__all__ = ["ends_of", "wants_addresses"]


def wants_addresses(sa: IkeSa) -> bool:
    """Tell whether the peer is to assign us addresses, and has not done so yet.

    What the application has to accept is asked for once, with IKE_AUTH.
    """
    if sa.role != "initiator" or sa.assigned is not None or not sa.connection.virtual_addresses:
        return False
    return sa.setting_up or not sa.connection.ask_acceptance


def ends_of(sa: IkeSa, *, asking: bool = False) -> Ends:
    """Return the two ends of its Child SAs. While *asking* for addresses, ours may be any of their families.

    The peer's is the address where it was authenticated: whoever has keys may still forge where a message comes from,
    and must not get the traffic of somebody else by that.
    """
    assigned = () if sa.assigned is None else sa.assigned.addresses
    if asking:
        families = ("::" if ":" in each else "0.0.0.0" for each in sa.connection.virtual_addresses)
        assigned = tuple(dict.fromkeys(families))
    granted = () if sa.granted is None else sa.granted.addresses
    return Ends(sa.hosts[0], sa.authenticated_at or sa.hosts[1], sa.nat, assigned, granted)
