"""The AppendEntries RPC: the leader's sending, the follower's receiving, and the leader's understanding of the answer.

Where the follower needs what the log no longer has, a snapshot is begun instead (`install_snapshot.py`).

Source: Figure 3.1, AppendEntries RPC; §3.5 (log replication), §3.6.2 (commitment), §10.2 (pipelining, batching), §5.1 (discarded entries).
"""

from __future__ import annotations

from txraft.core import repair
from txraft.core.effects import ReadEntries, ResetElectionTimer
from txraft.core.entry import Entry, entries_bytes
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import AppendEntries, AppendEntriesReply, InstallSnapshot
from txraft.core.progress import Progress, ProgressState, Transfer
from txraft.core.require import require
from txraft.core.roles import Follower, Leader
from txraft.core.server import Server

__all__ = ["ask_for_progress", "follow", "heartbeat", "receive", "receive_reply", "refuse", "send_read_entries", "send_to"]


def send_to(server: Server, peer: ServerId) -> None:
    """Send a follower what it lacks, as far as its window allows; what memory no longer holds is asked of the disk first."""
    assert isinstance(server.role, Leader)
    progress, limits = server.role.progress[peer], server.limits
    while progress.next_index <= server.log.last_index and progress.may_send(limits):
        if progress.next_index <= server.log.base_index:
            _begin_snapshot(server, peer, progress)
            return
        entries = server.log.slice(progress.next_index, entries_max=limits.append_entries_max, bytes_max=limits.append_bytes_max)
        if entries is None:
            progress.reading = True
            server.effect(ReadEntries(peer, progress.next_index, limits.append_bytes_max))
            return
        _send(server, peer, progress, entries)


def send_read_entries(server: Server, peer: ServerId, first_index: Index, entries: list[Entry]) -> None:
    """The disk has answered `ReadEntries`. If the follower's answers have meanwhile moved on, it is asked again for what is needed now."""
    if not isinstance(server.role, Leader) or peer not in server.role.progress:
        return
    progress = server.role.progress[peer]
    if not progress.reading:
        return
    progress.reading = False
    if progress.next_index == first_index and first_index > server.log.base_index:
        terms_agree = all(server.log.term_at(first_index + offset) == entry.term for offset, entry in enumerate(entries))
        require(bool(entries) and terms_agree, f"the disk gave other entries from {first_index} on than the log holds")
        _send(server, peer, progress, entries)
    send_to(server, peer)


def heartbeat(server: Server, peer: ServerId) -> None:
    """Send an AppendEntries without entries, whatever the window says: it keeps the follower from campaigning, confirms reads, and by
    being refused it shows that something under way was lost.
    """
    assert isinstance(server.role, Leader)
    progress = server.role.progress[peer]
    if progress.next_index <= server.log.base_index and progress.state is not ProgressState.SNAPSHOT:
        _begin_snapshot(server, peer, progress)
    _send(server, peer, progress, [])


def _begin_snapshot(server: Server, peer: ServerId, progress: Progress) -> None:
    """Begin to send the newest snapshot, or go on with the one that was begun, if the log still reaches back to it. Source: §5.1."""
    transfer = progress.transfer
    if transfer is None or transfer.snapshot.index < server.log.base_index:
        require(server.snapshot is not None, f"the log begins behind entry {server.log.base_index}, and there is no snapshot")
        assert server.snapshot is not None
        transfer = Transfer(server.snapshot)
    progress.sends_snapshot(transfer)
    ask_for_progress(server, peer, transfer)


def ask_for_progress(server: Server, peer: ServerId, transfer: Transfer) -> None:
    """Ask how much of a snapshot the follower has. The answer sets the transfer going."""
    transfer.under_way, transfer.silence = None, 0
    server.send(peer, InstallSnapshot(server.current_term, server.id, transfer.snapshot, 0))


def _send(server: Server, peer: ServerId, progress: Progress, entries: list[Entry]) -> None:
    assert isinstance(server.role, Leader)
    prev_index, prev_term = _previous(server, progress)
    require(prev_term is not None, f"no term known for entry {prev_index}, before what {peer} needs")
    assert prev_term is not None
    if entries:
        progress.sent(Index(prev_index + len(entries)), entries_bytes(entries))
    round, confirmed, repairing = server.role.round, progress.round, progress.incarnation if progress.repairing else 0
    server.send(
        peer,
        AppendEntries(server.current_term, server.id, prev_index, prev_term, server.commit_index, round, entries, confirmed, repairing),
    )


