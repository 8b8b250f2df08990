"""Opening: an endpoint that serves peers, a connection to one peer, and how both end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TypeAlias

from ikecore import (
    Address,
    Config,
    Connection,
    Endpoint,
    Listen,
    Local,
    LocalProtocolError,
    PeerUnreachable,
    SessionClosed,
)
from ikecore.answerers import (
    Accept,
    Answerers,
    Authorize,
    CheckRevocation,
    Fetch,
    FindSecret,
    GiveLease,
    Sign,
    answerers,
)
from ikecore.binding import GRACE, host_towards, in_words, own_hosts
from ikecore.esp import TakeEsp
from ikecore.outflow import Observer
from ikecore.sessions import SessionState

from ._answers import Answers
from ._driver import Driver, wait_until
from ._sockets import SocketAddress, reduce, sources
from .session import Session

Handler: TypeAlias = Callable[[Session], Awaitable[object]]
Make: TypeAlias = Callable[[Config], Endpoint]

log = logging.getLogger("ikecore")


def make_endpoint(config: Config) -> Endpoint:
    """Make the core with the system's randomness and calendar."""
    return Endpoint(config, random=os.urandom, utc=lambda: datetime.now(UTC))


class OpenEndpoint:
    """An endpoint with its sockets: peers may come, and we may go to peers, until its context is left."""

    def __init__(self, driver: Driver, grace: float) -> None:
        self._driver = driver
        self._grace = grace

    @property
    def endpoint(self) -> Endpoint:
        """The core. Look at it, but leave its inputs and outputs to the driver."""
        return self._driver.endpoint

    @property
    def locals(self) -> tuple[Local, ...]:
        """The sockets, with the addresses that they are really bound to."""
        return tuple(self._driver.locals)

    @property
    def esp_dropped(self) -> int:
        """How often ESP did not leave, since the kernel's buffer was full, or no path or socket was there."""
        return self._driver.esp_dropped

    def send_esp(self, data: bytes, *, local: Address, remote: Address) -> bool:
        """Send ESP in UDP from *local*, a socket of ours with the non-ESP marker; never waits.

        False means that it was dropped. Raises `LocalProtocolError` for another socket, and for what is no ESP. A
        session's `send_esp` knows the addresses, and its `esp_sent` is to be told of what leaves by this one.
        """
        if not any(each.marker and each.address == local for each in self._driver.locals):
            raise LocalProtocolError(f"local: there is no udp socket {local} with the non-ESP marker")
        return self._driver.send_esp(data, (local, remote))

    @asynccontextmanager
    async def connect(
        self,
        host: str | Sequence[str],
        connection: Connection,
        *,
        accept: Accept | None = None,
        authorize: Authorize | None = None,
        secret: FindSecret | None = None,
        sign: Sign | None = None,
        revocation: CheckRevocation | None = None,
        fetch: Fetch | None = None,
    ) -> AsyncIterator[Session]:
        """Set up an IKE SA with the peer at *host* from this endpoint's sockets; otherwise like the function."""
        self._check()
        found, failed = sources(await resolve(host))
        if not found:
            raise PeerUnreachable(f"no way to {in_words(host)}", tuple(failed))
        local = host_towards(found, self.locals)
        asked = answerers(
            accept=accept, authorize=authorize, secret=secret, sign=sign, revocation=revocation, fetch=fetch
        )
        async with dialled(self._driver, connection, list(found), local, self._grace, asked) as session:
            yield session

    async def serve(
        self,
        handler: Handler,
        *,
        authorize: Authorize | None = None,
        lease: GiveLease | None = None,
        secret: FindSecret | None = None,
        sign: Sign | None = None,
        revocation: CheckRevocation | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """Run `handler(session)` in a task for each IKE SA that a peer sets up, until cancelled.

        A peer that authenticates anew sets up another one, which has a session of its own.
        When a handler returns, its SA is deleted; when it raises, the traceback is logged as well.

        `authorize(identity, question)` is asked, in a task too, about peers of a `Connection(authorize=True)`. The
        identity is what the peer has proved, with its type in front ("fqdn:client.example"); the question is an
        `AuthorizationNeeded`. It allows by returning True. Anything else denies: False, an exception, no *authorize*.
        It is cancelled if the question closes. `lease(question)` is asked likewise which addresses a peer gets, with a
        `LeaseNeeded` of a `Connection(ask_lease=True)`; it returns a `Lease`, and anything else refuses.

        `secret(question)` finds a pre-shared key for a `PskWanted`, `sign(question)` makes the signature of an
        `ExternalKey`, `revocation(question)` says of a certificate whether it is known not to be revoked (only True
        does), and `fetch(question)` gets the octets behind the URL of a certificate. See the events that they are
        given: `SecretNeeded`, `SignatureNeeded`, `RevocationNeeded`, `CertificateFetchNeeded`.
        """
        self._check()
        self._driver.binding.check_unserved()
        try:
            async with asyncio.TaskGroup() as group:
                server = _Server(self._driver, group, handler)
                asked = answerers(
                    authorize=authorize, lease=lease, secret=secret, sign=sign, revocation=revocation, fetch=fetch
                )
                self._driver.binding.serve(server.accept, Answers(self._driver, group.create_task, asked))
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self._driver.binding.leave()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    def _check(self) -> None:
        if self._driver.closed:
            raise LocalProtocolError("this endpoint is closed")


class _Server:
    """The tasks of one call of `OpenEndpoint.serve`."""

    def __init__(self, driver: Driver, group: asyncio.TaskGroup, handler: Handler) -> None:
        self._driver = driver
        self._group = group
        self._handler = handler

    def accept(self, state: SessionState) -> None:
        self._group.create_task(self._handle(state))

    async def _handle(self, state: SessionState) -> None:
        session = Session(self._driver, state)
        try:
            await self._handler(session)
        except SessionClosed:
            if session.closed is None:
                log.exception("the handler of %r raised", session)
        except Exception:
            log.exception("the handler of %r raised", session)
        finally:
            self._driver.delete(state.held)


@asynccontextmanager
async def open_endpoint(
    config: Config,
    listen: Listen = Listen(),  # noqa: B008  (frozen)
    *,
    grace: float = GRACE,
    on_event: Observer | None = None,
    esp: TakeEsp | None = None,
    make: Make = make_endpoint,
) -> AsyncIterator[OpenEndpoint]:
    """Bind the sockets of *listen* and run an endpoint on them for the time of the body.

    Left normally, it deletes all its SAs at once and gives their peers *grace* seconds in all to answer; left by an
    exception or a cancellation, it sends the Deletes and waits for nothing. *on_event* sees each output, actions too,
    in order and before it is carried out; what it raises ends the endpoint. `esp(data, local, remote)` is given each
    datagram on a socket with the non-ESP marker that is ESP (RFC 3948), as it is: unauthenticated, maybe anybody's. It
    must not wait, and what it raises ends the endpoint too. *make* makes the core, for those who bring their own
    randomness or want to watch it. Raises OSError where a socket cannot be bound.
    """
    driver = Driver(make(config), on_event, esp)
    try:
        driver.bind(listen.locals())
        async with driver.running():
            yield OpenEndpoint(driver, grace)
            await driver.drain(grace)
    finally:
        driver.close()


@asynccontextmanager
async def connect(
    host: str | Sequence[str],
    connection: Connection,
    *,
    grace: float = GRACE,
    config: Config | None = None,
    accept: Accept | None = None,
    authorize: Authorize | None = None,
    secret: FindSecret | None = None,
    sign: Sign | None = None,
    revocation: CheckRevocation | None = None,
    fetch: Fetch | None = None,
    on_event: Observer | None = None,
    esp: TakeEsp | None = None,
    make: Make = make_endpoint,
) -> AsyncIterator[Session]:
    """Set up an IKE SA with the peer at *host* (a name, an address, or several) for the time of the body.

    It has an endpoint of its own, on free ports of the address that routing takes to the peer, and no listener. A
    failure raises one `IkeError`: `AuthenticationFailed`, `NoProposalChosen`, `PeerUnreachable` with its attempts. Left
    normally, it deletes the SA and waits for the answer, for *grace* seconds at most; left by an exception or a
    cancellation, it sends the Delete and waits for nothing. *on_event*, *esp* and *make* are those of `open_endpoint`;
    *config* is for limits and trace, its connections are not used. `accept(question)` is asked whether to take the
    addresses that the peer assigns, with an `AcceptanceNeeded` of a `Connection(ask_acceptance=True)`; only True does.
    *authorize*, *secret*, *sign*, *revocation* and *fetch* are those of `OpenEndpoint.serve`.
    """
    remotes = await resolve(host)
    found, failed = sources(remotes)
    if not found:
        raise PeerUnreachable(f"no way to {in_words(host)}", tuple(failed))
    ours = own_hosts(found)
    asked = answerers(accept=accept, authorize=authorize, secret=secret, sign=sign, revocation=revocation, fetch=fetch)
    driver = Driver(make(config or Config()), on_event, esp)
    try:
        try:
            driver.bind(Listen(hosts=ours, udp=0, udp_nat=0).locals())
        except OSError as error:
            raise PeerUnreachable(f"no socket to reach {host}", (error.strerror or str(error),)) from error
        local = driver.locals[0].address[0] if len(ours) == 1 else None
        async with driver.running(), dialled(driver, connection, list(found), local, grace, asked) as session:
            yield session
    finally:
        driver.close()


@asynccontextmanager
async def dialled(
    driver: Driver,
    connection: Connection,
    remotes: Sequence[str],
    local: str | None,
    grace: float,
    asked: Answerers,
) -> AsyncIterator[Session]:
    """Set up one IKE SA for the time of the body. Raises the one `IkeError` that says why there is none."""
    sa = driver.endpoint.initiate(connection, remotes, now=driver.now(), local=local)
    state = driver.binding.follow(sa, Answers(driver, driver.spawn, asked))
    try:
        driver.flush()
        await wait_until(lambda: state.decided, state.signal)
        if state.failure is not None:
            raise state.failure
        session = Session(driver, state)
        yield session
        driver.delete(state.held)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await session.wait_closed()
    finally:
        driver.abandon(state.held)


async def resolve(host: str | Sequence[str]) -> list[SocketAddress]:
    """Return the addresses behind one or several names, in order. Raises `PeerUnreachable` where there is none."""
    if not host:
        raise LocalProtocolError("host: at least one is needed")
    found: dict[str, SocketAddress] = {}
    failed = []
    for name in [host] if isinstance(host, str) else host:
        try:
            for *_, address in await asyncio.get_running_loop().getaddrinfo(name, 0, type=socket.SOCK_DGRAM):
                found.setdefault(reduce(address)[0], address)
        except (OSError, UnicodeError) as error:  # the latter for what no name can be
            failed.append(f"{name}: {getattr(error, 'strerror', None) or error}")
    if not found:
        raise PeerUnreachable(f"no address of {in_words(host)}", tuple(failed))
    return list(found.values())
