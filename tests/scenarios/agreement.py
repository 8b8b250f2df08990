"""What two sides of an IKE SA have to agree on, and what has to be left when all is over."""

from __future__ import annotations

from ikecore import ChildSaEstablished, IkeKeysDerived, IkeSaEstablished, IkeSaFailed, InternalError, SaId
from ikecore.testing import Host, Packet, Pair


def assert_agreement(pair: Pair, mine: SaId) -> None:
    """Both sides are up and know the same SPIs, suites, selectors and keys."""
    ours, theirs = pair.initiator.endpoint.sa(mine), pair.responder.endpoint.sa(pair.peer_of(mine))
    assert (ours.state, theirs.state) == ("established", "established")
    assert (ours.spi_i, ours.spi_r, ours.suite) == (theirs.spi_i, theirs.spi_r, theirs.suite)
    assert ours.export_keys() == theirs.export_keys()
    assert (ours.local_identity, ours.peer_identity) == (theirs.peer_identity, theirs.local_identity)
    assert len(ours.children) == len(theirs.children)
    for our, their in zip(ours.children, theirs.children, strict=True):
        assert (our.spi_in, our.spi_out) == (their.spi_out, their.spi_in)
        assert (our.local_ts, our.remote_ts) == (their.remote_ts, their.local_ts)
        assert (our.suite, our.mode, our.protocol) == (their.suite, their.mode, their.protocol)
        mirrored = our.export_keys(), their.export_keys()
        assert mirrored[0].encr_in == mirrored[1].encr_out
        assert mirrored[0].encr_out == mirrored[1].encr_in
        assert (mirrored[0].integ_in, mirrored[0].integ_out) == (mirrored[1].integ_out, mirrored[1].integ_in)
        assert mirrored[0].encr_in != mirrored[0].encr_out


def assert_nothing_left(pair: Pair) -> None:
    """Neither side has an SA, a stream, an output or a timer."""
    for host in (pair.initiator, pair.responder):
        assert host.endpoint.sas == ()
        assert host.endpoint.idle, host
        assert host.endpoint.deadline is None, host
        assert host.of(InternalError) == []


def outcome(host: Host) -> list[IkeSaEstablished | IkeSaFailed]:
    """Return how the SAs of *host* came out, in order."""
    return [event for event in host.events if isinstance(event, IkeSaEstablished | IkeSaFailed)]


def datagrams(pair: Pair, sender: str) -> list[Packet]:
    """Return the datagrams from the address *sender*."""
    return [packet for packet in pair.network.wire if packet.kind == "datagram" and packet.source[0] == sender]


def children(host: Host) -> list[ChildSaEstablished]:
    return host.of(ChildSaEstablished)


def keys_derived(host: Host) -> list[IkeKeysDerived]:
    return host.of(IkeKeysDerived)
