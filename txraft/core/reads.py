"""Linearizable reads without the log: the leader remembers its commit index and makes sure, by a round of heartbeats begun afterwards, that
it still leads.

Rounds are numbered by the leader and only grow, so that an answer can never confirm a read that was asked after it was sent.

Source: §6.4, "Processing read-only queries more efficiently".
"""

from __future__ import annotations

from txraft.core import append_entries
from txraft.core.effects import ReadsLost, ReadsReady
from txraft.core.ids import ServerId
from txraft.core.roles import Leader, PendingRead
from txraft.core.server import Server

__all__ = ["confirm", "request", "unpark"]


def request(server: Server, number: int) -> None:
    """Begin the read (or batch of reads) `number`; numbers must increase.

    Before the term's first entry is committed the commit index may be too old: the read waits for it.
    """
    role = server.role
    if not isinstance(role, Leader):
        server.effect(ReadsLost())
    elif server.commit_index < role.first_index:
        role.parked_reads.append(number)
    else:
        _begin(server, role, number)


def unpark(server: Server) -> None:
    """The term's first entry is committed: begin the reads that waited for it, as one."""
    role = server.role
    assert isinstance(role, Leader)
    if role.parked_reads:
        newest = role.parked_reads[-1]
        role.parked_reads.clear()
        _begin(server, role, newest)


def _begin(server: Server, role: Leader, number: int) -> None:
    role.round += 1
    role.reads.append(PendingRead(number, role.round, server.commit_index))
    for peer in role.progress:
        append_entries.heartbeat(server, peer)
    confirm(server)


def confirm(server: Server) -> None:
    """Release the reads whose round a majority has answered. A leader answers itself."""
    role = server.role
    if not isinstance(role, Leader) or not role.reads:
        return
    rounds: dict[ServerId, int] = {peer: progress.round for peer, progress in role.progress.items()}
    rounds[server.id] = role.round
    answered = server.configuration.majority_reached(rounds)
    ready: PendingRead | None = None
    while role.reads and role.reads[0].round <= answered:
        ready = role.reads.popleft()
    if ready is not None:
        server.effect(ReadsReady(ready.number, ready.index))
