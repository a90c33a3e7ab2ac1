"""What a follower or candidate does when it hears nothing: ask for votes, if it has one itself.

Source: Figure 3.1, Rules for Servers, Followers and Candidates; §9.6.
"""

from __future__ import annotations

from txraft.core import repair, request_vote
from txraft.core.effects import ResetElectionTimer
from txraft.core.roles import Leader
from txraft.core.server import Server

__all__ = ["election_timeout"]


def election_timeout(server: Server) -> None:
    """No leader for an election timeout, or an election without a winner: begin (again) with the pre-vote.

    Servers without a vote never campaign (§4.2.1), nor do those that are repairing; a leader has no such timer, a late call is
    nothing to it.
    """
    if isinstance(server.role, Leader):
        return
    repair.ask(server)
    if server.configuration.is_voter(server.id) and server.repair is None:
        request_vote.rehearse(server)
    else:
        server.effect(ResetElectionTimer())
