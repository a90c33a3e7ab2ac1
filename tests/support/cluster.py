"""A whole cluster of consensus modules on virtual time: the same seed, the same story, event by event.

Disks, network and timers are simulated and as unkind as they are told to be; a `Witness` looks on after every step. Scenarios write what
happens line by line (`elect`, `propose`, `cut`, `crash`, `run`); the random schedules of the simulation use the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from attrs import frozen

from tests.support.logs import first_entries
from tests.support.simulated_disk import SimulatedDisk
from tests.support.simulated_network import SimulatedNetwork
from tests.support.simulated_server import SimulatedServer
from tests.support.virtual_time import VirtualTime
from tests.support.witness import Proposal, Read, Witness, ensure
from txraft.core.configuration import Configuration
from txraft.core.effects import Metadata
from txraft.core.entry import EntryKind
from txraft.core.ids import ServerId, Term
from txraft.core.messages import Message
from txraft.core.roles import Leader
from txraft.core.server import Server
from txraft.limits import Limits, Timing

Range = tuple[float, float]


@frozen
class Conditions:
    """What the world is like. Ranges are in seconds and drawn from evenly.

    Attributes:
        elections_by_chance: election timers run; without, servers campaign only when a test says so.
        cuts_are_noticed: a server is told when a message to a peer could not even leave.
        clock_rates: how fast the servers' clocks go.
        snapshot_every: entries after which a server takes a snapshot; 0: only when it is told to.
        trailing_entries: what its log keeps before it.
        snapshot_s: how long it takes.
        restore_s: how long it takes to make a state machine of one.
        refusal: chance that this fails.
        marks_are_told: servers that reach each other know the marks of each other's data directories, and the leader puts them down.
    """

    delay_s: Range = (0.001, 0.004)
    disk_s: Range = (0.001, 0.003)
    apply_s: Range = (0.0, 0.001)
    loss: float = 0.0
    duplication: float = 0.0
    straggling: float = 0.0
    elections_by_chance: bool = True
    cuts_are_noticed: bool = True
    clock_rates: Range = (1.0, 1.0)
    snapshot_every: int = 0
    trailing_entries: int = 0
    snapshot_s: float = 0.01
    restore_s: float = 0.01
    refusal: float = 0.0
    marks_are_told: bool = False


FAIR, BY_HAND = Conditions(), Conditions(elections_by_chance=False)
LIMITS, TIMING = Limits(), Timing()


class Cluster:
    """Servers with names of one letter: `Cluster("abc")` has three voters.

    Args:
        voters: their names.
        learners: those of the learners.
        seed: whence all chance comes.
        logs: the terms of the entries a server begins with, if not just the first: the configuration, of term 1.
        terms: the term a server begins in, if not that of its last entry.

    Attributes:
        trace: filled with a line for each step, if it is a list.
    """

    def __init__(
        self,
        voters: str,
        *,
        learners: str = "",
        seed: int = 0,
        conditions: Conditions = FAIR,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
        logs: Mapping[str, Sequence[int]] | None = None,
        terms: Mapping[str, int] | None = None,
        trace: list[str] | None = None,
    ) -> None:
        self.seed, self.conditions, self.limits, self.timing, self.trace = seed, conditions, limits, timing, trace
        self.time = VirtualTime()
        self.configuration = Configuration.of({name: name for name in voters}, {name: name for name in learners})
        self.network = SimulatedNetwork(
            self.time,
            self.random("network"),
            self._deliver,
            self._refused,
            self.draw(conditions.delay_s, "delay"),
            conditions.loss,
            conditions.duplication,
            conditions.straggling,
        )
        disks: dict[ServerId, SimulatedDisk] = {}
        self.witness = Witness(self.configuration, disks)
        self.servers: dict[ServerId, SimulatedServer] = {}
        for name in voters + learners:
            entries = first_entries((logs or {}).get(name, (1,)), self.configuration)
            metadata = Metadata(Term((terms or {}).get(name, entries[-1].term)), None)
            server = SimulatedServer(self, ServerId(name), metadata, entries)
            self.servers[ServerId(name)], disks[ServerId(name)] = server, server.disk
        for server in self.servers.values():
            server.start()

    def random(self, purpose: str) -> Random:
        """Chance for one purpose: what one part of the world draws does not change what another does."""
        return Random(f"{self.seed}/{purpose}")

    def draw(self, bounds: Range, purpose: str) -> Callable[[], float]:
        """A source of numbers between `bounds`."""
        random = self.random(purpose)
        return lambda: random.uniform(*bounds)

    def _deliver(self, receiver: ServerId, sender: ServerId, message: Message) -> None:
        self.servers[receiver].receive(sender, message)

    def _refused(self, sender: ServerId, receiver: ServerId) -> None:
        if self.conditions.cuts_are_noticed:
            self.time.call_later(0.0, lambda: self.servers[sender].peer_unreachable(receiver))

    # What happens.

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.time.run(seconds)

    def run_until(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Let time pass until `condition` holds; that it does not in time is a failure of the cluster."""
        ensure(self.time.run_until(condition, within_s=within_s), f"not within {within_s} s: {what}; {self}")

    def campaign(self, name: str) -> None:
        """The election timer of a server runs out."""
        self[name].election_timeout()

    def elect(self, name: str) -> None:
        """The last leader's word grows old, and `name` is the first to notice; it may have to learn of a later term first."""
        self.run(self.timing.election_s)
        self.campaign(name)
        if not self.time.run_until(lambda: self.leads(name), within_s=self.timing.election_s):
            self.campaign(name)
        self.run_until(lambda: self.leads(name), within_s=self.timing.election_s, what=f"{name} leads")

    def await_leader(self, *among: str, within_s: float | None = None) -> str:
        """The first server (of some) that leads with all the newest term's votes."""
        within_s = within_s or 10 * self.timing.election_s
        self.run_until(lambda: self.leader(*among) is not None, within_s=within_s, what="somebody leads")
        leader = self.leader(*among)
        assert leader is not None
        return leader

    def await_level(self, *among: str, within_s: float | None = None) -> None:
        """All (or these) servers have committed and applied the whole of the same log, and one of them leads."""
        within_s = within_s or 20 * self.timing.election_s
        self.run_until(lambda: self.is_level(*among), within_s=within_s, what="all are level")

    def propose(self, name: str, *commands: bytes) -> list[Proposal]:
        """Clients of this server ask for commands; those that it takes."""
        return self[name].propose(*commands)

    def commit(self, name: str, *commands: bytes) -> list[Proposal]:
        """Propose, and wait until the clients have their answers."""
        proposals = self.propose(name, *commands)
        ensure(len(proposals) == len(commands), f"{name} does not take {commands}")
        answered = all
        self.run_until(lambda: answered(proposal.answered for proposal in proposals), within_s=2.0, what=f"{commands} answered")
        return proposals

    def read(self, name: str) -> Read | None:
        """A client of this server asks for a linearizable read."""
        return self[name].read()

    def crash(self, *names: str) -> None:
        """Processes die, and what their disks have not answered is lost as it happens to be."""
        for name in names:
            self[name].crash()

    def restart(self, *names: str) -> None:
        """Crashed servers come back with what their disks hold."""
        for name in names:
            self[name].start()

    def lose(self, name: str, *, log_from: int | None = None, snapshot: bool = False, votes: bool = False) -> None:
        """A server crashes, and its disk loses entries, the recorded snapshot, or term and vote."""
        self[name].lose(log_from=log_from, snapshot=snapshot, votes=votes)

    def take_snapshot(self, name: str, *, trailing: int = 0) -> None:
        """A server takes a snapshot; its log keeps the `trailing` entries before it. Returns when it is recorded on its disk."""
        server, index = self[name], len(self[name].applied)
        server.snapshots.take(trailing=trailing)
        recorded = lambda: server.disk.snapshot is not None and server.disk.snapshot.index >= index  # noqa: E731
        self.run_until(recorded, within_s=1.0, what=f"{name} has a snapshot at {index}")

    def isolate(self, name: str) -> None:
        """Cut a server off from all others, in both directions."""
        self.network.separate([ServerId(name)], self.servers)

    def cut(self, pairs: str) -> None:
        """Cut one-way links: `cut("a>b c>d")`."""
        for pair in pairs.split():
            sender, receiver = pair.split(">")
            self.network.cut(ServerId(sender), ServerId(receiver))

    def only_links(self, links: str) -> None:
        """Cut all links but these, which go both ways: `only_links("ab bc")`."""
        self.network.heal()
        for one in self.servers:
            for other in self.servers:
                if one + other not in links.split() and other + one not in links.split():
                    self.network.separate([one], [other])

    def heal(self) -> None:
        """Mend all cuts."""
        self.network.heal()

    def calm(self) -> None:
        """Mend all cuts; from now on nothing is lost or doubled by chance, and network and disks are quick."""
        self.network.calm(self.draw(FAIR.delay_s, "calm delay"))
        for server in self.servers.values():
            server.disk.latency_s = self.draw(FAIR.disk_s, f"calm disk {server.id}")

    # What can be seen.

    def __getitem__(self, name: str) -> SimulatedServer:
        return self.servers[ServerId(name)]

    @property
    def up(self) -> Iterable[Server]:
        """The records of all servers that run."""
        return [server.module.server for server in self.servers.values() if server.module is not None]

    def reached_by(self, name: ServerId) -> list[ServerId]:
        """Itself, and the running servers between which and it no link is cut."""
        cuts = self.network.cuts
        return [one for one in self.servers if self[one].is_up and (name, one) not in cuts and (one, name) not in cuts]

    def leads(self, name: str) -> bool:
        """Whether this server thinks it leads."""
        return self[name].is_up and isinstance(self[name].record.role, Leader)

    def leader(self, *among: str) -> str | None:
        """Who (of some) leads the newest term that anybody has seen."""
        candidates = [server for server in self.up if not among or server.id in among]
        newest = max((server.current_term for server in candidates), default=0)
        return next((server.id for server in candidates if server.current_term == newest and self.leads(server.id)), None)

    def terms(self, name: str) -> list[int]:
        """The terms of the entries on a server's disk."""
        return [entry.term for entry in self[name].disk.entries]

    def commands(self, name: str) -> list[bytes]:
        """What the state machine of a server has been given."""
        return [entry.payload for entry in self[name].applied if entry.kind == EntryKind.COMMAND]

    def is_level(self, *among: str) -> bool:
        """Whether all (or these) servers run, one leads, and all have applied all of the leader's log."""
        names = among or tuple(self.servers)
        leader = self.leader(*names)
        if leader is None or not all(self[name].is_up for name in names):
            return False
        last = self[leader].record.log.last_index
        marks = {(record.commit_index, record.last_applied, record.log.last_index) for record in (self[name].record for name in names)}
        return marks == {(last, last, last)}

    def __str__(self) -> str:
        return f"after {self.time.now:.3f} s: " + "; ".join(map(str, self.servers.values()))
