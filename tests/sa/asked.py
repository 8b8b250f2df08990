"""Two endpoints whose applications answer what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ikecore.config import Config, Connection
from ikecore.events import IkeSaEstablished, IkeSaFailed
from ikecore.questions import Question
from ikecore.testing import Host, Insider, Pair
from ikecore.wire import Authentication, Payload

Answers = Mapping[type[Question[Any]], Callable[[Any], object]]
"""What answers each kind of question; a kind that is missing is not answered."""

RESPONDER = "10.0.0.2"

__all__ = ["Answers", "Settled", "settle"]


def with_more(payloads: list[Payload], more: Sequence[Payload]) -> Sequence[Payload]:
    """Put *more* in front of AUTH, if it is there."""
    place = next((number for number, each in enumerate(payloads) if isinstance(each, Authentication)), None)
    return payloads if place is None else [*payloads[:place], *more, *payloads[place:]]


class Settled:
    """How an attempt to set up an SA came out, and what was asked on the way."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def asked(self, host: Host) -> list[Any]:
        return [event for event in host.events if isinstance(event, Question)]

    @property
    def error(self) -> Exception | None:
        """That of the initiator, None if it established the SA."""
        failed = self.pair.initiator.of(IkeSaFailed)
        return failed[0].error if failed else None

    @property
    def refusal(self) -> Exception | None:
        """Why the responder refused, None if it did not."""
        failed = self.pair.responder.of(IkeSaFailed)
        return failed[0].error if failed else None

    @property
    def up(self) -> bool:
        hosts = (self.pair.initiator, self.pair.responder)
        return all(len(host.of(IkeSaEstablished)) == 1 for host in hosts) and self.error is None


def settle(
    initiator: Config | Connection,
    responder: Config | Connection,
    answers: Answers | None = None,
    *,
    connection: Connection | None = None,
    after: float = 1.0,
    beside: Sequence[Payload] = (),
    **options: Any,
) -> Settled:
    """Set up an SA; each question is answered *after* so many seconds, in its turn.

    What stands *beside* AUTH in the responder's IKE_AUTH message is added there on its way: nothing signs it.
    """
    pair = Pair(initiator, responder, **options)
    if beside:
        Insider(pair.initiator).rewrite(lambda header, payloads: with_more(payloads, beside), source=RESPONDER)
    pair.initiate(connection)
    settled = Settled(pair)
    answered: set[tuple[str, int]] = set()

    def open_questions() -> list[tuple[Host, Any]]:
        return [
            (host, each)
            for host in (pair.initiator, pair.responder)
            for each in settled.asked(host)
            if type(each) in (answers or {}) and (host.name, each.question) not in answered
        ]

    while True:
        pair.run(until=lambda: open_questions() or pair.initiator.of(IkeSaEstablished, IkeSaFailed))
        found = open_questions()
        if not found:
            pair.run_for(1.0)
            return settled
        pair.run_for(after)
        for host, question in found:
            answered.add((host.name, question.question))
            host.call(host.endpoint.answer, question.question, (answers or {})[type(question)](question))
