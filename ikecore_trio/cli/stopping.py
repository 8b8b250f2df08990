"""Ctrl-C and termination as a wish to stop, so that SAs are deleted and not just dropped."""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

__all__ = ["stop_on_signal"]


async def stop_on_signal(
    stop: Callable[[], object], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call *stop* at the first SIGINT or SIGTERM; from the second on, signals do what they always do."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            break
    stop()
