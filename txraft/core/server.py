"""The record of one server, and the one place where a step gathers what it asks of the world.

The rules of the paper are free functions over this record (`request_vote`, `append_entries`, `follower`, `candidate`,
`leader`). They change it
in memory at once; `finish_step` turns what changed into one `Persist`, so that whatever was said with `reply` waits for the disk.

Source: Figure 3.1, "State"; §3.8 (persisted state); Figure 3.3 (roles).
"""

from __future__ import annotations

from attrs import define, field

from txraft.core.configuration import Configuration, ConfigurationHistory
from txraft.core.effects import (
    Apply,
    Base,
    ConfigurationChanged,
    Effect,
    Metadata,
    Persist,
    ReadsLost,
    Receipt,
    ResetElectionTimer,
    Restore,
    RoleChanged,
    Send,
    StartHeartbeats,
    StopElectionTimer,
    StopHeartbeats,
)
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId, Term
from txraft.core.log import Log
from txraft.core.messages import Message
from txraft.core.require import require
from txraft.core.roles import Candidate, Follower, Leader, Repair, Role, is_legal_transition
from txraft.core.snapshot import Snapshot
from txraft.limits import INDEX_MAX, Limits, Timing

__all__ = ["Server"]


@define
class Server:
    """The state of a server.

    Attributes:
        commit_index: greatest index known to be committed; never goes back.
        last_applied: greatest index the state machines have applied.
        leader_contact: when a leader of the current term was last heard, monotonic seconds; None if not since the start.
        snapshot: the newest recorded, from which the machines can be restored.
        incarnation: the number of this start of the server.
        repair: what is missing after a loss; with it the server neither votes nor is counted.

    Source: Figure 3.1; Figure 5.1 (snapshot).
    """

    id: ServerId
    limits: Limits
    timing: Timing
    log: Log
    current_term: Term
    voted_for: ServerId | None
    configurations: ConfigurationHistory = field(factory=ConfigurationHistory)
    role: Role = field(factory=Follower)
    commit_index: Index = Index(0)
    last_applied: Index = Index(0)
    leader_contact: float | None = None
    snapshot: Snapshot | None = None
    incarnation: int = 0
    repair: Repair | None = None
    _apply_announced: Index = Index(0)
    _role_announced: tuple[str, Term, ServerId | None] | None = None
    _why: str = "start"
    _effects: list[Effect] = field(factory=list)
    _metadata_changed: bool = False
    _truncate_from: Index | None = None
    _appended_from: Index = Index(0)
    _appended: list[Entry] = field(factory=list)
    _base: Base | None = None
    _repaired: bool = False
    _replies: list[Send] = field(factory=list)

    @property
    def configuration(self) -> Configuration:
        """The configuration in force: the newest in the log. Source: §4.1."""
        return self.configurations.latest

    @property
    def leader(self) -> ServerId | None:
        """The leader of the current term, if known."""
        if isinstance(self.role, Leader):
            return self.id
        return self.role.leader if isinstance(self.role, Follower) else None

    @property
    def peers(self) -> list[ServerId]:
        """All other members, voters and learners."""
        return [ServerId(member) for member in self.configuration.members if member != self.id]

    def effect(self, effect: Effect) -> None:
        """Ask something of the world, after what this step has asked before."""
        self._effects.append(effect)

    def send(self, to: ServerId, message: Message) -> None:
        """Send at once: for a leader's requests, whose term has long been durable. Source: §10.2.1."""
        self._effects.append(Send(to, message))

    def reply(self, to: ServerId, message: Message) -> None:
        """Send once everything this server has changed so far is durable: for all answers, refusals too, and for a candidate's requests.

        Source: §3.8; Figure 3.1 ("Updated on stable storage before responding to RPCs").
        """
        self._replies.append(Send(to, message))

    def set_term(self, term: int, voted_for: ServerId | None) -> None:
        """Enter a new term, or give the vote of this one. A vote once given is not taken back within its term."""
        require(self.current_term <= term <= INDEX_MAX, f"term {term} after term {self.current_term}")
        if term == self.current_term:
            require(self.voted_for in (None, voted_for), f"a second vote in term {term}: {self.voted_for}, then {voted_for}")
        if (term, voted_for) != (self.current_term, self.voted_for):
            self.current_term, self.voted_for, self._metadata_changed = Term(term), voted_for, True

    def become(self, role: Role, why: str, *, term: int | None = None, voted_for: ServerId | None = None) -> None:
        """Change role, and term with it when `term` is given: all transitions of Figure 3.3 pass here."""
        old = self.role
        term_raised = term is not None and term > self.current_term
        require(is_legal_transition(old, role, term_raised=term_raised), f"no way from {old!r} to {role!r}: {why}")
        if term is not None:
            self.set_term(term, voted_for)
            if term_raised:
                self.leader_contact = None
        self.role, self._why = role, why
        if isinstance(role, Leader):
            self.effect(StopElectionTimer())
            self.effect(StartHeartbeats())
        elif isinstance(old, Leader):
            self.effect(StopHeartbeats())
            self.effect(ReadsLost())
        if isinstance(role, Candidate) or isinstance(old, Leader):
            self.effect(ResetElectionTimer())

    def append(self, entries: list[Entry]) -> None:
        """Add entries behind the log, in memory now and on disk with the end of this step. At most once a step."""
        require(not self._appended, "a step appends once")
        first_index = Index(self.log.last_index + 1)
        self.log.append(entries)
        self._appended_from, self._appended = first_index, entries
        if self.configurations.appended(first_index, entries):
            self.effect(ConfigurationChanged(self.configuration))

    def truncate(self, first_removed: Index) -> None:
        """Remove conflicting entries. Never committed ones, never a leader's. Source: Figure 3.1, AppendEntries 3; Leader Append-Only."""
        require(not isinstance(self.role, Leader), f"a leader was about to remove entry {first_removed} from its log")
        require(first_removed > self.commit_index, f"committed entry {first_removed} conflicts with the leader's: the logs have diverged")
        require(not self._appended and self._truncate_from is None, "a step truncates once, before it appends")
        self.log.truncate(first_removed)
        self._truncate_from = first_removed
        if self.configurations.truncated(first_removed):
            self.effect(ConfigurationChanged(self.configuration))

    def commit_to(self, index: int) -> None:
        """Raise the commit index to `index` if that is further; what is durable here may then be applied."""
        require(index <= self.log.last_index, f"commit index {index} lies behind the end of the log at {self.log.last_index}")
        self.commit_index = max(self.commit_index, Index(index))
        self.apply_committed()

    def apply_committed(self) -> None:
        """Announce what is both committed and durable here: nothing is applied that this server could still forget."""
        through = min(self.commit_index, self.log.durable_index)
        if through > self._apply_announced:
            self._apply_announced = through
            self.effect(Apply(through))

    def compact(self, snapshot: Snapshot, base_index: int) -> None:
        """The machines are in `snapshot`: let the log begin behind `base_index`, which leaves some entries for followers that lag a little.

        Source: §5.1.
        """
        require(snapshot.index <= self.last_applied, f"a snapshot at {snapshot.index}, but applied is only {self.last_applied}")
        self.log.compact(Index(min(max(base_index, self.log.base_index), snapshot.index)))
        self.configurations.compacted(snapshot.index)
        self.snapshot = snapshot
        self._base = Base(self.log.base_index, self.log.base_term, snapshot, keeps_log=True)

    def install(self, snapshot: Snapshot) -> None:
        """Put a leader's snapshot in the place of the whole log. Only once that is durable the machines are those of the snapshot.

        Source: Figure 5.3, 7 and 8.
        """
        require(not isinstance(self.role, Leader), f"a leader was about to install a snapshot at {snapshot.index}")
        require(snapshot.index > self.commit_index, f"a snapshot at {snapshot.index}, but {self.commit_index} is committed here")
        self.log.reset(Index(snapshot.index), Term(snapshot.term))
        self.snapshot = snapshot
        self.commit_index = self._apply_announced = Index(snapshot.index)
        self._base = Base(self.log.base_index, self.log.base_term, snapshot, keeps_log=False)
        if self.configurations.replaced(snapshot.configurations):
            self.effect(ConfigurationChanged(self.configuration))

    def installed(self, snapshot: Snapshot) -> None:
        """The installation is durable."""
        self.last_applied = max(self.last_applied, Index(snapshot.index))
        self.effect(Restore(snapshot))

    def end_repair(self) -> None:
        """Remove the note of repair, behind everything that was written before."""
        self._repaired = True

    def finish_step(self) -> list[Effect]:
        """The effects of this step: what must become durable first, then the rest in order."""
        self._announce_role()
        effects, self._effects = self._effects, []
        changed = self._metadata_changed or self._truncate_from is not None or self._appended or self._base or self._repaired
        if changed or self._replies:
            effects.insert(0, self._persist())
            self._metadata_changed, self._truncate_from, self._appended, self._replies = False, None, [], []
            self._base, self._repaired = None, False
        return effects

    def _persist(self) -> Persist:
        base = self._base
        return Persist(
            Metadata(self.current_term, self.voted_for) if self._metadata_changed else None,
            self._truncate_from,
            self._appended_from,
            self._appended,
            Receipt(
                self.current_term,
                self.log.last_index,
                self.log.last_term,
                installed=base.snapshot if base is not None and not base.keeps_log else None,
                repaired=self._repaired,
            ),
            tuple(self._replies),
            base,
            self._repaired,
        )

    def _announce_role(self) -> None:
        announcement = ("repairing" if self.repair else self.role.name, self.current_term, self.leader)
        if announcement != self._role_announced:
            self._role_announced = announcement
            self._effects.insert(0, RoleChanged(*announcement, why=self._why))
