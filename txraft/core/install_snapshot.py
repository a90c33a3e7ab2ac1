"""The InstallSnapshot RPC: a follower that needs entries which the leader's log no longer has is sent a snapshot in their place.

The file goes in pieces, one under way at a time. The follower answers with how much it has, so that a transfer goes on where it was when a
piece or an answer was lost, when the connection broke, or when either side was restarted; the snapshot's SHA-256 tells which file is meant.
What is on disk of it is the node's affair: `StoreChunk` and `ReadChunk` ask for that.

Meanwhile heartbeats go on, behind the last entry of the snapshot. Any of them that is accepted shows that the follower does not need the
rest; so `installed` is nothing but a reason to ask with an AppendEntries, and only the answer to that counts.

Source: §5.1; Figure 5.3.
"""

from __future__ import annotations

from txraft.core import append_entries
from txraft.core.effects import ReadChunk, SnapshotRefused, StoreChunk
from txraft.core.ids import Index, ServerId
from txraft.core.messages import InstallSnapshot, InstallSnapshotReply, TransferState
from txraft.core.progress import Progress, ProgressState, Transfer
from txraft.core.require import require
from txraft.core.roles import Candidate, Follower, Leader
from txraft.core.server import Server
from txraft.core.snapshot import Snapshot

__all__ = [
    "being_sent",
    "heartbeat",
    "pinned_index",
    "receive",
    "receive_reply",
    "received",
    "receivers",
    "refuse",
    "refused",
    "send_chunk",
    "stored",
    "taken",
]

SILENCE_TIMEOUTS = 10
"""After so many election timeouts without a word the log is not kept for a follower any longer."""


# The leader.


def heartbeat(server: Server, peer: ServerId) -> None:
    """If a transfer has been silent for an election timeout, ask how much has arrived: the last piece, or its answer, may be lost."""
    assert isinstance(server.role, Leader)
    progress = server.role.progress[peer]
    if progress.state is ProgressState.SNAPSHOT and progress.transfer is not None:
        progress.transfer.silence += 1
        if progress.transfer.silence * server.timing.heartbeat_s >= server.timing.election_s:
            append_entries.ask_for_progress(server, peer, progress.transfer)


def receive_reply(server: Server, now: float, follower: ServerId, reply: InstallSnapshotReply) -> None:
    """Send the next piece, or what follows the snapshot, or begin again.

    Source: Figure 5.3, Sender.
    """
    assert isinstance(server.role, Leader)
    progress = server.role.progress.get(follower)
    if progress is None:
        return
    progress.last_heard = now
    transfer = progress.transfer
    if progress.state is not ProgressState.SNAPSHOT or transfer is None or reply.sha256 != transfer.snapshot.sha256:
        return
    if reply.state == "more":
        _continue(server, follower, transfer, reply.offset)
    elif reply.state == "installed":
        progress.has_snapshot(Index(transfer.snapshot.index))
        append_entries.send_to(server, follower)
    else:
        # Not at once: a follower that refuses each of them would be sent nothing else.
        server.effect(SnapshotRefused(follower, transfer.snapshot))
        _begin_again(server, progress)


def _continue(server: Server, follower: ServerId, transfer: Transfer, offset: int) -> None:
    # An answer to an earlier piece or question, while the piece it wants is being read or under way, asks for nothing new.
    if transfer.reading is not None or offset == transfer.under_way or offset >= transfer.snapshot.size:
        return
    transfer.reading, transfer.silence = offset, 0
    server.effect(ReadChunk(follower, transfer.snapshot, offset, server.limits.snapshot_chunk_bytes))


def _begin_again(server: Server, progress: Progress) -> None:
    require(server.snapshot is not None, "a snapshot is being sent, but there is none")
    assert server.snapshot is not None
    progress.transfer = Transfer(server.snapshot)


def send_chunk(server: Server, to: ServerId, snapshot: Snapshot, offset: int, content: bytes, crc: int) -> None:
    """The disk has answered `ReadChunk`; without content, the file is there no longer: begin again with the newest snapshot."""
    progress = server.role.progress.get(to) if isinstance(server.role, Leader) else None
    if progress is None or progress.state is not ProgressState.SNAPSHOT or progress.transfer is None:
        return
    transfer = progress.transfer
    if transfer.snapshot != snapshot or transfer.reading != offset:
        return
    if content:
        transfer.reading, transfer.under_way, transfer.silence = None, offset, 0
        server.send(to, InstallSnapshot(server.current_term, server.id, snapshot, offset, content, crc))
    else:
        _begin_again(server, progress)


