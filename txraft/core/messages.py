"""The messages of the algorithm. Each names its sender, who must be the one the connection has authenticated.

Numbers are bounded here so that a message which decodes can neither overflow a field on disk nor stand before the log.

Source: Figure 3.1; Figure 5.3 (snapshots); §9.6 (PreVote); §6.4 (rounds of heartbeats for reads).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from txraft.core.entry import Entry
from txraft.core.snapshot import Snapshot
from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX

__all__ = [
    "AppendEntries",
    "AppendEntriesReply",
    "InstallSnapshot",
    "InstallSnapshotReply",
    "Message",
    "RequestTerm",
    "RequestTermReply",
    "RequestVote",
    "RequestVoteReply",
    "TransferState",
]

Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Checksum = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
TransferState = Literal["more", "installed", "refused"]
Sha256 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class _Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    term: Number
    sender: Name


class RequestVote(_Message, tag="vote", frozen=True, array_like=True, gc=False):
    """A candidate asks for a vote. With `pre_vote` it only asks whether it would get one, and `term` is the term it *would*
    campaign in. `leadership_transfer` lets it through although a leader is known (§3.10). `incarnation` is the number of the candidate's
    start: what it asked in an earlier one, it asked with a log that it may have lost since.

    Source: Figure 3.1, RequestVote RPC; §9.6.
    """

    last_log_index: Number
    last_log_term: Number
    pre_vote: bool = False
    leadership_transfer: bool = False
    incarnation: Number = 0


class RequestVoteReply(_Message, tag="voted", frozen=True, array_like=True, gc=False):
    """The answer. A granted pre-vote repeats the term that was asked for; every other answer carries the voter's own term. The
    incarnation comes back as it was asked.
    """

    granted: bool
    pre_vote: bool = False
    incarnation: Number = 0


class AppendEntries(_Message, tag="append", frozen=True, array_like=True, gc=False):
    """The leader replicates `entries` behind (`prev_log_index`, `prev_log_term`); without entries, a heartbeat or probe.

    `round` numbers the leader's rounds of heartbeats and is sent back as it came. `confirmed` is the newest round that this follower has
    answered, as far as the leader had heard when it sent this: from it the follower knows that this is not older than that round.

    `repairing` is the incarnation in which the leader knows this follower to be repairing, else 0: it tells the follower that all it has
    acknowledged before counts for nothing any more.

    Source: Figure 3.1, AppendEntries RPC; §6.4.
    """

    prev_log_index: Number
    prev_log_term: Number
    leader_commit: Number
    round: Number
    entries: list[Entry] = []
    confirmed: Number = 0
    repairing: Number = 0


class AppendEntriesReply(_Message, tag="appended", frozen=True, array_like=True, gc=False):
    """The follower's answer.

    On success `match_index` is the last index that this message has shown to be equal, and is durable. On failure
    `match_index` repeats the `prev_log_index` that did not fit, and (`hint_index`, `hint_term`) is the newest entry of the
    follower that could.

    `incarnation` is the number of the follower's start: an answer of an earlier one is out of date once one of a later has come.
    `repairing` says that the follower has lost what it once acknowledged, and must not be counted.

    Source: Figure 3.1; §3.5 (fewer rejections).
    """

    success: bool
    match_index: Number
    round: Number
    hint_index: Number = 0
    hint_term: Number = 0
    repairing: bool = False
    incarnation: Number = 0


class InstallSnapshot(_Message, tag="snapshot", frozen=True, array_like=True, gc=False):
    """The leader sends a piece of a snapshot to a follower that needs entries which its log no longer has. Without `content` it asks how
    much of it the follower has.

    Source: Figure 5.3.
    """

    snapshot: Snapshot
    offset: Number
    content: bytes = b""
    crc: Checksum = 0


class InstallSnapshotReply(_Message, tag="snapshotted", frozen=True, array_like=True, gc=False):
    """The follower's answer: it has the first `offset` bytes and wants `more`; or all is `installed`, or superseded by what it has
    committed; or it has `refused` the snapshot and dropped what it had of it.

    Source: Figure 5.3, with the offset added so that a transfer goes on where it was interrupted.
    """

    sha256: Sha256
    offset: Number
    state: TransferState


class RequestTerm(_Message, tag="term?", frozen=True, array_like=True, gc=False):
    """A server that has lost its term and vote asks for the term of another; `incarnation` numbers the asking server's start."""

    incarnation: Number


class RequestTermReply(_Message, tag="term!", frozen=True, array_like=True, gc=False):
    """The answer: `term`, which is durable. The incarnation comes back as it was asked."""

    incarnation: Number


Message = (
    RequestVote
    | RequestVoteReply
    | AppendEntries
    | AppendEntriesReply
    | InstallSnapshot
    | InstallSnapshotReply
    | RequestTerm
    | RequestTermReply
)
