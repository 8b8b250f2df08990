"""Where the time of a handshake goes, phase by phase.

    python -m benchmarks.phases

The handshakes of `benchmarks.handshake` once more, with a clock around the functions of each phase: what is called from
outside a phase counts, with all that is called inside, until it returns. The *state machine* is what is left: windows,
timers, limits, admission, events, and carrying out. The clocks themselves cost about a tenth, so that only the shares
are worth anything; the sums belong to `benchmarks.handshake`.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmarks._harness import ROUNDS, Table, show
from benchmarks.handshake import BATCH, Scene, Side, batch, certificate_scene, psk_scene, undisturbed
from ikecore.outputs import SendDatagram

PHASES: dict[str, tuple[str, ...]] = {
    "parse": (
        "wire.message:decode_envelope",
        "wire.header:triage",
        "wire.chain:decode_payloads",
        "wire.shapes:match",
    ),
    "build": ("wire.message:encode_message", "wire.chain:encode_payloads"),
    "key exchange": ("crypto.kex:generate", "crypto.kex:_Curve25519.shared"),
    "key schedule": ("crypto.keys:derive_ike_keys", "crypto.keys:derive_child_keys"),
    "AUTH": (
        "crypto.auth:signed_octets",
        "crypto.auth:pad_secret",
        "crypto.auth:psk_auth",
        "crypto.auth:check_psk",
        "crypto.auth:sign_with",
        "crypto.auth:verify",
        "crypto.certificates:TrustStore.validate",
        "crypto.certificates:OwnValidity.problem",
    ),
    "seal and open": ("crypto.protection:Protection.seal", "crypto.protection:Protection.open"),
}
"""The functions that a phase is entered by, of ikecore."""
REST = "state machine"


class Clock:
    """Adds up what was spent in each phase."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys((*PHASES, REST), 0.0)
        self._inside = False

    def around(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* with a clock around it, unless another phase has called it."""

        @functools.wraps(function)
        def timed(*args: Any, **keywords: Any) -> Any:
            if self._inside:
                return function(*args, **keywords)
            self._inside = True
            start = time.process_time()
            try:
                return function(*args, **keywords)
            finally:
                self.spent[phase] += time.process_time() - start
                self._inside = False

        return timed

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put the clocks where the functions are used. Raises LookupError for one that does not exist any more."""
        undo: list[tuple[Any, str, Any]] = []
        try:
            for phase, names in PHASES.items():
                for name in names:
                    for owner, attribute, function in _uses(name):
                        undo.append((owner, attribute, function))
                        setattr(owner, attribute, self.around(phase, function))
            yield
        finally:
            for owner, attribute, function in reversed(undo):
                setattr(owner, attribute, function)


def _uses(name: str) -> Iterator[tuple[Any, str, Any]]:
    """Yield each place that "module:function" or "module:Class.method" is called from, with what stands there."""
    module, _, path = name.partition(":")
    owner = import_module(f"ikecore.{module}")
    *classes, attribute = path.split(".")
    for each in classes:
        owner = getattr(owner, each, None)  # type: ignore[assignment]
    found = getattr(owner, "__dict__", {}).get(attribute)
    if found is None:
        raise LookupError(f"{name} does not exist in ikecore any more")
    if classes:
        yield owner, attribute, found
        return
    for key, using in list(sys.modules.items()):
        if key.partition(".")[0] == "ikecore":
            for alias, value in list(vars(using).items()):
                if value is found:
                    yield using, alias, found


class Watched(Side):
    """A side whose time is taken by phase."""

    def __init__(self, scene: Scene, role: int, clock: Clock) -> None:
        super().__init__(scene, role)
        self._clock = clock
        self.by_phase = dict.fromkeys((*PHASES, REST), 0.0)

    def initiate(self, now: float) -> list[SendDatagram]:
        return self._watch(lambda: Side.initiate(self, now))

    def take(self, datagrams: list[SendDatagram], now: float) -> list[SendDatagram]:
        return self._watch(lambda: Side.take(self, datagrams, now))

    def _watch(self, work: Callable[[], list[SendDatagram]]) -> list[SendDatagram]:
        spent = self._clock.spent
        before = dict(spent)
        start = time.process_time()
        result = work()
        rest = time.process_time() - start
        for phase in PHASES:
            self.by_phase[phase] += spent[phase] - before[phase]
            rest -= spent[phase] - before[phase]
        self.by_phase[REST] += rest
        return result


def measure(scene: Scene, rounds: int) -> Iterator[Table]:
    """Yield the seconds per handshake that each side spent in each phase."""
    clock = Clock()
    sides = Watched(scene, 0, clock), Watched(scene, 1, clock)
    timings: list[dict[str, list[float]]] = [{phase: [] for phase in clock.spent} for _ in sides]
    with undisturbed(scene):
        batch(sides, 0.0)
        with clock.attached():
            for number in range(rounds):
                before = [dict(side.by_phase) for side in sides]
                batch(sides, 1.0 + number)
                for side, earlier, timing in zip(sides, before, timings, strict=True):
                    for phase, seconds in side.by_phase.items():
                        timing[phase].append((seconds - earlier[phase]) / BATCH)
    for role, timing in zip(("initiator", "responder"), timings, strict=True):
        yield Table(f"phases of a handshake with {scene.title}: {role}", timing)


def tables(rounds: int = ROUNDS) -> Iterator[Table]:
    """Yield a table per scene and side."""
    for scene in (psk_scene(), certificate_scene("ecdsa-p256"), certificate_scene("rsa-2048")):
        yield from measure(scene, 3 * rounds)


if __name__ == "__main__":
    show(tables())
