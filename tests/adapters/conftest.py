"""Both bindings under one face, and a scripted endpoint: what the suites of the adapters are written with."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import types
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import pytest
import trio

import ikecore_asyncio
import ikecore_trio
from ikecore import Config, Endpoint, Output, StreamId
from ikecore.testing import CheckedEndpoint

T = TypeVar("T")
Main: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
Starter: TypeAlias = Callable[..., object]

PATIENCE = 60.0
"""Seconds until a test that hangs is taken for failed, on a machine however slow. No test waits for them."""


class Lib:
    """One binding, with the few things of its event loop that tests need."""

    name: str
    module: Any
    Event: Callable[[], Any]
    Cancelled: type[BaseException]

    def run(self, main: Main[T]) -> T:
        """Run *main* in a loop of its own, and fail if it hangs."""
        raise NotImplementedError

    async def thread(self, work: Callable[[], T]) -> T:
        """Run *work*, which blocks, in a thread."""
        raise NotImplementedError

    async def turns(self, count: int = 20) -> None:
        """Let everybody else run so often."""
        raise NotImplementedError

    def tasks(self) -> AbstractAsyncContextManager[Starter]:
        """Give a function that starts tasks, which are cancelled at the end."""
        raise NotImplementedError

    async def cancelled_after(self, steps: int, main: Main[None]) -> bool:
        """Run *main* and cancel it where it is about to wait for the *steps*th time; tell whether it came so far."""
        raise NotImplementedError


class OnTrio(Lib):
    name = "trio"
    module = ikecore_trio
    Event = trio.Event
    Cancelled = trio.Cancelled

    def run(self, main: Main[T]) -> T:
        async def bounded() -> T:
            with trio.fail_after(PATIENCE):
                return await main()

        return trio.run(bounded)

    async def thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work)

    async def turns(self, count: int = 20) -> None:
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[Starter]:
        failed: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                try:
                    yield nursery.start_soon
                except BaseException as error:
                    failed = error
                    raise
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise failed or group from None

    async def cancelled_after(self, steps: int, main: Main[None]) -> bool:
        with trio.CancelScope() as scope:
            await stepping(main(), steps, scope.cancel)
        return scope.cancel_called


class OnAsyncio(Lib):
    name = "asyncio"
    module = ikecore_asyncio
    Event = asyncio.Event
    Cancelled = asyncio.CancelledError

    def run(self, main: Main[T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE):
                return await main()

        return asyncio.run(bounded())

    async def thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def turns(self, count: int = 20) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[Starter]:
        started: list[asyncio.Task[None]] = []

        def start(function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
            started.append(asyncio.create_task(function(*args)))

        try:
            yield start
        finally:
            for task in started:
                task.cancel()
            for outcome in await asyncio.gather(*started, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    async def cancelled_after(self, steps: int, main: Main[None]) -> bool:
        cancelled = False

        def cancel() -> None:
            nonlocal cancelled
            cancelled = True
            task.cancel()

        async def stepped() -> None:
            await stepping(main(), steps, cancel)

        task = asyncio.create_task(stepped())
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return cancelled


@types.coroutine
def stepping(coroutine: Coroutine[Any, Any, T], steps: int, cancel: Callable[[], object]) -> Generator[Any, Any, T]:
    """Run *coroutine* and call *cancel* when it is about to wait for the *steps*th time."""
    step: Callable[[], Any] = partial(coroutine.send, None)
    while True:
        try:
            request = step()
        except StopIteration as done:
            return done.value
        steps -= 1
        if steps == 0:
            cancel()
        try:
            step = partial(coroutine.send, (yield request))
        except BaseException as error:
            step = partial(coroutine.throw, error)


@pytest.fixture(params=[OnTrio, OnAsyncio], ids=["trio", "asyncio"])
def lib(request: pytest.FixtureRequest) -> Lib:
    """One of the two bindings."""
    made = request.param()
    assert isinstance(made, Lib)
    return made


def descriptors() -> list[str]:
    """What sockets this process has open."""
    gc.collect()
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.append(target)
    return sorted(found)


@pytest.fixture
def open_sockets() -> Callable[[], list[str]]:
    """A function that returns the sockets which are open now."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the open descriptors are read from /proc")
    return descriptors


def checked(endpoint: Endpoint) -> Endpoint:
    """Return *endpoint* inside of one that raises where the binding breaks the host contract."""
    return cast("Endpoint", CheckedEndpoint(endpoint, tolerance=PATIENCE / 4))


def make_checked(config: Config) -> Endpoint:
    """Make a real endpoint, checked; a bug of ours raises."""
    return checked(Endpoint(config, random=os.urandom, utc=lambda: datetime.now(UTC), raise_bugs=True))


@pytest.fixture
def make() -> Callable[[Config], Endpoint]:
    """What makes the endpoints of a test."""
    return make_checked


class Script:
    """An endpoint that does as it is told: it notes each input, and says what the test lets it say.

    *react* maps the name of an input to a function that gets its arguments and may return outputs.
    """

    def __init__(
        self, react: dict[str, Callable[..., Iterable[Output] | None]] | None = None, outputs: Iterable[Output] = ()
    ) -> None:
        self.react = react or {}
        self.heard: list[tuple[Any, ...]] = []
        self.queue = deque(outputs)
        self.deadline: float | None = None
        self.sas = ()
        self.idle = False
        self.changed: Any = None
        self._streams = 100

    def make(self, _config: Config) -> Endpoint:
        return checked(cast("Endpoint", self))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each input of that name."""
        return [heard[1:] for heard in self.heard if heard[0] == name]

    async def until(self, lib: Lib, condition: Callable[[], bool]) -> None:
        """Wait until *condition* of what was heard holds."""
        while not condition():
            self.changed = lib.Event()
            await self.changed.wait()

    async def until_heard(self, lib: Lib, name: str, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait for so many inputs of that name, and return their arguments."""
        await self.until(lib, lambda: len(self.named(name)) >= count)
        return self.named(name)

    def _hear(self, name: str, *args: object, **facts: object) -> None:
        facts.pop("now")
        self.heard.append((name, *args, *facts.values()))
        if name in self.react:
            self.queue.extend(self.react[name](*args, **facts) or ())
        if self.changed is not None:
            self.changed.set()

    # The inputs that are more than heard; all others are made by __getattr__.

    def outputs(self) -> Iterator[Output]:
        while self.queue:
            yield self.queue.popleft()

    def stream_accepted(self, **facts: object) -> StreamId:
        self._streams += 1
        self._hear("stream_accepted", self._streams, **facts)
        return StreamId(self._streams)

    def shutdown(self, *, now: float) -> None:
        self.idle = True
        self._hear("shutdown", now=now)

    def timer_expired(self, *, now: float) -> None:
        self.deadline = None
        self._hear("timer_expired", now=now)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._hear, name)


@pytest.fixture
def script() -> type[Script]:
    """The class of scripted endpoints."""
    return Script


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listening TCP socket of the test's own, on loopback, blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener
