"""What `ikecore connect` says while nobody answers: every few seconds, what is being tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from ikecore.events import IkeSaEstablished, IkeSaFailed, MessageReceived, MessageSent, StreamChanged
from ikecore.outputs import OpenStream, Output

from .text import address_text

__all__ = ["EVERY", "Waiting"]

EVERY: Final = 5.0
"""Seconds between two lines. Nearly every peer that is there has answered before the first."""


@attrs.define
class Try:
    """One thing that waits for the peer, since *begun*: what the peer has not done, and how often it was asked."""

    what: str
    begun: float
    times: int = 0


class Waiting:
    """Watches a set-up that is traced, and gives each line to *tell*."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._tries: dict[str, Try] = {}
        self._over = False

    def __call__(self, output: Output) -> None:
        """Take one output of the endpoint."""
        match output:
            case MessageSent():
                if not output.repeat or output.transport not in self._tries:
                    words = f"{address_text(output.remote)} has not answered {output.exchange}"
                    self._tries[output.transport] = Try(words, trio.current_time())
                self._tries[output.transport].times += 1
            case OpenStream():
                self._tries["tcp"] = Try(f"{address_text(output.remote)} has not accepted", trio.current_time())
            case StreamChanged() if output.state == "closed":
                self._tries.pop("tcp", None)
            case MessageReceived():
                self._tries.clear()
            case IkeSaEstablished() | IkeSaFailed():
                self._over = True

    async def run(self) -> None:
        """Tell of it until the SA is up, or failed."""
        while not self._over:
            await trio.sleep(EVERY)
            for transport, tried in self._tries.items() if not self._over else ():
                times = f", asked {tried.times} times" if tried.times > 1 else ""
                seconds = round(trio.current_time() - tried.begun)
                self._tell(f"still trying over {transport.upper()}: {tried.what} for {seconds} s{times}")
