"""What the state machine found once, each as a plain run."""

from __future__ import annotations

import pytest

from ikecore import BySize, Fallback, MessageSent, RequestCompleted, TcpOnly, UdpOnly
from ikecore.testing import Tcp, Udp
from ikecore.transport import Step
from tests.model import wide
from tests.model.world import A, B, Setting, World


@pytest.mark.requirement("TCP-65")
def test_a_connection_that_udp_took_over_from_ends_when_its_answer_is_overdue() -> None:
    """The request had moved to UDP, whose timers forgot the connection: it lived for as long as the request."""
    world = World(Setting(authorize=True))
    world.initiate("initiator", Fallback((Step("tcp", 3.0), Step("udp", 8.0))))
    world.run_for(world.limits.stream_answer_timeout + 1.0)
    assert [line.ended for line in world.sides["initiator"].lines.values()] == [True]
    world.finish()


@pytest.mark.requirement("TCP-10")
def test_no_half_close_while_another_request_waits() -> None:
    """The request was the last one when it was made, and no longer when the connection was up."""
    world = World(Setting(half_close=True))
    sa = world.initiate("initiator", TcpOnly())
    world.run_for(10.0)
    host = world.hosts["initiator"]
    for _ in range(2):
        host.call(host.endpoint.check_liveness, sa)
    world.run_for(0.03)
    [line] = [each for each in world.sides["initiator"].lines.values() if not each.ended]
    assert (len(line.written), line.fin) == (1, False)
    world.finish()


@pytest.mark.requirement("TCP-67", "IKE-050")
@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize("in_flight", [True, False])
def test_a_socket_that_goes_and_comes_back_ends_no_sa(role: str, in_flight: bool) -> None:
    """A request in flight gave its SA up at its first repeat, and no later one had a path."""
    world = World(Setting())
    world.initiate("initiator", UdpOnly())
    world.run_for(10.0)
    host, [sa] = world.hosts[role], world.established(role)
    view = host.endpoint.sa(sa)
    [socket] = [local for local in host.locals.values() if local.address == view.local and local.kind == "udp"]
    world.network.udp = Udp(loss=1.0)
    if in_flight:
        host.call(host.endpoint.check_liveness, sa)
    host.remove(socket)
    world.run_for(20.0)
    world.heal()
    if not in_flight:
        host.call(host.endpoint.check_liveness, sa)
    world.run_for(1.0)
    assert len(host.of(RequestCompleted)) == 1
    world.finish()


def test_an_icmp_error_for_a_closed_socket_reaches_nobody() -> None:
    """The simulated network told an endpoint about a socket that it had given back."""
    world = World(Setting())
    world.network.udp = Udp(delay=0.3, unreachable=True)
    host = world.hosts["initiator"]
    for local in world.locals["responder"][:2]:
        world.hosts["responder"].remove(local)
    world.initiate("initiator", UdpOnly())
    world.run_for(0.4)
    host.remove(world.locals["initiator"][0])
    world.run_for(10.0)
    world.finish()


@pytest.mark.requirement("TCP-33", "TCP-80")
def test_connections_that_are_gone_keep_no_other_from_its_answer() -> None:
    """Four dead connections were all that an undecided request was remembered on, and the fifth was turned away."""
    world = World(Setting(authorize=True, half_close=True))
    world.initiate("initiator", TcpOnly())
    host = world.hosts["responder"]
    while len(world.sides["responder"].lines) < 6:
        world.run_for(0.05)
        if len(world.sides["responder"].lines) < 6:
            for connection in world.network.connections:
                connection.reset()
        world.network.run(until=lambda: bool(world.network.connections[-1].state == "open"))
    world.run_for(0.05)
    [question] = world.sides["responder"].questions
    host.call(host.endpoint.answer, question, True)
    world.run_for(0.1)
    assert [line.written != {} for line in world.sides["responder"].lines.values()][-1]
    assert len(world.established("initiator")) == 1
    world.finish()


