"""The ESP of a session, for both bindings: none of it waits, so it is the same over any event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .errors import LocalProtocolError
from .outputs import Address, ChildId
from .sessions import SessionFacts, SessionState

if TYPE_CHECKING:
    from .endpoint import Endpoint

__all__ = ["EspHost", "SessionEsp"]


class EspHost(Protocol):
    """What a binding does for the ESP of its sessions."""

    @property
    def endpoint(self) -> Endpoint:
        """The core."""

    def now(self) -> float:
        """Return the time, in seconds of the binding's clock."""

    def flush(self) -> None:
        """Carry out what the core asks for."""

    def send_esp(self, data: bytes, ends: tuple[Address, Address] | None) -> bool:
        """Send ESP from our socket to the peer, at once or not at all; false where it was dropped."""


class SessionEsp(SessionFacts):
    """What is known of the SA, and its ESP, for whoever makes and opens that in this program or watches who does."""

    def __init__(self, host: EspHost, state: SessionState) -> None:
        super().__init__(host.endpoint, state)
        self._host = host

    def send_esp(self, child: ChildId, data: bytes) -> bool:
        """Send ESP of a Child SA in UDP, between the addresses of now; never waits. False means that it was dropped.

        Raises `ChildSaNotFound` where it is closed, `SessionClosed` after the IKE SA, and `LocalProtocolError` where
        its ESP goes over IP (`ChildSaView.udp_encapsulation`), and for what is no ESP.
        """
        self._state.check()
        sa, ends = self._state.esp.sa_of(child), self._state.esp.ends_of(child)
        if not self._host.send_esp(data, ends):
            return False
        try:
            self._endpoint.esp_sent(sa, now=self._host.now())
        except LocalProtocolError:
            return True  # its SA is gone, and the word of that is on its way
        self._host.flush()
        return True

    def esp_sent(self, child: ChildId) -> None:
        """Tell that ESP of a Child SA left in UDP by other ways than `send_esp`, once in some seconds (`Endpoint`)."""
        self._state.check()
        self._endpoint.esp_sent(self._state.esp.sa_of(child), now=self._host.now())
        self._host.flush()

    def esp_received(self, child: ChildId, *, local: Address, remote: Address) -> None:
        """Tell that authenticated ESP of a Child SA, no replay, came from another address than before (`Endpoint`)."""
        self._state.check()
        sa = self._state.esp.sa_of(child)
        self._endpoint.esp_received(sa, local=local, remote=remote, now=self._host.now())
        self._host.flush()

    def esp_unknown(self, spi: bytes) -> None:
        """Tell that ESP came from the peer's address with an SPI that no Child SA has (`Endpoint`)."""
        self._state.check_up()
        self._endpoint.esp_unknown(self.sa, spi, now=self._host.now())
        self._host.flush()

    def traffic_seen(self, child: ChildId) -> None:
        """Tell that authenticated ESP of a Child SA, no replay, came in: so the peer is there (RFC 7296 section 2.4).

        Over IP or in UDP: it spares the question that would come after `Connection.dpd_delay` seconds. Once in some
        seconds is often enough. Raises `ChildSaNotFound` where it is closed, `SessionClosed` after the IKE SA.
        """
        self._state.check()
        self._endpoint.traffic_seen(self._state.esp.sa_of(child), now=self._host.now())
        self._host.flush()

    def child_expiring(self, child: ChildId, *, hard: bool = False) -> None:
        """Tell that so many octets or packets went by a Child SA that it has to be rekeyed soon (RFC 7296 section 2.8).

        With *hard* it may not be used any more: it is deleted. Count them yourself, or pass on what a kernel says of
        its soft and hard limits. One that is rekeyed already is passed over. It waits for nothing; `LifetimeReached`
        and what follows tell. Raises `ChildSaNotFound` where it is closed, `SessionClosed` after the IKE SA.
        """
        self._state.check()
        sa = self._state.esp.sa_of(child)
        self._endpoint.child_expiring(sa, child, hard=hard, now=self._host.now())
        self._host.flush()
