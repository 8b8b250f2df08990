"""What cutting a byte stream into messages costs.

    python -m benchmarks.framing

Messages of four sizes arrive in reads of three sizes, in both framings. Beside ours stand

* a floor for each framing: the least code that cuts the same messages out, keeps what is not whole in a bytearray and
  looks at it no more often than needed. It believes every length and asks nobody for a bound;
* the same floor when it asks for the bound of each message, with its header, as a receiver has to that refuses a
  message before its body is there;
* ours when it takes nothing unasked, to be compared with that one. The engine, like the first row of ours, takes up to
  16,384 octets unasked, since a stranger may make it keep that much anyway;
* wsproto, h2 and h11 (where installed) doing the comparable job, as cheaply as they can: unmasked binary messages,
  DATA frames, and chunks of a chunked body.

A second table feeds one message octet by octet: the cost per octet has to be the same whatever its size.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator

from benchmarks._harness import ROUNDS, Table, Target, run, show
from ikecore.framing import Frame, Framing, RawHeader, frame_ike, receiver
from ikecore.limits import Limits

SIZES = (80, 500, 4_000, 60_000)
READS = (65_536, 1_448, 1)
VOLUME = {65_536: 480_000, 1_448: 480_000, 1: 8_000}
MESSAGE_BOUND = 300_000

Feed = Callable[[bytes], int]
"""Takes a read and returns how many messages are whole with it."""


def message(size: int) -> bytes:
    return struct.pack("!8s8s4B2I", b"initiatr", b"responde", 46, 0x20, 37, 8, 7, size).ljust(size, b"x")


def bound(_header: RawHeader) -> int:
    return MESSAGE_BOUND


class RawFloor:
    """The least that cuts IKE messages at the Length in their headers."""

    length_at = struct.Struct("!I").unpack_from

    def __init__(self) -> None:
        self.tail = bytearray()
        self.wanted = 28

    def receive(self, data: bytes) -> list[bytes]:
        tail = self.tail
        if len(tail) + len(data) < self.wanted:
            tail += data
            return []
        if tail:
            data = b"".join((tail, data))
            tail.clear()
        found: list[bytes] = []
        pos = self.cut(data, found)
        tail += data[pos:]
        return found

    def cut(self, data: bytes, found: list[bytes]) -> int:
        append, length_at = found.append, self.length_at
        pos, end, self.wanted = 0, len(data), 28
        last = end - 28
        while pos <= last:
            stop = pos + length_at(data, pos + 24)[0]
            if stop > end:
                self.wanted = stop - pos
                break
            append(data[pos:stop])
            pos = stop
        return pos


class RawFloorAsking(RawFloor):
    """`RawFloor` with the bound."""

    header_at = struct.Struct("!8s8s4B2I").unpack_from

    def cut(self, data: bytes, found: list[bytes]) -> int:
        append, header_at = found.append, self.header_at
        pos, end, self.wanted = 0, len(data), 28
        last = end - 28
        while pos <= last:
            header = header_at(data, pos)
            length = header[7]
            if length > bound(header):
                raise ValueError
            stop = pos + length
            if stop > end:
                self.wanted = length
                break
            append(data[pos:stop])
            pos = stop
        return pos


class EncapsulatedFloor(RawFloor):
    """The least that cuts RFC 9329 units at their lengths and tells IKE from ESP."""

    head_at = struct.Struct("!HI").unpack_from

    def cut(self, data: bytes, found: list[bytes]) -> int:
        append, head_at = found.append, self.head_at
        pos, end, self.wanted = 0, len(data), 6
        last = end - 6
        while pos <= last:
            length, marker = head_at(data, pos)
            stop = pos + length
            if stop > end:
                self.wanted = length
                break
            append(data[pos + 2 if marker else pos + 6 : stop])
            pos = stop
        return pos


class EncapsulatedFloorAsking(RawFloorAsking):
    """`EncapsulatedFloor` with the bound."""

    head_at = struct.Struct("!HI").unpack_from

    def cut(self, data: bytes, found: list[bytes]) -> int:
        append, head_at, header_at = found.append, self.head_at, self.header_at
        pos, end, self.wanted = 0, len(data), 34
        last = end - 34
        while pos <= last:
            length, marker = head_at(data, pos)
            stop = pos + length
            if not marker and length > bound(header_at(data, pos + 6)):
                raise ValueError
            if stop > end:
                self.wanted = length
                break
            append(data[pos + 2 if marker else pos + 6 : stop])
            pos = stop
        return pos


def counting(receive: Callable[[bytes], list[Frame]] | Callable[[bytes], list[bytes]]) -> Feed:
    return lambda data: len(receive(data))


def wsproto_stream(size: int, count: int) -> tuple[bytes, Feed]:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import BytesMessage

    sender, reader = Connection(ConnectionType.SERVER), Connection(ConnectionType.CLIENT)
    octets = sender.send(BytesMessage(data=message(size))) * count

    def feed(data: bytes) -> int:
        reader.receive_data(data)
        return sum(event.message_finished for event in reader.events() if isinstance(event, BytesMessage))

    return octets, feed


def h2_stream(size: int, count: int) -> tuple[bytes, Feed]:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived
    from h2.settings import SettingCodes

    reader = H2Connection(H2Configuration(client_side=True))
    sender = H2Connection(H2Configuration(client_side=False))
    reader.initiate_connection()
    reader.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1, SettingCodes.MAX_FRAME_SIZE: 65_536})
    reader.increment_flow_control_window((1 << 31) - 1 - 65_535)
    reader.send_headers(
        1, [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "vpn.example")], end_stream=True
    )
    sender.initiate_connection()
    sender.receive_data(reader.data_to_send())
    sender.send_headers(1, [(":status", "200")])
    reader.receive_data(sender.data_to_send())
    sender.receive_data(reader.data_to_send())
    sender.data_to_send()
    sender.send_data(1, message(size))
    octets = sender.data_to_send() * count

    def feed(data: bytes) -> int:
        events = reader.receive_data(data)
        found = 0
        for event in events:
            if isinstance(event, DataReceived):
                found += 1
                reader.acknowledge_received_data(event.flow_controlled_length, 1)
        if found:
            reader.data_to_send()
        return found

    return octets, feed


def h11_stream(size: int, count: int) -> tuple[bytes, Feed]:
    import h11

    reader = h11.Connection(h11.SERVER)
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: vpn.example\r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.next_event()
    octets = (b"%x\r\n" % size + message(size) + b"\r\n") * count

    def feed(data: bytes) -> int:
        reader.receive_data(data)
        found = 0
        while (event := reader.next_event()) is not h11.NEED_DATA:
            found += isinstance(event, h11.Data) and event.chunk_end
        return found

    return octets, feed


Case = tuple[str, bytes, Feed]


def ours(framing: Framing, size: int, count: int) -> Iterator[Case]:
    raw = framing is Framing.IKE_TCP
    floor = RawFloor() if raw else EncapsulatedFloor()
    asking = RawFloorAsking() if raw else EncapsulatedFloorAsking()
    octets = frame_ike(framing, message(size)) * count
    yield "floor", octets, counting(floor.receive)
    yield "floor, asking", octets, counting(asking.receive)
    engine = receiver(framing, prefix=False, bound=bound, unasked=Limits().message_init)
    yield "ikecore", octets, counting(engine.receive)
    yield "ikecore, asking", octets, counting(receiver(framing, prefix=False, bound=bound).receive)


def others(size: int, count: int) -> Iterator[Case]:
    for name, make in (("wsproto", wsproto_stream), ("h2", h2_stream), ("h11", h11_stream)):
        try:
            yield name, *make(size, count)
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)


def reading(octets: bytes, read: int, feed: Feed, count: int) -> Callable[[], None]:
    """Feeds *octets*, which end at a message's end, in reads; *count* messages have to come out."""
    reads = [octets[start : start + read] for start in range(0, len(octets), read)]

    def once() -> None:
        found = 0
        for data in reads:
            found += feed(data)
        if found != count:
            raise RuntimeError(f"{found} messages instead of {count}")

    return once


