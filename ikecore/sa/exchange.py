"""What every exchange that we begin offers to the SA that runs it."""

from __future__ import annotations

from typing import Protocol

from ..errors import IkeError
from ..outputs import RequestId
from ..transport import Path
from ..wire import Contents, Payload

__all__ = ["OurExchange"]


class OurExchange(Protocol):
    """An exchange that we began, from the wish to its end; it holds what is only needed until then."""

    exchange: int
    liveness: bool
    """It only asks whether the peer is there: over UDP even if a connection is open (the draft, section 3.1)."""
    ends_sa: bool
    """It deletes the IKE SA."""
    wish: RequestId | None
    """The application's request that ends with it."""

    def build(self, now: float) -> list[Payload]:
        """Return the request's payloads. Called once."""

    def expected_octets(self) -> int:
        """Estimate the size of the response."""

    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Take the verified response. A RemoteProtocolError that it raises goes to `failed`."""

    def failed(self, error: IkeError, now: float) -> None:
        """There will be no good response."""
