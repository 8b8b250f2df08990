"""A session: one IKE SA, for who waits for things to happen to it."""

from __future__ import annotations

from typing import overload

from ikecore import ChildConfig, ChildId, ChildSaView, Event, RequestId
from ikecore.session_esp import SessionEsp
from ikecore.sessions import RING, EventRing, SessionState

from ._driver import Driver, wait_until


class EventStream:
    """The events of one session from the call of `Session.events` on; `EventsLost` stands where some were dropped."""

    def __init__(self, ring: EventRing) -> None:
        self._ring = ring

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; the iteration ends behind that with which the session does."""
        await wait_until(lambda: self._ring.ready, self._ring.signal)
        event = self._ring.pop()
        if event is None:
            raise StopAsyncIteration
        return event


class Session(SessionEsp):
    """One established IKE SA, and after it the one that the engine sets up in its place.

    That is so where an SA that we set up is authenticated anew (`Lifetimes.reauth_time`, or the responder's wish), and
    where its peer fell silent (`Connection.dpd_action` "restart"). In the first case the old SA is used until
    `IkeSaReauthenticated`, and its `IkeSaClosed` comes behind that. In the second, between `IkeSaClosed` and
    `IkeSaEstablished`, there is nobody to ask, and methods that would ask the peer raise `PeerUnreachable`.
    """

    def __init__(self, driver: Driver, state: SessionState) -> None:
        super().__init__(driver, state)
        self._driver = driver

    def events(self, limit: int = RING) -> EventStream:
        """Return the events from now on, as an asynchronous iterator that ends with the session.

        The last one is `IkeSaClosed`, or `IkeSaFailed` of what was to take the place of an SA that is gone. Events of
        both the SA and the one in its place are there, each with its *sa*. Of what is not read in time, the latest
        *limit* are kept, behind an `EventsLost`. Raises `SessionClosed`.
        """
        return EventStream(self._state.subscribe(limit))

    async def check_liveness(self) -> None:
        """Ask the peer for a sign of life, and return when it came. Raises `SessionClosed` if the SA ends instead.

        So it does where another SA has taken over by then: the answer will not come, though the session goes on.
        """
        self._state.check_up()
        await self._outcome(self._driver.endpoint.check_liveness(self.sa, now=self._driver.now()))

    async def create_child(self, child: ChildConfig | str | None = None) -> ChildSaView:
        """Set up one more Child SA: of a configuration, or of a child of the connection by its name (None: the first).

        Raises what the peer refused it with (`NoProposalChosen`, `TsUnacceptable`, `PeerRefused`), `ChildSaNotFound` if
        it was closed again at once, `SessionClosed` if the IKE SA ends instead or is being deleted, and
        `LocalProtocolError` for a name that the connection does not have. Cancelled, it leaves the Child SA to come or
        not; events tell.
        """
        self._check_lasting()
        request = self._driver.endpoint.create_child(self.sa, child, now=self._driver.now())
        return self.child_sa(await self._outcome(request))

    @overload
    async def rekey(self, child: None = None) -> None: ...

    @overload
    async def rekey(self, child: ChildId) -> ChildSaView: ...

    async def rekey(self, child: ChildId | None = None) -> ChildSaView | None:
        """Give the IKE SA new keys, or *child* of it; return when that is done, by us or by the peer.

        The IKE SA keeps its handle and this session; of a Child SA the one that replaces it is returned, while the
        replaced one lives on for the moment that its Delete takes. Raises as `create_child` does; `LocalProtocolError`
        for a Child SA that does not exist.
        """
        self._check_lasting()
        request = self._driver.endpoint.rekey(self.sa, child=child, now=self._driver.now())
        made = await self._outcome(request)
        return None if child is None else self.child_sa(made)

    async def delete(self, child: ChildId | None = None) -> None:
        """Delete the IKE SA, or only *child* of it; return when that is done.

        The IKE SA is gone in the end whether the peer answers or not, and nothing is set up in its place. Raises
        `SessionClosed` if it is gone already.
        """
        self._state.check()
        if child is not None:
            self._state.check_up()
            await self._outcome(self._driver.endpoint.delete(self.sa, child=child, now=self._driver.now()))
            return
        self._driver.delete(self._state.held)
        await self.wait_closed()

    async def wait_closed(self) -> str:
        """Wait for the end of the SA, with none in its place, and return its reason."""
        await wait_until(lambda: self._state.over, self._state.signal)
        return self._state.closed or str(self._state.failure)

    async def _outcome(self, request: RequestId) -> ChildId | None:
        """Wait for the end of one request; return the Child SA that it made, if any, or raise its error."""
        state = self._state
        state.expect(request)
        try:
            self._driver.flush()
            await wait_until(lambda: request in state.outcomes or state.over, state.signal)
            return state.outcome(request)
        finally:
            state.forget(request)
