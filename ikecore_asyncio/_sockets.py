"""Sockets, non-blocking, and addresses as the core has them: an IP literal without scope, and a port."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, TypeAlias

from ikecore import Address, Local, LocalProtocolError

SocketAddress: TypeAlias = tuple[Any, ...]
"""What the kernel calls an address: two items for IPv4, four for IPv6."""

BACKLOG = 128


def reduce(address: SocketAddress) -> Address:
    """Return the first two items of a socket address, without the scope."""
    return (address[0], address[1]) if len(address) == 2 else (address[0].partition("%")[0], address[1])


def bind_datagram(local: Local) -> socket.socket:
    """Return a UDP socket bound to the address of *local*. Raises OSError, with the address in words."""
    return _bound(local, socket.SOCK_DGRAM)


def bind_listener(local: Local) -> socket.socket:
    """Return a TCP socket that listens on the address of *local*. Raises OSError, with the address in words."""
    listener = _bound(local, socket.SOCK_STREAM)
    listener.listen(BACKLOG)
    return listener


def _bound(local: Local, kind: socket.SocketKind) -> socket.socket:
    host, port = local.address
    try:
        unspecified = ip_address(host).is_unspecified
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    except (ValueError, socket.gaierror):
        raise LocalProtocolError(f"hosts: {host!r} is no IP address") from None
    if unspecified:
        raise LocalProtocolError(f"hosts: {host!r} is no exact address, which NAT detection needs")
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot bind {local.kind} {host} port {port}: {error.strerror}") from error
    return sock


def begin_connect(remote: Address, local: str | None) -> socket.socket:
    """Return a TCP socket that connects to *remote*: writable once that is decided. Raises OSError if it is at once."""
    sock = socket.socket(socket.AF_INET6 if ":" in remote[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        no_delay(sock)
        if local is not None:
            sock.bind((local, 0))
        sock.connect(remote)
    except BlockingIOError:
        pass
    except OSError:
        sock.close()
        raise
    return sock


def no_delay(sock: socket.socket) -> None:
    """Send each write at once: it is a whole message, and the next one may wait for its answer."""
    with suppress(OSError):  # reset before we could, of which we shall hear
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def close_with_reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN, dropping what the kernel has queued."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        sock.close()


def source_towards(remote: SocketAddress) -> str:
    """Return our address (with its scope, if it has one) that routing takes towards *remote*. Raises OSError.

    Connecting a UDP socket sends nothing; it asks the routing table.
    """
    family = socket.AF_INET6 if len(remote) == 4 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(remote)
        return socket.getnameinfo(probe.getsockname(), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]


def sources(remotes: Iterable[SocketAddress]) -> tuple[dict[str, str], list[str]]:
    """Return our address towards each remote host that we have a route to, and in words the others."""
    found, failed = {}, []
    for remote in remotes:
        host = reduce(remote)[0]
        try:
            found[host] = source_towards(remote)
        except OSError as error:
            failed.append(f"{host}: {error.strerror}")
    return found, failed


def watch(loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[..., object], *args: object) -> None:
    """Have *callback* called while there is something to read. Raises `LocalProtocolError` on a loop that cannot.

    By its number, since `selectors` puts a socket that it does not know yet into words, twice, which asks the kernel.
    """
    try:
        loop.add_reader(descriptor, callback, *args)
    except NotImplementedError:
        raise LocalProtocolError(
            f"{type(loop).__name__} watches no sockets; run on asyncio.SelectorEventLoop or one that has add_reader"
        ) from None
