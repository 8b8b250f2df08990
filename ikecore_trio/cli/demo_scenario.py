"""What `ikecore demo` can show: networks, policies, and what is expected to come of each pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from ikecore.transport import Fallback, Policy, Race, Step

from .policy_words import policy_of
from .relay import LARGEST

__all__ = ["NETWORKS", "Network", "Scenario"]

Network = Literal["clean", "drops-fragments", "blocks-udp", "refuses-tcp", "silent-tcp", "lossy"]

NETWORKS: Final[Mapping[Network, str]] = {
    "clean": "loopback, where datagrams of any size arrive",
    "drops-fragments": (
        f"a relay on loopback passes UDP datagrams of up to {LARGEST:,} octets and drops larger ones, as networks do "
        "that lose fragments; TCP goes past it"
    ),
    "blocks-udp": "a relay on loopback drops every UDP datagram; TCP goes past it",
    "refuses-tcp": "loopback; nobody listens at the TCP port, so connections are refused at once",
    "silent-tcp": "loopback; the TCP port leaves every connection unanswered, as a filter does that drops packets",
    "lossy": "a relay on loopback drops a tenth of the UDP datagrams, by the same dice in every run; TCP goes past it",
}
UNREACHABLE: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("udp-only", "blocks-udp"),
        ("by-size", "blocks-udp"),
        ("tcp-only", "refuses-tcp"),
        ("tcp-only", "silent-tcp"),
    }
)
"""Policies with the networks where they have no way: of the port, by size hears over UDP only."""
UNREACHABLE_WHOLE: Final[frozenset[tuple[str, str]]] = UNREACHABLE | {("udp-only", "drops-fragments")}
"""The same without IKE fragments."""
IMPATIENT: Final[Mapping[str, Policy]] = {
    "race": Race(patience=0.7),
    "fallback": Fallback((Step("udp", 0.7), Step("tcp"))),
}
"""A demonstration waits less than a gateway would."""
RUNS: Final[Mapping[Network, tuple[tuple[str, bool], ...]]] = {
    "drops-fragments": (("udp-only", False), ("udp-only", True), ("by-size", True)),
    "blocks-udp": (("by-size", True), ("race", True)),
}
"""Policies, with IKE fragments or without, that tell most about a network."""


@attrs.frozen
class Scenario:
    """One run: a network, a policy, and whether both sides use IKE fragments."""

    network: Network
    word: str
    fragmentation: bool = True

    @property
    def policy(self) -> Policy:
        """The policy of the initiator."""
        return IMPATIENT.get(self.word) or policy_of(self.word)

    @property
    def knows_tcp(self) -> bool:
        """Whether the initiator is configured with the TCP port; the others wait for the announcement."""
        return self.word not in ("by-size", "udp-only")

    @property
    def expected(self) -> Literal["established", "unreachable"]:
        """What should come of it."""
        without_way = UNREACHABLE if self.fragmentation else UNREACHABLE_WHOLE
        return "unreachable" if (self.word, self.network) in without_way else "established"

    @classmethod
    def of(cls, network: Network, word: str | None, fragmentation: bool | None) -> list[Scenario]:
        """Return the runs that show *network*, with one policy, or with those that tell most about it.

        *fragmentation* goes for all of them if it is given.
        """
        runs = RUNS.get(network, (("by-size", True),)) if word is None else ((word, True),)
        if fragmentation is not None:
            runs = tuple((each, fragmentation) for each, _ in runs)
        return [cls(network, each, pieces) for each, pieces in dict.fromkeys(runs)]
