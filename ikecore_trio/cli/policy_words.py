"""The words of the configuration file and of the demonstration for transport policies, and the options of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ikecore import LocalProtocolError
from ikecore.transport import BySize, Fallback, Policy, Race, Step, TcpOnly, UdpOnly, WholeMission

from .config_table import Table

__all__ = ["POLICY_WORDS", "policy_of", "read_policy"]

POLICY_WORDS: Final[Mapping[str, str]] = {
    "by-size": "UDP, but TCP for an exchange whose request or expected response is above 1,200 octets",
    "udp-only": "everything over UDP",
    "whole-mission": "one TCP connection for everything until the first Child SA is up, then UDP",
    "race": "UDP at once and a TCP connection beside it, which carries the next requests once it is open",
    "tcp-only": "everything over TCP",
    "fallback": "one step after the other, each for its patience: UDP, then TCP",
}
"""What each policy does unless told otherwise."""

POLICIES: Final[Mapping[str, Callable[..., Policy]]] = {
    "by-size": BySize,
    "udp-only": UdpOnly,
    "whole-mission": WholeMission,
    "race": Race,
    "tcp-only": TcpOnly,
    "fallback": Fallback,
}
OPTIONS: Final[Mapping[str, str]] = {
    "threshold": "by-size",
    "open_early": "by-size",
    "patience": "race",
    "discover": "race",
    "steps": "fallback",
}
STEP: Final = (
    'steps "udp", "fragments" and "tcp", each once, with the seconds of patience behind it if wanted, as in "udp 3"'
)


def policy_of(word: str, **options: Any) -> Policy:
    """Return the policy behind *word*, one of `POLICY_WORDS`."""
    return POLICIES[word](**options)


def read_policy(table: Table) -> Policy:
    """Read `policy` and the options that belong to it; those of another policy are mistakes."""
    word = table.choice("policy", {each: each for each in POLICY_WORDS}, "by-size")
    readers: dict[str, Callable[[str], Any]] = {
        "threshold": lambda key: table.number(key, 0, 65535, None),
        "open_early": lambda key: table.flag(key, False),
        "patience": table.seconds,
        "discover": lambda key: table.flag(key, False),
        "steps": lambda key: table.parsed(key, step_of, STEP) or None,
    }
    options: dict[str, Any] = {}
    for key, owner in OPTIONS.items():
        if key in table and word != owner:
            table.refuse(key, f'nothing here; it belongs to policy "{owner}"')
            continue
        value = readers[key](key)
        if key in table:
            options[key] = value
    try:
        return policy_of(word, **{key: value for key, value in options.items() if value is not None})
    except LocalProtocolError:
        table.problem("steps", table.peek("steps"), STEP)
        return BySize()


def step_of(text: str) -> Step:
    """Read one step of a fallback list. Raises ValueError for what is none."""
    transport, *rest = text.split()
    if transport not in ("udp", "fragments", "tcp") or len(rest) > 1:
        raise ValueError(f"{text} is no step")
    if not rest:
        return Step(transport)  # type: ignore[arg-type]
    try:
        seconds = float(rest[0])
    except ValueError:
        raise ValueError(f"{rest[0]} is no number of seconds") from None
    if not 0 < seconds <= 3600:
        raise ValueError(f"{rest[0]} seconds are not between 0 and 3600")
    return Step(transport, seconds)  # type: ignore[arg-type]
