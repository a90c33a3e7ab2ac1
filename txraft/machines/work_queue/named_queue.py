"""One queue: where its messages are, how much room there is, what has happened. It knows neither the other queues nor the time."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from heapq import merge
from operator import attrgetter

from msgspec.structs import replace

from txraft.machines.work_queue.arrivals import PIECE as HELD_PIECE
from txraft.machines.work_queue.arrivals import Arrivals
from txraft.machines.work_queue.bounds import PRIORITIES, TAKEN_BYTES_MAX, State
from txraft.machines.work_queue.dedup import Dedup
from txraft.machines.work_queue.discards import Part
from txraft.machines.work_queue.lanes import PIECE, Lane
from txraft.machines.work_queue.records import Delivery, Mark, Message, Settings, Totals

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
    """A queue. What a frozen view may see of it is not changed: `fork` gives another one to go on with.

    Attributes:
        name, created_ms, settings, totals: what they say.
        generation: how many views had been taken when it was made, or forked.
        topic: see `topic_of`.
        lanes: the ready messages by priority, as far as there ever were any.
        occupied: bit N is set if there are ready messages of priority N.
        in_flight, delayed: the others, by id, in the order in which they became so.
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
        "generation",
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

    def __init__(self, name: str, now_ms: int, generation: int = 0) -> None:
        self.name = name
        self.generation = generation
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
        self.in_flight: Arrivals[int, Message] = Arrivals()
        self.delayed: Arrivals[int, Message] = Arrivals()
        self.length = self.bytes = self.held_bytes = 0

    def clear(self) -> list[Part]:
        """Have no messages any more; where they were."""
        parts: list[Part] = [*self.in_flight.parts(), *self.delayed.parts()]
        for lane in self.lanes:
            if lane is not None:
                parts += lane.parts()
        self._begin()
        return parts

    def fork(self, generation: int) -> NamedQueue:
        """The same queue, to go on with; this one stays as it is."""
        other = NamedQueue.__new__(NamedQueue)
        for name in NamedQueue.__slots__:
            setattr(other, name, getattr(self, name))
        other.generation = generation
        other.totals = copy(self.totals)
        other.dedup = self.dedup.fork()
        other.lanes = [None if lane is None else lane.fork() for lane in self.lanes]
        other.in_flight, other.delayed = self.in_flight.fork(), self.delayed.fork()
        return other

    @property
    def ready(self) -> int:
        """How many messages are ready."""
        return self.length - len(self.in_flight.places) - len(self.delayed.places)

    def timed(self, message_id: int) -> Message | None:
        """A message that is in flight or delayed."""
        for held in (self.in_flight, self.delayed):
            number = held.places.get(message_id)
            if number is not None:
                return held.pieces[number][message_id]
        return None

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
        held = len(self.in_flight.places) + len(self.delayed.places)
        return held + count <= settings.max_length and self.held_bytes + size <= settings.max_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether there are more messages, or bytes, than may be, and some that may be dropped."""
        return self.settings.overflow == "drop_oldest" and self.occupied != 0 and not self.has_room(0, 0)

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
        """Count a message out that was taken out of its place."""
        self.length -= 1
        self.bytes -= len(message.body)

    def make_ready(self, message: Message) -> None:
        """Put a message where it will be taken from."""
        priority = message.priority
        (self.lanes[priority] or self.lane(priority)).add(message)
        self.occupied |= 1 << priority

    def append(self, message: Message) -> None:
        """Count a new message in, the newest of all, and make it ready: what is done most, done quickly."""
        priority = message.priority
        lane = self.lanes[priority] or self.lane(priority)
        lane.end.append(message)
        if len(lane.end) >= PIECE:
            lane.next_end()
        self.occupied |= 1 << priority
        self.length += 1
        self.bytes += len(message.body)
        self.totals.put += 1

    def hold(self, message: Message, due_ms: int) -> None:
        """Keep a message back until then."""
        self.delayed.add(message.id, message if message.due_ms == due_ms else replace(message, due_ms=due_ms))
        self.held_bytes += len(message.body)

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
        if not lane.front and not lane.order:
            self.occupied ^= 1 << message.priority
        return message

    def take(self, count: int, due_ms: int) -> list[Delivery]:
        """Deliver the messages that are next, as many as there are and as fit into an answer; they are in flight until `due_ms`."""
        taken: list[Delivery] = []
        room, held = TAKEN_BYTES_MAX, self.in_flight
        while self.occupied:
            lane = self.lanes[self.occupied.bit_length() - 1]
            assert lane is not None, self.occupied
            front, order = lane.front, lane.order
            if taken and len(lane.head().body) > room:
                break  # a second one may wait for the next answer
            if order:
                message = lane.pop()
            else:  # what `pop` does then, done quickly
                message = front[0]
                del front[0]
                if not front and front is not lane.end:
                    lane.next_front()
            message_id, body, priority = message.id, message.body, message.priority
            if not lane.front and not order:
                self.occupied ^= 1 << priority
            size = len(body)
            room -= size
            self.held_bytes += size
            number, forgiven, put_ms = message.taken + 1, message.forgiven, message.put_ms
            held.tail[message_id] = Message(message_id, body, priority, put_ms, number, forgiven, due_ms, message.origin)
            held.places[message_id] = held.number  # what `add` does, done quickly
            if len(held.tail) >= HELD_PIECE:
                held.next_tail()
            taken.append(Delivery(f"{message_id}-{number}", message_id, body, priority, number - forgiven, put_ms, message.origin))
            if len(taken) == count:
                break
        self.totals.delivered += len(taken)
        return taken

    def in_flight_under(self, receipt: str) -> Message | None:
        """The message whose present delivery has this receipt."""
        held = self.in_flight
        try:
            message_id = int(receipt.partition("-")[0])
            message = held.pieces[held.places[message_id]][message_id]
        except (KeyError, ValueError):
            return None
        return message if receipt == f"{message_id}-{message.taken}" else None

    def acknowledge(self, receipt: str, now_ms: int) -> int | None:
        """Remove the message whose present delivery has this receipt; its id. None if there is none."""
        held = self.in_flight
        try:  # the same again, and then what `pop` does, done quickly
            message_id = int(receipt.partition("-")[0])
            number = held.places[message_id]
            piece = held.pieces[number]
            message = piece[message_id]
        except (KeyError, ValueError):
            return None
        if receipt != f"{message_id}-{message.taken}":
            return None
        if now_ms >= self.mark_ms:
            self.mark(now_ms)
        if number in held.shared:
            piece = held.own(number)
        del held.places[message_id], piece[message_id]
        if not piece and number != held.number:
            held.drop(number)
        size = len(message.body)
        self.held_bytes -= size
        self.bytes -= size
        self.length -= 1
        self.totals.acked += 1
        return message_id

    def extend(self, receipt: str, due_ms: int) -> Message | None:
        """Keep the message whose present delivery has this receipt in flight until then; what it was before. None if there is none."""
        held = self.in_flight
        try:
            message_id = int(receipt.partition("-")[0])
            number = held.places[message_id]
            piece = held.pieces[number]
            message = piece[message_id]
        except (KeyError, ValueError):
            return None
        if receipt != f"{message_id}-{message.taken}":
            return None
        if number in held.shared:
            piece = held.own(number)
        piece[message_id] = replace(message, due_ms=due_ms)
        return message

    # Rates.

    def mark(self, now_ms: int) -> None:
        """Remember the totals as they are, to reckon rates from them; `mark_ms` has come."""
        totals = self.totals
        newest = Mark(now_ms, totals.put, totals.delivered, totals.acked)
        is_recent = now_ms - self.marks[1].time_ms <= MARKS_KEPT_MS
        self.marks = (self.marks[1] if is_recent else newest, newest)
        self.mark_ms = now_ms + MARK_MS

    # Restoring.

    def fill(self, state: State, messages: list[Message]) -> None:
        """Have these, too: of a snapshot, in its order."""
        size = sum(len(message.body) for message in messages)
        self.length += len(messages)
        self.bytes += size
        if state == "ready":
            for message in messages:
                self.make_ready(message)
            return
        self.held_bytes += size
        held = self.in_flight if state == "in_flight" else self.delayed
        for message in messages:
            held.add(message.id, message)


def _age(lane: Lane) -> int:
    return lane.head().id
