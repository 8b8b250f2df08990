"""`ikecore serve`: an endpoint that answers peers, and tells of their SAs."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import trio

import ikecore_trio
from ikecore import Config, IkeError, Local
from ikecore.outputs import Output
from ikecore_trio import Session

from .config_file import Settings, read_settings
from .fetching import Fetcher
from .key_table import key_logger
from .problems import OK, UsageProblem
from .reporting import Reporter
from .stopping import stop_on_signal
from .text import address_text

__all__ = ["run_serve"]


def run_serve(path: Path, *, as_json: bool, ladder: bool, seconds: float | None, once: bool) -> int:
    """Serve what a file says until Ctrl-C, for *seconds*, or until the first SA has ended (*once*)."""
    if as_json and ladder:
        raise UsageProblem("--json and --ladder exclude each other")
    settings = read_settings(path)
    settings.check_for_serving()
    keys = key_logger(os.environ)
    # An SA leaves no cycle, so looking for some at every few that come is wasted (docs/embedding.md, "Many SAs").
    gc.set_threshold(10_000)
    return trio.run(serving, settings, as_json, ladder, keys, seconds, once, strict_exception_groups=True)


async def serving(
    settings: Settings,
    as_json: bool,
    ladder: bool,
    keys: Callable[[Output], None] | None,
    seconds: float | None,
    once: bool,
) -> int:
    """Open the endpoint and run it until there is a reason to stop."""
    reporter = Reporter(as_json=as_json, ladder=ladder, keys=keys, clock=trio.current_time)
    config = Config(connections=settings.connections, limits=settings.limits, trace=reporter.trace)
    stop = trio.Event()

    async def until_closed(session: Session) -> None:
        await session.wait_closed()
        if once:
            stop.set()

    try:
        async with (
            ikecore_trio.open_endpoint(config, settings.listen, on_event=reporter) as endpoint,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(stop_on_signal, stop.set)
            tell_listening(reporter, endpoint.locals)
            fetcher = Fetcher(settings.fetched_from, lambda words: click.echo(f"ikecore: {words}", err=True))
            nursery.start_soon(partial(endpoint.serve, until_closed, fetch=fetcher))
            with trio.move_on_after(float("inf") if seconds is None else seconds):
                await stop.wait()
            nursery.cancel_scope.cancel()
    except OSError as error:
        raise UsageProblem(f"{settings.name}: listen: {error.strerror or error}") from None
    except IkeError as error:
        raise UsageProblem(f"{settings.name}: {error}") from None
    return OK


def tell_listening(reporter: Reporter, sockets: tuple[Local, ...]) -> None:
    """Tell which sockets there are."""
    values = [
        {"kind": each.kind, "host": each.address[0], "port": each.address[1], "marker": each.marker} for each in sockets
    ]
    words = [
        f"{each.kind.upper()} {address_text(each.address)}{' with the non-ESP marker' if each.marker else ''}"
        for each in sockets
    ]
    reporter.tell({"type": "Listening", "sockets": values}, f"listening on {', '.join(words)}")
