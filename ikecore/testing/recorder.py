"""A run on tape: everything that a host told an endpoint, what the endpoint drew, and what it said, as JSON lines.

    tape: list[str] = []
    endpoint = Recorder(config, tape, random=os.urandom, utc=lambda: datetime.now(UTC))
    ...                                               # use it like any Endpoint, on real sockets for instance
    result = replay(tape, config)
    assert result.equal, result.differences

**A recording holds secrets.** The random octets in it are the private values of key exchanges: whoever reads it can
derive every key of its SAs, and decrypt their traffic. So nothing is recorded unless a `Recorder` is made. It writes to
nothing but the sink that it is given, which should be readable for its owner alone. What it does not hold is the
configuration, with its pre-shared and private keys: `replay` has to be given that again.

The lines: "start" says how the endpoint was made. "input" is one call with its arguments, followed by what was drawn
during it ("draw") and by how it ended ("result"). "output" is one output as it was taken; "drained" follows when there
was no other, with the deadline at that moment. So inputs made between two outputs stand between them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from ..config import ChildConfig, Config, Connection
from ..endpoint import Endpoint
from ..framing import Framing
from ..outputs import Output
from ..transport import Local

__all__ = ["FORMAT", "INPUTS", "Recorder", "Sink", "TextSink", "from_json", "to_json"]

P = ParamSpec("P")
R = TypeVar("R")

FORMAT = 1
"""The number of this way to write recordings down."""
INPUTS = frozenset(
    {"local_added", "local_removed", "datagram_received", "datagram_failed", "esp_sent", "esp_received",
     "esp_unknown", "traffic_seen", "child_expiring", "stream_accepted", "stream_connected", "stream_received",
     "stream_sent", "stream_eof", "stream_lost", "timer_expired", "initiate", "check_liveness", "create_child",
     "rekey", "delete", "abandon", "answer", "shutdown"}
)  # fmt: skip
"""The calls that change an endpoint."""


class TextSink(Protocol):
    """What is open for writing text."""

    def write(self, text: str, /) -> object: ...


Sink: TypeAlias = list[str] | TextSink
"""Where lines go: a list gets one item per line, a file one line each."""


def _recorded(method: Callable[Concatenate[Endpoint, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Return *method* such that calls of it are recorded."""

    @wraps(method)
    def call(self: Any, /, *args: P.args, **facts: P.kwargs) -> R:
        recorder: Recorder = self
        return recorder._record(method.__name__, lambda: method(recorder, *args, **facts), args, facts)

    return call


class Recorder(Endpoint):
    """An endpoint that writes down to *sink* what happens with it: a drop-in for `Endpoint`.

    With an adapter: `open_endpoint(config, make=lambda config: Recorder(config, sink, random=..., utc=...))`.
    """

    def __init__(
        self,
        config: Config,
        sink: Sink,
        *,
        random: Callable[[int], bytes],
        utc: Callable[[], datetime],
        new_spi: Callable[[], bytes] | None = None,
        raise_bugs: bool = False,
    ) -> None:
        self._sink = sink
        self._recording = False
        self._line("start", format=FORMAT, new_spi=new_spi is not None, raise_bugs=raise_bugs)
        super().__init__(
            config,
            random=lambda octets: self._drawn("random", random(octets)),
            utc=lambda: self._drawn("utc", utc()),
            new_spi=None if new_spi is None else lambda: self._drawn("spi", new_spi()),
            raise_bugs=raise_bugs,
        )

    local_added = _recorded(Endpoint.local_added)
    local_removed = _recorded(Endpoint.local_removed)
    datagram_received = _recorded(Endpoint.datagram_received)
    datagram_failed = _recorded(Endpoint.datagram_failed)
    esp_sent = _recorded(Endpoint.esp_sent)
    esp_received = _recorded(Endpoint.esp_received)
    esp_unknown = _recorded(Endpoint.esp_unknown)
    traffic_seen = _recorded(Endpoint.traffic_seen)
    child_expiring = _recorded(Endpoint.child_expiring)
    stream_accepted = _recorded(Endpoint.stream_accepted)
    stream_connected = _recorded(Endpoint.stream_connected)
    stream_received = _recorded(Endpoint.stream_received)
    stream_sent = _recorded(Endpoint.stream_sent)
    stream_eof = _recorded(Endpoint.stream_eof)
    stream_lost = _recorded(Endpoint.stream_lost)
    timer_expired = _recorded(Endpoint.timer_expired)
    initiate = _recorded(Endpoint.initiate)
    check_liveness = _recorded(Endpoint.check_liveness)
    create_child = _recorded(Endpoint.create_child)
    rekey = _recorded(Endpoint.rekey)
    delete = _recorded(Endpoint.delete)
    abandon = _recorded(Endpoint.abandon)
    answer = _recorded(Endpoint.answer)
    shutdown = _recorded(Endpoint.shutdown)

    def outputs(self) -> Iterator[Output]:
        """Take actions and events out of the queue; each is recorded before it is yielded."""
        for output in super().outputs():
            self._line("output", output=output.to_dict())
            yield output
        self._line("drained", deadline=self.deadline)

    def _record(self, name: str, call: Callable[[], R], args: tuple[Any, ...], facts: Mapping[str, Any]) -> R:
        if self._recording:
            return call()
        self._recording = True
        self._line("input", call=name, args=to_json(args), facts=to_json(facts))
        try:
            returned = call()
        except BaseException as error:
            self._line("result", raised=f"{type(error).__name__}: {error}")
            raise
        else:
            self._line("result", returned=to_json(returned))
            return returned
        finally:
            self._recording = False

    def _drawn(self, kind: str, value: R) -> R:
        self._line("draw", of=kind, value=to_json(value))
        return value

    def _line(self, line: str, **what: object) -> None:
        text = json.dumps({"line": line, **what}, separators=(",", ":"))
        if isinstance(self._sink, list):
            self._sink.append(text)
        else:
            self._sink.write(f"{text}\n")


def to_json(value: object) -> Any:
    """Return what stands for *value* in a line. What has no shape of its own there is kept by its repr."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {"octets": value.hex()}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, Connection):
        return {"connection": value.name}
    if isinstance(value, ChildConfig):
        return value.name  # `Endpoint.create_child` takes the name as well
    if isinstance(value, Local):
        framings = sorted(framing.value for framing in value.framings)
        return {"local": [*value.address, value.kind, value.marker, framings]}
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return {"repr": repr(value)}


def from_json(value: Any, connections: Mapping[str, Connection]) -> Any:
    """Return the value that stands in a line. Raises LookupError for a connection that is not among *connections*."""
    if isinstance(value, list):
        return tuple(from_json(item, connections) for item in value)
    if not isinstance(value, dict):
        return value
    [(shape, item)] = value.items()
    if shape == "octets":
        return bytes.fromhex(item)
    if shape == "time":
        return datetime.fromisoformat(item)
    if shape == "connection":
        if item not in connections:
            raise LookupError(f"the connection {item!r} is not given")
        return connections[item]
    if shape == "local":
        host, port, kind, marker, framings = item
        return Local((host, port), kind, marker, frozenset(map(Framing, framings)))
    return item
