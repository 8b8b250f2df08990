"""What asyncio's transports leave to us: addresses, the way to a peer, and a reset that is one."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, TypeAlias

from ikecore import Address, Local, LocalProtocolError

SocketAddress: TypeAlias = tuple[Any, ...]
"""What the kernel calls an address: two items for IPv4, four for IPv6."""


def reduce(address: SocketAddress) -> Address:
    """Return the first two items of a socket address, without the scope."""
    return str(address[0]).partition("%")[0], int(address[1])


def check_exact(local: Local) -> None:
    """Raise `LocalProtocolError` unless the host of *local* is one address."""
    host = local.address[0]
    try:
        exact = not ip_address(host).is_unspecified
    except ValueError:
        raise LocalProtocolError(f"hosts: {host!r} is no IP address") from None
    if not exact:
        raise LocalProtocolError(f"hosts: {host!r} is no exact address, which NAT detection needs")


def bind_datagram(local: Local) -> socket.socket:
    """Return a UDP socket bound to the address of *local*. Raises OSError."""
    host, port = local.address
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def watch(loop: asyncio.AbstractEventLoop, sock: socket.socket, callback: Callable[..., object], *args: object) -> None:
    """Have *callback* called while there is something to read. Raises `LocalProtocolError` on a loop that cannot."""
    try:
        loop.add_reader(sock, callback, *args)
    except NotImplementedError:
        raise LocalProtocolError(
            f"{type(loop).__name__} watches no sockets; run on asyncio.SelectorEventLoop or one that has add_reader"
        ) from None


LARGEST_READ = 65_536
"""More than a message of most peers, and less than what C libraries ask the kernel for anew each time."""


def read_less(transport: asyncio.BaseTransport) -> None:
    """Have *transport* read into smaller buffers, if it is one of asyncio's own.

    It has one of 256 KiB made for each read, which costs a quarter as much as the exchange that came. There is no
    public way to say so; a transport without this attribute is left alone.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = LARGEST_READ


def words(error: BaseException | None) -> str:
    """Say in words what an error of the system means; asyncio puts its own text into some."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error or "connection closed")


def abort_with_reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN: what `abort` promises and, left alone, does not do."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


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
            failed.append(f"{host}: {words(error)}")
    return found, failed
