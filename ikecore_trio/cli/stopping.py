"""Ctrl-C and termination as a wish to stop, so that SAs are deleted and not just dropped."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["run_until_interrupted", "stop_on_signal"]

T = TypeVar("T")


async def stop_on_signal(
    stop: Callable[[], object], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call *stop* at the first SIGINT or SIGTERM; from the second on, signals do what they always do."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            break
    stop()


def run_until_interrupted(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* on Trio and return its result. A signal cancels it in order, and then KeyboardInterrupt is raised.

    Raised wherever the signal finds the program, as Python does it, it could lose a task that has not begun yet.
    """
    results: list[T] = []

    async def watched() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signal, nursery.cancel_scope.cancel)
            results.append(await main())
            nursery.cancel_scope.cancel()

    trio.run(watched, strict_exception_groups=True)
    if not results:
        raise KeyboardInterrupt
    return results[0]
