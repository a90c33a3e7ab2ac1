"""One queue: where its messages are, how much room there is, what has happened. It knows neither the other queues nor the time."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from operator import attrgetter

from txraft.machines.work_queue.bounds import PRIORITIES, TAKEN_BYTES_MAX
from txraft.machines.work_queue.dedup import Dedup
from txraft.machines.work_queue.discards import Part
from txraft.machines.work_queue.lanes import Lane
from txraft.machines.work_queue.records import Delivery, Mark, Message, QueueState, Settings, Totals

__all__ = ["MARK_MS", "NamedQueue", "topic_of"]

MARK_MS = 10_000
"""Rates look back over one to two of these."""

MARKS_KEPT_MS = 60_000
"""After a pause of this length, rates begin anew."""

_ID = attrgetter("id")


def topic_of(name: str) -> bytes:
    """What is signalled when messages become ready. Not the queue's name: who watches its events is not to be woken by every put."""
    return b"ready:" + name.encode()


class NamedQueue:
    """A queue.

    Attributes:
        name, created_ms, settings, totals: what they say.
        topic: see `topic_of`.
        lanes: the ready messages by priority, as far as there ever were any.
        occupied: bit N is set if there are ready messages of priority N.
        in_flight, delayed: the others, by id.
        length, bytes: of all messages; bytes are those of bodies.
        held_bytes: of those in flight or delayed.
        marks: some totals of a while ago, and of not so long ago.
        mark_ms: when to take the next.
        told_ms: log time of the last event about dropped messages.
    """

    __slots__ = (
        "bytes",
        "created_ms",
        "dedup",
        "delayed",
        "held_bytes",
        "in_flight",
        "lanes",
        "length",
        "mark_ms",
        "marks",
        "name",
        "occupied",
        "settings",
        "told_ms",
        "topic",
        "totals",
    )

    def __init__(self, name: str, now_ms: int) -> None:
        self.name = name
        self.topic = topic_of(name)
        self.created_ms = now_ms
        self.settings = Settings()
        self.totals = Totals()
        self.dedup = Dedup()
        self.marks = (Mark(now_ms), Mark(now_ms))
        self.mark_ms = now_ms + MARK_MS
        self.told_ms = 0
        self._begin()

    def _begin(self) -> None:
        self.lanes: list[Lane | None] = [None] * PRIORITIES
        self.occupied = 0
        self.in_flight: dict[int, Message] = {}
        self.delayed: dict[int, Message] = {}
        self.length = self.bytes = self.held_bytes = 0

    def clear(self) -> list[Part]:
        """Have no messages any more; where they were."""
        places = (places for lane in self.lanes if lane is not None for places in (lane.fresh, lane.order, lane.back))
        parts: list[Part] = [self.in_flight, self.delayed, *places]
        self._begin()
        return parts

    @property
    def ready(self) -> int:
        """How many messages are ready."""
        return self.length - len(self.in_flight) - len(self.delayed)

    def timed(self, message_id: int) -> Message | None:
        """A message that is in flight or delayed."""
        return self.in_flight.get(message_id) or self.delayed.get(message_id)

    # Room.

    def has_room(self, count: int, size: int) -> bool:
        """Whether so many messages with so many bytes fit in."""
        settings = self.settings
        return self.length + count <= settings.max_length and self.bytes + size <= settings.max_bytes

    def can_make_room(self, count: int, size: int) -> bool:
        """Whether they fit in if, where the settings allow that, all ready messages are dropped for them."""
        settings = self.settings
        if settings.overflow == "reject":
            return self.has_room(count, size)
        held = len(self.in_flight) + len(self.delayed)
        return held + count <= settings.max_length and self.held_bytes + size <= settings.max_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether there are more messages, or bytes, than may be, and some that may be dropped."""
        return self.occupied != 0 and not self.has_room(0, 0) and self.settings.overflow == "drop_oldest"

    def oldest(self, count: int) -> Iterator[Message]:
        """The oldest ready messages, up to so many; found as they are asked for."""
        return merge(*(lane.first(count) for lane in self.occupied_lanes()), key=_ID)

    def make_room(self, count: int, size: int, dropped_max: int) -> int:
        """Drop the oldest ready messages, whatever their priority, until so many with so many bytes fit in; at most this many."""
        dropped = 0
        while dropped < dropped_max and self.occupied and not self.has_room(count, size):
            message = self._pop(min(self.occupied_lanes(), key=_age))
            self.leave(message)
            dropped += 1
        self.totals.dropped += dropped
        return dropped

    # In and out, and from one state to the next.

    def enter(self, message: Message) -> None:
        """Count a message in; it is to be made ready or held."""
        self.length += 1
        self.bytes += len(message.body)

    def leave(self, message: Message) -> None:
        """Count a message out that was popped or released."""
        self.length -= 1
        self.bytes -= len(message.body)

    def make_ready(self, message: Message) -> None:
        """Put a message where it will be taken from."""
        priority = message.priority
        self.lane(priority).add(message)
        self.occupied |= 1 << priority

    def append(self, message: Message) -> None:
        """Count a new message in, the newest of all, and make it ready: what is done most, done quickly."""
        priority = message.priority
        (self.lanes[priority] or self.lane(priority)).fresh.append(message)
        self.occupied |= 1 << priority
        self.length += 1
        self.bytes += len(message.body)
        self.totals.put += 1

    def hold(self, message: Message, due_ms: int) -> None:
        """Keep a message back until then."""
        message.due_ms = due_ms
        self.delayed[message.id] = message
        self.held_bytes += len(message.body)

    def release(self, message: Message) -> None:
        """Take out a message that is in flight or delayed."""
        if self.in_flight.pop(message.id, None) is None:
            del self.delayed[message.id]
        self.held_bytes -= len(message.body)

    def head(self) -> Message:
        """The ready message that is next; there is one."""
        return self._best().head()

    def pop(self) -> Message:
        """Take it out."""
        return self._pop(self._best())

    def lane(self, priority: int) -> Lane:
        """The place of this priority, made if need be."""
        lane = self.lanes[priority]
        if lane is None:
            lane = self.lanes[priority] = Lane()
        return lane

    def occupied_lanes(self) -> list[Lane]:
        """The places in which there are messages, highest priority first."""
        return [lane for priority, lane in enumerate(self.lanes) if lane is not None and self.occupied >> priority & 1][::-1]

    def _best(self) -> Lane:
        lane = self.lanes[self.occupied.bit_length() - 1]
        assert lane is not None, self.occupied
        return lane

    def _pop(self, lane: Lane) -> Message:
        message = lane.pop()
        if not lane.fresh and not lane.order:
            self.occupied ^= 1 << message.priority
        return message

    def take(self, count: int, due_ms: int) -> list[Delivery]:
        """Deliver the messages that are next, as many as there are and as fit into an answer; they are in flight until `due_ms`."""
        taken: list[Delivery] = []
        room = TAKEN_BYTES_MAX
        while self.occupied and len(taken) < count:
            lane = self._best()
            if taken and len(lane.head().body) > room:
                break  # a second one may wait for the next answer
            message = lane.pop() if lane.order else lane.fresh.popleft()
            message_id, body = message.id, message.body
            if not lane.fresh and not lane.order:
                self.occupied ^= 1 << message.priority
            room -= len(body)
            self.held_bytes += len(body)
            number = message.taken = message.taken + 1
            message.due_ms = due_ms
            self.in_flight[message_id] = message
            deliveries, origin = number - message.forgiven, message.origin
            taken.append(Delivery(f"{message_id}-{number}", message_id, body, message.priority, deliveries, message.put_ms, origin))
        self.totals.delivered += len(taken)
        return taken

    # Rates.

    def mark(self, now_ms: int) -> None:
        """Remember the totals as they are, to reckon rates from them; `mark_ms` has come."""
        totals = self.totals
        newest = Mark(now_ms, totals.put, totals.delivered, totals.acked)
        is_recent = now_ms - self.marks[1].time_ms <= MARKS_KEPT_MS
        self.marks = (self.marks[1] if is_recent else newest, newest)
        self.mark_ms = now_ms + MARK_MS

    # Snapshots.

    def capture(self) -> QueueState:
        """For a snapshot."""
        return QueueState(
            name=self.name,
            created_ms=self.created_ms,
            settings=self.settings,
            totals=self.totals,
            marks=self.marks,
            told_ms=self.told_ms,
            ready=[message for lane in self.occupied_lanes() for message in lane.all()],
            in_flight=list(self.in_flight.values()),
            delayed=list(self.delayed.values()),
            dedup=self.dedup.capture(),
        )

    @classmethod
    def restored(cls, state: QueueState) -> NamedQueue:
        """The queue of a snapshot."""
        queue = cls(state.name, state.created_ms)
        queue.settings, queue.totals, queue.marks, queue.told_ms = state.settings, state.totals, state.marks, state.told_ms
        queue.mark_ms = queue.marks[1].time_ms + MARK_MS
        queue.dedup.restore(state.dedup)
        for message in state.ready:
            queue.enter(message)
            queue.make_ready(message)
        queue.in_flight = {message.id: message for message in state.in_flight}
        queue.delayed = {message.id: message for message in state.delayed}
        for message in [*state.in_flight, *state.delayed]:
            queue.enter(message)
            queue.held_bytes += len(message.body)
        return queue


def _age(lane: Lane) -> int:
    return lane.head().id