def _previous(server: Server, progress: Progress) -> tuple[Index, Term | None]:
    if progress.state is ProgressState.SNAPSHOT and progress.transfer is not None:
        return Index(progress.transfer.snapshot.index), Term(progress.transfer.snapshot.term)
    index = Index(progress.next_index - 1)
    return index, server.log.term_at(index)


def refuse(server: Server, leader: ServerId, request: AppendEntries) -> None:
    """Tell a leader of an older term that its term is over, or a server that lost touch would be ignored by all for ever.

    Source: Figure 3.1, AppendEntries 1; §4.2.3.
    """
    _answer(server, leader, request, False, request.prev_log_index)


def follow(server: Server, now: float, leader: ServerId, term: int) -> None:
    """A request of the leader of the current term: everybody else who heard of no leader yet follows it, and does not campaign.

    Source: Figure 3.1, Rules for Servers, Followers and Candidates.
    """
    if not isinstance(server.role, Follower) or server.role.leader is None:
        server.become(Follower(leader), f"{leader} leads")
    require(server.leader == leader, f"two leaders in term {term}: {server.leader} and {leader}")
    server.leader_contact = now
    server.effect(ResetElectionTimer())


def receive(server: Server, now: float, leader: ServerId, request: AppendEntries) -> None:
    """Take the leader's entries if the one before them agrees; remove what conflicts, and only that.

    What this server no longer has in its log is committed, and so in the leader's log as it was here: it agrees.

    Source: Figure 3.1, AppendEntries RPC, Receiver implementation 2 to 5; §3.6.3 (Leader Completeness).
    """
    follow(server, now, leader, request.term)
    repair.note(server, request)
    prev_index, entries = Index(request.prev_log_index), request.entries
    if prev_index < server.log.base_index:
        entries = entries[server.log.base_index - prev_index :]
        prev_index = server.log.base_index
    elif server.log.term_at(prev_index) != request.prev_log_term:
        require(prev_index > server.commit_index, f"committed entry {prev_index} differs from the leader's: the logs have diverged")
        _answer(server, leader, request, False, prev_index, *server.log.latest_fit(prev_index, request.prev_log_term))
        return
    _take(server, prev_index, entries)
    verified = Index(prev_index + len(entries))
    server.commit_to(min(request.leader_commit, verified))
    _answer(server, leader, request, True, verified)
    repair.conclude(server)


def _answer(
    server: Server, leader: ServerId, request: AppendEntries, success: bool, match_index: int, hint_index: int = 0, hint_term: int = 0
) -> None:
    term, repairing, incarnation = server.current_term, server.repair is not None, server.incarnation
    reply = AppendEntriesReply(
        term, server.id, success, match_index, request.round, hint_index, hint_term, repairing=repairing, incarnation=incarnation
    )
    server.reply(leader, reply)


def _take(server: Server, prev_index: Index, entries: list[Entry]) -> None:
    present = 0
    while present < len(entries) and server.log.term_at(prev_index + present + 1) == entries[present].term:
        present += 1
    new = entries[present:] if present else entries
    if new:
        first_new = Index(prev_index + present + 1)
        if first_new <= server.log.last_index:
            server.truncate(first_new)
        server.append(new)


def receive_reply(server: Server, now: float, follower: ServerId, reply: AppendEntriesReply) -> None:
    """Move the follower's match index forward, or its next index back to where the logs may agree; commit; send on.

    Source: Figure 3.1, Rules for Servers, Leaders.
    """
    role = server.role
    assert isinstance(role, Leader)
    progress = role.progress.get(follower)
    if progress is None or reply.match_index > server.log.last_index:
        return
    if not progress.believes(reply.incarnation, repairing=reply.repairing, prev_index=Index(reply.match_index)):
        return
    progress.last_heard = now
    progress.round = max(progress.round, min(reply.round, role.round))
    if reply.success:
        progress.matched(Index(reply.match_index))
        _reconnect(server, progress)
    else:
        # The logs may agree where the follower's hint and this log's terms meet.
        candidate, _ = server.log.latest_fit(reply.hint_index, reply.hint_term)
        progress.mismatched(Index(reply.match_index), candidate)
    send_to(server, follower)


def _reconnect(server: Server, progress: Progress) -> None:
    """Entries follow again as soon as the log has what comes behind the follower's, however it came to be so far.

    Source: §5.1.
    """
    transfer = progress.transfer
    if transfer is None:
        return
    if progress.state is ProgressState.SNAPSHOT and progress.match_index >= min(server.log.base_index, transfer.snapshot.index):
        progress.has_snapshot(progress.match_index)
    if progress.match_index >= server.commit_index:
        progress.transfer = None
