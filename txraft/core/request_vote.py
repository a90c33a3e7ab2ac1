"""The RequestVote RPC, both halves, and its rehearsal, the pre-vote.

Source: Figure 3.1, RequestVote RPC; §3.4, §3.6.1 (election restriction), §4.2.3 (disruptive servers), §9.6 (PreVote).
"""

from __future__ import annotations

from txraft.core import leader
from txraft.core.effects import ResetElectionTimer
from txraft.core.ids import ServerId
from txraft.core.messages import RequestVote, RequestVoteReply
from txraft.core.roles import Candidate, Follower, Leader
from txraft.core.server import Server

__all__ = ["campaign", "count_votes", "disturbs_a_leader", "receive", "receive_reply", "refuse", "rehearse"]


def rehearse(server: Server) -> None:
    """Ask the others whether they would vote for this server, without raising the term.

    Source: §9.6: a server that cannot win must not depose a leader by its term.
    """
    server.become(Candidate(pre_vote=True, votes={server.id}), "no word from a leader")
    if not _won(server, now=None):
        _send_to_all(server, term=server.current_term + 1, pre_vote=True)


def campaign(server: Server) -> None:
    """Raise the term, vote for itself, ask all others. Its own vote counts once it is durable (`count_votes`).

    The requests wait for the disk as answers do: a term that was heard of must not be forgotten.

    Source: Figure 3.1, Rules for Servers, Candidates.
    """
    server.become(Candidate(pre_vote=False), "most would vote for it", term=server.current_term + 1, voted_for=server.id)
    _send_to_all(server, term=server.current_term, pre_vote=False)


def _send_to_all(server: Server, *, term: int, pre_vote: bool) -> None:
    log, incarnation = server.log, server.incarnation
    request = RequestVote(term, server.id, log.last_index, log.last_term, pre_vote, incarnation=incarnation)
    for voter in server.configuration.voters:
        if voter != server.id:
            server.reply(ServerId(voter), request)


def disturbs_a_leader(server: Server, now: float, request: RequestVote) -> bool:
    """Whether the request is to be dropped because this server has a leader it can trust: it leads itself, or heard from its leader
    within the shortest election timeout.

    Source: §4.2.3, third paragraph from its end.
    """
    if request.leadership_transfer:
        return False
    if isinstance(server.role, Leader):
        return True
    return (
        isinstance(server.role, Follower)
        and server.role.leader is not None
        and server.leader_contact is not None
        and now - server.leader_contact < server.timing.election_s
    )


def refuse(server: Server, candidate: ServerId, request: RequestVote) -> None:
    """Tell a candidate of an older term about the newer one."""
    _answer(server, candidate, request, granted=False)


def receive(server: Server, now: float, candidate: ServerId, request: RequestVote) -> None:
    """Grant the vote, once a term, to a candidate whose log is at least as up to date. A repeated request gets the same answer.

    A server votes whether or not it knows the candidate as a member: its own configuration may be the older one. One that is repairing
    does not: its log no longer speaks for what it helped to commit.

    Source: Figure 3.1, RequestVote RPC, Receiver implementation; §3.6.1; §9.6.
    """
    up_to_date = (request.last_log_term, request.last_log_index) >= (server.log.last_term, server.log.last_index)
    up_to_date = up_to_date and server.repair is None
    free = server.voted_for == candidate or (server.voted_for is None and server.leader is None)
    if request.pre_vote:
        granted = up_to_date and (request.term > server.current_term or free)
        _answer(server, candidate, request, granted=granted, term=request.term if granted else None)
        return
    granted = up_to_date and free
    if granted:
        server.set_term(request.term, candidate)
        server.effect(ResetElectionTimer())
    _answer(server, candidate, request, granted=granted)


def _answer(server: Server, candidate: ServerId, request: RequestVote, *, granted: bool, term: int | None = None) -> None:
    own_term = server.current_term
    server.reply(candidate, RequestVoteReply(term or own_term, server.id, granted, request.pre_vote, request.incarnation))


def receive_reply(server: Server, now: float, voter: ServerId, reply: RequestVoteReply) -> None:
    """Count a vote of the kind that is being asked for; a server's vote counts once however often it arrives.

    One for an earlier start of this server does not count: a server that has lost its vote may stand in a term a second time (`repair.py`),
    and the voter has compared its log with the one that this server had the first time.
    """
    role = server.role
    assert isinstance(role, Candidate)
    asked_term = server.current_term + 1 if role.pre_vote else server.current_term
    asked = (role.pre_vote, asked_term, server.incarnation)
    if reply.granted and (reply.pre_vote, reply.term, reply.incarnation) == asked:
        role.votes.add(voter)
        _won(server, now)


def count_votes(server: Server, now: float) -> None:
    """The disk has answered in the candidate's term: its own vote counts from now on."""
    role = server.role
    if isinstance(role, Candidate) and not role.pre_vote:
        role.votes.add(server.id)
        _won(server, now)


def _won(server: Server, now: float | None) -> bool:
    role = server.role
    assert isinstance(role, Candidate)
    if not server.configuration.has_majority(role.votes):
        return False
    if role.pre_vote:
        campaign(server)
    else:
        assert now is not None
        leader.establish(server, now)
    return True
