"""The consensus module: one input, one synchronous step, a list of effects.

Nothing in here waits, reads a clock, draws a number or touches a disk: the same inputs always give the same effects. The node calls it from
one thread and carries out the effects in order.

Source: Figure 3.1, "Rules for Servers"; Figure 10.1 (the box "consensus module").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from txraft.core import append_entries, directories, follower, install_snapshot, leader, reads, repair, request_vote
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
from txraft.core.roles import Candidate, Follower, Leader, Repair
from txraft.core.server import Server
from txraft.core.snapshot import Snapshot
from txraft.limits import Limits, Timing

__all__ = ["IGNORED", "RECEIVE", "ConsensusModule"]

Receiver = Callable[[Server, float, ServerId, Any], None]


def _second_leader(server: Server, now: float, sender: ServerId, request: AppendEntries | InstallSnapshot) -> None:
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
    (Follower, InstallSnapshot): install_snapshot.receive,
    (Candidate, InstallSnapshot): install_snapshot.receive,
    (Leader, InstallSnapshot): _second_leader,
    (Leader, InstallSnapshotReply): install_snapshot.receive_reply,
    (Follower, RequestTerm): repair.answer,
    (Candidate, RequestTerm): repair.answer,
    (Leader, RequestTerm): repair.answer,
    (Follower, RequestTermReply): repair.receive_term,
}
"""Who does what with which message of its own term."""

IGNORED: dict[tuple[type, type], str] = {
    (Follower, RequestVoteReply): "its candidacy is over",
    (Leader, RequestVoteReply): "the election is won already",
    (Follower, AppendEntriesReply): "its leadership is over",
    (Candidate, AppendEntriesReply): "its leadership is over",
    (Follower, InstallSnapshotReply): "its leadership is over",
    (Candidate, InstallSnapshotReply): "its leadership is over",
    (Candidate, RequestTermReply): "it knows its term",
    (Leader, RequestTermReply): "it knows its term",
}
"""What is left alone, and why; with `RECEIVE` it covers every pair of role and message."""


class ConsensusModule:
    """Raft for one server.

    Args:
        server_id: this server.
        metadata: term and vote as recovered.
        log: the log as recovered.
        configurations: those of the log, oldest first.
        incarnation: the number of this start, greater than that of any before.
        snapshot: the newest recorded, from which the machines have been restored; the log begins at its last entry or before.
        repair: if something that was durable is lost.

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
        incarnation: int = 0,
        snapshot: Snapshot | None = None,
        repair: Repair | None = None,
    ) -> None:
        require(repair is None or incarnation > 0, "a server that is repairing numbers its starts")
        applied = Index(snapshot.index if snapshot is not None else 0)
        require(log.base_index <= applied <= log.last_index, f"the log from {log.base_index} on does not begin at snapshot {applied}")
        history = ConfigurationHistory()
        history.replaced(snapshot.configurations if snapshot is not None else [])
        history.extend((index, found) for index, found in configurations if index > applied)
        # With the vote lost the term is at least that of the entries that are left, and what vote there is may be of an earlier one.
        term = max(metadata.term, log.last_term) if repair is not None else metadata.term
        self.server = Server(
            server_id,
            limits,
            timing,
            log,
            term,
            metadata.voted_for if term == metadata.term else None,
            configurations=history,
            commit_index=applied,
            last_applied=applied,
            snapshot=snapshot,
            incarnation=incarnation,
            repair=repair,
            apply_announced=applied,
        )

    def start(self, now: float) -> list[Effect]:
        """The server begins as a follower. The only voter of a cluster has nobody to wait for. Source: §3.4."""
        server = self.server
        server.effect(ConfigurationChanged(server.configuration))
        server.effect(ResetElectionTimer())
        repair.ask(server)
        if server.configuration.voters.keys() == {server.id}:
            follower.election_timeout(server)
        return server.finish_step()

    def receive(self, now: float, sender: ServerId, message: Message) -> list[Effect]:
        """A message of an authenticated peer.

        A higher term makes a follower of anyone, but for what only rehearses an election (§9.6) or would disturb a
        leader (§4.2.3); a lower one is
        answered so that the sender learns better, or dropped. Who asks for a term, or tells one, is answered in any.

        Source: Figure 3.1, Rules for Servers, All Servers; §3.3.
        """
        server = self.server
        if repair.awaits_terms(server) and not isinstance(message, RequestTermReply):
            return server.finish_step()
        if isinstance(message, RequestVote) and message.term > server.current_term and request_vote.disturbs_a_leader(server, now, message):
            return server.finish_step()
        if message.term > server.current_term and not _rehearses(message):
            server.become(Follower(), f"{sender} is in term {message.term}", term=message.term)
        if message.term < server.current_term and not isinstance(message, RequestTerm | RequestTermReply):
            if isinstance(message, RequestVote):
                request_vote.refuse(server, sender, message)
            elif isinstance(message, AppendEntries):
                append_entries.refuse(server, sender, message)
            elif isinstance(message, InstallSnapshot):
                install_snapshot.refuse(server, sender, message)
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

        Source: §3.8; §10.2.1; Figure 5.3, 8. A receipt of an older term proves nothing any more: its entries may have been replaced
        meanwhile by equal ones not yet
        written. Entering the new term was a `Persist` of its own, whose receipt follows.
        """
        server = self.server
        if receipt.installed is not None:
            server.installed(receipt.installed)
        if receipt.repaired:
            repair.done(server)
        if receipt.term != server.current_term or server.log.term_at(receipt.index) != receipt.entry_term:
            return server.finish_step()
        server.log.durable_index = max(server.log.durable_index, receipt.index)
        request_vote.count_votes(server, now)
        if isinstance(server.role, Leader):
            leader.advance_commit(server)
        else:
            server.apply_committed()
            repair.conclude(server)
        return server.finish_step()

    def entries_read(self, now: float, to: ServerId, first_index: Index, entries: list[Entry]) -> list[Effect]:
        """The disk answered `ReadEntries`."""
        append_entries.send_read_entries(self.server, to, first_index, entries)
        return self.server.finish_step()

    def snapshot_taken(self, now: float, snapshot: Snapshot, base_index: Index) -> list[Effect]:
        """This server's machines, as of `snapshot.index`, are in a file that is durable under its final name: the log may begin behind
        `base_index`, which is at most that. Without a `Persist` that records it the file is superseded already. Source: §5.1.
        """
        install_snapshot.taken(self.server, now, snapshot, base_index)
        return self.server.finish_step()

    def chunk_read(self, now: float, to: ServerId, snapshot: Snapshot, offset: int, content: bytes, crc: int) -> list[Effect]:
        """The disk answered `ReadChunk`; without content, the file is there no longer."""
        install_snapshot.send_chunk(self.server, to, snapshot, offset, content, crc)
        return self.server.finish_step()

    def chunk_stored(self, now: float, leader: ServerId, sha256: bytes, offset: int) -> list[Effect]:
        """The disk answered `StoreChunk`: the first `offset` bytes are there."""
        install_snapshot.stored(self.server, leader, sha256, offset)
        return self.server.finish_step()

    def snapshot_received(self, now: float, snapshot: Snapshot) -> list[Effect]:
        """A snapshot from a leader is whole, verified and durable under its final name, and machines are made of it. Without a `Persist`
        that records it, it is superseded and not needed.
        """
        install_snapshot.received(self.server, snapshot)
        return self.server.finish_step()

    def snapshot_refused(self, now: float, leader: ServerId, sha256: bytes) -> list[Effect]:
        """A snapshot from a leader is unreadable, or no machines can be made of it here: what there is of it is dropped."""
        install_snapshot.refused(self.server, leader, sha256)
        return self.server.finish_step()

    def receivers_of_snapshots(self) -> list[ServerId]:
        """The followers that are being sent a snapshot."""
        return install_snapshot.receivers(self.server)

    def pinned_index(self, now: float) -> Index | None:
        """Entries behind it are still needed for followers that are being sent a snapshot; None if there are none."""
        return install_snapshot.pinned_index(self.server, now)

    def snapshots_being_sent(self) -> list[Snapshot]:
        """Whose files are not to be removed yet."""
        return install_snapshot.being_sent(self.server)

    def configurations_at(self, index: Index) -> list[tuple[int, bytes]]:
        """The configuration in force at `index`, which is not before the newest snapshot: for a snapshot there. Source: §5.1."""
        at, configuration = self.server.configurations.in_force_at(index)
        return [(at, configuration.encode())]

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
    # A term that is asked for or told is entered only by who needs it.
    return isinstance(message, RequestTerm | RequestTermReply) or (isinstance(message, RequestVote) and message.pre_vote)
