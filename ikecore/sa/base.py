"""What an SA needs from whoever keeps it, and what every exchange offers. Protocols only: arrows stay downwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ..config import Config
from ..crypto import CipherCache
from ..errors import IkeError
from ..events import Question
from ..limits import Limits
from ..outputs import Address, ChildId, Output, QuestionId, RequestId
from ..transport import DatagramPath, Path
from ..wire import Contents, Payload
from .request import Message, OutgoingRequest, OutgoingResponse

if TYPE_CHECKING:
    from .ike_sa import IkeSa
    from .ike_sa_init import InitAttempt

__all__ = ["Answerer", "OurExchange", "Services"]

Answerer = Callable[["IkeSa", Contents, int, Path, float], "list[Payload] | None"]
"""What answers an exchange of the peer: payloads of the response, or None while the application decides."""


class Services(Protocol):
    """The endpoint as an SA sees it."""

    config: Config
    limits: Limits
    ciphers: CipherCache
    random: Callable[[int], bytes]
    utc: Callable[[], datetime]

    def names_of(self, payloads: Sequence[Payload]) -> tuple[str, ...]:
        """Name *payloads* for whoever traces; empty without `Config.trace`."""

    def emit(self, output: Output) -> None:
        """Queue an event."""

    def new_ike_spi(self) -> bytes:
        """Return 8 octets that no SA of the endpoint uses."""

    def new_child_id(self) -> ChildId:
        """Return a handle never used before."""

    def claim(self, spi: bytes, sa: IkeSa) -> None:
        """Route messages for our *spi* to *sa*."""

    def release(self, spi: bytes) -> None:
        """Stop routing messages for our *spi*."""

    def local_address(self, remote_host: str, marker: bool, preferred: str | None) -> Address | None:
        """Return the UDP socket of ours to reach *remote_host* from, or None."""

    def listener_port(self, host: str) -> int | None:
        """Return the port of our TCP listener on the address *host*, or None."""

    def send_request(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        """Choose a transport for *request* and send it until it is answered or given up."""

    def send_once(self, sa: IkeSa, message: Message, now: float) -> None:
        """Send *message* where the peer was last, without waiting for anything."""

    def request_done(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        """Stop sending *request*; let go of the streams that it used."""

    def send_response(self, sa: IkeSa, response: OutgoingResponse, paths: Sequence[Path], now: float) -> None:
        """Send *response* on each of *paths* that still exists."""

    def ask(
        self,
        sa: IkeSa,
        make: Callable[[QuestionId, float], Question[bool]],
        resume: Callable[[object, float], None],
        now: float,
    ) -> None:
        """Put a question to the application; *resume* gets the answer, or False when time is up."""

    def attempt_failed(self, sa: IkeSa, attempt: InitAttempt, now: float) -> bool:
        """Begin another IKE_SA_INIT attempt in place of *attempt*, if there is any way left. False if not."""

    def move_path(self, sa: IkeSa, path: DatagramPath, reason: str, now: float) -> None:
        """Send datagrams of *sa* by *path* from now on, and say so."""

    def authenticated(self, sa: IkeSa) -> None:
        """The peer of *sa* has proved who it is: it counts no more as half-open."""

    def proved(self, sa: IkeSa, path: Path) -> None:
        """Note that a fresh, authenticated message of *sa* came by *path*."""

    def remove(self, sa: IkeSa, now: float) -> None:
        """Forget *sa*, which is closed, and all that belongs to it."""


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
