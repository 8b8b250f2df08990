"""Questions end exactly once, and only a wrong handle or a value of the wrong type is misuse."""

from __future__ import annotations

import attrs
import pytest

from ikecore.endpoint.questions import Open, Questions
from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaEstablished, IkeSaFailed
from ikecore.limits import Limits
from ikecore.outputs import QuestionId, SaId
from ikecore.questions import AuthorizationNeeded, QuestionClosed
from ikecore.testing import psk_connection
from ikecore.wire import Notification
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import Puppet, Rig


def opened(sa: int = 1) -> Open:
    return Open(SaId(sa), bool, False, lambda value, now: None, 30.0)


def test_a_question_is_closed_once() -> None:
    questions = Questions()
    handle = questions.ask(opened())
    assert len(questions) == 1
    assert questions.of(SaId(1)) == [handle]
    assert questions.answer(handle, True) is not None
    assert questions.answer(handle, True) is None
    assert questions.close(handle) is None
    assert len(questions) == 0


def test_handles_are_never_used_again() -> None:
    questions = Questions()
    handles = []
    for _ in range(5):
        handle = questions.ask(opened())
        questions.close(handle)
        handles.append(handle)
    assert len(set(handles)) == 5


@pytest.mark.parametrize("value", ["yes", 1, None, b"\1"])
def test_a_value_of_the_wrong_type_is_misuse_and_leaves_it_open(value: object) -> None:
    questions = Questions()
    handle = questions.ask(opened())
    with pytest.raises(LocalProtocolError, match="wants a bool"):
        questions.answer(handle, value)
    assert questions.answer(handle, False) is not None


@pytest.mark.parametrize("handle", [0, -1, 2, 99])
def test_a_handle_never_issued_is_misuse(handle: int) -> None:
    questions = Questions()
    questions.ask(opened())
    with pytest.raises(LocalProtocolError, match=f"question {handle} was never asked"):
        questions.answer(QuestionId(handle), True)


# --- in an endpoint ---------------------------------------------------------------------------------------------------


def asking(limits: Limits | None = None) -> tuple[Rig, Puppet, AuthorizationNeeded]:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True), limits=limits)
    puppet = Puppet(rig)
    puppet.begin()
    puppet.give(puppet.seal(Exchange.IKE_AUTH, puppet.auth()))
    return rig, puppet, rig.one(AuthorizationNeeded)


def test_answering_twice_is_told_and_changes_nothing() -> None:
    rig, _, question = asking()
    assert rig.endpoint.answer(question.question, True, now=rig.now)
    assert not rig.endpoint.answer(question.question, False, now=rig.now)
    rig.drain()
    rig.one(IkeSaEstablished)
    rig.one(QuestionClosed)


def test_misuse_of_answer_changes_nothing() -> None:
    rig, _, question = asking()
    before = rig.picture()
    with pytest.raises(LocalProtocolError, match="never asked"):
        rig.endpoint.answer(QuestionId(99), True, now=rig.now)
    with pytest.raises(LocalProtocolError, match="wants a bool, not str"):
        rig.endpoint.answer(question.question, "yes", now=rig.now)
    assert rig.drain() == []
    assert rig.picture() == before
    assert rig.endpoint.answer(question.question, True, now=rig.now)


@pytest.mark.parametrize("way", ["abandon", "delete", "shutdown"])
def test_a_question_dies_with_its_sa(way: str) -> None:
    rig, _, question = asking()
    if way == "abandon":
        rig.endpoint.abandon(question.sa, now=rig.now)
    elif way == "delete":
        rig.endpoint.delete(question.sa, now=rig.now)
    else:
        rig.endpoint.shutdown(now=rig.now)
    rig.drain()
    assert rig.one(QuestionClosed).question == question.question
    rig.one(IkeSaFailed)
    assert not rig.endpoint.answer(question.question, True, now=rig.now)
    assert rig.of(IkeSaEstablished) == []
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


def test_over_tcp_the_connection_ends_with_an_sa_that_dies_undecided() -> None:
    """What is owed to a connection is not owed for ever."""
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    puppet.connect()
    puppet.begin()
    puppet.give(puppet.seal(Exchange.IKE_AUTH, puppet.auth()))
    rig.run_for(Limits().stream_idle + 1.0)
    assert not rig.endpoint.idle, "no idle time runs while we owe an answer"
    rig.endpoint.abandon(rig.one(AuthorizationNeeded).sa, now=rig.now)
    rig.run_for(Limits().stream_idle + Limits().stream_linger + 1.0)
    assert rig.endpoint.idle


@pytest.mark.requirement("TCP-80", "TCP-43")
def test_a_request_that_waits_on_several_connections_is_answered_on_each_that_was_noted() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    puppet.connect()
    puppet.begin()
    message = puppet.seal(Exchange.IKE_AUTH, puppet.auth())
    puppet.give(message)
    others = []
    for port in range(50_000, 50_006):
        other = Puppet(rig)
        other.connect(port)
        assert other.give(message) == []
        others.append(other)
    rig.endpoint.answer(rig.one(AuthorizationNeeded).question, True, now=rig.now)
    rig.drain()
    from ikecore.outputs import WriteStream

    answered = {each.stream for each in rig.of(WriteStream) if each.data[18] == Exchange.IKE_AUTH}
    assert answered == {puppet.stream, others[0].stream, others[1].stream, others[2].stream}
    rig.run_for(30.0)
    assert rig.endpoint.counters["a request in progress, by too many paths"] == 3
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    rig.run_for(30.0)
    assert rig.endpoint.idle


def test_too_many_questions_are_refused_like_no_answer() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True), limits=Limits(questions=2))
    answers = []
    for seed in range(3):
        puppet = Puppet(rig, address=("10.0.0.1", 1000 + seed), seed=seed)
        puppet.begin()
        answers += [puppet.open(data)[1] for data in puppet.give(puppet.seal(Exchange.IKE_AUTH, puppet.auth()))]
    assert len(rig.of(AuthorizationNeeded)) == 2
    assert answers == [[Notification(Notify.AUTHENTICATION_FAILED)]]
