"""The pair, its ladder, and the insider."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    Config,
    Endpoint,
    IkeSaEstablished,
    IkeSaFailed,
    MessageReceived,
    MessageSent,
    PeerUnreachable,
    ike_proposals,
)
from ikecore.testing import CheckedEndpoint, Insider, Mangler, Network, NetworkError, Pair, Tcp, Udp, psk_connection
from ikecore.wire import Delete, Notification
from ikecore.wire.numbers import Exchange, Protocol

A, B = ("10.0.0.1", 500), ("10.0.0.2", 500)


def test_the_shortest_way_to_an_sa() -> None:
    pair = Pair(tcp=True)
    sa = pair.initiate()
    pair.run()
    assert next(event for event in pair.initiator.events if isinstance(event, IkeSaEstablished)).sa == sa


def test_establish_returns_both_handles_or_raises_the_error() -> None:
    pair = Pair()
    mine, theirs = pair.establish()
    assert pair.initiator.endpoint.sas == (mine,)
    assert pair.responder.endpoint.sas == (theirs,)
    assert pair.peer_of(mine) == theirs
    with pytest.raises(AuthenticationFailed):
        Pair(psk_connection("initiator", secret=b"wrong")).establish()
    with pytest.raises(PeerUnreachable):
        Pair(udp=Udp(loss=1.0)).establish()


def test_what_was_never_established_has_no_peer() -> None:
    pair = Pair(psk_connection("initiator", secret=b"wrong"))
    sa = pair.initiate()
    pair.run()
    assert pair.initiator.of(IkeSaFailed)
    with pytest.raises(LookupError):
        pair.peer_of(sa)


def test_the_ladder_has_a_line_per_message_and_shows_what_got_lost() -> None:
    pair = Pair()
    Mangler(pair.network).drop(0, 3)
    pair.establish()
    lines = pair.ladder()
    assert len(lines) == 6
    assert "IKE_SA_INIT request 0" in lines[0]
    assert "-xudp" in lines[0]
    assert "again" in lines[1]
    assert "-->" in lines[1]
    assert "<--udp" in lines[2]
    assert [rung.arrived is None for rung in pair.rungs()] == [True, False, False, True, False, False]
    assert [rung.sender for rung in pair.rungs()][2:4] == ["responder", "initiator"]
    assert pair.rungs()[4].payloads[:2] == ("IDi", "IDr")


def test_a_lost_answer_is_drawn_as_lost() -> None:
    pair = Pair()
    Mangler(pair.network).drop(1)
    pair.establish()
    assert "x-" in pair.ladder()[1]


def test_without_trace_there_is_no_ladder() -> None:
    pair = Pair(Config(connections=[psk_connection("initiator")]), Config(connections=[psk_connection("responder")]))
    pair.establish()
    assert pair.ladder() == []
    assert pair.initiator.of(MessageSent) == []


def test_the_calendar_can_be_set() -> None:
    noon = datetime(2031, 1, 1, tzinfo=UTC)
    pair = Pair(utc=noon)
    assert pair.utc == noon
    pair.establish()


def test_checked_or_not_it_is_the_same_run() -> None:
    checked, bare = Pair(), Pair(checked=False)
    for pair in (checked, bare):
        pair.establish()
    assert checked.network.wire == bare.network.wire
    assert isinstance(checked.initiator.endpoint, CheckedEndpoint)
    assert isinstance(bare.initiator.endpoint, Endpoint)


def test_tcp_takes_impairments() -> None:
    pair = Pair(tcp=Tcp(delay=1.0))
    pair.establish()
    assert pair.now == pytest.approx(6.0)


# --- the insider ------------------------------------------------------------------------------------------------------


def test_an_insider_opens_and_seals() -> None:
    pair = Pair()
    pair.establish()
    insider = Insider(pair.initiator)
    header, payloads = insider.open(pair.network.wire[2].data)
    assert header.exchange == Exchange.IKE_AUTH
    assert len(payloads) >= 5
    sealed = insider.seal("responder", Exchange.INFORMATIONAL, 0, [Delete(Protocol.IKE)])
    assert insider.open(sealed)[1] == [Delete(Protocol.IKE)]
    assert insider.open(pair.network.wire[0].data)[0].exchange == Exchange.IKE_SA_INIT
    pair.network.send(sealed, source=B, destination=A)
    pair.run()
    assert pair.initiator.endpoint.sas == ()


def test_an_insider_works_with_any_suite() -> None:
    proposals = ike_proposals("aes128-sha256-ecp256")
    mine, theirs = (attrs.evolve(psk_connection(role), proposals=proposals) for role in ("initiator", "responder"))
    pair = Pair(mine, theirs)
    pair.establish()
    assert Insider(pair.initiator).open(pair.network.wire[2].data)[1]


def test_an_insider_rewrites_until_it_is_told_to_stop() -> None:
    pair = Pair()
    insider = Insider(pair.initiator)
    seen: list[int] = []

    def add(header: object, payloads: list[object]) -> list[object]:
        seen.append(len(payloads))
        return [*payloads, Notification(65_000)]

    stop = insider.rewrite(add, source="10.0.0.1")  # type: ignore[arg-type]
    mine, _ = pair.establish()
    assert len(seen) == 1
    received = pair.responder.of(MessageReceived)[-1].payloads
    assert (len(received), received[-1]) == (seen[0] + 1, "N(65000)")
    stop()
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run()
    assert len(seen) == 1


def test_an_insider_can_let_messages_vanish() -> None:
    pair = Pair()
    Insider(pair.initiator).rewrite(lambda header, payloads: None)
    pair.initiate()
    pair.run()
    assert pair.initiator.of(IkeSaFailed)


def test_without_keys_there_is_no_insider() -> None:
    with pytest.raises(NetworkError, match="no keys"):
        _ = Insider(Pair().initiator).keys


def test_a_network_of_ones_own_takes_endpoints_too() -> None:
    network = Network(start=50.0)
    assert network.now == 50.0
