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
    """What is known of the SA, and ESP in UDP, by whoever makes and opens it in this program."""

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
