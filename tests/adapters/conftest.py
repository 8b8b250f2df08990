"""Both bindings under one face, and a scripted endpoint: what the suites of the adapters are written with."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import types
from collections import deque
from contextlib import asynccontextmanager

import pytest
import trio

import ikecore_asyncio
import ikecore_trio

PATIENCE = 20.0
"""Seconds until a test that hangs is taken for failed. No test waits for them."""


class OnTrio:
    name = "trio"
    module = ikecore_trio
    Event = trio.Event
    Cancelled = trio.Cancelled

    def run(self, main):
        async def bounded():
            with trio.fail_after(PATIENCE):
                return await main()

        return trio.run(bounded)

    async def thread(self, work):
        return await trio.to_thread.run_sync(work)

    async def turns(self, count=20):
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def tasks(self):
        """Yield a function that starts tasks, which are cancelled at the end."""
        async with trio.open_nursery(strict_exception_groups=False) as nursery:
            yield nursery.start_soon
            nursery.cancel_scope.cancel()

    async def cancelled_after(self, steps, main):
        """Run *main* and cancel it at its *steps*th suspension; tell whether it came so far."""
        with trio.CancelScope() as scope:
            await stepping(main(), steps, scope.cancel)
        return scope.cancel_called


class OnAsyncio:
    name = "asyncio"
    module = ikecore_asyncio
    Event = asyncio.Event
    Cancelled = asyncio.CancelledError

    def run(self, main):
        async def bounded():
            async with asyncio.timeout(PATIENCE):
                return await main()

        return asyncio.run(bounded())

    async def thread(self, work):
        return await asyncio.to_thread(work)

    async def turns(self, count=20):
        for _ in range(count):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def tasks(self):
        started = []

        def start(function, *args):
            started.append(asyncio.create_task(function(*args)))

        try:
            yield start
        finally:
            for task in started:
                task.cancel()
            for outcome in await asyncio.gather(*started, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    async def cancelled_after(self, steps, main):
        task: asyncio.Task[None]
        cancelled = False

        def cancel():
            nonlocal cancelled
            cancelled = True
            task.cancel()

        task = asyncio.create_task(stepping(main(), steps, cancel))
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()
        return cancelled


@types.coroutine
def stepping(coroutine, steps, cancel):
    """Run *coroutine* and call *cancel* when it is about to wait for the *steps*th time."""
    send, argument = coroutine.send, None
    while True:
        try:
            request = send(argument)
        except StopIteration as done:
            return done.value
        steps -= 1
        if steps == 0:
            cancel()
        try:
            send, argument = coroutine.send, (yield request)
        except BaseException as error:  # noqa: BLE001  (a cancellation, which the coroutine has to see)
            send, argument = coroutine.throw, error


@pytest.fixture(params=[OnTrio, OnAsyncio], ids=["trio", "asyncio"])
def lib(request):
    """One of the two bindings, with the few things of its event loop that tests need."""
    return request.param()


def descriptors():
    """What this process has open: one line for each socket."""
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
def open_sockets():
    """A function that returns the sockets which are open now."""
    return descriptors


class Script:
    """An endpoint that does as it is told: it notes each input, and says what the test lets it say.

    *react* maps the name of an input to a function that gets its arguments and returns outputs.
    """

    def __init__(self, react=None, outputs=()):
        self.react = react or {}
        self.heard = []
        self.queue = deque(outputs)
        self.deadline = None
        self.sas = ()
        self.stopped = False
        self.changed = None
        self._streams = 100

    def make(self, _config):
        return self

    @property
    def idle(self):
        return self.stopped

    def outputs(self):
        while self.queue:
            yield self.queue.popleft()

    def _hear(self, name, *args, **facts):
        facts.pop("now")
        self.heard.append((name, *args, *facts.values()))
        if name in self.react:
            self.queue.extend(self.react[name](*args, **facts) or ())
        if self.changed is not None:
            self.changed.set()

    def named(self, name):
        return [heard[1:] for heard in self.heard if heard[0] == name]

    async def until(self, lib, condition):
        """Wait until *condition* of what was heard holds."""
        while not condition():
            self.changed = lib.Event()
            await self.changed.wait()

    async def until_heard(self, lib, name, count=1):
        await self.until(lib, lambda: len(self.named(name)) >= count)
        return self.named(name)

    def stream_accepted(self, **facts):
        self._streams += 1
        self._hear("stream_accepted", self._streams, **facts)
        return self._streams

    def shutdown(self, *, now):
        self.stopped = True
        self._hear("shutdown", now=now)

    def timer_expired(self, *, now):
        self.deadline = None
        self._hear("timer_expired", now=now)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **facts: self._hear(name, *args, **facts)


@pytest.fixture
def script():
    """The class of scripted endpoints."""
    return Script


@pytest.fixture
def server():
    """A listening TCP socket of the test's own, on loopback, blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener
