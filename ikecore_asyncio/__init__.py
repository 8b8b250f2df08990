"""IKEv2 on asyncio: the surface of `ikecore_trio` word for word.

async with ikecore_asyncio.open_endpoint(config, ikecore.Listen()) as endpoint:
    await endpoint.serve(handler)

async with ikecore_asyncio.connect("vpn.example", connection) as session:
    print(session.child_sas)
"""

from __future__ import annotations

from .endpoint import OpenEndpoint, connect, open_endpoint
from .session import EventStream, Session

__all__ = ["EventStream", "OpenEndpoint", "Session", "connect", "open_endpoint"]