def taken(server: Server, now: float, snapshot: Snapshot, base_index: int) -> None:
    """The machines of this server have been written to a snapshot: the log may begin later. An older one than is recorded changes nothing.

    A follower not heard for long is not waited for any more. It will be sent the newest snapshot when it is back.

    Source: §5.1.
    """
    if server.snapshot is not None and snapshot.index <= server.snapshot.index:
        return
    if isinstance(server.role, Leader):
        for progress in server.role.progress.values():
            if _is_silent(server, progress, now):
                progress.transfer = None
                if progress.state is ProgressState.SNAPSHOT:
                    progress.lost()
    server.compact(snapshot, base_index)


def being_sent(server: Server) -> list[Snapshot]:
    """The snapshots whose files are still needed for followers."""
    progress = server.role.progress.values() if isinstance(server.role, Leader) else ()
    return [each.transfer.snapshot for each in progress if each.transfer is not None and each.state is not ProgressState.REPLICATE]


def _is_silent(server: Server, progress: Progress, now: float) -> bool:
    return now - progress.last_heard >= SILENCE_TIMEOUTS * server.timing.election_s


def receivers(server: Server) -> list[ServerId]:
    """Followers that are being sent a snapshot."""
    progress = server.role.progress if isinstance(server.role, Leader) else {}
    return [peer for peer, each in progress.items() if each.state is ProgressState.SNAPSHOT]


def pinned_index(server: Server, now: float) -> Index | None:
    """Entries behind this one are needed for followers that are being sent a snapshot, or have it and are catching up; but for those not
    heard for long.
    """
    progress = server.role.progress.values() if isinstance(server.role, Leader) else ()
    waited_for = [each for each in progress if not _is_silent(server, each, now)]
    needed = [max(Index(each.transfer.snapshot.index), each.match_index) for each in waited_for if each.transfer is not None]
    return min(needed, default=None)


# The follower.


def refuse(server: Server, leader: ServerId, request: InstallSnapshot) -> None:
    """Tell a leader of an older term that its term is over. Source: Figure 5.3, 1."""
    server.reply(leader, _answer(server, request.snapshot.sha256, 0, "refused"))


def receive(server: Server, now: float, leader: ServerId, request: InstallSnapshot) -> None:
    """A piece of a snapshot from the leader, or the question how much of it is there. What tells nothing new is not stored.

    Source: Figure 5.3, Receiver implementation.
    """
    append_entries.follow(server, now, leader, request.term)
    if _is_superseded(server, request.snapshot):
        server.reply(leader, _answer(server, request.snapshot.sha256, request.snapshot.size, "installed"))
    else:
        server.effect(StoreChunk(leader, request))


def _is_superseded(server: Server, snapshot: Snapshot) -> bool:
    """Whether the log has all that the snapshot stands for. If it has the last entry then it has all before it, and that is committed: the
    log stays whole.

    Source: Figure 5.3, 6; §3.5 (Log Matching).
    """
    if snapshot.index > server.commit_index and server.log.term_at(snapshot.index) == snapshot.term:
        server.commit_to(snapshot.index)
    return snapshot.index <= server.commit_index


def stored(server: Server, leader: ServerId, sha256: bytes, offset: int) -> None:
    """`StoreChunk` is done: the first `offset` bytes are there."""
    _tell(server, leader, sha256, offset, "more")


def refused(server: Server, leader: ServerId, sha256: bytes) -> None:
    """The snapshot is damaged, or machines cannot be made of it here."""
    _tell(server, leader, sha256, 0, "refused")


def received(server: Server, snapshot: Snapshot) -> None:
    """The snapshot is whole and durable, and the machines made of it are ready. It is installed unless something newer is here by now.

    It stands for committed entries whoever sent it, but only a follower, who has promised nothing about its log, may exchange it.

    Source: Figure 5.3, 6 to 8; §3.6.3.
    """
    if isinstance(server.role, Leader):
        return
    if not _is_superseded(server, snapshot):
        if isinstance(server.role, Candidate):
            server.become(Follower(), "a snapshot takes the place of its log")
        server.install(snapshot)
    if server.leader is not None:
        server.reply(server.leader, _answer(server, snapshot.sha256, snapshot.size, "installed"))


def _tell(server: Server, leader: ServerId, sha256: bytes, offset: int, state: TransferState) -> None:
    if isinstance(server.role, Follower) and server.role.leader == leader:
        server.reply(leader, _answer(server, sha256, offset, state))


def _answer(server: Server, sha256: bytes, offset: int, state: TransferState) -> InstallSnapshotReply:
    return InstallSnapshotReply(server.current_term, server.id, sha256, offset, state)
