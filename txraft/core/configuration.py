"""Cluster configurations: who votes, who only listens, and how the log decides which one holds.

Source: §4.1 ("a server always uses the latest configuration in its log"), §4.2.1 (learners, there "non-voting members").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from attrs import define, field

from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, ServerId

__all__ = ["Configuration", "ConfigurationHistory"]


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """The members of the cluster by role, each with the address of its peer port. It lives in the log as an entry.

    A later field (the voters to come, in joint consensus) can be added behind these without changing what is stored.

    Attributes:
        directories: the mark of each member's data directory, once it is known: see `directories`.
    """

    voters: dict[str, str]
    learners: dict[str, str] = {}
    directories: dict[str, str] = {}

    @classmethod
    def of(
        cls, voters: Mapping[str, str], learners: Mapping[str, str] | None = None, directories: Mapping[str, str] | None = None
    ) -> Configuration:
        """A configuration with its members in a fixed order, so that equal ones have equal bytes."""
        return cls(dict(sorted(voters.items())), dict(sorted((learners or {}).items())), dict(sorted((directories or {}).items())))

    @classmethod
    def decode(cls, payload: bytes) -> Configuration:
        """Read one from the payload of an entry; raises `msgspec.MsgspecError` on any other bytes."""
        return msgspec.msgpack.decode(payload, type=cls)

    def encode(self) -> bytes:
        """The payload of its entry."""
        return msgspec.msgpack.encode(self)

    @property
    def members(self) -> dict[str, str]:
        """Address by server, voters and learners."""
        return {**self.voters, **self.learners}

    def with_directories(self, marks: Mapping[str, str]) -> Configuration:
        """The same members, and these marks of theirs beside those that are known; a known one stays as it is."""
        new = {member: mark for member, mark in marks.items() if mark and member in self.members}
        return Configuration.of(self.voters, self.learners, {**new, **self.directories})

    def is_voter(self, server: ServerId) -> bool:
        """Whether `server` has a vote."""
        return server in self.voters

    def has_majority(self, servers: Iterable[ServerId]) -> bool:
        """Whether the voters among `servers` are more than half of all voters."""
        return len(self.voters.keys() & set(servers)) * 2 > len(self.voters)

    def majority_reached(self, values: Mapping[ServerId, int]) -> int:
        """The greatest number that more than half of the voters have reached; a voter not in `values` is at 0.

        With match indexes it is the index that may be committed. Source: Figure 3.1, "Rules for Leaders".
        """
        if not self.voters:
            return 0
        reached = sorted((values.get(ServerId(voter), 0) for voter in self.voters), reverse=True)
        return reached[len(reached) // 2]


@define
class ConfigurationHistory:
    """The configurations of the log by index, oldest first, so that truncating the log brings the previous one back."""

    _at: list[tuple[Index, Configuration]] = field(factory=list)

    @property
    def latest(self) -> Configuration:
        """The one in force: the newest in the log, committed or not. Without any, nobody votes."""
        return self._at[-1][1] if self._at else Configuration({})

    @property
    def latest_index(self) -> Index:
        """Where the one in force stands; 0 without any."""
        return self._at[-1][0] if self._at else Index(0)

    def in_force_at(self, index: int) -> tuple[Index, Configuration]:
        """The newest at or before `index`, and where it stands."""
        return next(((at, found) for at, found in reversed(self._at) if at <= index), (Index(0), Configuration({})))

    def extend(self, configurations: Iterable[tuple[Index, Configuration]]) -> None:
        """Add later ones."""
        self._at.extend(configurations)

    def appended(self, first_index: Index, entries: list[Entry]) -> bool:
        """Note the configurations among new entries; whether there was one."""
        before = len(self._at)
        for offset, entry in enumerate(entries):
            if entry.kind == EntryKind.CONFIGURATION:
                self._at.append((Index(first_index + offset), Configuration.decode(entry.payload)))
        return len(self._at) > before

    def truncated(self, first_removed: Index) -> bool:
        """Forget the configurations from `first_removed` on; whether there was one."""
        before = len(self._at)
        while self._at and self._at[-1][0] >= first_removed:
            self._at.pop()
        return len(self._at) < before

    def compacted(self, index: int) -> None:
        """Forget those before the one in force at `index`, which nothing goes back to any more."""
        at, _ = self.in_force_at(index)
        self._at = [found for found in self._at if found[0] >= at]

    def replaced(self, configurations: Sequence[tuple[int, bytes]]) -> bool:
        """Begin again with those of a snapshot; whether another is in force now."""
        before = self.latest
        self._at = [(Index(index), Configuration.decode(payload)) for index, payload in configurations]
        return self.latest != before
