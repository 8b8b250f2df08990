"""What both sides say about their SAs has to agree: states, SPIs and every key."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import ikecore
from tests.interop.host import UdpHost
from tests.interop.peer import EspKeys, Peer, Sa, Spis
from tests.interop.peering import PEER, Authorities, Peering

Role = Literal["responds", "initiates"]
"""What the peer does."""


def host_for(peering: Peering, authorities: Authorities, *, limits: ikecore.Limits | None = None) -> UdpHost:
    """Return a host that answers *peering*."""
    return UdpHost(ikecore.Config(connections=(peering.connection(authorities),), limits=limits or ikecore.Limits()))


def initiate(host: UdpHost, peering: Peering, authorities: Authorities) -> ikecore.SaId:
    """Begin to set up *peering* from our side."""
    return host.endpoint.initiate(peering.connection(authorities), [PEER], now=host.now)


def begin(host: UdpHost, peer: Peer, role: Role, peering: Peering, authorities: Authorities) -> None:
    """Begin to set up *peering*; the peer has its side already and plays *role*."""
    if role == "initiates":
        peer.connect()
    else:
        initiate(host, peering, authorities)


def established(host: UdpHost, peer: Peer, role: Role, peering: Peering, authorities: Authorities) -> ikecore.SaId:
    """Set up the SA of *peering* with its Child SA, see that both sides agree, and return it."""
    peering.load_into(peer, authorities)
    begin(host, peer, role, peering, authorities)
    host.wait(ikecore.ChildSaEstablished)
    check_agreement(peer, host)
    return host.of(ikecore.IkeSaEstablished)[-1].sa


def up(host: UdpHost) -> list[ikecore.IkeSaView]:
    """Return our SAs that are established.

    There may be one that is half-open beside: a pluto whose wait for our first response was long can repeat its
    IKE_SA_INIT from port 4500 after it has moved there, and what comes another way may be anybody's.
    """
    views = [host.endpoint.sa(sa) for sa in host.endpoint.sas]
    return [view for view in views if view.state == "established"]


def have(host: UdpHost) -> set[Sa]:
    """Return our SAs as the peer has to see them."""
    return {
        Sa(view.spi_i, view.spi_r, frozenset(Spis(child.spi_out, child.spi_in) for child in view.children))
        for view in up(host)
    }


def check_agreement(peer: Peer, host: UdpHost) -> None:
    """Both sides have one IKE SA, the same Child SAs, and the same keys for them all; soon, if not at once."""
    theirs: set[Sa] = set()

    def settled() -> bool:
        theirs.clear()
        theirs.update(peer.sas())
        return theirs == have(host)

    with suppress(TimeoutError):
        peer.until(settled, host)
    assert theirs == have(host), peer.last_words
    (ours,) = up(host)
    children = {Spis(child.spi_out, child.spi_in): child for child in ours.children}
    peer.until(lambda: children.keys() <= {keys.spis for keys in peer.esp_keys()}, host)
    check_ike_keys(peer.ike_keys(), ours.export_keys())
    logged = {keys.spis: keys for keys in peer.esp_keys()}
    for spis, child in children.items():
        check_esp_keys(logged[spis], child.export_keys())


def check_ike_keys(logged: list[dict[str, bytes]], ours: ikecore.IkeKeyMaterial) -> None:
    """Every key of an IKE SA that the peer tells is ours too; it tells all, but perhaps SK_d.

    The peer's latest keys need not be those in use: of two rekeys at once one goes.
    """
    theirs = next((keys for keys in logged if keys.get("sk_ei") == ours.sk_ei), logged[-1])
    names = ("sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr")
    known = {name: value for name in names if (value := getattr(ours, name))}
    assert theirs == {name: value for name, value in known.items() if name in theirs}
    assert known.keys() - theirs.keys() <= {"sk_d"}


def check_esp_keys(theirs: EspKeys, ours: ikecore.ChildKeyMaterial) -> None:
    """The keys of a Child SA are the same, by direction."""
    assert (ours.encr_out, ours.integ_out) == (theirs.encr_in, theirs.integ_in)
    assert (ours.encr_in, ours.integ_in) == (theirs.encr_out, theirs.integ_out)
    assert ours.encr_out != ours.encr_in
