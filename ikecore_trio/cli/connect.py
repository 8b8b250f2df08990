"""`ikecore connect`: set up one connection and keep it up."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click
import trio

import ikecore_trio
from ikecore import Config, Connection, IkeError, Listen
from ikecore.outputs import Output
from ikecore_trio import Session

from .config_file import Settings, read_settings
from .fetching import Fetcher
from .key_table import key_logger
from .problems import OK, CommandFailed, UsageProblem
from .reporting import Reporter
from .stopping import stop_on_signal
from .text import printable
from .waiting import Waiting

__all__ = ["run_connect"]


def run_connect(path: Path, name: str | None, *, as_json: bool, ladder: bool, seconds: float | None, once: bool) -> int:
    """Set up connection *name* of a file until Ctrl-C, for *seconds*, or only until it is up (*once*)."""
    if as_json and ladder:
        raise UsageProblem("--json and --ladder exclude each other")
    if once and seconds is not None:
        raise UsageProblem("--for and --once exclude each other")
    settings = read_settings(path)
    connection = settings.connection(name)
    hosts = settings.hosts_of(connection)
    keys = key_logger(os.environ)

    async def attempt() -> int:
        reporter = Reporter(as_json=as_json, ladder=ladder, keys=keys, clock=trio.current_time)
        return await Attempt(settings, connection, hosts, reporter, 0.0 if once else seconds).run()

    return trio.run(attempt, strict_exception_groups=True)


class Attempt:
    """One run of the command."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        hosts: tuple[str, ...],
        reporter: Reporter,
        seconds: float | None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._hosts = hosts
        self._reporter = reporter
        self._seconds = seconds
        self._scope = trio.CancelScope()
        self._waiting = Waiting(self._tell_waiting)
        self._up: trio.CancelScope | None = None
        self._failure: Exception | None = None

    async def run(self) -> int:
        """Connect and wait; return the exit code.

        Raises `CommandFailed` where the IKE SA or one of its Child SAs did not come up, or the peer was lost.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signal, self._stop)
            nursery.start_soon(self._waiting.run)
            try:
                with self._scope:
                    await self._connect()
            except (IkeError, OSError) as error:
                self._failure = error
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            text = f"{type(self._failure).__name__}: {self._failure}"
            raise CommandFailed(f"{self._connection.name}: {printable(text)}")
        if self._scope.cancelled_caught:
            raise CommandFailed(f"{self._connection.name}: interrupted before the IKE SA was up")
        missed = self._missed()
        if missed:
            raise CommandFailed("\n".join(f"{self._connection.name}: {printable(words)}" for words in missed))
        return OK

    def _missed(self) -> list[str]:
        """Tell what is not as it was asked for, now that the IKE SA has been up: its end, and its Child SAs."""
        ended, told = self._reporter.ended, self._reporter.children
        missed = []
        for name in [child.name for child in self._connection.children]:
            if name not in told:
                missed.append(f"Child SA {name} did not come up before the end")
            elif (error := told[name]) is not None:
                missed.append(f"Child SA {name} did not come up: {type(error).__name__}: {error}")
        if ended is not None and ended.by in ("silence", "error"):
            missed.append(f"the IKE SA was lost: {ended.reason}")
        return missed

    def _stop(self) -> None:
        """Leave the established SA properly, or give up the attempt."""
        (self._up or self._scope).cancel()

    def _tell_waiting(self, words: str) -> None:
        click.echo(f"ikecore: {self._connection.name}: {words}", err=True)

    async def _connect(self) -> None:
        def observe(output: Output) -> None:
            self._waiting(output)
            self._reporter(output)

        async with self._session(observe) as session:
            self._up = trio.CancelScope()
            with self._up:
                await self._other_children(session)
                if self._seconds is not None:
                    self._up.deadline = trio.current_time() + self._seconds
                await session.wait_closed()

    async def _other_children(self, session: Session) -> None:
        """Set up the Child SAs behind the first, which came with IKE_AUTH. Of one that is refused an event tells."""
        for child in self._connection.children[1:]:
            with suppress(IkeError):
                await session.create_child(child)

    @asynccontextmanager
    async def _session(self, observe: Callable[[Output], None]) -> AsyncIterator[Session]:
        """Connect from the configured local address, or from that which routing takes."""
        config = Config(limits=self._settings.limits, trace=True)
        fetcher = Fetcher(self._settings.fetched_from, lambda words: click.echo(f"ikecore: {words}", err=True))
        source = self._settings.sources.get(self._connection.name)
        if source is None:
            async with ikecore_trio.connect(
                self._hosts, self._connection, config=config, fetch=fetcher, on_event=observe
            ) as session:
                yield session
            return
        listen = Listen(hosts=(source,), udp=0, udp_nat=0)
        async with (
            ikecore_trio.open_endpoint(config, listen, on_event=observe) as endpoint,
            endpoint.connect(self._hosts, self._connection, fetch=fetcher) as session,
        ):
            yield session
