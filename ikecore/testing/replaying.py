"""A recording run again: the same inputs, the same random octets, and every output compared.

What is compared: how each call ended, each output in its place, and the deadline whenever there was no output left. A
run with pre-shared keys repeats to the octet. RSA-PSS, ECDSA and ML-DSA signatures draw randomness of their own; so
where a connection has a private key, an IKE_AUTH message may have other octets, and be a few longer or shorter, and
sizes in events may differ by as much. Nothing else may.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import attrs

from ..config import CertificateCredential, Config, Connection
from ..endpoint import Endpoint
from ..errors import LocalProtocolError
from ..outputs import StreamId
from ..wire.numbers import Exchange
from .recorder import FORMAT, INPUTS, from_json, to_json

__all__ = ["ReplayResult", "replay"]

SLACK = 32
"""Octets by which messages with fresh signatures may differ in size: the signature's encoding, a cipher's padding."""
MOST = 20
"""Differences after which a replay ends: one leads to others."""
EXCHANGE_TYPE, LENGTH = 18, 24
"""Where these fields begin in an IKE header."""
NUMBER = re.compile(r"[0-9]+")

Json = dict[str, Any]


@attrs.frozen
class ReplayResult:
    """How a replay went. *differences* are in words, with the number of the line in the recording.

    *signed* counts the messages that differ in their octets only because of a signature.
    """

    inputs: int
    outputs: int
    signed: int
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the run repeated itself."""
        return not self.differences


def replay(lines: Iterable[str], config: Config, *, connections: Sequence[Connection] = ()) -> ReplayResult:
    """Run a recording again on a fresh endpoint with *config*, and compare.

    *config* has to be the one of the recording. *connections* are those that were initiated without being part of it,
    as `connect` of the adapters does it. A last line that is cut off is ignored: so a process ended. Raises
    `LocalProtocolError` where the lines are no recording, or name a connection that is not given.
    """
    player = _Player(_read(lines), config, connections)
    player.run()
    return player.result()


def _read(lines: Iterable[str]) -> list[tuple[int, Json]]:
    """Return the lines with their numbers."""
    read: list[tuple[int, Json]] = []
    broken: int | None = None
    for number, text in enumerate(lines, 1):
        if broken is not None:
            raise LocalProtocolError(f"lines: number {broken} is no line of a recording")
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict) and "line" in line:
            read.append((number, line))
        else:
            broken = number
    if not read or read[0][1]["line"] != "start" or read[0][1].get("format") != FORMAT:
        raise LocalProtocolError(f"lines: this is no recording of format {FORMAT}")
    while read and not _whole(read):
        read.pop()
    return read


def _whole(lines: list[tuple[int, Json]]) -> bool:
    """Tell whether the last call among *lines* has its result."""
    last = next((line["line"] for _, line in reversed(lines) if line["line"] in ("input", "result")), "result")
    return bool(last == "result")


