"""The algorithm with one rule broken, each by its name: a check that lets such a core pass is none.

A mutant takes `patch(object, attribute, value)`, as `TestCase.patch` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from attrs import evolve

from txraft.core import append_entries, consensus, leader, reads, request_vote
from txraft.core.configuration import Configuration
from txraft.core.consensus import RECEIVE, ConsensusModule
from txraft.core.effects import Effect, Receipt
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId
from txraft.core.log import Log
from txraft.core.messages import AppendEntries, AppendEntriesReply, RequestVote, RequestVoteReply
from txraft.core.roles import Candidate, Follower, Leader
from txraft.core.server import Server

Patch = Callable[[Any, str, Any], object]
Mutant = Callable[[Patch], None]
MUTANTS: dict[str, Mutant] = {}


def mutant(name: str) -> Callable[[Mutant], Mutant]:
    def note(break_rule: Mutant) -> Mutant:
        MUTANTS[name] = break_rule
        return break_rule

    return note


def received_by(patch: Patch, message: type, receiver: Callable[..., None]) -> None:
    """Let `receiver` take a kind of message in all roles that take it at all."""
    patch(consensus, "RECEIVE", {pair: receiver if pair[1] is message else taken for pair, taken in RECEIVE.items()})


@mutant("a second vote in a term")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, candidate: ServerId, request: RequestVote) -> None:
        if isinstance(server.role, Follower) and not request.pre_vote:
            server.voted_for = None
        request_vote.receive(server, now, candidate, request)

    received_by(patch, RequestVote, receive)


@mutant("the vote is forgotten by a restart")
def _(patch: Patch) -> None:
    initialize = ConsensusModule.__init__

    def forgetful(module: ConsensusModule, server_id: ServerId, **known: Any) -> None:
        initialize(module, server_id, **{**known, "metadata": evolve(known["metadata"], voted_for=None)})

    patch(ConsensusModule, "__init__", forgetful)


@mutant("answers leave before the disk has answered")
def _(patch: Patch) -> None:
    patch(Server, "reply", Server.send)


@mutant("a vote without looking at the candidate's log")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, candidate: ServerId, request: RequestVote) -> None:
        request_vote.receive(server, now, candidate, msgspec.structs.replace(request, last_log_term=2**62))

    received_by(patch, RequestVote, receive)


@mutant("logs compared by length before term")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, candidate: ServerId, request: RequestVote) -> None:
        longer = request.last_log_index >= server.log.last_index
        request_vote.receive(server, now, candidate, msgspec.structs.replace(request, last_log_term=2**62 if longer else 0))

    received_by(patch, RequestVote, receive)


@mutant("pre-votes count as votes")
def _(patch: Patch) -> None:
    def receive_reply(server: Server, now: float, voter: ServerId, reply: RequestVoteReply) -> None:
        if isinstance(server.role, Candidate) and not server.role.pre_vote and reply.pre_vote:
            reply = msgspec.structs.replace(reply, pre_vote=False)
        request_vote.receive_reply(server, now, voter, reply)

    received_by(patch, RequestVoteReply, receive_reply)


@mutant("half of the voters are a majority")
def _(patch: Patch) -> None:
    def has_majority(configuration: Configuration, servers: Iterable[ServerId]) -> bool:
        return len(configuration.voters.keys() & set(servers)) * 2 >= len(configuration.voters)

    def majority_reached(configuration: Configuration, values: Mapping[ServerId, int]) -> int:
        reached = sorted((values.get(ServerId(voter), 0) for voter in configuration.voters), reverse=True)
        return reached[max(len(reached) - 1, 0) // 2] if reached else 0

    patch(Configuration, "has_majority", has_majority)
    patch(Configuration, "majority_reached", majority_reached)


@mutant("entries of earlier terms are committed by counting")
def _(patch: Patch) -> None:
    advance = leader.advance_commit

    def advance_commit(server: Server) -> None:
        assert isinstance(server.role, Leader)
        matches = {peer: int(progress.match_index) for peer, progress in server.role.progress.items()}
        server.commit_to(server.configuration.majority_reached({**matches, server.id: server.log.durable_index}))
        advance(server)

    patch(leader, "advance_commit", advance_commit)


@mutant("a leader counts itself before its disk has answered")
def _(patch: Patch) -> None:
    advance = leader.advance_commit

    def advance_commit(server: Server) -> None:
        durable, server.log.durable_index = server.log.durable_index, server.log.last_index
        advance(server)
        server.log.durable_index = durable

    patch(leader, "advance_commit", advance_commit)


@mutant("a follower commits beyond what a message has shown to agree")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, sender: ServerId, request: AppendEntries) -> None:
        append_entries.receive(server, now, sender, request)
        server.commit_to(min(request.leader_commit, server.log.last_index))

    received_by(patch, AppendEntries, receive)


@mutant("everything behind the previous entry is truncated without a conflict")
def _(patch: Patch) -> None:
    def take(server: Server, prev_index: Index, entries: list[Entry]) -> None:
        if prev_index < server.log.last_index and prev_index >= server.commit_index:
            server.truncate(Index(prev_index + 1))
        server.append(entries[max(0, server.log.last_index - prev_index) :])

    patch(append_entries, "_take", take)


@mutant("what conflicts is not truncated when nothing new takes its place")
def _(patch: Patch) -> None:
    take_all = append_entries._take

    def take(server: Server, prev_index: Index, entries: list[Entry]) -> None:
        if prev_index + len(entries) > server.log.last_index:
            take_all(server, prev_index, entries)

    patch(append_entries, "_take", take)


@mutant("entries are taken behind one that does not match")
def _(patch: Patch) -> None:
    def receive(server: Server, now: float, sender: ServerId, request: AppendEntries) -> None:
        own = server.log.term_at(request.prev_log_index)
        if own is not None:
            request = msgspec.structs.replace(request, prev_log_term=own)
        append_entries.receive(server, now, sender, request)

    received_by(patch, AppendEntries, receive)


@mutant("stale receipts of the disk are believed")
def _(patch: Patch) -> None:
    persisted = ConsensusModule.persisted

    def believing(module: ConsensusModule, now: float, receipt: Receipt) -> list[Effect]:
        index = min(receipt.index, module.server.log.last_index)
        term = module.server.log.term_at(index)
        assert term is not None
        return persisted(module, now, Receipt(module.server.current_term, Index(index), term))

    patch(ConsensusModule, "persisted", believing)


@mutant("late answers are believed whatever their term")
def _(patch: Patch) -> None:
    receive = ConsensusModule.receive

    def believing(module: ConsensusModule, now: float, sender: ServerId, message: Any) -> list[Effect]:
        if isinstance(message, AppendEntriesReply) and message.term < module.server.current_term:
            message = msgspec.structs.replace(message, term=module.server.current_term)
        return receive(module, now, sender, message)

    patch(ConsensusModule, "receive", believing)


@mutant("reads are answered without a round of heartbeats")
def _(patch: Patch) -> None:
    confirm = reads.confirm

    def confirmed(server: Server) -> None:
        if isinstance(server.role, Leader):
            for progress in server.role.progress.values():
                progress.round = server.role.round
        confirm(server)

    patch(reads, "confirm", confirmed)


@mutant("any later answer confirms a read, to whatever it answers")
def _(patch: Patch) -> None:
    def receive_reply(server: Server, now: float, follower: ServerId, reply: AppendEntriesReply) -> None:
        assert isinstance(server.role, Leader)
        leader.receive_reply(server, now, follower, msgspec.structs.replace(reply, round=server.role.round))

    received_by(patch, AppendEntriesReply, receive_reply)


@mutant("reads do not wait for the first commit of the term")
def _(patch: Patch) -> None:
    request = reads.request

    def impatient(server: Server, number: int) -> None:
        if isinstance(server.role, Leader):
            reads._begin(server, server.role, number)
        else:
            request(server, number)

    patch(reads, "request", impatient)


@mutant("a leader without a majority stays in office")
def _(patch: Patch) -> None:
    def heartbeat_timeout(server: Server, now: float) -> None:
        if isinstance(server.role, Leader):
            for peer in server.role.progress:
                append_entries.heartbeat(server, peer)

    patch(leader, "heartbeat_timeout", heartbeat_timeout)


@mutant("requests of an older term go unanswered")
def _(patch: Patch) -> None:
    def silent(server: Server, sender: ServerId, request: object) -> None:
        """Nothing."""

    patch(append_entries, "refuse", silent)
    patch(request_vote, "refuse", silent)


@mutant("who hears from a leader helps to depose it")
def _(patch: Patch) -> None:
    patch(request_vote, "disturbs_a_leader", lambda server, now, request: False)


@mutant("a batch has a hole")
def _(patch: Patch) -> None:
    whole = Log.slice

    def holed(log: Log, first: int, *, entries_max: int, bytes_max: int) -> list[Entry] | None:
        found = whole(log, first, entries_max=entries_max, bytes_max=bytes_max)
        return found[:1] + found[2:] if found and len(found) > 2 else found

    patch(Log, "slice", holed)
