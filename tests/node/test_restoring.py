"""Machines that cannot take over the state that they gave: the node ends and says what is to be mended; the snapshot stays as it is."""

from __future__ import annotations

from typing import Any

from twisted.logger import globalLogPublisher

from tests.node.snapshots_case import SnapshotsCase
from txraft.errors import ConfigurationError, RestoreFailed
from txraft.machines.counter import Counter
from txraft.statemachine import command


class Unrestorable(Counter):
    """A counter whose `restore` has a mistake, as long as nobody has mended it."""

    mended = False

    @command
    def raise_it(self, ctx: Any) -> None:
        raise ValueError("a bug")

    def restore(self, state: Any) -> None:
        items = list(state)
        if items and not Unrestorable.mended:
            raise KeyError("what is this?")
        super().restore(iter(items))


class RestoringTests(SnapshotsCase):
    machines = {"counter": f"{__name__}:Unrestorable"}

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[str] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.patch(Unrestorable, "mended", False)

    def observe(self, event: Any) -> None:
        if event.get("log_format", "").startswith("{node}: {command} of machine"):
            self.logged.append(event["log_format"].format(**event))

    def halted(self, name: str, directory: str) -> None:
        """The node has ended, and its end says everything."""
        why = self.cluster.halted.pop(name)
        assert isinstance(why, RestoreFailed)
        self.assertIsInstance(why, ConfigurationError)
        self.assertEqual(why.exit_code, 78)
        for said in (
            f"{directory}/snapshots/",
            "machine 'counter'",
            "Unrestorable', version 1)",
            "`restore` failed with KeyError",
            "Mend its",
        ):
            self.assertIn(said, str(why))
        [told] = self.logged
        self.assertIn(f"{name}: restore of machine counter failed; this is a bug in the machine:\nTraceback", told)
        self.assertIn("test_restoring.py", told)
        self.logged.clear()

    def test_at_a_start_the_snapshot_was_called_no_state_of_txraft(self) -> None:
        self.add(10)
        self.take()
        name = self.cluster.followers()[0].config.name
        self.cluster.crash(name)
        for _ in range(2):
            self.cluster.start(name)
            self.cluster.advance(0.1)
            self.halted(name, name)
            self.cluster.crash(name)
        Unrestorable.mended = True
        self.cluster.start(name)
        self.level()

    def test_a_follower_refused_the_snapshot_as_damaged_over_and_over(self) -> None:
        name = self.cluster.followers()[0].config.name
        self.cluster.crash(name)
        self.add(40)
        self.take()
        self.add(5)
        self.cluster.start(name)
        self.cluster.advance(3)
        self.halted(name, name)
        self.cluster.crash(name)
        Unrestorable.mended = True
        self.cluster.start(name)
        self.level()

    def test_the_log_called_everything_that_fails_a_command(self) -> None:
        leader = self.cluster.leader()
        machine: Any = leader.host.hosted("counter").machine
        machine.snapshot = lambda: iter([object()])
        self.failureResultOf(self.pumped(leader.gate.take_snapshot()))
        self.assertIn(f"{leader.config.name}: snapshot of machine counter failed; this is a bug", self.logged[0])
        self.logged.clear()
        self.cluster.invoke(leader, "raise_it")
        self.cluster.advance(0.5)
        self.assertIn(f"{leader.config.name}: raise_it of machine counter failed; this is a bug", self.logged[0])

    def test_no_memory_for_a_snapshot_halted_the_node(self) -> None:
        leader = self.cluster.leader()
        machine: Any = leader.host.hosted("counter").machine

        def starving() -> Any:
            raise MemoryError
            yield

        for snapshot in (starving, lambda: starving().__next__()):
            machine.snapshot = snapshot
            problem = self.failureResultOf(self.pumped(leader.gate.take_snapshot())).value
            self.assertIn("not enough memory", str(problem))
        del machine.snapshot
        self.take(leader)
        self.assertEqual(self.cluster.halted, {})

    def pumped(self, answer: Any) -> Any:
        self.cluster.advance(1)
        return answer
