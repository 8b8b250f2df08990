"""A network of the test's own: port 500 free, nobody else on it, gone at the end.

The ports matter: charon leaves out the non-ESP marker only where one side's port is 500.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class NoNetwork(Exception):
    """No network for a peer can be had here; says why."""


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(sock, SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def _ports_free() -> bool:
    for port in (500, 4500):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


@contextmanager
def private_network() -> Iterator[None]:
    """Put the calling thread, and what it starts, into a network namespace with nothing but a loopback interface.

    Where that is not permitted the common network serves, if the IKE ports can be had there; else raises NoNetwork.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            if not _ports_free():
                raise NoNetwork("no right to a network namespace, and UDP ports 500 and 4500 cannot be had")
            yield
            return
        try:
            _loopback_up()
            yield
        finally:
            if libc.setns(before, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot return to the former network namespace")
    finally:
        os.close(before)
