"""What `ikecore demo` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from ikecore.errors import IkeError, PeerUnreachable
from ikecore.events import ChildSaEstablished, IkeKeysDerived, IkeSaEstablished, SpisChanged
from ikecore.outputs import Output

from .demo_peers import CLIENT, GATEWAY, Peers
from .demo_scenario import NETWORKS, Scenario
from .drawing import Line, fields, put, show, takes_unicode, terminal_width, wrap
from .ladder import Note, draw, steps_of
from .policy_words import POLICY_WORDS
from .reporting import event_dict, key_fields, sa_fields, spis
from .text import duration, printable

__all__ = ["Printer"]

FRAGMENTS: Final = {
    True: "what is too large for one packet goes in IKE fragments (RFC 7383) where UDP carries it",
    False: "no IKE fragments (RFC 7383): large messages go whole, and IP has to cut them up",
}


class Printer:
    """Prints runs: as a drawing with an explanation, or as JSON."""

    def __init__(self, peers: Peers, *, show_keys: bool, as_json: bool) -> None:
        self._peers = peers
        self._show_keys = show_keys
        self._as_json = as_json
        self._width = max(60, min(terminal_width(), 110))

    def event(self, who: str, seconds: float, event: Output) -> None:
        """Take one event of *who*, at once."""
        if self._as_json:
            values = event_dict(event, show_keys=self._show_keys)
            put(json.dumps({"time": round(seconds, 6), "who": who, **values}))

    def begin(self, number: int, runs: int, scenario: Scenario, auth: str) -> None:
        """Tell what is going to happen."""
        policy = scenario.word
        if self._as_json:
            values = {"type": "Run", "number": number, "network": scenario.network, "policy": policy, "auth": auth}
            put(json.dumps({**values, "fragmentation": scenario.fragmentation}))
            return
        network = NETWORKS[scenario.network]
        pairs = [
            ("network", network),
            ("policy", f"{policy}: {POLICY_WORDS[policy]}"),
            ("initiator", f"{CLIENT}, with {self._peers.client_words}"),
            ("responder", f"{GATEWAY}, with {self._peers.gateway_words}"),
        ]
        if scenario.network == "drops-fragments" or not scenario.fragmentation:
            pairs.insert(2, ("fragments", FRAGMENTS[scenario.fragmentation]))
        title = "Two endpoints in this process, on real sockets"
        if runs > 1:
            title += f": run {number} of {runs}"
        show([((title, "head"),), *fields(pairs, self._width, 2), (("", "note"),)])

    def end(
        self,
        events: Sequence[Output],
        established: IkeSaEstablished | None,
        children: Sequence[ChildSaEstablished],
        error: IkeError | None,
        addresses: tuple[str, str],
        between: str,
        *,
        seconds: float,
        expected: str,
        outcome: str,
    ) -> None:
        """Draw what happened, and tell what came of it."""
        if self._as_json:
            values = {"type": "Outcome", "outcome": outcome, "expected": expected, "seconds": round(seconds, 6)}
            values["error"] = None if error is None else printable(str(error))
            values["error_type"] = None if error is None else type(error).__name__
            put(json.dumps(values))
            return
        lines = draw(
            [*([Note(between)] if between else []), *steps_of(events)],
            (CLIENT, addresses[0]),
            (GATEWAY, addresses[1]),
            width=self._width,
            ascii_only=not takes_unicode(),
        )
        lines.append((("", "note"),))
        if error is not None:
            lines += self._failed(error, seconds)
        elif established is not None:
            lines += self._up(established, events, children, seconds)
        words = "as expected" if outcome == expected else f"not as expected, which was: {expected}"
        lines.append((("Outcome: ", "head"), (f"{outcome}, {words}", "good" if outcome == expected else "bad")))
        lines.append((("", "note"),))
        show(lines)

    def _failed(self, error: IkeError, seconds: float) -> list[Line]:
        """Tell why there is no SA."""
        text = f"{type(error).__name__}: {printable(str(error))}"
        lines: list[Line] = [((f"No IKE SA, given up after {duration(seconds)}", "head"),)]
        lines += [((f"  {part}", "bad"),) for part in wrap(text, self._width - 2)]
        if isinstance(error, PeerUnreachable):
            hint = "The demonstration gives up after 4 transmissions of a message; the default is 12, over minutes."
            lines += [((f"  {part}", "dim"),) for part in wrap(hint, self._width - 2)]
        return lines

    def _up(
        self,
        established: IkeSaEstablished,
        events: Sequence[Output],
        children: Sequence[ChildSaEstablished],
        seconds: float,
    ) -> list[Line]:
        """Tell of the SAs, from the initiator's side."""
        lines: list[Line] = [((f"IKE SA, established {duration(seconds)} after the start", "head"),)]
        lines += fields(sa_fields(established), self._width, 2)
        derived = [each.export_keys() for each in events if isinstance(each, IkeKeysDerived)] if self._show_keys else []
        for keys in derived[:1]:
            lines += fields(key_fields(keys).items(), self._width, 2, "bad")
        for child in children:
            pairs = [
                ("algorithms", child.suite),
                ("SPIs", f"{child.spi_in.hex()} in, {child.spi_out.hex()} out"),
                ("traffic", f"{', '.join(child.local_ts)} to {', '.join(child.remote_ts)}, {child.mode} mode"),
            ]
            if child.udp_encapsulation:
                pairs.append(("ESP", "in UDP, since a NAT was found"))
            instead = "" if child.replaces is None else f", {child.child} in place of {child.replaces}"
            lines.append(((f"Child SA {printable(child.name)}{instead}", "head"),))
            lines += fields(pairs, self._width, 2)
            if self._show_keys:
                lines += fields(key_fields(child.export_keys()).items(), self._width, 2, "bad")
        for change in (each for each in events if isinstance(each, SpisChanged) and each.rekeyed):
            lines.append((("IKE SA, rekeyed", "head"),))
            lines += fields([("SPIs", spis(change))], self._width, 2)
            for keys in (each for each in derived if (each.spi_i, each.spi_r) == (change.spi_i, change.spi_r)):
                lines += fields(key_fields(keys).items(), self._width, 2, "bad")
        return lines
