"""One side of a test in a process of its own, on either adapter.

    peer.py trio|asyncio serve|ask FILE ADDRESS
    peer.py trio|asyncio connect|attempt|hurry|linger|speak FILE CONNECTION

`ask` checks the liveness of each peer once, after a while. `attempt` gives up soon, and `hurry` repeats what is
lost as soon, but does not give up; `linger` keeps the SA until after
that check, and `speak` checks the peer's liveness itself shortly before. The file is that of the command line; each
event of the client becomes a JSON object a line, and the last one is what came of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

import ikecore_asyncio
import ikecore_trio
from ikecore import Config, IkeError, Limits
from ikecore.events import Event
from ikecore.outputs import Output
from ikecore_trio.cli.config_file import Settings, read_settings
from ikecore_trio.cli.reporting import event_dict

LIMITS = Limits(stream_connect_timeout=1.5, establish_timeout=30.0, delete_timeout=2.0)
HURRIED = attrs.evolve(LIMITS, retransmit_first=0.3, retransmit_factor=1.5)
SHORT = attrs.evolve(HURRIED, retransmit_tries=4)
"""For what is not going to work: four transmissions in 2.4 seconds."""

ASK_AFTER, SPEAK_AFTER, LINGER = 4.0, 3.5, 5.5
"""Seconds after the set-up."""


def tell(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


def heard(output: Output) -> None:
    if isinstance(output, Event):
        tell(event_dict(output))


def sleep_of(adapter: Any) -> Any:
    return trio.sleep if adapter is ikecore_trio else asyncio.sleep


async def serve(adapter: Any, settings: Settings, host: str, *, ask: bool = False) -> None:
    """Answer peers at *host* until this process is ended, and say nothing: nobody reads what it would print."""
    config = Config(connections=settings.connections, limits=LIMITS)
    listen = attrs.evolve(settings.listen, hosts=(host,))
    async with adapter.open_endpoint(config, listen) as endpoint:
        tell({"type": "Listening"})
        await endpoint.serve(partial(asking, sleep_of(adapter)) if ask else until_closed)


async def until_closed(session: Any) -> None:
    await session.wait_closed()


async def asking(sleep: Any, session: Any) -> None:
    await sleep(ASK_AFTER)
    await session.check_liveness()
    await session.wait_closed()


async def stay(sleep: Any, session: Any, *, speak: bool) -> None:
    await sleep(SPEAK_AFTER)
    if speak:
        await session.check_liveness()
    await sleep(LINGER - SPEAK_AFTER)


async def connect(adapter: Any, settings: Settings, name: str, role: str) -> None:
    """Set up one connection, and delete it again."""
    limits = {"attempt": SHORT, "hurry": HURRIED}.get(role, LIMITS)
    connection = settings.connection(name)
    config = Config(limits=limits, trace=True)
    try:
        async with adapter.connect(settings.hosts_of(connection), connection, config=config, on_event=heard) as session:
            if role in ("linger", "speak"):
                await stay(sleep_of(adapter), session, speak=role == "speak")
        tell({"type": "Outcome", "error": None})
    except IkeError as error:
        tell({"type": "Outcome", "error": type(error).__name__, "text": str(error)})


def main(adapter: str, role: str, path: str, name: str) -> None:
    settings = read_settings(Path(path))
    action = partial(serve, ask=role == "ask") if role in ("serve", "ask") else partial(connect, role=role)
    if adapter == "trio":
        trio.run(partial(action, ikecore_trio, settings, name), strict_exception_groups=True)
    else:
        asyncio.run(action(ikecore_asyncio, settings, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
