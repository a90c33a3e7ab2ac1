"""What a step of the consensus module asks of the world: a closed vocabulary.

The node carries out the effects of a step in their order. None of them returns anything: what the world has to say comes back as an
input of its own (`persisted`, `entries_read`, …).
"""

from __future__ import annotations

from attrs import frozen

from txraft.core.configuration import Configuration
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import Message

__all__ = [
    "Apply",
    "ConfigurationChanged",
    "Effect",
    "LeadershipReady",
    "Metadata",
    "Persist",
    "Proposed",
    "ReadEntries",
    "ReadsLost",
    "ReadsReady",
    "Receipt",
    "ResetElectionTimer",
    "RoleChanged",
    "Send",
    "StartHeartbeats",
    "StopElectionTimer",
    "StopHeartbeats",
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
    """

    term: Term
    index: Index
    entry_term: Term


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
    """

    metadata: Metadata | None
    truncate_from: Index | None
    first_index: Index
    entries: list[Entry]
    receipt: Receipt
    then: tuple[Send, ...]


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
        role: `follower`, `candidate` or `leader`.
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
