"""What a step of the consensus module asks of the world: a closed vocabulary.

The node carries out the effects of a step in their order. None of them returns anything: what the world has to say comes back as an
input of its own (`persisted`, `entries_read`, …).
"""

from __future__ import annotations

from attrs import frozen

from txraft.core.configuration import Configuration
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import InstallSnapshot, Message
from txraft.core.snapshot import Snapshot

__all__ = [
    "Apply",
    "Base",
    "ConfigurationChanged",
    "Effect",
    "LeadershipReady",
    "Metadata",
    "Persist",
    "Proposed",
    "ReadChunk",
    "ReadEntries",
    "ReadsLost",
    "ReadsReady",
    "Receipt",
    "Repaired",
    "ResetElectionTimer",
    "Restore",
    "RoleChanged",
    "Send",
    "SnapshotRefused",
    "StartHeartbeats",
    "StopElectionTimer",
    "StopHeartbeats",
    "StoreChunk",
]


@frozen
class Metadata:
    """Current term and vote, which must survive a crash together. Source: Figure 3.1, persistent state."""

    term: Term
    voted_for: ServerId | None


@frozen
class Receipt:
    """What a `Persist` proves once it is done; given back to `persisted()`.

    It counts only while `term` is still the current term and the entry at `index` still has `entry_term`: the same entry may have been
    written, overwritten and written again in between.

    Attributes:
        installed: the snapshot whose installation was written.
        repaired: the note of repair was removed. What these two say holds in any term.
    """

    term: Term
    index: Index
    entry_term: Term
    installed: Snapshot | None = None
    repaired: bool = False


@frozen
class Base:
    """Where the log begins: entries up to `index` are no longer needed from it.

    Attributes:
        index: of the last entry that is dropped; at most that of the snapshot.
        term: of that entry.
        snapshot: stands for all that it includes; durable under its final name.
        keeps_log: if not, the snapshot was installed in the place of the log: whatever was there is gone, and the log is empty behind
            the snapshot.

    Source: §5.1; Figure 5.3, 6 and 7.
    """

    index: Index
    term: Term
    snapshot: Snapshot
    keeps_log: bool


@frozen
class Send:
    """Send `message` to a peer; it may be lost."""

    to: ServerId
    message: Message


@frozen
class Persist:
    """Make metadata and entries durable, in the order of the effects, then say what may only be said after it.

    All `Persist`s go through one first-in-first-out disk. When this one and all before it are durable, the node calls
    `persisted(receipt)` and then sends `then`. One without metadata and entries waits for those before it only.

    Attributes:
        metadata: term and vote, if they changed.
        truncate_from: drop all stored entries from this index on, before appending.
        first_index: the index of the first of `entries` (meaningless without any).
        entries: consecutive entries to append; the list is not to be changed by anyone.
        receipt: what it proves.
        then: answers that rest on it. Source: §3.8.
        base: where the log begins now; written after the metadata and before the entries. With one that does not keep the log the machines
            rest until `Restore`.
        repaired: this server takes part again: remove the note of repair, after all else.
    """

    metadata: Metadata | None
    truncate_from: Index | None
    first_index: Index
    entries: list[Entry]
    receipt: Receipt
    then: tuple[Send, ...]
    base: Base | None = None
    repaired: bool = False


@frozen
class Apply:
    """Entries up to `through` are committed and durable here: apply them in order. It never goes back."""

    through: Index


@frozen
class ReadEntries:
    """Read entries from disk for a follower who is behind what memory holds; answer with `entries_read`.

    Attributes:
        to: the follower they are for.
        first_index: where to begin.
        bytes_max: about how much; at least one entry.
    """

    to: ServerId
    first_index: Index
    bytes_max: int


@frozen
class ReadChunk:
    """Read a piece of a snapshot's file for a follower; answer with `chunk_read`.

    Attributes:
        to: the follower it is for.
        snapshot: which file.
        offset: where to begin.
        bytes_max: how much, if there is as much.
    """

    to: ServerId
    snapshot: Snapshot
    offset: int
    bytes_max: int


@frozen
class StoreChunk:
    """Write a piece of a snapshot that the leader has sent, if it is the next one; answer with `chunk_stored`, which says how much is
    there, or with `snapshot_received` when it is whole, or with `snapshot_refused`. One without content is only a question.
    """

    sender: ServerId
    chunk: InstallSnapshot


@frozen
class Restore:
    """The installation of this snapshot is durable: swap in the machines restored from it. Everything up to its index counts as applied."""

    snapshot: Snapshot


@frozen
class SnapshotRefused:
    """A follower could make nothing of the snapshot that it was sent: its file here may have gone bad."""

    by: ServerId
    snapshot: Snapshot


@frozen
class Repaired:
    """What this server had lost is restored: it votes, and is counted, again."""


@frozen
class Proposed:
    """The first `accepted` of the proposed commands are in the log from `first_index` on; the rest found no room."""

    first_index: Index
    term: Term
    accepted: int


@frozen
class ReadsReady:
    """Reads numbered up to `through_read` may be answered once `index` is applied here. Source: §6.4."""

    through_read: int
    index: Index


@frozen
class ReadsLost:
    """All reads not yet ready will never be: leadership is gone. A read has no effect, so it may be asked again elsewhere."""


@frozen
class ResetElectionTimer:
    """Draw a new election timeout and start it from now."""


@frozen
class StopElectionTimer:
    """A leader has no election timer."""


@frozen
class StartHeartbeats:
    """Call `heartbeat_timeout` every heartbeat interval until told to stop."""


@frozen
class StopHeartbeats:
    """No more heartbeats."""


@frozen
class RoleChanged:
    """Role, term or known leader changed.

    Attributes:
        role: `follower`, `candidate` or `leader`, or `repairing`, which is a follower that is not counted.
        term: the current term.
        leader: the leader of the term, if known.
        why: a phrase for the log.
    """

    role: str
    term: Term
    leader: ServerId | None
    why: str


@frozen
class LeadershipReady:
    """The first entry of this leader's own term is committed: everything earlier is known to be, too."""

    term: Term


@frozen
class ConfigurationChanged:
    """The newest configuration in the log is now this one."""

    configuration: Configuration


Effect = (
    Persist
    | Send
    | Apply
    | ReadEntries
    | ReadChunk
    | StoreChunk
    | Restore
    | Repaired
    | SnapshotRefused
    | Proposed
    | ReadsReady
    | ReadsLost
    | ResetElectionTimer
    | StopElectionTimer
    | StartHeartbeats
    | StopHeartbeats
    | RoleChanged
    | LeadershipReady
    | ConfigurationChanged
)
