"""A request of the peer on its way to an answer."""

from __future__ import annotations

import attrs

from ..addressing import Lease
from ..transport import Path
from ..wire import Contents
from .generation import Generation

__all__ = ["Incoming"]


@attrs.define
class Incoming:
    """A request that is verified and of a known shape, until it is answered. *generation* is what it came for."""

    generation: Generation
    exchange: int
    message_id: int
    contents: Contents
    path: Path
    chosen: Lease | None = None
    """What the application wants the peer to be assigned, once it was asked."""