class _Player:
    """One replay."""

    def __init__(self, lines: list[tuple[int, Json]], config: Config, connections: Sequence[Connection]) -> None:
        self._lines = lines
        self._connections = {each.name: each for each in (*config.connections, *connections)}
        self._signs = any(isinstance(each.local, CertificateCredential) for each in self._connections.values())
        self._draws = deque((number, line) for number, line in lines if line["line"] == "draw")
        self._differences: list[str] = []
        self._inputs = self._outputs = self._signed = 0
        self._number = lines[0][0]
        self._outcome: Json = {}
        self._unsent: dict[StreamId, list[int]] = {}
        self._chance = Random(0)
        start = lines[0][1]
        self._endpoint = Endpoint(
            config,
            random=lambda octets: self._draw("random", octets, self._chance.randbytes(octets)),
            utc=lambda: self._draw("utc", None, datetime.fromtimestamp(0, UTC)),
            new_spi=(lambda: self._draw("spi", 8, self._chance.randbytes(8))) if start["new_spi"] else None,
            raise_bugs=start["raise_bugs"],
        )

    def run(self) -> None:
        steps: Mapping[str, Callable[[Json], None]] = {
            "input": self._input,
            "result": self._result,
            "output": self._output,
            "drained": self._drained,
        }
        for number, line in self._lines:
            self._number = number
            if len(self._differences) >= MOST:
                return
            if line["line"] in steps:
                try:
                    steps[line["line"]](line)
                except (LookupError, ValueError, AttributeError, TypeError) as error:
                    raise LocalProtocolError(f"lines: number {number} cannot be read: {error}") from error
        if self._draws:
            self._differ(f"{len(self._draws)} draws of the recording were not made again")

    def result(self) -> ReplayResult:
        return ReplayResult(self._inputs, self._outputs, self._signed, tuple(self._differences))

    # --- the lines --------------------------------------------------------------------------------------------------

    def _input(self, line: Json) -> None:
        name = line["call"]
        if name not in INPUTS:
            raise LocalProtocolError(f"lines: number {self._number} calls {name!r}, which is no input")
        args = from_json(line["args"], self._connections)
        facts = {key: from_json(value, self._connections) for key, value in line["facts"].items()}
        if name == "stream_sent":
            args = self._sent(*args)
        self._inputs += 1
        try:
            self._outcome = {"returned": to_json(getattr(self._endpoint, name)(*args, **facts))}
        except Exception as error:
            self._outcome = {"raised": f"{type(error).__name__}: {error}"}

    def _result(self, line: Json) -> None:
        recorded = {key: value for key, value in line.items() if key != "line"}
        if recorded != self._outcome:
            self._differ(f"the call ended in {self._outcome}, where {recorded} is recorded")

    def _output(self, line: Json) -> None:
        recorded: Json = line["output"]
        output = next(self._endpoint.outputs(), None)
        if output is None:
            self._differ(f"no output came, where {recorded['type']} is recorded")
            return
        self._outputs += 1
        came = output.to_dict()
        if came["type"] == recorded["type"] == "WriteStream":
            unsent = self._unsent.setdefault(came["stream"], [0, 0])
            unsent[0] += len(recorded["data"]) // 2
            unsent[1] += len(came["data"]) // 2
        if came == recorded:
            return
        if not (self._signs and _alike(recorded, came)):
            self._differ(_difference(recorded, came))
        elif came.get("data") != recorded.get("data"):
            self._signed += 1

    def _drained(self, line: Json) -> None:
        for output in self._endpoint.outputs():
            self._differ(f"{type(output).__name__} came, where nothing is recorded")
        if line["deadline"] != self._endpoint.deadline:
            self._differ(f"the deadline is {self._endpoint.deadline}, where {line['deadline']} is recorded")

    # --- what is fed, and what is found -----------------------------------------------------------------------------

    def _draw(self, kind: str, octets: int | None, otherwise: Any) -> Any:
        """Return what the recording drew next, if it is of that kind and size, or anything else that lets us go on."""
        if not self._draws:
            self._differ(f"{kind} was drawn, where nothing is recorded")
            return otherwise
        number, line = self._draws.popleft()
        value = from_json(line["value"], {})
        if line["of"] != kind or (octets is not None and len(value) != octets):
            size = "" if octets is None else f" of {octets} octets"
            self._differ(f"{kind}{size} was drawn, where the {line['of']} of line {number} is recorded")
            return otherwise
        return value

    def _sent(self, stream: StreamId, octets: int) -> tuple[StreamId, int]:
        """Return how many octets the kernel takes this time: all that there are, if it took all when recorded."""
        unsent = self._unsent.get(stream)
        if unsent is None:
            return stream, octets
        taken = unsent[1] if octets == unsent[0] else min(octets, unsent[1])
        self._unsent[stream] = [unsent[0] - octets, unsent[1] - taken]
        return stream, taken

    def _differ(self, what: str) -> None:
        self._differences.append(f"line {self._number}: {what}")


def _alike(recorded: Json, came: Json) -> bool:
    """Tell whether two outputs differ only in what a fresh signature changes."""
    return recorded.keys() == came.keys() and all(_field_alike(name, recorded[name], came[name]) for name in recorded)


def _field_alike(name: str, recorded: Any, came: Any) -> bool:
    if recorded == came:
        return True
    if name == "data":
        one, other = (_unmarked(bytes.fromhex(data)) for data in (recorded, came))
        same_header = one[:LENGTH] == other[:LENGTH]
        signed = one[EXCHANGE_TYPE : EXCHANGE_TYPE + 1] == bytes([Exchange.IKE_AUTH])
        return same_header and signed and abs(len(one) - len(other)) <= SLACK
    if name in ("octets", "expected"):
        return bool(abs(recorded - came) <= SLACK)
    return name == "reason" and bool(NUMBER.sub("", recorded) == NUMBER.sub("", came))


def _unmarked(data: bytes) -> bytes:
    """Return a message without the non-ESP marker, if it has one: an SPI is never 0."""
    return data[4:] if data[:4] == bytes(4) else data


def _difference(recorded: Json, came: Json) -> str:
    if recorded["type"] != came["type"]:
        return f"{came['type']} came, where {recorded['type']} is recorded"
    fields = [
        f"{name} is {_shown(came[name])}, where {_shown(recorded.get(name))} is recorded"
        for name in came
        if came[name] != recorded.get(name)
    ]
    return f"{came['type']} came, but its {'; its '.join(fields)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
