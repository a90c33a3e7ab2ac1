"""One random schedule: a cluster under a random load, random misfortune, then peace, in which everything must come right again."""

from __future__ import annotations

from collections import Counter
from random import Random

from attrs import define, evolve, field, frozen

from tests.simulation.misfortunes import MISFORTUNES
from tests.support.cluster import Cluster, Conditions
from tests.support.witness import Proposal, Read, ensure
from txraft.core.entry import EntryKind
from txraft.limits import Limits


@frozen
class Options:
    """What kind of world a seed stands for. Each seed has only some kinds of misfortune: all at once would hide what one alone can do.

    Attributes:
        pause_s: between two misfortunes, about.
        proposals_s: proposals a second.
    """

    voters: int
    learners: int
    conditions: Conditions
    limits: Limits
    misfortunes: tuple[str, ...]
    pause_s: float
    proposals_s: float

    @classmethod
    def drawn(cls, random: Random) -> Options:
        """Mostly three servers, mostly some loss, mostly small windows: where most can go wrong in the shortest time."""
        slow = random.choice((0.002, 0.02, 0.2))
        conditions = Conditions(
            delay_s=(0.0005, random.choice((0.002, 0.02, 0.2))),
            disk_s=(slow / 10, slow),
            apply_s=(0.0, random.choice((0.001, 0.3))),
            loss=random.choice((0.0, 0.02, 0.2)),
            duplication=random.choice((0.0, 0.1)),
            straggling=random.choice((0.0, 0.0, 0.01, 0.1)),
            cuts_are_noticed=random.random() < 0.5,
            clock_rates=random.choice(((1.0, 1.0), (0.9, 1.1))),
            snapshot_every=random.choice((0, 3, 10, 40, 150)),
            trailing_entries=random.choice((0, 0, 2, 20)),
            snapshot_s=random.choice((0.001, 0.3)),
            restore_s=random.choice((0.001, 0.1, 3.0)),
            refusal=random.choice((0.0, 0.0, 0.2)),
        )
        limits = Limits(
            append_bytes_max=random.choice((40, 200, 10_000)),
            append_entries_max=random.choice((1, 3, 1_000)),
            in_flight_messages_max=random.choice((1, 2, 4)),
            in_flight_bytes_max=random.choice((50, 10_000)),
            log_cache_bytes_max=random.choice((100, 1_000, 1_000_000)),
            uncommitted_bytes_max=random.choice((100, 2_000, 1_000_000)),
            snapshot_chunk_bytes=random.choice((1_000, 10_000, 1_000_000)),
        )
        kinds = sorted(MISFORTUNES)
        options = cls(
            voters=random.choice((1, 2, 3, 3, 3, 4, 5, 5, 7)),
            learners=random.choice((0, 0, 0, 1, 2)),
            conditions=conditions,
            limits=limits,
            misfortunes=tuple(random.sample(kinds, random.randint(1, min(5, len(kinds))))),
            pause_s=random.choice((0.3, 1.0, 3.0)),
            proposals_s=random.choice((2.0, 10.0, 30.0)),
        )
        return evolve(options, conditions=evolve(conditions, marks_are_told=random.random() < 0.5))


@define
class Figures:
    """What a schedule came to; schedules add up."""

    schedules: int = 0
    simulated_s: float = 0.0
    steps: int = 0
    messages_delivered: int = 0
    messages_lost: int = 0
    messages_doubled: int = 0
    entries_committed: int = 0
    commands_answered: int = 0
    commands_overwritten: int = 0
    reads_answered: int = 0
    reads_lost: int = 0
    marks: Counter[str] = field(factory=Counter)

    def add(self, other: Figures) -> None:
        for name in self.__slots__:
            if name != "__weakref__":
                setattr(self, name, getattr(self, name) + getattr(other, name))


