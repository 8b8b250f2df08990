"""The life of an IKE SA on one screen: which exchange may happen in which state, in which role, and what comes next.

The states are those of one pair of SPIs (`Generation`): a rekey makes a new one, established from its beginning, and
the old one goes its own way to the end.

The table below is the only place that knows. A row holds, for one state and one original role, the exchanges that we
may begin (*ours*), those that the peer may begin (*theirs*), and the state that each input leads to. What is not in the
table is refused: our own wish with `LocalProtocolError`, the peer's request as `Verdict` says. The diagram in docs/ is
drawn from it, and a test walks every state, exchange and role.

Adding an exchange to the set-up (IKE_INTERMEDIATE, EAP rounds, IKE_FOLLOWUP_KE) means adding it to a row here, giving
it a module, and naming what answers it in `receiving`; nothing else knows the order. What it has to know until both
sides are authenticated has its place in `setup`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from ..errors import LocalProtocolError
from ..events import Role
from ..wire.numbers import Exchange

__all__ = ["TABLE", "Input", "Row", "State", "Verdict", "may_begin", "step", "verdict"]


class State(enum.Enum):
    """Where an IKE SA is in its life."""

    __hash__ = object.__hash__  # by identity: that of Enum runs in Python, and every message looks into the table

    INITIATING = "initiating"
    """IKE_SA_INIT is sent; there may be several attempts, and no keys yet."""
    HALF_OPEN = "half-open"
    """IKE_SA_INIT is answered; the responder has keys and waits for IKE_AUTH."""
    AUTHENTICATING = "authenticating"
    """The initiator proves itself: IKE_AUTH is about to be sent, or is sent."""
    DECIDING = "deciding"
    """Our application is asked, before we send our half of IKE_AUTH or after we have the peer's."""
    ESTABLISHED = "established"
    """Both sides are authenticated."""
    REKEYED = "rekeyed"
    """Another pair of SPIs has taken its place; one side will delete this one."""
    DELETING = "deleting"
    """Our Delete of this IKE SA is on its way."""
    CLOSED = "closed"
    """Nothing is left but the answer to a repeated request."""


class Input(enum.Enum):
    """What moves an IKE SA from state to state."""

    INIT_ANSWERED = "IKE_SA_INIT answered"
    AUTH_VERIFIED = "AUTH verified"
    QUESTION_ASKED = "application asked"
    QUESTION_ANSWERED = "application answered"
    REPLACED = "replaced by a rekey"
    DELETE_SENT = "Delete sent"
    GONE = "gone"


class Verdict(enum.Enum):
    """What happens to a request of the peer."""

    PROCESS = "process"
    DROP = "drop"
    """It cannot be meant for this state: no answer, no effect (it will be repeated if it matters)."""
    REFUSE = "refuse"
    """The peer is authenticated and has to know: INVALID_SYNTAX (RFC 7296 section 2.21.3)."""
    LATER = "later"
    """It comes while the SA is being replaced or closed: TEMPORARY_FAILURE (RFC 7296 section 2.25.2)."""


@attrs.frozen
class Row:
    """One state of one role."""

    ours: frozenset[int]
    theirs: frozenset[int]
    moves: Mapping[Input, State]
    later: frozenset[int] = frozenset()
    """What the peer may not begin now, but may ask again on whatever comes after."""


_NONE: frozenset[int] = frozenset()
_INIT, _AUTH = frozenset({Exchange.IKE_SA_INIT}), frozenset({Exchange.IKE_AUTH})
_INFO = frozenset({Exchange.INFORMATIONAL})
_CREATE = frozenset({Exchange.CREATE_CHILD_SA})
_ALL = _CREATE | _INFO
_END = {Input.GONE: State.CLOSED}
_PROVING = {Input.AUTH_VERIFIED: State.ESTABLISHED, Input.QUESTION_ASKED: State.DECIDING, **_END}
_UP = {Input.REPLACED: State.REKEYED, Input.DELETE_SENT: State.DELETING, **_END}
_OLD = {Input.DELETE_SENT: State.DELETING, **_END}

TABLE: Mapping[tuple[State, Role], Row] = {
    # state, role                             ours   theirs  input -> state
    (State.INITIATING, "initiator"): Row(_INIT, _NONE, {Input.INIT_ANSWERED: State.AUTHENTICATING, **_END}),
    (State.AUTHENTICATING, "initiator"): Row(_AUTH, _NONE, _PROVING),
    (State.DECIDING, "initiator"): Row(_NONE, _NONE, {Input.QUESTION_ANSWERED: State.AUTHENTICATING, **_END}),
    (State.HALF_OPEN, "responder"): Row(_NONE, _AUTH, _PROVING),
    (State.DECIDING, "responder"): Row(_NONE, _NONE, {Input.QUESTION_ANSWERED: State.DECIDING, **_PROVING}),
    (State.ESTABLISHED, "initiator"): Row(_ALL, _ALL, _UP),
    (State.ESTABLISHED, "responder"): Row(_ALL, _ALL, _UP),
    (State.REKEYED, "initiator"): Row(_INFO, _INFO, _OLD, _CREATE),
    (State.REKEYED, "responder"): Row(_INFO, _INFO, _OLD, _CREATE),
    (State.DELETING, "initiator"): Row(_INFO, _INFO, _END, _CREATE),
    (State.DELETING, "responder"): Row(_INFO, _INFO, _END, _CREATE),
    (State.CLOSED, "initiator"): Row(_NONE, _NONE, {}),
    (State.CLOSED, "responder"): Row(_NONE, _NONE, {}),
}

AUTHENTICATED = frozenset({State.ESTABLISHED, State.REKEYED, State.DELETING})
"""In these states the peer has proved who it is, so its mistakes are answered."""


def step(state: State, role: Role, what: Input) -> State:
    """Return the state after *what*; raises LocalProtocolError where the table has no such move."""
    row = TABLE.get((state, role))
    if row is None or what not in row.moves:
        raise LocalProtocolError(f"{what.value}: not possible for the {role} of an SA that is {state.value}")
    return row.moves[what]


def may_begin(state: State, role: Role, exchange: int) -> bool:
    """Tell whether we may begin *exchange* now."""
    row = TABLE.get((state, role))
    return row is not None and exchange in row.ours


def verdict(state: State, role: Role, exchange: int) -> Verdict:
    """Say what happens to a verified request for *exchange* from the peer."""
    row = TABLE.get((state, role))
    if row is not None and exchange in row.theirs:
        return Verdict.PROCESS
    if row is not None and exchange in row.later:
        return Verdict.LATER
    if state in (State.ESTABLISHED, State.REKEYED):
        return Verdict.REFUSE
    return Verdict.DROP
