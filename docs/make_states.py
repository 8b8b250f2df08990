"""Draw the state table of an IKE SA: run this after a change to ikecore/sa/states.py; a test compares the result."""

from __future__ import annotations

from pathlib import Path

from ikecore.events import Role
from ikecore.sa.states import TABLE, Input, Row, State, Verdict, verdict
from ikecore.wire.numbers import Exchange, name_of

PAGE = Path(__file__).with_name("states.md")

HEAD = """\
# The states of an IKE SA

Made by `docs/make_states.py` from the table in `ikecore/sa/states.py`, which is the only place that decides which
exchange may happen when. Change the table, not this page.
"""
_FIRST: dict[Role, State] = {"initiator": State.INITIATING, "responder": State.HALF_OPEN}


def page() -> str:
    """Return the page: a diagram and a table for each role, and what the words mean."""
    parts = [HEAD]
    for role in _FIRST:
        parts += [f"## As the {role}\n", diagram(role), table(role)]
    parts += ["## What the words mean\n", words()]
    return "\n".join(parts)


def diagram(role: Role) -> str:
    """Return a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_name(_FIRST[role])}"]
    for state, row in _rows(role):
        lines += [f"    {_name(state)} --> {_name(after)}: {what.value}" for what, after in row.moves.items()]
    return "\n".join([*lines, f"    {_name(State.CLOSED)} --> [*]", "```", ""])


def table(role: Role) -> str:
    """Return the rows of one role as a table."""
    lines = [
        "| state | we may begin | the peer may begin | refused with TEMPORARY_FAILURE | other requests of the peer |",
        "|---|---|---|---|---|",
    ]
    for state, row in _rows(role):
        other = "INVALID_SYNTAX, and the SA ends" if _refuses(state, role) else "dropped"
        lines.append(
            f"| {state.value} | {_exchanges(row.ours)} | {_exchanges(row.theirs)} | {_exchanges(row.later)} | {other} |"
        )
    return "\n".join([*lines, ""])


def words() -> str:
    """Return the states and inputs with what they are."""
    lines = [f"- **{state.value}**: {DOCS[state]}" for state in State]
    lines += ["", "An arrow is one of:", ""]
    lines += [f"- *{what.value}*: {INPUTS[what]}" for what in Input]
    return "\n".join([*lines, ""])


DOCS = {
    State.INITIATING: "IKE_SA_INIT is sent, perhaps in several attempts; there are no keys yet.",
    State.HALF_OPEN: "IKE_SA_INIT is answered; the responder has keys and waits for IKE_AUTH.",
    State.AUTHENTICATING: "the initiator proves itself: it is about to send IKE_AUTH, or has sent it.",
    State.DECIDING: "the application is asked, for part of a proof or whether the peer is welcome.",
    State.ESTABLISHED: "both sides are authenticated.",
    State.REKEYED: "another pair of SPIs has taken its place; one side will delete this one.",
    State.DELETING: "our Delete of this IKE SA is on its way.",
    State.CLOSED: "nothing is left but the answer to a repeated request.",
}
INPUTS = {
    Input.INIT_ANSWERED: "an acceptable response came, and the keys are derived.",
    Input.AUTH_VERIFIED: "the peer's AUTH payload was verified, and whoever is asked has agreed.",
    Input.QUESTION_ASKED: "something about the proof of either side is the application's to say, and it was asked.",
    Input.QUESTION_ANSWERED: "it answered, or its time is up, which is a refusal.",
    Input.REPLACED: "a rekey, by either side, has made a new pair of SPIs, established from its beginning.",
    Input.DELETE_SENT: "we sent a Delete for the IKE SA.",
    Input.GONE: "it failed, was deleted by either side, or was given up.",
}


def _rows(role: Role) -> list[tuple[State, Row]]:
    return [(state, row) for (state, whose), row in TABLE.items() if whose == role]


def _name(state: State) -> str:
    return state.value.replace("-", "_")


def _exchanges(numbers: frozenset[int]) -> str:
    return ", ".join(name_of(Exchange, number) for number in sorted(numbers)) or "nothing"


def _refuses(state: State, role: Role) -> bool:
    return verdict(state, role, Exchange.IKE_SA_INIT) is Verdict.REFUSE


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
