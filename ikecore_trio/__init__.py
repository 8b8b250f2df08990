"""IKEv2 on Trio: sockets, sessions, and nothing of the protocol.

    async with ikecore_trio.open_endpoint(config, ikecore.Listen()) as endpoint:
        await endpoint.serve(handler)

    async with ikecore_trio.connect("vpn.example", connection) as session:
        print(session.child_sas)

Importing this package does not import trio: the command line lives here too, and has to be able to say that it is
missing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .endpoint import OpenEndpoint, connect, open_endpoint
    from .session import EventStream, Session

__all__ = ["EventStream", "OpenEndpoint", "Session", "connect", "open_endpoint"]

_HOMES = {
    "EventStream": "session",
    "OpenEndpoint": "endpoint",
    "Session": "session",
    "connect": "endpoint",
    "open_endpoint": "endpoint",
}


if not TYPE_CHECKING:  # a type checker would believe that any name is there

    def __getattr__(name: str) -> Any:
        """Import what is asked for when it is asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