@pytest.mark.requirement("TCP-16", "TCP-37")
@pytest.mark.parametrize("half_close", [True, False])
def test_a_request_that_comes_back_to_a_connection_which_still_awaits_its_answer_waits_there(half_close: bool) -> None:
    """It was written again, or on a second connection; the end of the first one then repeated what was answered."""
    world = World(Setting(authorize=True, half_close=half_close))
    world.network.block("udp", source=A, destination=B)
    world.initiate("initiator", Fallback((Step("udp", 2.0), Step("tcp", 5.0))))
    world.run_for(10.0)
    responder = world.hosts["responder"]
    [question] = world.sides["responder"].questions
    responder.call(responder.endpoint.answer, question, True)
    world.run_for(1.0)
    assert len(world.established("initiator")) == 1
    assert len(world.network.connections) == 1
    world.finish()


@pytest.mark.requirement("TCP-12", "TCP-13")
def test_an_answer_that_stops_after_its_first_octet_is_not_waited_for_as_long_as_one_that_never_comes() -> None:
    """The model knew no other time than `stream_answer_timeout`; a message that was begun has less, and went again."""
    world = World(Setting(authorize=True))
    world.initiate("initiator", BySize(threshold=200), 500)
    world.run_for(0.1)
    world.network.tcp = Tcp(window=1)
    [question] = world.sides["responder"].questions
    responder = world.hosts["responder"]
    responder.call(responder.endpoint.answer, question, True)
    world.network.tcp = Tcp(window=1, black_hole=True)
    world.run_for(world.limits.stream_message + 0.1)
    assert [(line.ended, bytes(line.inbox[:1]) != b"") for line in world.sides["initiator"].lines.values()] == [
        (True, True),
        (False, False),
    ]
    world.finish()


@pytest.mark.requirement("TCP-80")
def test_a_stranger_is_owed_no_answer_to_what_it_only_saw() -> None:
    """It sent an IKE_AUTH that was being decided, spoilt: its connection was kept for an answer, and for ever."""
    world = wide.Wide(wide.Setting(authorize=True))
    world.initiate("initiator")
    world.run_for(0.1)
    world.connect(back=1, spoil=True)
    world.run_for(0.1)
    host = world.hosts["responder"]
    [end] = host.ends.values()
    world.answer("responder", True)
    world.run_for(world.limits.stream_idle + world.limits.stream_linger)
    assert end.closed
    world.finish()


@pytest.mark.requirement("TCP-10", "IKE-050")
def test_all_that_waits_for_a_connection_goes_on_it() -> None:
    """The first request to go was followed by a half-close, and the second one was never sent nor given up."""
    world = wide.Wide(wide.Setting(windows=(4, 4), half_close=True, policies=(TcpOnly(), TcpOnly()), both_listen=True))
    world.initiate("initiator")
    world.run_for(5.0)
    [sa] = world.established("initiator")
    for _ in range(2):
        world.books["initiator"].wish("check_liveness", sa)
    world.run_for(0.1)
    assert len(world.hosts["initiator"].of(RequestCompleted)) == 2
    world.finish()


@pytest.mark.requirement("TCP-12", "TCP-16")
def test_an_answer_on_a_half_closed_connection_counts_when_there_is_a_newer_one() -> None:
    """The first connection still awaited what it had brought: at its end the answered request was sent once more."""
    policies = (TcpOnly(), TcpOnly())
    world = wide.Wide(wide.Setting(windows=(4, 4), half_close=True, policies=policies, both_listen=True, trace=True))
    world.initiate("initiator")
    world.run_for(5.0)
    host, [sa] = world.hosts["initiator"], world.established("initiator")
    before = len(host.of(MessageSent))
    for _ in range(2):
        world.books["initiator"].wish("check_liveness", sa)
        world.run_for(0.025)
    world.run_for(1.0)
    assert len(host.of(RequestCompleted)) == 2
    assert len(host.of(MessageSent)) == before + 2
    world.finish()
