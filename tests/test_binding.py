"""Sessions without the waiting: the bookkeeping that both bindings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest

from ikecore import (
    AcceptanceNeeded,
    AuthenticationFailed,
    AuthorizationNeeded,
    CertificateFetchNeeded,
    ChildId,
    Endpoint,
    Event,
    IkeError,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    IkeSaReauthenticated,
    InternalError,
    Lease,
    LeaseNeeded,
    Local,
    LocalProtocolError,
    NatDetected,
    PeerUnreachable,
    Question,
    QuestionClosed,
    QuestionId,
    RequestCompleted,
    RequestFailed,
    RequestId,
    RevocationNeeded,
    SaClosed,
    SaId,
    SecretNeeded,
    SessionClosed,
    SignatureNeeded,
    SuccessorBegun,
)
from ikecore.binding import Binding, host_towards, own_hosts, verdict
from ikecore.sessions import EventRing, EventsLost, SessionFacts, SessionState, Signal, TransportUsed

SA, OTHER = SaId(7), SaId(8)
ANEW = "the peers authenticated anew"
ADDRESS = ("192.0.2.1", 500)


def established(sa: SaId = SA, role: Any = "responder", peer: str = "fqdn:them") -> IkeSaEstablished:
    return IkeSaEstablished(sa, "c", role, "fqdn:us", peer, bytes(8), bytes(8), "suite", "udp", "it is small", ADDRESS)


def nat(number: int) -> NatDetected:
    return NatDetected(SA, bool(number & 1), bool(number & 2))


def question(number: int = 1) -> AuthorizationNeeded:
    return AuthorizationNeeded(QuestionId(number), SA, 9.0, "c", "fqdn:them", ADDRESS)


class Answering:
    """Somebody who is asked."""

    def __init__(self, ask: Callable[[Question[Any]], bool], withdraw: Callable[[QuestionId], None]) -> None:
        self.ask, self.withdraw = ask, withdraw


class Answers:
    """The one method of an endpoint that the bookkeeping calls."""

    def __init__(self) -> None:
        self.given: list[tuple[QuestionId, object]] = []

    def answer(self, question: QuestionId, value: object, *, now: float) -> bool:
        self.given.append((question, value))
        return True


def bound() -> tuple[Binding, Answers]:
    answers = Answers()
    return Binding(cast("Endpoint", answers)), answers


class TestSignal:
    def test_wakes_everybody_who_waits(self) -> None:
        signal, woken = Signal(), []
        signal.fire()
        first, second = (lambda: woken.append(1)), (lambda: woken.append(2))
        signal.add(first)
        signal.add(second)
        signal.discard(second)
        signal.discard(second)
        signal.fire()
        assert woken == [1]

    def test_a_waiter_may_leave_while_others_are_woken(self) -> None:
        signal, woken = Signal(), []

        def leave() -> None:
            woken.append(1)
            signal.discard(leave)

        signal.add(leave)
        signal.fire()
        signal.fire()
        assert woken == [1]


class TestEventRing:
    def test_keeps_the_latest_and_counts_the_rest(self) -> None:
        ring = EventRing(2)
        for number in range(5):
            ring.push(nat(number))
        assert [ring.pop() for _ in range(4)] == [EventsLost(3), nat(3), nat(4), None]
        ring.push(nat(1))
        assert ring.pop() == nat(1)

    def test_is_ready_with_an_event_and_at_the_end(self) -> None:
        ring = EventRing(2)
        assert not ring.ready
        ring.push(nat(1), last=True)
        assert ring.ready
        ring.pop()
        assert ring.ready
        assert ring.pop() is None

    @pytest.mark.parametrize("limit", [0, -1])
    def test_needs_room(self, limit: int) -> None:
        with pytest.raises(LocalProtocolError, match="limit"):
            EventRing(limit)


class TestSessionState:
    def test_up_and_closed(self) -> None:
        state = SessionState(SA)
        assert not state.decided
        state.take(established())
        assert state.decided
        assert not state.over
        state.check()
        state.take(IkeSaClosed(SA, "the peer deleted it", "peer"))
        assert state.over
        with pytest.raises(SessionClosed, match="the peer deleted it"):
            state.check()
        with pytest.raises(SessionClosed):
            state.subscribe(4)

    def test_failed(self) -> None:
        state, error = SessionState(SA), AuthenticationFailed("no")
        state.take(IkeSaFailed(SA, "c", "initiator", "IKE_AUTH", error, None))
        assert state.failure is error
        assert state.decided
        assert state.over
        with pytest.raises(SessionClosed, match="no"):
            state.check()

    def test_what_is_no_error_of_ours_becomes_one(self) -> None:
        state, error = SessionState(SA), KeyError("x")
        state.take(IkeSaFailed(SA, "c", "initiator", "IKE_AUTH", error, None))
        assert type(state.failure) is IkeError
        assert str(state.failure) == "KeyError: 'x'"
        assert state.failure.__cause__ is error

    def test_a_bug_of_ours_is_noted_on_the_error(self) -> None:
        state = SessionState(SA)
        state.take(InternalError(SA, "TypeError: oh"))
        state.take(IkeSaFailed(SA, "c", "initiator", "IKE_AUTH", LocalProtocolError("internal error"), None))
        assert state.failure is not None
        assert state.failure.__notes__ == ["TypeError: oh"]

    def test_outcomes_are_kept_for_who_waits(self) -> None:
        state, error = SessionState(SA), AuthenticationFailed("no")
        wanted, made, failed, other = (RequestId(number) for number in range(1, 5))
        for request in (wanted, made, failed):
            state.expect(request)
        for event in (
            RequestCompleted(SA, wanted, "INFORMATIONAL"),
            RequestCompleted(SA, made, "CREATE_CHILD_SA", ChildId(3)),
            RequestFailed(SA, failed, "INFORMATIONAL", error),
            RequestCompleted(SA, other, "INFORMATIONAL"),
        ):
            state.take(event)
        assert (state.outcome(wanted), state.outcome(made)) == (None, ChildId(3))
        with pytest.raises(AuthenticationFailed) as caught:
            state.outcome(failed)
        assert caught.value is error
        for request in (wanted, made, failed, failed):
            state.forget(request)
        assert state.outcomes == {}

    def test_what_ended_with_the_sa_has_no_outcome(self) -> None:
        """But what was decided before counts, though its waiter wakes after the end."""
        state = SessionState(SA)
        state.expect(RequestId(1))
        state.expect(RequestId(2))
        state.take(RequestCompleted(SA, RequestId(1), "INFORMATIONAL"))
        state.take(IkeSaClosed(SA, "the peer deleted it", "peer"))
        state.take(RequestFailed(SA, RequestId(2), "CREATE_CHILD_SA", SaClosed("the peer deleted it")))
        assert state.outcome(RequestId(1)) is None
        with pytest.raises(SessionClosed, match="the peer deleted it"):
            state.outcome(RequestId(2))

    def test_what_failed_because_the_sa_is_being_deleted_is_told_as_its_end(self) -> None:
        state = SessionState(SA)
        state.expect(RequestId(1))
        state.take(RequestFailed(SA, RequestId(1), "CREATE_CHILD_SA", SaClosed("the IKE SA is being deleted")))
        with pytest.raises(SessionClosed, match="being deleted") as caught:
            state.outcome(RequestId(1))
        assert caught.value.reason == "the IKE SA is being deleted"

    def test_subscribers_get_what_comes_until_the_end(self) -> None:
        state = SessionState(SA)
        state.take(established())
        ring, dropped = state.subscribe(9), state.subscribe(9)
        del dropped
        state.take(nat(1))
        end = IkeSaClosed(SA, "done", "us")
        state.take(end)
        assert [ring.pop(), ring.pop(), ring.pop()] == [nat(1), end, None]
        assert ring.ready


class TestMovingOn:
    """From one SA to the one that the engine sets up in its place."""

    def up(self) -> SessionState:
        state = SessionState(SA)
        state.take(established(SA, "initiator"))
        return state

    def take(self, state: SessionState, *events: Event) -> None:
        for event in events:
            state.take(event)

    def test_a_new_sa_takes_over(self) -> None:
        state = self.up()
        facts, ring = SessionFacts(cast("Endpoint", None), state), state.subscribe(9)
        state.expect(RequestId(1))
        state.expect(RequestId(2))
        told = [
            SuccessorBegun(SA, OTHER, ANEW),
            established(OTHER, "initiator", "fqdn:them.too"),
            IkeSaReauthenticated(SA, OTHER),
            RequestCompleted(SA, RequestId(1), "INFORMATIONAL"),
            IkeSaClosed(SA, ANEW, "us"),
            nat(1),
            IkeSaClosed(OTHER, "done", "peer"),
        ]
        self.take(state, *told[:2])
        assert (facts.sa, facts.peer_identity) == (SA, "fqdn:them"), "its Child SAs are not all there"
        assert list(state.held) == [OTHER, SA]
        self.take(state, told[2])
        assert (facts.sa, facts.peer_identity) == (OTHER, "fqdn:them.too")
        assert list(state.held) == [OTHER, SA], "the old one is yet to be deleted"
        state.expect(RequestId(3))
        self.take(state, *told[3:6])
        assert list(state.held) == [OTHER]
        assert state.outcome(RequestId(1)) is None
        with pytest.raises(SessionClosed, match=ANEW):
            state.outcome(RequestId(2))
        assert RequestId(3) not in state.outcomes
        state.check_up()
        self.take(state, told[6])
        assert (state.closed, list(state.held)) == ("done", [])
        assert [ring.pop() for _ in range(8)] == [*told, None]

    def test_one_that_comes_to_nothing_changes_nothing(self) -> None:
        state = self.up()
        self.take(
            state,
            SuccessorBegun(SA, OTHER, ANEW),
            IkeSaFailed(OTHER, "c", "initiator", "IKE_AUTH", AuthenticationFailed("no"), None),
        )
        assert (state.sa, state.over, state.failure, state.held) == (SA, False, None, (SA,))

    def test_an_end_while_another_is_set_up(self) -> None:
        """The session waits for it: what was known of the peer stays known."""
        state = self.up()
        self.take(state, SuccessorBegun(SA, OTHER, "the peer was silent"), IkeSaClosed(SA, "no answer", "silence"))
        assert (state.sa, state.over, state.established) == (OTHER, False, established(SA, "initiator"))
        with pytest.raises(PeerUnreachable, match="set up anew"):
            state.check_up()
        third = SaId(9)
        self.take(
            state,
            SuccessorBegun(OTHER, third, "the peer was silent"),
            IkeSaFailed(OTHER, "c", "initiator", "IKE_SA_INIT", IkeError("no"), None),
        )
        assert (state.sa, state.over, state.held) == (third, False, (third,))
        self.take(state, established(third, "initiator"))
        assert state.established == established(third, "initiator")
        state.check_up()

    def test_an_end_while_another_is_set_up_in_vain(self) -> None:
        state = self.up()
        ring = state.subscribe(9)
        told = [
            SuccessorBegun(SA, OTHER, ANEW),
            IkeSaClosed(SA, "the peer deleted it", "peer"),
            IkeSaFailed(OTHER, "c", "initiator", "IKE_AUTH", AuthenticationFailed("no"), None),
        ]
        self.take(state, *told)
        assert (state.closed, state.failure) == ("no", None)
        with pytest.raises(SessionClosed, match="no"):
            state.check_up()
        assert [ring.pop() for _ in range(4)] == [*told, None]

    def test_one_that_was_replaced_already_is_not_moved_on_to(self) -> None:
        third = SaId(9)
        state = self.up()
        self.take(
            state,
            SuccessorBegun(SA, OTHER, ANEW),
            established(OTHER, "initiator"),
            SuccessorBegun(OTHER, third, ANEW),
            established(third, "initiator"),
            IkeSaReauthenticated(OTHER, third),
        )
        assert state.sa == SA
        self.take(state, IkeSaReauthenticated(SA, OTHER))
        assert state.sa == third
        self.take(state, IkeSaClosed(OTHER, ANEW, "us"), IkeSaClosed(third, "done", "peer"))
        assert state.closed == "done"


class TestSessionFacts:
    def test_before_during_and_after(self) -> None:
        state = SessionState(SA)
        facts = SessionFacts(cast("Endpoint", None), state)
        assert repr(facts) == "<SessionFacts 7: connecting>"
        with pytest.raises(LocalProtocolError, match="not established yet"):
            _ = facts.peer_identity
        state.take(established())
        assert repr(facts) == "<SessionFacts 7 with fqdn:them over udp>"
        assert facts.sa == SA
        assert facts.transport == TransportUsed("udp", "it is small")
        assert str(facts.transport) == "udp (it is small)"
        assert facts.closed is None
        state.take(IkeSaClosed(SA, "done", "us"))
        assert repr(facts) == "<SessionFacts 7: done>"
        assert (facts.local_identity, facts.peer_identity) == ("fqdn:us", "fqdn:them")
        for gone in ("view", "child_sas"):
            with pytest.raises(SessionClosed, match="done"):
                getattr(facts, gone)

    def test_one_that_never_was(self) -> None:
        state = SessionState(SA)
        state.take(IkeSaFailed(SA, "c", "initiator", "IKE_AUTH", AuthenticationFailed("no"), None))
        with pytest.raises(SessionClosed, match="no"):
            _ = SessionFacts(cast("Endpoint", None), state).transport


class TestRouting:
    def test_events_go_to_the_session_they_belong_to(self) -> None:
        binding, _ = bound()
        ours, other = binding.follow(SA), binding.follow(OTHER)
        assert binding.follow(SA) is ours
        binding.dispatch(established(SA, "initiator"), 0.0)
        assert ours.established is not None
        assert other.established is None
        assert not binding.waiting

    def test_what_nobody_follows_is_ignored(self) -> None:
        binding, _ = bound()
        for event in (established(SA, "initiator"), nat(1), IkeSaClosed(SA, "done", "us"), EventsLost(1)):
            binding.dispatch(event, 0.0)
        assert not binding.waiting

    def test_sessions_of_peers_wait_until_somebody_serves(self) -> None:
        binding, _ = bound()
        accepted: list[SessionState] = []
        for sa in (SA, OTHER):
            binding.dispatch(established(sa), 0.0)
        binding.dispatch(IkeSaClosed(OTHER, "done", "peer"), 0.0)
        self.serve(binding, accepted.append)
        assert [state.sa for state in accepted] == [SA]
        binding.dispatch(established(OTHER), 0.0)
        assert [state.sa for state in accepted] == [SA, OTHER]
        with pytest.raises(LocalProtocolError, match="served already"):
            binding.check_unserved()
        binding.leave()
        binding.check_unserved()
        binding.dispatch(established(SaId(9)), 0.0)
        assert list(binding.waiting) == [SaId(9)]

    def test_the_end_of_the_endpoint_ends_every_session(self) -> None:
        binding, _ = bound()
        states = [binding.follow(sa) for sa in (SA, OTHER)]
        binding.end("closed")
        assert [state.closed for state in states] == ["closed", "closed"]

    def serve(
        self,
        binding: Binding,
        accept: Callable[[SessionState], None],
        ask: Callable[[Question[Any]], bool] = lambda question: False,
        withdraw: Callable[[QuestionId], None] = lambda question: None,
    ) -> None:
        binding.check_unserved()
        binding.serve(accept, Answering(ask, withdraw))

    def test_what_the_engine_sets_up_in_place_of_an_sa_is_of_the_same_session(self) -> None:
        """Whoever dialled has the word about it, and nobody who serves gets a session of it."""
        binding, _ = bound()
        asked: list[Event] = []
        withdrawn: list[QuestionId] = []

        def ask(each: Question[Any]) -> bool:
            asked.append(each)
            return True

        accepted: list[SessionState] = []
        self.serve(binding, accepted.append)
        dialled = binding.follow(SA, Answering(ask, withdrawn.append))
        needed = AuthorizationNeeded(QuestionId(1), OTHER, 9.0, "c", "fqdn:them", ADDRESS)
        for event in (
            established(SA, "initiator"),
            SuccessorBegun(SA, OTHER, ANEW),
            needed,
            QuestionClosed(QuestionId(1), OTHER),
            established(OTHER, "initiator"),
            IkeSaReauthenticated(SA, OTHER),
            IkeSaClosed(SA, ANEW, "us"),
        ):
            binding.dispatch(event, 0.0)
        assert (asked, withdrawn, accepted) == ([needed], [QuestionId(1)], [])
        assert dialled.sa == OTHER
        assert dialled.decided
        assert not binding.waiting
        binding.dispatch(IkeSaClosed(OTHER, "done", "peer"), 0.0)
        assert dialled.closed == "done"

    def test_nothing_stays_of_questions_about_what_came_to_nothing(self) -> None:
        """Its questions are closed behind its end."""
        binding, _ = bound()
        state = binding.follow(SA, Answering(lambda question: True, lambda question: None))
        binding.dispatch(established(SA, "initiator"), 0.0)
        binding.dispatch(SuccessorBegun(SA, OTHER, ANEW), 0.0)
        binding.dispatch(AuthorizationNeeded(QuestionId(1), OTHER, 9.0, "c", "fqdn:them", ADDRESS), 0.0)
        assert state.asking == {QuestionId(1)}
        binding.dispatch(IkeSaFailed(OTHER, "c", "initiator", "IKE_AUTH", IkeError("no"), None), 0.0)
        binding.dispatch(QuestionClosed(QuestionId(1), OTHER), 0.0)
        assert state.asking == set()
        assert not state.over

    def test_what_nobody_has_a_session_of_has_no_session_in_its_place(self) -> None:
        binding, _ = bound()
        binding.dispatch(established(SA, "initiator"), 0.0)
        binding.dispatch(SuccessorBegun(SA, OTHER, ANEW), 0.0)
        binding.dispatch(established(OTHER, "initiator"), 0.0)
        assert not binding.waiting

    def test_the_end_of_the_endpoint_ends_what_is_being_set_up_anew(self) -> None:
        binding, _ = bound()
        state = binding.follow(SA)
        binding.dispatch(established(SA, "initiator"), 0.0)
        binding.dispatch(SuccessorBegun(SA, OTHER, "the peer was silent"), 0.0)
        binding.end("closed")
        assert state.closed == "closed"

    def test_questions_go_to_whoever_serves(self) -> None:
        binding, answers = bound()
        asked: list[Event] = []
        withdrawn: list[QuestionId] = []

        def ask(each: Question[Any]) -> bool:
            asked.append(each)
            return True

        self.serve(binding, lambda state: None, ask, withdrawn.append)
        binding.dispatch(question(), 0.0)
        binding.dispatch(QuestionClosed(QuestionId(1), SA), 0.0)
        assert (asked, withdrawn, answers.given) == ([question()], [QuestionId(1)], [])

    def test_questions_about_a_session_of_ours_go_to_it_first(self) -> None:
        binding, answers = bound()
        ours: list[Event] = []
        servers: list[Event] = []
        withdrawn: list[QuestionId] = []

        def take(kept: list[Event]) -> Callable[[Question[Any]], bool]:
            return lambda each: kept.append(each) or len(kept) < 2  # type: ignore[func-returns-value]

        self.serve(binding, lambda state: None, take(servers))
        state = binding.follow(SA, Answering(take(ours), withdrawn.append))
        binding.dispatch(question(1), 0.0)
        binding.dispatch(established(SA, "initiator"), 0.0)
        assert not state.decided  # it is asked something yet
        binding.dispatch(QuestionClosed(QuestionId(1), SA), 0.0)
        assert state.decided
        binding.dispatch(question(2), 0.0)  # which it does not take
        assert (ours, servers) == ([question(1), question(2)], [question(2)])
        binding.dispatch(IkeSaClosed(SA, "done", "us"), 0.0)
        binding.dispatch(QuestionClosed(QuestionId(2), SA), 0.0)
        assert withdrawn == [QuestionId(1)]
        assert answers.given == []

    def test_the_end_of_a_session_withdraws_its_questions(self) -> None:
        binding, _ = bound()
        withdrawn: list[QuestionId] = []
        binding.follow(SA, Answering(lambda each: True, withdrawn.append))
        binding.dispatch(question(1), 0.0)
        binding.dispatch(IkeSaClosed(SA, "done", "us"), 0.0)
        binding.dispatch(QuestionClosed(QuestionId(1), SA), 0.0)
        assert withdrawn == [QuestionId(1)]

    def test_questions_that_nobody_takes_are_denied(self) -> None:
        binding, answers = bound()
        binding.dispatch(question(1), 0.0)
        self.serve(binding, lambda state: None)
        binding.dispatch(question(2), 0.0)
        binding.leave()
        binding.dispatch(QuestionClosed(QuestionId(2), SA), 0.0)
        assert answers.given == [(QuestionId(1), False), (QuestionId(2), False)]

    def test_a_question_of_another_kind_is_left_to_its_deadline(self) -> None:
        class KeyNeeded(Question[bytes]):
            sa = SA

        binding, answers = bound()
        binding.dispatch(KeyNeeded(), 0.0)
        assert answers.given == []
        assert verdict(KeyNeeded(), b"key") == b"key"

    def test_only_a_lease_is_a_lease(self) -> None:
        lease = Lease(addresses=("10.3.0.1",))
        needed = LeaseNeeded(QuestionId(1), SA, 0.0, "c", "fqdn:p", ("192.0.2.1", 500), ("0.0.0.0",), ())
        for answer, meant in ((lease, lease), (None, None), (True, None), ("10.3.0.1", None)):
            assert verdict(needed, answer) is meant
        asked = AcceptanceNeeded(QuestionId(1), SA, 0.0, "c", "fqdn:p", lease)
        assert verdict(asked, True) is True
        assert verdict(asked, lease) is False
        binding, answers = bound()
        binding.dispatch(needed, 0.0)
        binding.dispatch(asked, 0.0)
        assert answers.given == [(QuestionId(1), None), (QuestionId(1), False)]

    def test_only_octets_are_a_secret_a_signature_or_a_certificate(self) -> None:
        where = ("192.0.2.1", 500)
        wanted = [
            SecretNeeded(QuestionId(1), SA, 0.0, "c", "fqdn:us", "fqdn:p", True, where),
            SignatureNeeded(QuestionId(1), SA, 0.0, "c", "ecdsa", "SHA2_256", b"key", b"octets"),
            CertificateFetchNeeded(QuestionId(1), SA, 0.0, "c", "fqdn:p", where, "http://a", b"digest", False, 9),
        ]
        for question in wanted:
            for answer, meant in ((b"octets", b"octets"), (None, b""), (True, b""), ("text", b"")):
                assert verdict(question, answer) == meant
            binding, answers = bound()
            binding.dispatch(question, 0.0)
            assert answers.given == [(QuestionId(1), b"")]

    @pytest.mark.parametrize(("answer", "meant"), [(True, True), (False, False), (1, False), (b"yes", False)])
    def test_only_true_vouches_for_a_certificate(self, answer: object, meant: bool) -> None:
        asked = RevocationNeeded(QuestionId(1), SA, 0.0, "c", "fqdn:p", "CN=p", (), (), b"", b"")
        assert verdict(asked, answer) is meant

    @pytest.mark.parametrize(("answer", "meant"), [(True, True), (False, False), (1, False), ("no", False)])
    def test_only_true_allows(self, answer: object, meant: bool) -> None:
        assert verdict(question(), answer) is meant


class TestHostsOfOurs:
    FOUND: ClassVar = {"192.0.2.1": "10.0.0.1", "2001:db8::1": "fe80::1%eth0", "192.0.2.2": "10.0.0.2"}

    def test_the_first_remote_of_each_family_decides(self) -> None:
        assert own_hosts(self.FOUND) == ("10.0.0.1", "fe80::1%eth0")

    @pytest.mark.parametrize(
        ("hosts", "expected"),
        [
            (["10.0.0.2", "10.0.0.9"], "10.0.0.2"),
            (["fe80::1"], "fe80::1"),
            (["10.0.0.1", "10.0.0.2"], None),
            (["10.0.0.9"], None),
        ],
    )
    def test_a_host_is_named_only_if_there_is_one(self, hosts: list[str], expected: str | None) -> None:
        assert host_towards(self.FOUND, [Local((host, 500)) for host in hosts]) == expected
