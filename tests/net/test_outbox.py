from __future__ import annotations

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport

from tests.net.case import NetTestCase, framed, frames_in
from txraft.net.outbox import Outbox


class StubReactor:
    """Registers nothing."""

    def addWriter(self, writer: object) -> None: ...

    def removeWriter(self, writer: object) -> None: ...


class CountedDescriptor(FileDescriptor):
    """Twisted's own buffering over a kernel that takes `room` bytes at a time."""

    def __init__(self, room: int = 10**9) -> None:
        super().__init__(StubReactor())  # type: ignore[arg-type]
        self.connected = 1
        self.room = room
        self.system_calls: list[bytes] = []

    def writeSomeData(self, data: bytes) -> int:
        self.system_calls.append(bytes(data[: self.room]))
        return min(len(data), self.room)


class OutboxTests(NetTestCase):
    def test_a_frame_leaves_at_once_in_one_system_call(self) -> None:
        descriptor = CountedDescriptor()
        outbox = Outbox(descriptor)
        for content in (b"one", b"two"):
            outbox.write(content)
        self.assertEqual(descriptor.system_calls, [framed(b"one"), framed(b"two")])

    def test_a_connection_that_is_being_closed_is_left_to_the_reactor(self) -> None:
        descriptor = CountedDescriptor()
        outbox = Outbox(descriptor)
        descriptor.disconnecting = True
        outbox.write(b"last words")
        self.assertEqual(descriptor.system_calls, [])
        descriptor.doWrite()
        self.assertEqual(descriptor.system_calls, [framed(b"last words")])

    def test_a_connection_that_broke_is_left_to_the_reactor(self) -> None:
        descriptor = CountedDescriptor()
        outbox = Outbox(descriptor)
        self.patch(descriptor, "writeSomeData", lambda _: ConnectionLost())
        outbox.write(b"into the void")
        self.assertIsInstance(descriptor.doWrite(), ConnectionLost)

    def test_what_a_slow_kernel_does_not_take_is_kept_and_goes_in_order(self) -> None:
        descriptor = CountedDescriptor(room=10_000)
        pauses: list[bool] = []
        outbox = Outbox(descriptor, pauses.append)
        contents = [bytes([number]) * 30_000 for number in range(10)]
        for content in contents:
            outbox.write(content)
        self.assertEqual(pauses, [True])
        self.assertEqual(outbox.unsent_bytes, 7 * 30_000)
        for _ in range(100):
            descriptor.doWrite()
        self.assertEqual(frames_in(b"".join(descriptor.system_calls)), contents)
        self.assertEqual(outbox.unsent_bytes, 0)
        self.assertEqual(pauses[-1], False)

    def test_thousands_of_kept_frames_do_not_nest(self) -> None:
        descriptor = CountedDescriptor(room=10_000)
        outbox = Outbox(descriptor)
        for _ in range(2_000):
            outbox.write(b"x" * 70_000)
        descriptor.room = 10**9
        for _ in range(5_000):
            descriptor.doWrite()
        self.assertEqual(outbox.unsent_bytes, 0)

    def test_the_oldest_can_be_dropped(self) -> None:
        transport = StringTransport()
        outbox = Outbox(transport)
        outbox.write(b"first")
        outbox.pauseProducing()
        outbox.write(b"oldest")
        outbox.write(b"newer")
        outbox.drop_oldest()
        self.assertEqual(outbox.unsent_bytes, 5)
        outbox.resumeProducing()
        self.assertEqual(frames_in(transport.value()), [b"first", b"newer"])

    def test_closed_it_keeps_no_transport_waiting(self) -> None:
        transport = StringTransport()
        outbox = Outbox(transport)
        self.assertIs(transport.producer, outbox)
        outbox.pauseProducing()
        outbox.write(b"unsent")
        outbox.close()
        self.assertIs(transport.producer, None)
        self.assertEqual(outbox.unsent_bytes, 0)

    def test_a_connection_that_ends_takes_what_is_unsent_along(self) -> None:
        outbox = Outbox(StringTransport())
        outbox.pauseProducing()
        outbox.write(b"unsent")
        outbox.stopProducing()
        self.assertEqual(outbox.unsent_bytes, 0)
