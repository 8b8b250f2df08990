"""The loop that carries out outputs: in order, one at a time, whatever is called from inside of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from ikecore import CloseStream, Endpoint, NatDetected, Output, SaId, SendDatagram, StreamId
from ikecore.binding import Binding
from ikecore.outflow import Outflow

HERE, THERE = ("192.0.2.1", 500), ("192.0.2.2", 500)
NEWS = NatDetected(SaId(1), False, False)


def datagram(number: int) -> SendDatagram:
    return SendDatagram(bytes([number]), HERE, THERE)


class Queue:
    """The one method of an endpoint that the loop calls."""

    def __init__(self, *outputs: Output) -> None:
        self.queue = deque(outputs)

    def outputs(self) -> Iterator[Output]:
        while self.queue:
            yield self.queue.popleft()


class Flow:
    """A loop over a queue, and what came of it in order."""

    def __init__(self, *outputs: Output, inside: Callable[[Flow], None] = lambda flow: None) -> None:
        self.core = Queue(*outputs)
        self.done: list[tuple[str, Output]] = []

        def send(action: SendDatagram) -> None:
            self.done.append(("sent", action))
            inside(self)

        binding = Binding(cast("Endpoint", self.core))
        self.outflow = Outflow(binding, lambda: 0.0, {SendDatagram: send}, self.observe)

    def observe(self, output: Output) -> None:
        self.done.append(("seen", output))


def test_each_is_seen_and_then_carried_out() -> None:
    """What nobody carries out, as a kind of action of a later version, is seen only."""
    unknown = CloseStream(StreamId(1))
    flow = Flow(datagram(1), NEWS, unknown, datagram(2))
    assert flow.outflow.drain()
    assert flow.done == [
        ("seen", datagram(1)),
        ("sent", datagram(1)),
        ("seen", NEWS),
        ("seen", unknown),
        ("seen", datagram(2)),
        ("sent", datagram(2)),
    ]


def test_what_is_called_from_inside_joins_the_queue() -> None:
    def inside(flow: Flow) -> None:
        if flow.done[-1] == ("sent", datagram(1)):
            flow.core.queue.append(datagram(3))
            assert not flow.outflow.drain()

    flow = Flow(datagram(1), datagram(2), inside=inside)
    assert flow.outflow.drain()
    assert [output for what, output in flow.done if what == "sent"] == [datagram(1), datagram(2), datagram(3)]


def test_an_observer_that_raises_sees_no_more_and_the_rest_is_carried_out_later() -> None:
    class Unwanted(Exception):
        pass

    flow = Flow(datagram(1), datagram(2))

    def refuse(output: Output) -> None:
        raise Unwanted

    outflow = Outflow(Binding(cast("Endpoint", flow.core)), lambda: 0.0, {SendDatagram: flow.observe}, refuse)
    with pytest.raises(Unwanted):
        outflow.drain()
    assert outflow.drain()
    assert flow.done == [("seen", datagram(2))]
