"""With at most n losses in a row, every exchange succeeds, or fails once and clearly, within the bound of the limits.

A schedule is a list of what happens to one thing after the other that either side puts on the wire: datagrams vanish,
come late or twice; connections are refused, or reset just before a segment. After *in a row* many losses the next thing
gets through. Losses are counted over both directions and both transports together.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ikecore import (
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    Limits,
    MessageReceived,
    PeerUnreachable,
    Policy,
    RequestCompleted,
    RequestFailed,
    UdpOnly,
)
from ikecore.testing import Packet, Udp
from tests.model.world import POLICIES, Setting, World

ROLES = ("initiator", "responder")
ALL = Limits().retransmit_tries - 1
FEW = 5
"""Six losses in a row are more than 41 seconds of silence, when a responder has forgotten its half-open SA."""


class Schedule:
    """Loses what *losses* says, never more than *most* in a row; all that comes later gets through."""

    def __init__(self, world: World, losses: list[bool], most: int) -> None:
        self.world = world
        self.losses = list(losses)
        self.most = most
        self.row = 0
        world.network.manglers.append(self)

    def __call__(self, packet: Packet, data: bytes) -> bytes | None:
        """Decide on one datagram or segment. A segment cannot vanish from a connection: that is reset."""
        lost = bool(self.losses) and self.losses.pop(0) and self.row < self.most
        self.row = self.row + 1 if lost else 0
        if not lost:
            return data
        if packet.transport == "tcp":
            connection = self.world.network.connections[(packet.connection or 0) - 1]
            self.world.network.at(self.world.network.now, connection.reset)
        return None


def wishes_of_both(world: World, wishes: int) -> dict[str, list[int]]:
    """Have both sides ask for so many liveness checks on their SA."""
    asked: dict[str, list[int]] = {}
    for role in ROLES:
        host = world.hosts[role]
        asked[role] = [
            host.call(host.endpoint.check_liveness, sa) for sa in world.established(role) for _ in range(wishes)
        ]
    return asked


def executed(world: World, role: str) -> list[tuple[int, int]]:
    """Return the INFORMATIONAL requests that had an effect at *role*."""
    return [
        (event.sa or 0, event.message_id)
        for event in world.hosts[role].of(MessageReceived)
        if event.exchange == "INFORMATIONAL" and not event.is_response and not event.repeat
    ]


def set_up_bound(limits: Limits) -> float:
    """Seconds in which a set-up is decided, for either side."""
    return max(limits.establish_timeout, limits.half_open_lifetime + limits.question_timeout)


SCHEDULES = st.lists(st.booleans(), max_size=60)
WEATHER = st.builds(
    Udp,
    jitter=st.sampled_from([0.0, 0.2]),
    duplication=st.sampled_from([0.0, 0.5]),
    reordering=st.sampled_from([0.0, 0.5]),
)


@pytest.mark.requirement("TCP-13", "TCP-14", "TCP-24", "TCP-67", "TCP-80", "IKE-046", "IKE-047", "IKE-050")
@given(
    policy=st.sampled_from(POLICIES),
    port=st.sampled_from([None, 500]),
    losses=SCHEDULES,
    most=st.integers(0, FEW),
    weather=WEATHER,
    half_close=st.booleans(),
    nat=st.booleans(),
)
@example(policy=UdpOnly(), port=None, losses=[True] * 60, most=FEW, weather=Udp(), half_close=False, nat=False)
def test_every_exchange_ends_within_its_bound(
    policy: Policy, port: int | None, losses: list[bool], most: int, weather: Udp, half_close: bool, nat: bool
) -> None:
    world = World(Setting(half_close=half_close, nat=nat))
    world.network.udp = weather
    Schedule(world, losses, most)
    world.initiate("initiator", policy, port)
    world.run_for(set_up_bound(world.limits))
    mine = world.hosts["initiator"]
    [result] = [event for event in mine.events if isinstance(event, IkeSaEstablished | IkeSaFailed)]
    if isinstance(result, IkeSaFailed):
        assert isinstance(result.error, PeerUnreachable)
        world.finish()
        return
    asked = wishes_of_both(world, 3)
    world.run_for(3 * world.longest_request())
    for role, other in (ROLES, ROLES[::-1]):
        host = world.hosts[role]
        done = [event.request for event in host.of(RequestCompleted)]
        failed = [event.request for event in host.of(RequestFailed)]
        assert sorted(done + failed) == asked[role], "each ends once"
        assert len(executed(world, other)) == len(set(executed(world, other))) >= len(done)
        if failed:
            [closed] = host.of(IkeSaClosed)
            assert closed.by in ("silence", "peer")
    world.finish()


@pytest.mark.requirement("TCP-13", "TCP-14", "IKE-047")
@given(
    policy=st.sampled_from(POLICIES),
    port=st.sampled_from([None, 500]),
    lost=st.sets(st.integers(0, 60), max_size=ALL),
    wishes=st.integers(1, 3),
    half_close=st.booleans(),
)
def test_with_few_losses_no_request_of_an_established_sa_is_lost(
    policy: Policy, port: int | None, lost: set[int], wishes: int, half_close: bool
) -> None:
    """Each loss costs one transmission at most, so one less than there are of them is survived in any order."""
    world = World(Setting(half_close=half_close, responder_policy=policy, peer_listens=True))
    world.initiate("initiator", policy, port)
    world.run_for(30.0)
    before = {role: len(executed(world, role)) for role in ROLES}
    Schedule(world, [number in lost for number in range(61)], ALL)
    asked = wishes_of_both(world, wishes)
    world.run_for(wishes * world.longest_request())
    for role, other in (ROLES, ROLES[::-1]):
        assert [event.request for event in world.hosts[role].of(RequestCompleted)] == asked[role]
        assert len(executed(world, other)) - before[other] == wishes
    world.finish()
