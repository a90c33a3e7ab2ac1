"""All versions of all keys: the newest ones by key and in order, earlier ones by key, and all in the order in which they were written.

The live keys are in a container of their own that knows ranks: counting a range, or finding its first keys, takes the same time however
many there are. Nothing here is copied when a key is written: a version is one small record that all parts share.

Compaction moves one number at once; what it makes unreadable is dropped in portions, along with later commands: see `sweep`.

Source: etcd's `mvcc` package.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import attrgetter
from typing import Any, NamedTuple

from sortedcontainers import SortedList

from txraft.errors import Refused
from txraft.machines.config_store.key_values import Budget, KeyValue
from txraft.machines.config_store.leases import Leases
from txraft.machines.config_store.log import MOD_REVISION, PIECE, Log, PiecesOfLog
from txraft.machines.config_store.settled import Settled
from txraft.machines.in_order import sorted_list

__all__ = ["FrozenVersions", "Versions"]

VERSION = attrgetter("version")


class FrozenVersions(NamedTuple):
    """All versions as they were: nothing in here changes, but for whoever reads it and takes out what it has read."""

    revision: int
    compacted: int
    settled: list[dict[bytes, KeyValue]]
    log: PiecesOfLog


class Versions:
    """The keys and their versions.

    Attributes:
        leases: told which key is attached to which.
        revision: the newest one; the first write makes 2.
        compacted: earlier revisions than this one cannot be read; 0: all can.
        unswept: there are versions to be dropped by `sweep`.
        live: the newest version of each key that is there.
        keys: these keys in order.
        past: the kept versions of a key that are not in `live`, in order: superseded ones and deletions.
        gone: keys that are in `past` only, in order.
        log: versions in the order in which they were written.
        settled: versions that are older than the log: what compaction has left. It knows no more than `live` and `past` do, but which
            versions these are can be told at once, for a snapshot.
    """

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.revision = 1
        self.compacted = 0
        self.live: dict[bytes, KeyValue] = {}
        self.keys: SortedList[bytes] = SortedList()
        self.past: dict[bytes, list[KeyValue]] = {}
        self.gone: SortedList[bytes] = SortedList()
        self.log = Log()
        self.settled = Settled()
        self.unswept = False
        self._written = self.log.newest

    # Writing. The caller raises `revision` when all of it is done.

    def put(self, key: bytes, value: bytes, lease: int) -> KeyValue | None:
        """Write a key at the next revision; its live version before. The lease must be there."""
        before = self.live.get(key)
        revision = self.revision + 1
        if before is None:
            if key in self.past:
                self.gone.remove(key)
            self.keys.add(key)
            after = KeyValue(key, value, revision, revision, 1, lease)
            if lease:
                self.leases.move_key(key, 0, lease)
        else:
            key = before.key  # one copy for all versions
            past = self.past.get(key)
            if past is None:
                self.past[key] = [before]
            else:
                past.append(before)
            after = KeyValue(key, value, before.create_revision, revision, before.version + 1, lease)
            if lease != before.lease:
                self.leases.move_key(key, before.lease, lease)
        self.live[key] = after
        self._written.append(after)
        return before

    def delete_ranks(self, start: int, stop: int) -> None:
        """Delete the live keys of these ranks at the next revision."""
        keys = list(self.keys.islice(start, stop))
        del self.keys[start:stop]
        self._bury(keys)

    def delete_keys(self, keys: Iterable[bytes]) -> None:
        """Delete these live keys, in order, at the next revision."""
        ordered = sorted(keys)
        for key in ordered:
            self.keys.remove(key)
        self._bury(ordered)

    def _bury(self, keys: list[bytes]) -> None:
        revision = self.revision + 1
        for key in keys:
            before = self.live.pop(key)
            if before.lease:
                self.leases.move_key(key, before.lease, 0)
            deleted = KeyValue(before.key, b"", 0, revision, 0, 0)
            past = self.past.get(key)
            if past is None:
                self.past[key] = [before, deleted]
            else:
                past += (before, deleted)
            self._written.append(deleted)
        self.gone.update(keys)

    def roll_back(self, mark: int) -> None:
        """Undo what was written since the newest part of the log had this length."""
        while len(self._written) > mark:
            undone = self._written.pop()
            key, past = undone.key, self.past.get(undone.key, [])
            if undone.version:
                del self.live[key]
                self.keys.remove(key)
            else:
                past.pop()
                self.gone.remove(key)
            before = past[-1] if past else None
            if before is not None and before.version:
                past.pop()
                self.live[key] = before
                self.keys.add(key)
            elif past:
                self.gone.add(key)
            if not past:
                self.past.pop(key, None)
            self.leases.move_key(key, undone.lease, self.live[key].lease if key in self.live else 0)

    # Reading.

    def check_readable(self, revision: int, newest: int) -> None:
        """Raises `Refused` `compacted` or `future_revision`."""
        if revision > newest:
            raise Refused("future_revision", f"revision {revision} is not there yet; the newest is {newest}", newest=newest)
        if revision < self.compacted:
            raise Refused(
                "compacted", f"revision {revision} is compacted; the oldest that can be read is {self.compacted}", oldest=self.compacted
            )

    def ranks(self, first: bytes, end: bytes | None) -> tuple[int, int]:
        """Which of `keys` lie in a range of `bounds`: first rank, rank after the last."""
        if end is None:
            start = self.keys.bisect_left(first)
            return start, start + (first in self.live)
        return _ranks(self.keys, first, end)

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """A key as it was at a revision that is not compacted."""
        found = self.live.get(key)
        if found is None or found.mod_revision > revision:
            past = self.past.get(key, ())
            place = bisect_right(past, revision, key=MOD_REVISION)
            found = past[place - 1] if place else None
        return found if found is not None and found.version else None

    def between(self, first: bytes, end: bytes, revision: int, budget: Budget, descending: bool = False) -> Iterator[KeyValue]:
        """All keys of a range as they were at a revision, in order. Raises `Refused` `too_large`."""
        live, gone = (keys.islice(*_ranks(keys, first, end), descending) for keys in (self.keys, self.gone))
        for key in merge(live, gone, reverse=descending):
            budget.look_at(1)
            if (found := self.at(key, revision)) is not None:
                yield found

    def counting_at(self, first: bytes, end: bytes, revision: int) -> int:
        """How many versions `count_at` looks at: all written since, or one for each key, whichever is less."""
        keys = sum(stop - start for start, stop in (_ranks(self.keys, first, end), _ranks(self.gone, first, end)))
        return min(keys, self.log.stop - self.log.position(revision + 1))

    def count_at(self, first: bytes, end: bytes, revision: int, budget: Budget) -> int:
        """How many keys of a range were there at a revision. Raises `Refused` `too_large`."""
        since = self.log.position(revision + 1)
        changes = self.log.stop - since
        if changes > self.counting_at(first, end, revision):
            return sum(1 for _ in self.between(first, end, revision, budget))
        budget.look_at(changes)
        changed = {one.key for one in self.log.since(since) if first <= one.key and (not end or one.key < end)}
        start, stop = _ranks(self.keys, first, end)
        return stop - start + sum((self.at(key, revision) is not None) - (key in self.live) for key in changed)

    def kept(self, key: bytes, first: int, limit: int) -> list[KeyValue]:
        """The versions of a key that can be read, deletions among them, in order: so many, from a revision on."""
        past, live = self.past.get(key, []), self.live.get(key)
        if live is not None and live.mod_revision < self.compacted:
            past = []
        place = bisect_left(past, self.compacted, key=MOD_REVISION)
        newer = past[place] if place < len(past) else live
        at_compacted = newer is not None and newer.mod_revision == self.compacted
        if place and not at_compacted and past[place - 1].version:
            place -= 1  # what the key was at the compacted revision
        place = max(place, bisect_left(past, first, key=MOD_REVISION))
        versions = past[place : place + limit]
        if live is not None and live.mod_revision >= first and len(versions) < limit:
            versions.append(live)
        return versions

    # Compaction.

    def compact(self, revision: int) -> None:
        """Make this the oldest revision that can be read. Raises `Refused`."""
        if revision <= self.compacted:
            raise Refused(
                "compacted", f"revision {revision} is compacted already, as is all before {self.compacted}", oldest=self.compacted
            )
        self.check_readable(revision, self.revision)
        self.compacted = revision
        self._look_for_unswept()

    def _look_for_unswept(self) -> None:
        self.unswept = self.log.start < self.log.stop and self.log.at(self.log.start).mod_revision < self.compacted

    def sweep(self, portion: int) -> None:
        """Drop what compaction has made unreadable among the oldest `portion` versions of the log (and the rest of their last revision).

        Of each key, what the newest of these supersedes goes; it goes itself when it is a deletion, else it stays: it is what the key
        was at the compacted revision. Versions at that very revision stay in the log: watches may begin there.
        """
        log = self.log
        stop = log.position(self.compacted)
        if log.start + portion < stop:
            stop = log.position(log.at(log.start + portion).mod_revision + 1)
        swept = log.portion(log.start, stop)
        newest = {one.key: one for one in swept}
        self._settle(newest, swept)
        log.drop(stop)
        self._look_for_unswept()

    def _settle(self, newest: dict[bytes, KeyValue], swept: Sequence[KeyValue]) -> None:
        """What these versions were written over is forgotten, and the newest of each key is settled."""
        superseded = []
        for key, one in newest.items():
            past = self.past.get(key)
            if past is None:
                continue  # it was written once
            if past[0].mod_revision < swept[0].mod_revision:
                superseded.append(past[0])
            self._forget_before(key, one, past)
        self.settled.remove(superseded)
        if len(newest) < len(swept) or not all(map(VERSION, swept)):
            newest = {one.key: one for one in swept if newest[one.key] is one and one.version}
        if newest:
            self.settled.add(newest, swept[-1].mod_revision)

    def _forget_before(self, key: bytes, newest: KeyValue, past: list[KeyValue]) -> None:
        if self.live.get(key) is newest:
            del self.past[key]
            return
        place = bisect_left(past, newest.mod_revision, key=MOD_REVISION)
        while past[place] is not newest:  # one revision may write a key more than once
            place += 1
        del past[: place + (newest.version == 0)]
        if not past:
            del self.past[key]
            if key not in self.live:
                self.gone.remove(key)

    # The whole state.

    def frozen(self) -> FrozenVersions:
        """All versions as they are now."""
        return FrozenVersions(self.revision, self.compacted, self.settled.pieces(), self.log.pieces())

    def restore_settled(self, fields: list[list[Any]]) -> None:
        """These versions, field by field, are older than the log: to be called before those of the log come."""
        versions = self._restored(fields)
        self.settled.add({one.key: one for one in versions}, versions[-1].mod_revision)

    def restore_written(self, fields: list[list[Any]]) -> None:
        """These versions, field by field, are the next in the log."""
        self.log.newest += self._restored(fields)
        if len(self.log.newest) >= PIECE:
            self.log.seal()

    def _restored(self, fields: list[list[Any]]) -> list[KeyValue]:
        keys, live, past = fields[0], self.live, self.past
        if len(set(keys)) == len(keys) and live.keys().isdisjoint(keys) and past.keys().isdisjoint(keys) and all(fields[4]):
            # The usual case takes a third of the time.
            versions = list(map(KeyValue, *fields))
            live.update(zip(keys, versions, strict=True))
            return versions
        return [self._restored_one(*row) for row in zip(*fields, strict=True)]

    def _restored_one(self, key: bytes, *others: Any) -> KeyValue:
        before, past = self.live.get(key), self.past.get(key)
        key = before.key if before is not None else past[0].key if past else key  # one copy for all versions
        version = KeyValue(key, *others)
        earlier = [] if before is None else [before]
        if version.version:
            self.live[key] = version
        else:
            self.live.pop(key, None)
            earlier.append(version)
        if past is not None:
            past += earlier
        elif earlier:
            self.past[key] = earlier
        return version

    def finish_restoring(self) -> None:
        """All versions and leases are there."""
        self._look_for_unswept()
        self.keys, self.gone = sorted_list(self.live), sorted_list([key for key in self.past if key not in self.live])
        if len(self.leases):
            for version in self.live.values():
                if version.lease:
                    self.leases.move_key(version.key, 0, version.lease)


def _ranks(keys: SortedList[bytes], first: bytes, end: bytes) -> tuple[int, int]:
    start = keys.bisect_left(first)
    return start, max(start, keys.bisect_left(end)) if end else len(keys)
