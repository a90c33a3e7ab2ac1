"""The three roles, each with what only it has: a vote set cannot exist on a leader, nor a match index on a follower.

Source: Figure 3.3; the pre-vote candidate is §9.6.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from attrs import define, field

from txraft.core.ids import Index, ServerId, Term
from txraft.core.progress import Progress

__all__ = ["Candidate", "Follower", "Leader", "PendingRead", "Repair", "Role", "is_legal_transition"]


@define
class Follower:
    """Answers candidates and the leader.

    Attributes:
        leader: the leader of the current term, once heard.
    """

    name: ClassVar[str] = "follower"
    leader: ServerId | None = None


@define
class Candidate:
    """Asks for votes.

    Attributes:
        pre_vote: it only asks whether it would get them; its term is not yet raised.
        votes: who granted. Its own real vote is among them once it is durable.
    """

    name: ClassVar[str] = "candidate"
    pre_vote: bool
    votes: set[ServerId] = field(factory=set)


@define
class PendingRead:
    """A read (or a batch of them) that waits for a round of heartbeats. Source: §6.4.

    Attributes:
        number: the caller's, increasing.
        round: any round from this one on confirms it.
        index: the commit index when it was asked; what must be applied before it is answered.
    """

    number: int
    round: int
    index: Index


@define
class Leader:
    """Replicates its log.

    Attributes:
        first_index: its own no-op: from this entry on the log is of its own term.
        progress: of every other member.
        round: the newest round of heartbeats sent.
        reads: waiting for their round, oldest first.
        parked_reads: numbers of reads that came before the no-op was committed.
        uncommitted: (last index, bytes) of each batch proposed but not committed.
    """

    name: ClassVar[str] = "leader"
    first_index: Index
    progress: dict[ServerId, Progress]
    round: int = 0
    reads: deque[PendingRead] = field(factory=deque)
    parked_reads: list[int] = field(factory=list)
    uncommitted: deque[tuple[Index, int]] = field(factory=deque)
    uncommitted_bytes: int = 0


@define
class Repair:
    """What a follower must see, who has lost what was durable, before it takes part again. See `repair.py`.

    Attributes:
        votes_lost: its term and vote are lost, too, and not all others have told theirs.
        terms: theirs, as far as they have told.
        forgotten_in: the term whose leader has shown that it counts nothing of what this server acknowledged before.
        target: what that leader had committed by then.
        ending: the note of repair is being removed.
    """

    votes_lost: bool = False
    terms: dict[ServerId, Term] = field(factory=dict)
    forgotten_in: Term | None = None
    target: Index = Index(0)
    ending: bool = False


Role = Follower | Candidate | Leader


def is_legal_transition(old: Role, new: Role, *, term_raised: bool) -> bool:
    """Whether Figure 3.3, with the pre-vote step put before each election, knows this transition.

    follower → pre-candidate → candidate → leader; a candidate whose election fails asks for pre-votes again; everybody becomes a follower
    on hearing of a leader or a higher term; nobody leads or campaigns without having asked in that very term.
    """
    if isinstance(new, Follower):
        return True
    if isinstance(new, Candidate) and new.pre_vote:
        return not isinstance(old, Leader) and not term_raised
    if isinstance(new, Candidate):
        return isinstance(old, Candidate) and old.pre_vote and term_raised
    return isinstance(old, Candidate) and not old.pre_vote and not term_raised
