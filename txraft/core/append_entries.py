"""The AppendEntries RPC: the leader's sending, the follower's receiving, and the leader's understanding of the answer.

Source: Figure 3.1, AppendEntries RPC; §3.5 (log replication), §3.6.2 (commitment), §10.2 (pipelining, batching).
"""

from __future__ import annotations

from txraft.core.effects import ReadEntries, ResetElectionTimer
from txraft.core.entry import Entry, entries_bytes
from txraft.core.ids import Index, ServerId
from txraft.core.messages import AppendEntries, AppendEntriesReply
from txraft.core.progress import Progress
from txraft.core.require import require
from txraft.core.roles import Follower, Leader
from txraft.core.server import Server

__all__ = ["heartbeat", "receive", "receive_reply", "refuse", "send_read_entries", "send_to"]


def send_to(server: Server, peer: ServerId) -> None:
    """Send a follower what it lacks, as far as its window allows; what memory no longer holds is asked of the disk first."""
    assert isinstance(server.role, Leader)
    progress, limits = server.role.progress[peer], server.limits
    while progress.next_index <= server.log.last_index and progress.may_send(limits):
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
    if progress.next_index == first_index:
        terms_agree = all(server.log.term_at(first_index + offset) == entry.term for offset, entry in enumerate(entries))
        require(bool(entries) and terms_agree, f"the disk gave other entries from {first_index} on than the log holds")
        _send(server, peer, progress, entries)
    send_to(server, peer)


def heartbeat(server: Server, peer: ServerId) -> None:
    """Send an AppendEntries without entries, whatever the window says: it keeps the follower from campaigning, confirms reads, and by
    being refused it shows that something under way was lost.
    """
    assert isinstance(server.role, Leader)
    _send(server, peer, server.role.progress[peer], [])


def _send(server: Server, peer: ServerId, progress: Progress, entries: list[Entry]) -> None:
    assert isinstance(server.role, Leader)
    prev_index = Index(progress.next_index - 1)
    prev_term = server.log.term_at(prev_index)
    require(prev_term is not None, f"no term known for entry {prev_index}, before what {peer} needs")
    assert prev_term is not None
    if entries:
        progress.sent(Index(prev_index + len(entries)), entries_bytes(entries))
    round, confirmed = server.role.round, progress.round
    server.send(peer, AppendEntries(server.current_term, server.id, prev_index, prev_term, server.commit_index, round, entries, confirmed))


def refuse(server: Server, leader: ServerId, request: AppendEntries) -> None:
    """Tell a leader of an older term that its term is over, or a server that lost touch would be ignored by all for ever.

    Source: Figure 3.1, AppendEntries 1; §4.2.3.
    """
    server.reply(leader, AppendEntriesReply(server.current_term, server.id, False, request.prev_log_index, request.round))


def receive(server: Server, now: float, leader: ServerId, request: AppendEntries) -> None:
    """Take the leader's entries if the one before them agrees; remove what conflicts, and only that.

    Source: Figure 3.1, AppendEntries RPC, Receiver implementation 2 to 5.
    """
    if not isinstance(server.role, Follower) or server.role.leader is None:
        server.become(Follower(leader), f"{leader} leads")
    require(server.leader == leader, f"two leaders in term {request.term}: {server.leader} and {leader}")
    server.leader_contact = now
    server.effect(ResetElectionTimer())
    prev_index = Index(request.prev_log_index)
    if server.log.term_at(prev_index) != request.prev_log_term:
        require(prev_index > server.commit_index, f"committed entry {prev_index} differs from the leader's: the logs have diverged")
        hint = server.log.latest_fit(prev_index, request.prev_log_term)
        server.reply(leader, AppendEntriesReply(server.current_term, server.id, False, prev_index, request.round, *hint))
        return
    _take(server, prev_index, request.entries)
    verified = prev_index + len(request.entries)
    server.commit_to(min(request.leader_commit, verified))
    server.reply(leader, AppendEntriesReply(server.current_term, server.id, True, verified, request.round))


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
    progress.last_heard = now
    progress.round = max(progress.round, min(reply.round, role.round))
    if reply.success:
        progress.matched(Index(reply.match_index))
    else:
        # The logs may agree where the follower's hint and this log's terms meet.
        candidate, _ = server.log.latest_fit(reply.hint_index, reply.hint_term)
        progress.mismatched(Index(reply.match_index), candidate)
    send_to(server, follower)
