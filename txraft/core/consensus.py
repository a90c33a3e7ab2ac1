"""The consensus module: one input, one synchronous step, a list of effects.

Nothing in here waits, reads a clock, draws a number or touches a disk: the same inputs always give the same effects. The node calls it from
one thread and carries out the effects in order.

Source: Figure 3.1, "Rules for Servers"; Figure 10.1 (the box "consensus module").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from txraft.core import append_entries, directories, follower, leader, reads, request_vote
from txraft.core.configuration import Configuration, ConfigurationHistory
from txraft.core.effects import ConfigurationChanged, Effect, Metadata, Receipt, ResetElectionTimer
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId
from txraft.core.log import Log
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    RequestTerm,
    RequestTermReply,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.require import require
from txraft.core.roles import Candidate, Follower, Leader
from txraft.core.server import Server
from txraft.limits import Limits, Timing

__all__ = ["IGNORED", "RECEIVE", "ConsensusModule"]

Receiver = Callable[[Server, float, ServerId, Any], None]


def _second_leader(server: Server, now: float, sender: ServerId, request: AppendEntries) -> None:
    require(False, f"two leaders in term {request.term}: this server and {sender}")


RECEIVE: dict[tuple[type, type], Receiver] = {
    (Follower, RequestVote): request_vote.receive,
    (Candidate, RequestVote): request_vote.receive,
    (Leader, RequestVote): request_vote.receive,
    (Candidate, RequestVoteReply): request_vote.receive_reply,
    (Follower, AppendEntries): append_entries.receive,
    (Candidate, AppendEntries): append_entries.receive,
    (Leader, AppendEntries): _second_leader,
    (Leader, AppendEntriesReply): leader.receive_reply,
}
"""Who does what with which message of its own term."""

IGNORED: dict[tuple[type, type], str] = {
    (Follower, RequestVoteReply): "its candidacy is over",
    (Leader, RequestVoteReply): "the election is won already",
    (Follower, AppendEntriesReply): "its leadership is over",
    (Candidate, AppendEntriesReply): "its leadership is over",
    **{
        (role, message): "nobody begins this exchange yet"
        for role in (Follower, Candidate, Leader)
        for message in (InstallSnapshot, InstallSnapshotReply, RequestTerm, RequestTermReply)
    },
}
"""What is left alone, and why; with `RECEIVE` it covers every pair of role and message."""


class ConsensusModule:
    """Raft for one server.

    Args:
        server_id: this server.
        metadata: term and vote as recovered.
        log: the log as recovered.
        configurations: those of the log, oldest first.

    Attributes:
        server: the state; for reading only.
    """

    def __init__(
        self,
        server_id: ServerId,
        *,
        metadata: Metadata,
        log: Log,
        configurations: Sequence[tuple[Index, Configuration]],
        limits: Limits,
        timing: Timing,
    ) -> None:
        self.server = Server(
            server_id,
            limits,
            timing,
            log,
            metadata.term,
            metadata.voted_for,
            configurations=ConfigurationHistory(list(configurations)),
        )

    def start(self, now: float) -> list[Effect]:
        """The server begins as a follower. The only voter of a cluster has nobody to wait for. Source: §3.4."""
        server = self.server
        server.effect(ConfigurationChanged(server.configuration))
        server.effect(ResetElectionTimer())
        if server.configuration.voters.keys() == {server.id}:
            follower.election_timeout(server)
        return server.finish_step()

    def receive(self, now: float, sender: ServerId, message: Message) -> list[Effect]:
        """A message of an authenticated peer.

        A higher term makes a follower of anyone, but for what only rehearses an election (§9.6) or would disturb a
        leader (§4.2.3); a lower one is
        answered so that the sender learns better, or dropped.

        Source: Figure 3.1, Rules for Servers, All Servers; §3.3.
        """
        server = self.server
        if isinstance(message, RequestVote) and message.term > server.current_term and request_vote.disturbs_a_leader(server, now, message):
            return server.finish_step()
        if message.term > server.current_term and not _rehearses(message):
            server.become(Follower(), f"{sender} is in term {message.term}", term=message.term)
        if message.term < server.current_term:
            if isinstance(message, RequestVote):
                request_vote.refuse(server, sender, message)
            elif isinstance(message, AppendEntries):
                append_entries.refuse(server, sender, message)
            return server.finish_step()
        receiver = RECEIVE.get((type(server.role), type(message)))
        if receiver is not None:
            receiver(server, now, sender, message)
        return server.finish_step()

    def propose(self, now: float, commands: list[bytes]) -> list[Effect]:
        """Commands that gathered since the last call; the first effect but `Persist` is a `Proposed` saying how many
        were taken (none, if not
        leading). Source: §3.5.
        """
        leader.propose(self.server, commands)
        return self.server.finish_step()

    def read(self, now: float, number: int) -> list[Effect]:
        """A read, or a batch of them, begins; `ReadsReady` or `ReadsLost` ends it. Source: §6.4."""
        reads.request(self.server, number)
        return self.server.finish_step()

    def persisted(self, now: float, receipt: Receipt) -> list[Effect]:
        """A `Persist` and all before it are durable.

        Source: §3.8; §10.2.1. A receipt of an older term proves nothing any more: its entries may have been replaced
        meanwhile by equal ones not yet
        written. Entering the new term was a `Persist` of its own, whose receipt follows.
        """
        server = self.server
        if receipt.term != server.current_term or server.log.term_at(receipt.index) != receipt.entry_term:
            return server.finish_step()
        server.log.durable_index = max(server.log.durable_index, receipt.index)
        request_vote.count_votes(server, now)
        if isinstance(server.role, Leader):
            leader.advance_commit(server)
        else:
            server.apply_committed()
        return server.finish_step()

    def entries_read(self, now: float, to: ServerId, first_index: Index, entries: list[Entry]) -> list[Effect]:
        """The disk answered `ReadEntries`."""
        append_entries.send_read_entries(self.server, to, first_index, entries)
        return self.server.finish_step()

    def applied(self, through: Index) -> list[Effect]:
        """The state machines have applied all entries up to `through`."""
        server = self.server
        require(server.last_applied <= through <= server.commit_index, f"applied {through}, committed {server.commit_index}")
        server.last_applied = through
        return server.finish_step()

    def election_timeout(self, now: float) -> list[Effect]:
        """The election timer has run out. Source: §3.4."""
        follower.election_timeout(self.server)
        return self.server.finish_step()

    def heartbeat_timeout(self, now: float) -> list[Effect]:
        """A heartbeat is due. Source: §3.4; §6.2."""
        leader.heartbeat_timeout(self.server, now)
        return self.server.finish_step()

    def directories_seen(self, now: float, marks: Mapping[ServerId, str]) -> list[Effect]:
        """The marks of the data directories of this server and of those it is connected with, as far as they are known."""
        directories.seen(self.server, marks)
        return self.server.finish_step()

    def peer_unreachable(self, peer: ServerId) -> list[Effect]:
        """What was last sent to `peer` may be lost: go back to probing it."""
        role = self.server.role
        if isinstance(role, Leader) and peer in role.progress:
            role.progress[peer].lost()
        return self.server.finish_step()

    def step_down(self, why: str) -> list[Effect]:
        """This server must not lead now, for a reason of the node's (its disk hangs, it stops)."""
        leader.step_down(self.server, why)
        return self.server.finish_step()


def _rehearses(message: Message) -> bool:
    # A granted pre-vote repeats the term asked for, which nobody has entered yet; a refused one tells of a term that somebody has.
    if isinstance(message, RequestVoteReply):
        return message.pre_vote and message.granted
    return isinstance(message, RequestVote) and message.pre_vote
