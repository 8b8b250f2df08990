"""What an application sees of an SA: frozen values, made when asked for."""

from __future__ import annotations

import attrs

from ..addressing import Lease
from ..errors import LocalProtocolError
from ..events import ChildKeyMaterial, IkeKeyMaterial, Role, Transport
from ..outputs import Address, ChildId, SaId
from ..transport import EspRoute
from .child_sa import ChildSa
from .ike_sa import IkeSa
from .selectors import in_words

__all__ = ["ChildSaView", "IkeSaView", "view_of"]


@attrs.frozen
class ChildSaView:
    """One Child SA. SPIs are 4 octets each; selectors and suite are in words.

    *udp_encapsulation*, *local* and *remote* say how its ESP travels now, as in `ChildSaEstablished`.
    """

    id: ChildId
    name: str
    protocol: str
    mode: str
    spi_in: bytes
    spi_out: bytes
    suite: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    udp_encapsulation: bool
    local: Address | None
    remote: Address | None
    _keys: ChildKeyMaterial = attrs.field(repr=False, eq=False)

    def export_keys(self) -> ChildKeyMaterial:
        """Return the Child SA's keys, by our direction."""
        return self._keys


@attrs.frozen
class IkeSaView:
    """One IKE SA. *local* and *remote* are the addresses of its datagrams, None while it has no UDP path.

    *replaced_spis* are the pairs that a rekey replaced and that are not deleted yet. *assigned* is what the peer
    assigned to us, *granted* what we assigned to the peer.
    """

    id: SaId
    connection: str
    role: Role
    state: str
    spi_i: bytes
    spi_r: bytes
    local_identity: str
    peer_identity: str | None
    suite: str | None
    transport: Transport
    transport_reason: str
    local: Address | None
    remote: Address | None
    local_behind_nat: bool
    peer_behind_nat: bool
    peer_tcp_port: int | None
    assigned: Lease | None
    granted: Lease | None
    children: tuple[ChildSaView, ...]
    replaced_spis: tuple[tuple[bytes, bytes], ...]
    _keys: IkeKeyMaterial | None = attrs.field(repr=False, eq=False)

    def export_keys(self) -> IkeKeyMaterial:
        """Return the IKE SA's keys; LocalProtocolError before there are any."""
        if self._keys is None:
            raise LocalProtocolError("the SA has no keys yet")
        return self._keys


def view_of(sa: IkeSa) -> IkeSaView:
    """Take a picture of *sa*."""
    return IkeSaView(
        sa.id,
        sa.connection.name,
        sa.role,
        sa.state.value,
        sa.current.spi_i,
        sa.current.spi_r,
        str(sa.connection.local_identity),
        None if sa.peer_identity is None else str(sa.peer_identity),
        None if sa.current.keys is None else str(sa.current.keys.suite),
        sa.transport,
        sa.transport_reason,
        None if sa.path is None else sa.path.local,
        None if sa.path is None else sa.path.remote,
        sa.nat.local_behind_nat,
        sa.nat.peer_behind_nat,
        sa.facts.tcp_port,
        sa.assigned,
        sa.granted,
        tuple(_child_view(child, sa.esp_route) for child in sa.children.values()),
        tuple((each.spi_i, each.spi_r) for each in sa.others),
        None if sa.current.keys is None else sa.current.keys.export(),
    )


def _child_view(child: ChildSa, route: EspRoute) -> ChildSaView:
    return ChildSaView(
        child.id,
        child.name,
        "esp",
        child.mode,
        child.spi_in,
        child.spi_out,
        str(child.suite),
        tuple(in_words(selector) for selector in child.local_ts),
        tuple(in_words(selector) for selector in child.remote_ts),
        route.udp_encapsulation,
        route.local,
        route.remote,
        child.export_keys(),
    )
