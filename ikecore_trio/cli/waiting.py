"""What `ikecore connect` says while nobody answers: every few seconds, what is being tried.

A refusal that anybody may have sent is not believed while a better answer may come, and is told meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from ikecore.events import (
    IkeSaEstablished,
    IkeSaFailed,
    MessageReceived,
    MessageSent,
    RefusalReceived,
    SpisChanged,
    StreamChanged,
)
from ikecore.outputs import OpenStream, Output

from .reporting import refusal_words
from .text import address_text

__all__ = ["EVERY", "Waiting"]

EVERY: Final = 5.0
"""Seconds between two lines. Nearly every peer that is there has answered before the first."""


@attrs.define
class Try:
    """One thing that waits for the peer, since *begun*: what the peer has not done, and how often it was asked.

    *refused* says that there was an answer, which nothing proves.
    """

    what: str
    begun: float
    times: int = 0
    refused: bool = False

    def in_words(self, now: float) -> str:
        seconds = f"{round(now - self.begun)} s"
        if self.refused:
            return f"{self.what}: waiting for a better answer for {seconds}"
        return f"{self.what} for {seconds}{f', asked {self.times} times' if self.times > 1 else ''}"


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
            case RefusalReceived():
                self._tries["udp"] = Try(refusal_words(output), trio.current_time(), refused=True)
            case MessageReceived():
                self._tries = {name: each for name, each in self._tries.items() if each.refused}
            case SpisChanged() if any(output.spi_r):
                self._tries.clear()
            case IkeSaEstablished() | IkeSaFailed():
                self._over = True

    async def run(self) -> None:
        """Tell of it until the SA is up, or failed."""
        while not self._over:
            await trio.sleep(EVERY)
            for transport, tried in self._tries.items() if not self._over else ():
                self._tell(f"still trying over {transport.upper()}: {tried.in_words(trio.current_time())}")
