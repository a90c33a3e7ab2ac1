"""What a follower or candidate does when it hears nothing: ask for votes, if it has one itself.

Source: Figure 3.1, Rules for Servers, Followers and Candidates; §9.6.
"""

from __future__ import annotations

from txraft.core import request_vote
from txraft.core.effects import ResetElectionTimer
from txraft.core.roles import Leader
from txraft.core.server import Server

__all__ = ["election_timeout"]


def election_timeout(server: Server) -> None:
    """No leader for an election timeout, or an election without a winner: begin (again) with the pre-vote.

    Servers without a vote never campaign (§4.2.1); a leader has no such timer, a late call is nothing to it.
    """
    if isinstance(server.role, Leader):
        return
    if server.configuration.is_voter(server.id):
        request_vote.rehearse(server)
    else:
        server.effect(ResetElectionTimer())
