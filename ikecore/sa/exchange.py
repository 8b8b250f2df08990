"""What every exchange that we begin offers to the SA that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..errors import IkeError
from ..outputs import RequestId
from ..transport import Choice, Path
from ..wire import Contents, Payload
from .keys import SaKeys

__all__ = ["OurExchange"]


class OurExchange(ABC):
    """An exchange that we began, from the wish to its end; it holds what is only needed until then."""

    exchange: int
    liveness = False
    """It only asks whether the peer is there: over UDP even if a connection is open (the draft, section 3.1)."""
    ends_sa = False
    """It deletes the IKE SA as the application knows it."""
    alone = False
    """It waits until nothing else is unanswered, and nothing else begins before it ends (RFC 7296 section 2.25)."""
    changes_children = False
    """It creates, rekeys or closes a Child SA: the IKE SA is not rekeyed meanwhile (RFC 7296 section 2.25.1)."""
    host: str | None = None
    """The one host that it is for; None is the peer's, wherever that is now."""
    choice: Choice | None = None
    """How it goes, where that was decided when it was made; None leaves it to the policy. It does not move then."""
    wish: RequestId | None = None
    """The application's request that ends with it."""
    keys: SaKeys
    """Those of the pair of SPIs that it runs on; set before it is built."""

    def still_wanted(self, now: float) -> bool:
        """Tell, just before it is built, whether there still is anything to do. If not it has ended itself."""
        return True

    def bind(self, path: Path) -> None:  # noqa: B027  (most have no use for it)
        """It is about to go by *path*: the last moment to put that into its octets."""

    @property
    def concerns(self) -> Sequence[object]:
        """Return the Child SAs that it rekeys or closes. Two exchanges about the same one do not overlap.

        In a window larger than one the peer may take them in either order, and a rekey that comes behind a Delete would
        bring back what shall be gone.
        """
        return ()

    def overlaps(self, other: OurExchange) -> bool:
        """Tell whether both concern the same Child SA."""
        return any(mine is theirs for mine in self.concerns for theirs in other.concerns)

    @abstractmethod
    def build(self, now: float) -> list[Payload]:
        """Return the request's payloads. One that the peer could not take yet is built anew when it is tried later."""

    def withdraw(self) -> None:  # noqa: B027  (most take nothing)
        """Let go of what `build` took from others: SPIs."""

    @abstractmethod
    def expected_octets(self) -> int:
        """Estimate the size of the response."""

    @abstractmethod
    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Take the verified response. A RemoteProtocolError that it raises goes to `failed`."""

    @abstractmethod
    def failed(self, error: IkeError, now: float) -> None:
        """There will be no good response."""
