"""Carrying out what the core asks for, in order: the loop at the end of every change, for any kind of event loop.

A binding gives a function for each kind of action. Each of them returns at once, so nothing in here waits: a change and
its outputs cannot be torn apart by a cancellation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .binding import Binding
from .events import Event
from .outputs import Output

__all__ = ["Observer", "Outflow"]

Observer: TypeAlias = Callable[[Output], None]


class Outflow:
    """Takes the outputs of one endpoint: *observer* sees each of them, then it is carried out or told.

    *actions* has what to do for each kind of action; events go to the *binding*, with the time that *now* tells.
    """

    def __init__(
        self,
        binding: Binding,
        now: Callable[[], float],
        actions: Mapping[type[Output], Callable[[Any], None]],
        observer: Observer | None,
    ) -> None:
        self._binding = binding
        self._now = now
        self._actions = actions
        self._observer = observer
        self._flowing = False

    def drain(self) -> bool:
        """Carry out what there is. False, and nothing is done, where this is called from inside of itself.

        What is called from here may change the core: what comes of it is carried out by the loop that runs already.
        """
        if self._flowing:
            return False
        self._flowing = True
        try:
            for output in self._binding.endpoint.outputs():
                if self._observer is not None:
                    self._observe(output, self._observer)
                carry_out = self._actions.get(type(output))
                if carry_out is not None:
                    carry_out(output)
                elif isinstance(output, Event):
                    self._binding.dispatch(output, self._now())
        finally:
            self._flowing = False
        return True

    def _observe(self, output: Output, observer: Observer) -> None:
        """Show an output to the observer. One that raises has seen its last: the endpoint ends, and in good order."""
        self._observer = None
        observer(output)
        self._observer = observer
