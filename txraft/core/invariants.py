"""What must hold of one server at any time, of one step, and of a whole cluster over its life. The tests and the simulator check them after
every step.

Source: Figure 3.2 (the five guarantees); §8.3 ("Building correct implementations").
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field, frozen

from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId, Term
from txraft.core.progress import ProgressState
from txraft.core.require import require
from txraft.core.roles import Candidate, Follower, Leader
from txraft.core.server import Server

__all__ = ["ClusterHistory", "Remembered", "check_state", "check_step", "remember"]


def check_state(server: Server) -> None:
    """What holds of every server between two steps. Raises `Halted` with what does not."""
    log, role = server.log, server.role
    require(server.last_applied <= server.commit_index <= log.last_index, "applied <= committed <= last index")
    require(server.last_applied <= log.durable_index <= log.last_index, "applied <= durable <= last index")
    require(log.base_index <= server.commit_index, "only committed entries are discarded")
    require(
        log.base_index <= (server.snapshot.index if server.snapshot else 0) <= server.commit_index,
        "a snapshot stands for what is discarded",
    )
    require(log.base_index < log.first_cached <= log.last_index + 1, "what is in memory lies within the log")
    require(log.last_term <= server.current_term, "no entry is of a later term than the current one")
    require(not server.configuration.members or server.configurations.latest_index <= log.last_index, "the configuration is in the log")
    if isinstance(role, Leader):
        require(server.voted_for == server.id, "a leader has voted for itself")
        require(server.repair is None, "a leader has all that it acknowledged")
        first_known = max(role.first_index, log.base_index)
        require(log.term_at(first_known) == server.current_term, "a leader's term begins with its own entry")
        for peer, progress in role.progress.items():
            require(progress.match_index < progress.next_index <= log.last_index + 1, f"match < next <= last + 1 for {peer}")
            require(progress.round <= role.round, f"{peer} confirms only rounds that were begun")
            require(progress.in_flight <= server.limits.in_flight_messages_max, f"the window to {peer} is bounded")
            sends_snapshot = progress.state is ProgressState.SNAPSHOT
            require(not sends_snapshot or progress.transfer is not None, f"{peer} is sent a snapshot of which is known which")
    if isinstance(role, Candidate):
        require(role.pre_vote or server.voted_for == server.id, "a candidate has voted for itself")
        require(server.repair is None, "a candidate has all that it acknowledged")
        require(not server.configuration.has_majority(role.votes), "a candidate with a majority is one no longer")
    if isinstance(role, Follower):
        require(role.leader != server.id, "a follower does not follow itself")


@frozen
class Remembered:
    """What `check_step` needs to know of a server before a step."""

    term: Term
    voted_for: ServerId | None
    commit_index: Index
    last_applied: Index
    last_index: Index
    base_index: Index
    leading: bool
    leader: ServerId | None


def remember(server: Server) -> Remembered:
    """Take down what may not go back."""
    return Remembered(
        server.current_term,
        server.voted_for,
        server.commit_index,
        server.last_applied,
        server.log.last_index,
        server.log.base_index,
        isinstance(server.role, Leader),
        server.leader,
    )


def check_step(before: Remembered, server: Server) -> None:
    """What no step may do. Raises `Halted` with what it did."""
    require(server.current_term >= before.term, "the term never goes back")
    require(server.commit_index >= before.commit_index, "the commit index never goes back")
    require(server.last_applied >= before.last_applied, "what is applied stays applied")
    require(server.log.base_index >= before.base_index, "what is discarded does not come back")
    if server.current_term == before.term:
        require(before.voted_for in (None, server.voted_for), "a vote is not changed within its term")
        if before.leader is not None and server.leader is not None:
            require(before.leader == server.leader, "a term has one leader")
        if before.leading and isinstance(server.role, Leader):
            require(server.log.last_index >= before.last_index, "a leader only appends")


@define
class ClusterHistory:
    """Everything that was ever elected or committed in a cluster, to hold each server's state against, across crashes.

    Attributes:
        committed: entries by index - 1; None where no server held the entry in memory when it was checked.

    Source: Figure 3.2.
    """

    leaders: dict[Term, ServerId] = field(factory=dict)
    votes: dict[tuple[ServerId, Term], ServerId] = field(factory=dict)
    committed: list[Entry | None] = field(factory=list)
    _terms: list[Term] = field(factory=list)
    _committed_by: list[Term] = field(factory=list)
    _checked: dict[ServerId, int] = field(factory=dict)

    def restarted(self, server: ServerId) -> None:
        """`server` has lost its memory: what it holds as committed is checked from the beginning of its log, and a vote that it gave in
        memory only, and so told nobody, may go to another.
        """
        self._checked.pop(server, None)
        self.votes = {key: vote for key, vote in self.votes.items() if key[0] != server}

    def check(self, servers: Iterable[Server]) -> None:
        """Election Safety, one vote a term, Leader Completeness, State Machine Safety. Raises `Halted` with what is broken."""
        for server in servers:
            if server.voted_for is not None:
                vote = self.votes.setdefault((server.id, server.current_term), server.voted_for)
                require(vote == server.voted_for, f"{server.id} voted for {vote} and {server.voted_for} in term {server.current_term}")
            self._check_committed(server)
            if isinstance(server.role, Leader) and self.leaders.get(server.current_term) != server.id:
                first = self.leaders.setdefault(server.current_term, server.id)
                require(first == server.id, f"{first} and {server.id} both lead term {server.current_term}")
                self._check_complete(server)

    def _check_committed(self, server: Server) -> None:
        """What a snapshot stands for was committed somewhere before the snapshot was taken; its last entry is the one that was."""
        base_index = server.log.base_index
        require(base_index <= len(self.committed), f"{server.id} has a snapshot up to {base_index}, which nobody has committed")
        for index in range(max(self._checked.get(server.id, 0) + 1, base_index, 1), server.commit_index + 1):
            term = server.log.term_at(index)
            require(term is not None, f"{server.id} has committed entry {index} but does not hold it")
            found = server.log.slice(index, entries_max=1, bytes_max=None) if index > base_index else None
            entry = found[0] if found else None
            if index > len(self.committed):
                self.committed.append(entry)
                self._terms.append(Term(term or 0))
                self._committed_by.append(server.current_term)
            known = self.committed[index - 1]
            same = term == self._terms[index - 1] and (entry is None or known is None or entry == known)
            require(same, f"{server.id} committed another entry {index} than was committed before")
            self.committed[index - 1] = known or entry
        self._checked[server.id] = server.commit_index

    def _check_complete(self, leader: Server) -> None:
        for index, term in enumerate(self._terms, 1):
            # A leader of long ago that is only seen now owes nothing to later terms.
            if self._committed_by[index - 1] < leader.current_term and index >= leader.log.base_index:
                held = leader.log.term_at(index) == term
                require(held, f"leader {leader.id} of term {leader.current_term} lacks committed entry {index}")
