"""What the state machine found once, each as a plain run."""

from __future__ import annotations

import pytest

from ikecore import Fallback, TcpOnly
from ikecore.transport import Step
from tests.model.world import Setting, World


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
