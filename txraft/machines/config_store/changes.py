"""The history of changes as watches read it: every version is an event at its revision, from the compacted revision on.

Source: etcd's `mvcc/watchable_store.go`.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import takewhile
from typing import Any

from msgspec.structs import asdict

from txraft.limits import EVENTS_BYTES_MAX
from txraft.machines.config_store.key_values import KEY_VALUE_BYTES, KeyValue
from txraft.machines.config_store.log import MOD_REVISION, Log
from txraft.machines.config_store.versions import Versions
from txraft.statemachine.events import Page

__all__ = ["Changes"]

OTHERS_MAX = 4_096
"""Versions of other keys that one page passes over."""


class Changes:
    """Reads versions as events: see `txraft.statemachine.events.History`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    @property
    def newest(self) -> int:
        """The newest revision."""
        return self._versions.revision

    @property
    def oldest(self) -> int:
        """From here on everything can be read: the compacted revision itself can."""
        return self._versions.compacted or 1

    def read(self, topic: bytes, prefix: bool, first: int, skip: int) -> Page:
        """The changes of a key, or of all that begin with `topic`, from a place on."""
        if first > self.newest:
            return Page([], first, skip)
        if first < self.oldest:
            first, skip = self.oldest, 0
        log = self._versions.log
        place = min(log.position(first) + skip, log.position(first + 1))
        return self._read_all(log, topic, place) if prefix else self._read_key(log, topic, place)

    def _read_all(self, log: Log, topic: bytes, place: int) -> Page:
        events: list[dict[str, Any]] = []
        others = size = 0
        for at, version in enumerate(log.since(place), place):
            if version.key.startswith(topic):
                size += _size(version)
                if events and size > EVENTS_BYTES_MAX:
                    return self._page(events, at)
                events.append(_event(version))
            elif others == OTHERS_MAX:
                return self._page(events, at)
            else:
                others += 1
        return self._page(events, log.stop)

    def _read_key(self, log: Log, topic: bytes, place: int) -> Page:
        """Along the key's own versions, which do not know their place within a revision: it is looked for where it matters."""
        live, past = self._versions.live.get(topic), self._versions.past.get(topic, [])
        if place == log.stop:
            return self._page([], place)
        revision = log.at(place).mod_revision
        begun = place > log.position(revision)
        events: list[dict[str, Any]] = []
        size = 0
        for number in range(bisect_left(past, revision, key=MOD_REVISION), len(past) + (live is not None)):
            version = past[number] if number < len(past) else live
            assert version is not None
            if version.mod_revision < revision or (begun and version.mod_revision == revision and self._place_of(version) < place):
                continue
            size += _size(version)
            if events and size > EVENTS_BYTES_MAX:
                return self._page(events, self._place_of(version))
            events.append(_event(version))
        return self._page(events, log.stop)

    def _place_of(self, version: KeyValue) -> int:
        place = self._versions.log.position(version.mod_revision)
        others = takewhile(lambda one: one is not version, self._versions.log.since(place))
        return place + sum(1 for _ in others)

    def _page(self, events: list[dict[str, Any]], place: int) -> Page:
        """With where to go on from, a place in the log, as a revision and how many of its versions are to be skipped."""
        log = self._versions.log
        if place == log.stop:
            return Page(events, self.newest + 1, 0)
        revision = log.at(place).mod_revision
        return Page(events, revision, place - log.position(revision))


def _size(version: KeyValue) -> int:
    return 2 * (len(version.key) + KEY_VALUE_BYTES) + len(version.value)


def _event(version: KeyValue) -> dict[str, Any]:
    kind = "put" if version.version else "delete"
    return {"index": version.mod_revision, "topic": version.key, "fields": {"type": kind, "kv": asdict(version)}}
