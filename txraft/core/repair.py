"""A server that has lost something its disk once held: how it comes to take part again.

What it had acknowledged may have been counted: entries are committed because they were on its disk, leaders lead because it voted for them.
So it must not vote, for its log no longer speaks for what it helped to commit, and no leader may count it, until it has all of that again.
The others can do without it if they are a majority: whatever was committed with its help is also on the disk of another server of any
majority that elects a leader without it.

It may take part again when a leader has shown that it counts nothing of what was acknowledged before the loss, and when this server holds
everything which that leader had committed by then, an entry of the leader's own term among it. That entry covers what the leaders before
committed: it is all in the log of this one (Leader Completeness). What this leader commits later it commits without the old
acknowledgements. Neither an older leader nor a later one can make anything of them: the one needs a majority that has since elected its
successor, the other begins to count anew.

Messages may be late, so the number of the server's start, its incarnation, is in its answers: of those of an earlier start a leader takes
none once it has heard a later one, and its requests say in which incarnation it knows the follower to be repairing.

If the vote is lost too, nobody but the others can tell in which term the server was. All of them must have told their terms first: any of
them that got its vote, or counted its acknowledgement, had that term on disk. Until then it says nothing else, since even an answer to a
leader's heartbeat rests on its not being in a later term. Two servers that have both lost their votes cannot help each other.

There is one vote that the others need not know of: its own for itself, in a term in which it stood and none had heard of it yet. It never
led that term, or a majority would have had it on disk; nor can it win that election any more, for candidates count only votes that they
have asked for in this very start. So it may vote in that term, and even stand in it again, with the log that it has then, whenever what it
asked the first time arrives.

Source: §3.8 (why votes and entries must be durable), §3.6.3 (the argument that is made here without one server). The dissertation has no
such recovery; compare Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST '18.
"""

from __future__ import annotations

from txraft.core.effects import Repaired
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import AppendEntries, RequestTerm, RequestTermReply
from txraft.core.roles import Follower
from txraft.core.server import Server

__all__ = ["answer", "ask", "awaits_terms", "conclude", "done", "note", "receive_term"]


def awaits_terms(server: Server) -> bool:
    """Whether this server does not know in which term it is, and so can say nothing."""
    return server.repair is not None and server.repair.votes_lost


def ask(server: Server) -> None:
    """Ask those who have not told their term yet; again at each election timeout."""
    if server.repair is not None and server.repair.votes_lost:
        for voter in server.configuration.voters:
            if voter != server.id and voter not in server.repair.terms:
                server.reply(ServerId(voter), RequestTerm(server.current_term, server.id, server.incarnation))


def answer(server: Server, now: float, sender: ServerId, request: RequestTerm) -> None:
    """Tell the term, once it is durable."""
    server.reply(sender, RequestTermReply(server.current_term, server.id, request.incarnation))


def receive_term(server: Server, now: float, sender: ServerId, reply: RequestTermReply) -> None:
    """Another has told its term. When all have, enter the greatest of them, as one in which this server has no vote to give any more.

    If it is in that one already and has a vote on disk, that is the one it gave: only the note of repair was unreadable, and nothing else.

    An answer to an earlier incarnation is from before the last loss.
    """
    repair = server.repair
    if repair is None or not repair.votes_lost or reply.incarnation != server.incarnation:
        return
    repair.terms[sender] = Term(reply.term)
    if {*repair.terms, server.id}.issuperset(server.configuration.voters):
        repair.votes_lost = False
        term = max(server.current_term, *repair.terms.values())
        given = server.voted_for if term == server.current_term else None
        server.become(Follower(), "all others have told their terms", term=term, voted_for=given or server.id)


def note(server: Server, request: AppendEntries) -> None:
    """The leader counts nothing of what was acknowledged before this incarnation: what it has committed so far must be restored."""
    repair = server.repair
    if repair is not None and request.repairing == server.incarnation and repair.forgotten_in != server.current_term:
        repair.forgotten_in, repair.target = server.current_term, Index(request.leader_commit)


def conclude(server: Server) -> None:
    """If everything is there again and durable, take part again, once that is written down."""
    repair = server.repair
    if repair is None or repair.ending or repair.forgotten_in != server.current_term:
        return
    held = min(server.commit_index, server.log.durable_index)
    if held >= repair.target and server.log.term_at(held) == server.current_term:
        repair.ending = True
        server.end_repair()


def done(server: Server) -> None:
    """The note of repair is gone from the disk. What was found holds in whatever term it is now."""
    server.repair = None
    server.effect(Repaired())
