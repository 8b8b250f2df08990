"""Keeps the books of one host from its events alone: what began, and whether each of it ended once, in order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ikecore import (
    AddressesAssigned,
    ChildId,
    ChildSaClosed,
    ChildSaEstablished,
    Event,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    LocalProtocolError,
    Question,
    QuestionClosed,
    QuestionId,
    RequestCompleted,
    RequestFailed,
    RequestId,
    SaId,
    SuccessorBegun,
)
from ikecore.testing import CheckedEndpoint, Host

__all__ = ["Ledger", "Watched"]

MOST_RINGS = 5
"""So often the timer may ring at one moment: for what is to be begun at once, and what comes of that."""
AFTERWARDS = (RequestCompleted, RequestFailed, QuestionClosed)
"""What may still be told of an SA that has ended: the ends of what it took with it."""


class Watched(CheckedEndpoint):
    """An endpoint whose timer never has to ring again and again at the same moment."""

    def __init__(self, endpoint: Any) -> None:
        super().__init__(endpoint, tolerance=1e-6)
        self.endpoint = endpoint
        self._rang_at = -1.0
        self._rings = 0

    def timer_expired(self, *, now: float) -> None:
        self._rings = self._rings + 1 if now == self._rang_at else 1
        self._rang_at = now
        assert self._rings <= MOST_RINGS, f"the deadline {self.deadline} is still there after {self._rings} rings"
        super().timer_expired(now=now)


class Ledger:
    """What the endpoint of *host* has told since it began, and what it was asked for.

    With *successors* the peer may set up an SA in place of another one, which has the same addresses.
    """

    def __init__(self, host: Host, *, successors: bool = False) -> None:
        self.host = host
        self.successors = successors
        self.endpoint = host.endpoint
        self.wished: Counter[RequestId] = Counter()
        self.ended: Counter[RequestId] = Counter()
        self.closing = False
        self.questions: dict[QuestionId, Question[Any]] = {}
        """The open ones that have no answer yet."""
        self.answered: set[QuestionId] = set()
        """Those that have one, and are not closed yet."""
        self.last_question = QuestionId(0)
        self.begun: set[SaId] = set()
        """SAs that are ours to set up."""
        self.up: dict[SaId, IkeSaEstablished] = {}
        self.over: dict[SaId, IkeSaClosed | IkeSaFailed] = {}
        self.children: dict[tuple[SaId, ChildId], ChildSaEstablished] = {}
        self.past_children: set[tuple[SaId, ChildId]] = set()
        self.leased: dict[str, set[SaId]] = {}
        host.on_event = self.told

    # --- wishes -----------------------------------------------------------------------------------------------------

    def wish(self, name: str, *args: object, **keywords: object) -> None:
        """Wish for something that ends in `RequestCompleted` or `RequestFailed`; what is refused at once is none."""
        try:
            self.wished[self.host.call(getattr(self.endpoint, name), *args, **keywords)] += 1
        except LocalProtocolError:
            return

    def shutdown(self) -> None:
        """Delete every SA; these wishes have ends too, and only the endpoint knows their handles."""
        self.closing = True
        self.host.call(self.endpoint.shutdown)

    # --- what is told -----------------------------------------------------------------------------------------------

    def told(self, event: Event) -> None:
        """Take down one event, and hold it against what came before."""
        assert not isinstance(event, InternalError), event
        sa = getattr(event, "sa", None)
        assert sa not in self.over or isinstance(event, AFTERWARDS), f"{event} after the end of its SA"
        if isinstance(event, RequestCompleted | RequestFailed):
            self.ended[event.request] += 1
            assert self.ended[event.request] == 1, f"{event} for the second time"
        elif isinstance(event, Question):
            assert event.question > self.last_question
            self.last_question = event.question
            assert event.deadline > self.host.network.now
            self.questions[event.question] = event
        elif isinstance(event, QuestionClosed):
            assert event.question in self.questions.keys() | self.answered, f"{event}, and it was not open"
            self.questions.pop(event.question, None)
            self.answered.discard(event.question)
        elif isinstance(event, SuccessorBegun):
            self.begun.add(event.successor)
        elif isinstance(event, AddressesAssigned):
            self._assigned(event)
        else:
            self._life(event)

    def _life(self, event: Event) -> None:
        if isinstance(event, IkeSaEstablished):
            assert event.sa not in self.up
            self.up[event.sa] = event
        elif isinstance(event, IkeSaFailed):
            assert event.sa not in self.up, f"{event}, and it was established"
            self._end(event)
        elif isinstance(event, IkeSaClosed):
            assert event.sa in self.up, f"{event}, and it was never established"
            assert not [child for child in self.children if child[0] == event.sa], "a Child SA outlives its IKE SA"
            self._end(event)
        elif isinstance(event, ChildSaEstablished):
            key = event.sa, event.child
            assert event.sa in self.up
            assert key not in self.children
            assert key not in self.past_children
            assert event.spi_in not in {each.spi_in for each in self.children.values()}, "an SPI of ours twice"
            if event.replaces is not None:
                # The peer may have deleted that one before its answer to the rekey arrived.
                before = {*self.children, *self.past_children}
                assert (event.sa, event.replaces) in before, "it replaces one that never was there"
            self.children[key] = event
        elif isinstance(event, ChildSaClosed):
            child = self.children.pop((event.sa, event.child))
            assert (child.spi_in, child.spi_out) == (event.spi_in, event.spi_out)
            self.past_children.add((event.sa, event.child))

    def _end(self, event: IkeSaClosed | IkeSaFailed) -> None:
        self.over[event.sa] = event
        for owners in self.leased.values():
            owners.discard(event.sa)

    def _assigned(self, event: AddressesAssigned) -> None:
        for address in event.lease.addresses if event.to_peer else ():
            owners = self.leased.setdefault(address, set())
            assert self.successors or not owners, f"{address} was given to two SAs"
            owners.add(event.sa)

    # --- what holds -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What the endpoint shows is what it told."""
        there = {sa: self.endpoint.sa(sa) for sa in self.endpoint.sas}
        assert not there.keys() & self.over.keys()
        assert self.up.keys() <= there.keys() | self.over.keys()
        shown = {(sa, child.id) for sa, view in there.items() for child in view.children}
        assert shown == self.children.keys()

    def check_all_ended(self) -> None:
        """Every wish and every question has ended, and every SA that we began is up or over."""
        assert self.wished.keys() - self.ended.keys() == set(), "wishes without an end"
        assert self.closing or self.ended.keys() == self.wished.keys(), "ends of what nobody wished"
        assert (self.questions, self.answered) == ({}, set())
        assert self.begun <= self.up.keys() | self.over.keys()
