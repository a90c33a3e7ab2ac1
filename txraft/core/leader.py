"""What a leader does: establish itself, take proposals, commit, keep a quorum in touch.

Source: Figure 3.1, Rules for Servers, Leaders; §3.6.2 (commitment), §6.2 (a leader that lost its quorum steps down), §6.4 (no-op).
"""

from __future__ import annotations

from txraft.core import append_entries, install_snapshot, reads
from txraft.core.effects import LeadershipReady, Proposed
from txraft.core.entry import OVERHEAD_BYTES, Entry, EntryKind
from txraft.core.ids import Index, ServerId
from txraft.core.messages import AppendEntriesReply
from txraft.core.progress import Progress
from txraft.core.roles import Follower, Leader
from txraft.core.server import Server

__all__ = ["advance_commit", "establish", "heartbeat_timeout", "propose", "receive_reply", "step_down"]


def establish(server: Server, now: float) -> None:
    """Become leader: begin the term with an entry of it, which carries everything earlier to commitment.

    Source: §6.4 (no-op); Figure 3.1, "Volatile state on leaders: reinitialized after election".
    """
    next_index = Index(server.log.last_index + 1)
    progress = {peer: Progress(next_index, last_heard=now) for peer in server.peers}
    server.become(Leader(next_index, progress), "won the election")
    server.append([Entry(server.current_term, EntryKind.NOOP, b"")])
    for peer in progress:
        append_entries.send_to(server, peer)


def propose(server: Server, commands: list[bytes]) -> None:
    """Append commands to the log and send them on; what finds no room within the bytes that may wait for commitment is not taken.

    One batch is always taken when nothing waits, however large it is.
    """
    role = server.role
    accepted: list[bytes] = []
    size = 0
    if isinstance(role, Leader):
        room = server.limits.uncommitted_bytes_max - role.uncommitted_bytes
        size = sum(map(len, commands)) + OVERHEAD_BYTES * len(commands)
        if size <= room:
            accepted = commands
        else:
            accepted, size = _fitting(commands, room, at_least_one=not role.uncommitted)
    server.effect(Proposed(Index(server.log.last_index + 1), server.current_term, len(accepted)))
    if not accepted:
        return
    assert isinstance(role, Leader)
    term, kind = server.current_term, EntryKind.COMMAND.value
    server.append([Entry(term, kind, command) for command in accepted])
    role.uncommitted.append((server.log.last_index, size))
    role.uncommitted_bytes += size
    for peer in role.progress:
        append_entries.send_to(server, peer)


def _fitting(commands: list[bytes], room: int, *, at_least_one: bool) -> tuple[list[bytes], int]:
    size = 0
    for count, command in enumerate(commands):
        if size + len(command) + OVERHEAD_BYTES > room and not (at_least_one and count == 0):
            return commands[:count], size
        size += len(command) + OVERHEAD_BYTES
    return commands, size


def advance_commit(server: Server) -> None:
    """Commit what a majority of the voters has on disk, if it is of this term: entries of earlier terms are committed by being before it.

    The leader's own disk counts like any other, no more and no less; one that is repairing does not (`repair.py`).

    Source: §3.6.2, Figure 3.7; §10.2.1.
    """
    role = server.role
    assert isinstance(role, Leader)
    matches: dict[ServerId, int] = {peer: progress.match_index for peer, progress in role.progress.items() if not progress.repairing}
    matches[server.id] = server.log.durable_index
    reached = server.configuration.majority_reached(matches)
    if reached <= server.commit_index or server.log.term_at(reached) != server.current_term:
        server.apply_committed()
        return
    first_of_term = server.commit_index < role.first_index
    server.commit_to(reached)
    while role.uncommitted and role.uncommitted[0][0] <= reached:
        role.uncommitted_bytes -= role.uncommitted.popleft()[1]
    if first_of_term:
        server.effect(LeadershipReady(server.current_term))
        reads.unpark(server)


def receive_reply(server: Server, now: float, follower: ServerId, reply: AppendEntriesReply) -> None:
    """A follower answered: note it, commit and confirm reads by it."""
    append_entries.receive_reply(server, now, follower, reply)
    advance_commit(server)
    reads.confirm(server)


def heartbeat_timeout(server: Server, now: float) -> None:
    """Step down when a majority has not answered for an election timeout, else send heartbeats.

    Source: §6.2, "a leader ... steps down if an election timeout elapses without a successful round of heartbeats to a majority".
    """
    role = server.role
    if not isinstance(role, Leader):
        return
    in_touch = {peer for peer, progress in role.progress.items() if now - progress.last_heard < server.timing.election_s}
    if not server.configuration.has_majority(in_touch | {server.id}):
        step_down(server, "no answer from a majority for an election timeout")
        return
    role.round += 1
    for peer in role.progress:
        append_entries.heartbeat(server, peer)
        install_snapshot.heartbeat(server, peer)


def step_down(server: Server, why: str) -> None:
    """Be a follower of nobody in the same term, if this server leads. The vote of the term stays given."""
    if isinstance(server.role, Leader):
        server.become(Follower(), why)