def targets(size: int, read: int) -> Iterator[Target]:
    yield Target("ikecore", 1.3)
    if size <= 500 and read == 65_536:
        yield Target("wsproto", 15.0, to="ikecore", at_least=True)


def tables(rounds: int = ROUNDS) -> Iterator[Table]:
    for size in SIZES:
        for read in READS:
            count = max(1, VOLUME[read] // size)
            for framing in Framing:
                contestants = [*ours(framing, size, count), *others(size, count)]
                cases = {name: reading(octets, read, feed, count) for name, octets, feed in contestants}
                title = f"{framing.value}: {count} messages of {size} octets in reads of {read}"
                yield run(title, cases, *targets(size, read), rounds=rounds)
    for framing, total in ((Framing.IKE_TCP, 256_000), (Framing.ENCAPSULATED, 64_000)):
        cases = {}
        for size in (total // 64, total // 8, total):
            count = total // size
            octets = frame_ike(framing, message(size)) * count
            feed = counting(receiver(framing, prefix=False, bound=bound).receive)
            cases[f"{count} messages of {size} octets"] = reading(octets, 1, feed, count)
        yield run(f"{framing.value}: {total} octets one by one", cases, Target(list(cases)[-1], 1.25), rounds=rounds)


if __name__ == "__main__":
    show(tables())
