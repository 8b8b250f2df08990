"""Work that may have to wait for the application: a sequence of steps that pauses at a question and goes on later.

Such a sequence is a generator. It yields an `Ask` where it needs an answer, is resumed with that answer, and returns
its result or raises an `IkeError`. So whoever reads it reads it from top to bottom, whether anybody is asked or not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from ..errors import IkeError
from ..outputs import QuestionId
from ..questions import Question
from .ike_sa import IkeSa
from .states import Input

__all__ = ["Ask", "Steps", "run"]

A = TypeVar("A")
T = TypeVar("T")


@attrs.frozen
class Ask(Generic[A]):
    """A question: *make* builds its event from handle and deadline; an answer is a *wants*, silence means *refusal*.

    An *early* one is about a peer that has proved nothing: of those that came to us, only so many are asked about.
    """

    make: Callable[[QuestionId, float], Question[A]]
    wants: type[A] | tuple[type, ...]
    refusal: A
    early: bool = False


Steps: TypeAlias = "Generator[Ask[Any], Any, T]"


def run(
    sa: IkeSa,
    steps: Steps[T],
    now: float,
    *,
    done: Callable[[T, float], None],
    failed: Callable[[IkeError, float], None],
    answer: object = None,
) -> None:
    """Go through *steps* up to the next question or the end, which is *done* or *failed*, now or later.

    While a question is open the SA is in a state of its own, in which the peer's requests have no effect. If the SA
    ends meanwhile, neither is called.
    """
    try:
        ask = steps.send(answer)
        while ask.early and sa.role == "responder" and not sa.services.asker.may_ask_early(now):
            ask = steps.send(ask.refusal)
    except StopIteration as end:
        result: T = end.value
    except IkeError as error:
        failed(error, now)
        return
    else:
        _pause(sa, steps, ask, now, done, failed)
        return
    done(result, now)


def _pause(
    sa: IkeSa,
    steps: Steps[T],
    ask: Ask[Any],
    now: float,
    done: Callable[[T, float], None],
    failed: Callable[[IkeError, float], None],
) -> None:
    def resume(answer: object, then: float) -> None:
        sa.current.move(Input.QUESTION_ANSWERED)
        run(sa, steps, then, done=done, failed=failed, answer=answer)

    sa.current.move(Input.QUESTION_ASKED)
    sa.services.asker.ask(sa, ask.make, ask.wants, ask.refusal, resume, now)