class Schedule:
    """A seed, acted out.

    Args:
        seed: whence everything comes.
        seconds: how long misfortune lasts, in simulated time.
        trace: filled with a line for each step, if given.
    """

    def __init__(self, seed: int, *, seconds: float = 20.0, trace: list[str] | None = None) -> None:
        self.seconds = seconds
        self.options = options = Options.drawn(Random(f"{seed}/options"))
        names = "abcdefghi"
        self.cluster = Cluster(
            names[: options.voters],
            learners=names[options.voters : options.voters + options.learners],
            seed=seed,
            conditions=options.conditions,
            limits=options.limits,
            trace=trace,
        )
        self.proposals: list[Proposal] = []
        self.reads: list[Read] = []
        self._load, self._misfortune = self.cluster.random("load"), self.cluster.random("misfortune")

    def run(self) -> Figures:
        """Act it out; raises `Violation` or `Halted` when something is wrong."""
        cluster = self.cluster
        cluster.time.call_later(0.0, self._ask)
        cluster.time.call_later(self.options.pause_s, self._strike)
        cluster.run(self.seconds)
        self._peace_for_some()
        self._peace_for_all()
        self._check_answers()
        return self._figures()

    # Load and misfortune.

    def _ask(self) -> None:
        random, cluster = self._load, self.cluster
        if cluster.time.now > self.seconds:
            return
        cluster.time.call_later(random.expovariate(self.options.proposals_s), self._ask)
        name = random.choice([server.id for server in cluster.up if cluster.leads(server.id)] or list(cluster.servers))
        if random.random() < 0.7:
            self._propose(name, random.randint(1, 5))
        else:
            read = cluster.read(name)
            if read is not None:
                self.reads.append(read)

    def _propose(self, name: str, count: int) -> list[Proposal]:
        first = len(self.proposals)
        commands = [b"%d:" % (first + offset) + self._load.randbytes(self._load.choice((0, 20, 60))) for offset in range(count)]
        taken = self.cluster.propose(name, *commands)
        if 0 < len(taken) < count:
            self.cluster.witness.marks["proposals found no room"] += 1
        self.proposals += taken
        return taken

    def _strike(self) -> None:
        random, cluster = self._misfortune, self.cluster
        if cluster.time.now > self.seconds:
            return
        cluster.time.call_later(random.uniform(0.1, 2.0) * self.options.pause_s, self._strike)
        kind = random.choice((*self.options.misfortunes, "all is mended"))
        if kind == "all is mended":
            cluster.heal()
            for server in cluster.servers.values():
                server.start()
                server.disk.resume()
        else:
            cluster.witness.marks[kind] += 1
            MISFORTUNES[kind](cluster, random)
        # Those that are down do not stay it for long, or nothing else would happen any more.
        for server in cluster.servers.values():
            if random.random() < 0.3:
                server.start()

    # Peace.

    def _mend(self, *names: str) -> None:
        self.cluster.calm()
        for name in names:
            server = self.cluster[name]
            server.start()
            server.resume(first=server.read)
            server.disk.resume()

    def _peace_for_some(self) -> None:
        """A majority of the voters, all of which have what they acknowledged, must get on with it whatever becomes of the others."""
        cluster = self.cluster
        voters = [name for name in cluster.configuration.voters if cluster[name].disk.note is None]
        some = sorted(self._misfortune.sample(voters, len(cluster.configuration.voters) // 2 + 1))
        others = [name for name in cluster.servers if name not in some]
        self._mend(*some)
        for name in others:
            self._misfortune.choice((cluster.crash, cluster.isolate))(name)
        cluster.await_leader(*some)
        cluster.await_level(*some)

    def _peace_for_all(self) -> None:
        """All servers must come to the same state, and serve."""
        cluster = self.cluster
        self._mend(*cluster.servers)
        cluster.await_level()
        leader = cluster.await_leader()
        whole = lambda: all(server.disk.note is None for server in cluster.servers.values())  # noqa: E731
        cluster.run_until(whole, within_s=20.0, what="what was lost is repaired everywhere")
        last, read = self._propose(leader, 1), cluster.read(leader)
        assert read is not None
        self.reads.append(read)
        ensure(len(last) == 1, "a proposal in peace is not taken")
        cluster.run_until(lambda: last[0].answered and read.answered, within_s=2.0, what="a command and a read are answered in peace")
        cluster.await_level()

    def _check_answers(self) -> None:
        """What clients were told is true: each command once, where they were told, or never."""
        log = self.cluster["a"].applied
        places: Counter[bytes] = Counter()
        for server in self.cluster.servers.values():
            ensure(server.applied == log, f"the state machines of {server.id} and a have been given different entries in the end")
            held = server.disk.entries == log[server.disk.base[0] :]
            ensure(held, f"{server.id} holds another log in the end than was applied")
        for entry in log:
            if entry.kind == EntryKind.COMMAND:
                places[entry.payload] += 1
        for proposal in self.proposals:
            ensure(places[proposal.command] <= 1, f"{proposal} is in the log twice")
            ensure(not (proposal.overwritten and places[proposal.command]), f"{proposal} is in the log although it was overwritten")
            if proposal.answered:
                ensure(log[proposal.index - 1].payload == proposal.command, f"{proposal} was lost after it was answered")

    def _figures(self) -> Figures:
        cluster = self.cluster
        return Figures(
            schedules=1,
            simulated_s=cluster.time.now,
            steps=cluster.witness.steps,
            messages_delivered=cluster.network.delivered,
            messages_lost=cluster.network.lost,
            messages_doubled=cluster.network.doubled,
            entries_committed=cluster.witness.committed,
            commands_answered=sum(proposal.answered for proposal in self.proposals),
            commands_overwritten=sum(proposal.overwritten for proposal in self.proposals),
            reads_answered=sum(read.answered for read in self.reads),
            reads_lost=sum(read.lost for read in self.reads),
            marks=cluster.witness.marks,
        )
