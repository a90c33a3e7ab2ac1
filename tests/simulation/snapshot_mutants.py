"""The algorithm with one rule of snapshots or of repair broken; with those of `mutants.py`.

A mutant that chance seldom catches has a test of its own, see `test_mutants.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tests.simulation.mutants import MUTANTS, Patch, mutant, received_by
from txraft.core import append_entries, follower, install_snapshot, leader, repair, request_vote
from txraft.core.configuration import ConfigurationHistory
from txraft.core.consensus import ConsensusModule
from txraft.core.ids import Index, ServerId, Term
from txraft.core.log import Log
from txraft.core.messages import AppendEntries, RequestTermReply, RequestVote, RequestVoteReply
from txraft.core.progress import Progress
from txraft.core.roles import Leader, Repair
from txraft.core.server import Server
from txraft.core.snapshot import Snapshot

__all__ = ["MUTANTS"]


# Snapshots and the beginning of the log.


@mutant("a snapshot leaves what conflicts with it in the log")
def _(patch: Patch) -> None:
    def reset(log: Log, base_index: Index, base_term: Term) -> None:
        kept = log.slice(base_index + 1, entries_max=10**6, bytes_max=None) or []
        whole_reset(log, base_index, base_term)
        log.append(kept)

    whole_reset = Log.reset
    patch(Log, "reset", reset)


@mutant("the entry before the beginning of the log does not match")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, sender: ServerId, request: AppendEntries) -> None:
        if request.prev_log_index < server.log.base_index:
            append_entries.follow(server, now, sender, request.term)
            append_entries._answer(server, sender, request, False, request.prev_log_index)
        else:
            append_entries.receive(server, now, sender, request)

    received_by(patch, AppendEntries, receive)


@mutant("entries from before the beginning of the log are appended again")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, sender: ServerId, request: AppendEntries) -> None:
        if 0 < server.log.base_index - request.prev_log_index < len(request.entries):
            request = msgspec.structs.replace(request, prev_log_index=server.log.base_index, prev_log_term=server.log.base_term)
        append_entries.receive(server, now, sender, request)

    received_by(patch, AppendEntries, receive)


@mutant("an old snapshot is installed")
def _(patch: Patch) -> None:
    def install(server: Server, snapshot: Snapshot) -> None:
        server.commit_index = server._apply_announced = server.last_applied = Index(min(server.last_applied, snapshot.index - 1))
        whole_install(server, snapshot)

    whole_install = Server.install
    patch(install_snapshot, "_is_superseded", lambda server, snapshot: False)
    patch(Server, "install", install)


@mutant("the log is dropped although it has the snapshot's last entry")
def _(patch: Patch) -> None:
    patch(install_snapshot, "_is_superseded", lambda server, snapshot: snapshot.index <= server.commit_index)


@mutant("the configuration of a snapshot is left aside")
def _(patch: Patch) -> None:
    patch(ConfigurationHistory, "replaced", lambda history, configurations: False)


@mutant("machines are restored before the installation is durable")
def _(patch: Patch) -> None:
    def install(server: Server, snapshot: Snapshot) -> None:
        whole_install(server, snapshot)
        server.installed(snapshot)

    whole_install = Server.install
    patch(Server, "install", install)


@mutant("what a snapshot stands for is not counted as applied")
def _(patch: Patch) -> None:
    def install(server: Server, snapshot: Snapshot) -> None:
        announced = server._apply_announced
        whole_install(server, snapshot)
        server._apply_announced = announced

    whole_install = Server.install
    patch(Server, "install", install)


@mutant("a lost piece of a snapshot is not asked for again")
def _(patch: Patch) -> None:
    patch(install_snapshot, "heartbeat", lambda server, peer: None)


@mutant("pieces follow each other without an answer to say where")
def _(patch: Patch) -> None:
    def store(server: Server, leader: ServerId, sha256: bytes, offset: int) -> None:
        tell(server, leader, sha256, offset + 1)

    tell = install_snapshot.stored
    patch(install_snapshot, "stored", store)


@mutant("a follower is sent entries although it lacks those before them")
def _(patch: Patch) -> None:
    def begin(server: Server, peer: ServerId, progress: Progress) -> None:
        progress.next_index = Index(server.log.base_index + 1)

    patch(append_entries, "_begin_snapshot", begin)


# Repair.


@mutant("who is repairing votes")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, candidate: ServerId, request: RequestVote) -> None:
        missing, server.repair = server.repair, None
        request_vote.receive(server, now, candidate, request)
        server.repair = missing

    received_by(patch, RequestVote, receive)


@mutant("who is repairing campaigns")
def _(patch: Patch) -> None:
    def election_timeout(server: Server) -> None:
        missing, server.repair = server.repair, None
        whole_election_timeout(server)
        server.repair = missing

    whole_election_timeout = follower.election_timeout
    patch(follower, "election_timeout", election_timeout)


@mutant("a leader counts who is repairing")
def _(patch: Patch) -> None:
    advance = leader.advance_commit

    def advance_commit(server: Server) -> None:
        assert isinstance(server.role, Leader)
        flagged = [progress for progress in server.role.progress.values() if progress.repairing]
        for progress in flagged:
            progress.repairing = False
        advance(server)
        for progress in flagged:
            progress.repairing = True

    patch(leader, "advance_commit", advance_commit)


@mutant("a leader goes on counting what was acknowledged before a loss")
def _(patch: Patch) -> None:
    believes = Progress.believes

    def trusting(progress: Progress, incarnation: int, *, repairing: bool, prev_index: Index) -> bool:
        before = progress.match_index
        counts = believes(progress, incarnation, repairing=repairing, prev_index=prev_index)
        progress.match_index, progress.next_index = before, max(progress.next_index, Index(before + 1))
        progress.repairing = False
        return counts

    patch(Progress, "believes", trusting)


@mutant("answers from before a loss are believed after it")
def _(patch: Patch) -> None:
    believes = Progress.believes

    def believing(progress: Progress, incarnation: int, *, repairing: bool, prev_index: Index) -> bool:
        if incarnation < progress.incarnation:
            progress.repairing = progress.repairing and repairing
            return True
        return believes(progress, incarnation, repairing=repairing, prev_index=prev_index)

    patch(Progress, "believes", believing)


@mutant("repair ends with whatever a leader has committed, be it none of its own term")
def _(patch: Patch) -> None:
    def conclude(server: Server) -> None:
        missing = server.repair
        if missing is not None and not missing.ending and missing.forgotten_in == server.current_term:
            missing.ending = min(server.commit_index, server.log.durable_index) >= missing.target
            server._repaired = missing.ending

    patch(repair, "conclude", conclude)


@mutant("repair ends without the leader having forgotten anything")
def _(patch: Patch) -> None:
    def note(server: Server, request: AppendEntries) -> None:
        if server.repair is not None:
            whole_note(server, msgspec.structs.replace(request, repairing=server.incarnation))

    whole_note = repair.note
    patch(repair, "note", note)


@mutant("repair ends before its end is written down")
def _(patch: Patch) -> None:
    def end_repair(server: Server) -> None:
        server.repair = None

    patch(Server, "end_repair", end_repair)


@mutant("who has lost its vote votes again when one of the others has told its term")
def _(patch: Patch) -> None:
    def receive_term(server: Server, now: float, sender: ServerId, reply: RequestTermReply) -> None:
        if server.repair is not None:
            server.repair.terms.update({ServerId(voter): Term(0) for voter in server.configuration.voters})
        repair.receive_term(server, now, sender, reply)

    received_by(patch, RequestTermReply, receive_term)


@mutant("who has lost its vote has one to give in the term that it is told")
def _(patch: Patch) -> None:
    def receive_term(server: Server, now: float, sender: ServerId, reply: RequestTermReply) -> None:
        repair.receive_term(server, now, sender, reply)
        if server.repair is None or not server.repair.votes_lost:
            server.voted_for = None if server.voted_for == server.id else server.voted_for

    received_by(patch, RequestTermReply, receive_term)


@mutant("votes that were asked for in an earlier start count")
def _(patch: Patch) -> None:
    def receive_reply(server: Server, now: float, voter: ServerId, reply: RequestVoteReply) -> None:
        request_vote.receive_reply(server, now, voter, msgspec.structs.replace(reply, incarnation=server.incarnation))

    received_by(patch, RequestVoteReply, receive_reply)


@mutant("who has lost its vote and term goes on as if it were in the first")
def _(patch: Patch) -> None:
    patch(repair, "awaits_terms", lambda server: False)
    initialize = ConsensusModule.__init__

    def forgetful(module: ConsensusModule, server_id: ServerId, **known: Any) -> None:
        initialize(module, server_id, **{**known, "repair": Repair() if known.get("repair") else None})

    patch(ConsensusModule, "__init__", forgetful)
