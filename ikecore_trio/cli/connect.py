"""`ikecore connect`: set up one connection and keep it up."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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
from .problems import FAILED, OK, CommandFailed, UsageProblem
from .reporting import Reporter
from .stopping import stop_on_signal
from .text import printable
from .waiting import Waiting

__all__ = ["run_connect"]


def run_connect(path: Path, name: str | None, *, as_json: bool, ladder: bool, seconds: float | None) -> int:
    """Set up connection *name* of a file until Ctrl-C, or for *seconds*."""
    if as_json and ladder:
        raise UsageProblem("--json and --ladder exclude each other")
    settings = read_settings(path)
    connection = settings.connection(name)
    hosts = settings.hosts_of(connection)
    keys = key_logger(os.environ)
    attempt = Attempt(settings, connection, hosts, as_json, ladder, keys, seconds)
    return trio.run(attempt.run, strict_exception_groups=True)


class Attempt:
    """One run of the command."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        hosts: tuple[str, ...],
        as_json: bool,
        ladder: bool,
        keys: Callable[[Output], None] | None,
        seconds: float | None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._hosts = hosts
        self._seconds = seconds
        self._as_json, self._ladder, self._keys = as_json, ladder, keys
        self._scope = trio.CancelScope()
        self._waiting = Waiting(self._tell_waiting)
        self._up: trio.CancelScope | None = None
        self._failure: Exception | None = None
        self._code = FAILED

    async def run(self) -> int:
        """Connect and wait; return the exit code. Raises `CommandFailed` where no SA came up."""
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
        return self._code

    def _stop(self) -> None:
        """Leave the established SA properly, or give up the attempt."""
        (self._up or self._scope).cancel()

    def _tell_waiting(self, words: str) -> None:
        click.echo(f"ikecore: {self._connection.name}: {words}", err=True)

    async def _connect(self) -> None:
        reporter = Reporter(as_json=self._as_json, ladder=self._ladder, keys=self._keys, clock=trio.current_time)

        def observe(output: Output) -> None:
            self._waiting(output)
            reporter(output)

        async with self._session(observe) as session:
            self._up = trio.CancelScope(
                deadline=float("inf") if self._seconds is None else trio.current_time() + self._seconds
            )
            with self._up:
                await session.wait_closed()
        self._code = FAILED if reporter.ended_by in ("silence", "error") else OK

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
