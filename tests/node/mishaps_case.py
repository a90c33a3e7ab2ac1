"""Whole nodes on simulated disks, one of which has missed much: what is sent to it is held where something else is to happen."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from tests.node.snapshots_case import SnapshotsCase
from tests.support.simulated_files import SimulatedFiles
from txraft.core.snapshot import Snapshot
from txraft.storage import FileSystem


class MishapsCase(SnapshotsCase):
    """A follower, `away`, that misses much, its leader, `first`, and the `other` one, who may lead next."""

    def setUp(self) -> None:
        super().setUp()
        self.add(5)
        self.cluster.advance(0.5)
        self.first = self.cluster.leader()
        if self.size > 1:
            self.away, self.other = self.cluster.followers()
            self.name = self.away.config.name

    def file_system(self) -> FileSystem:
        self.files = SimulatedFiles()
        return self.files

    def until(self, holds: Callable[[], object], *, step: float = 0.01, steps: int = 2000) -> None:
        """Time passes until it is so."""
        for _ in range(steps):
            if holds():
                return
            self.cluster.advance(step, step)
        self.fail(f"it has not come to it: {[node.gate.status() for node in self.cluster.nodes.values()]}")

    def miss(self, count: int = 40, *, name: str = "a") -> None:
        """The leader's log begins behind what `away` has; the other's has all of it."""
        self.cluster.isolate(self.name)
        self.add(count, name)
        self.cluster.advance(0.3)
        self.take(self.first)

    def is_restoring(self) -> bool:
        """Whether `away` has all of a snapshot, and is about to make machines of it."""
        progress = self.driver(self.away).snapshots.receiving.progress
        return progress is not None and bool(progress["restoring"])

    def begin_to_restore(self) -> Snapshot:
        """`away` is sent the snapshot of `first`, and its thread has come as far as to restore it, slowly."""
        self.cluster.worker(self.name, "transfer").held = self.is_restoring
        self.cluster.cut.clear()
        self.until(self.is_restoring)
        snapshot = self.driver(self.first).core.server.snapshot
        assert snapshot is not None
        self.assertLess(self.away.host.applied_index, snapshot.index)
        return snapshot

    def end_to_restore(self) -> None:
        worker = self.cluster.worker(self.name, "transfer")
        worker.held = lambda: False
        worker.flush()

    def lead_instead(self) -> None:
        """The first leader leads no more, and nobody but the other one may be the next."""
        self.driver(self.first).step_down("test")
        for node in (self.first, self.away):
            self.driver(node).timers.stop_election()

    def campaign_until(self, holds: Callable[[], object]) -> None:
        """The other one tries to be elected, again and again; time passes until it is so."""
        turns = 0

        def holds_now() -> object:
            nonlocal turns
            turns += 1
            if turns % 50 == 0 and self.other.view.role != "leader":
                self.driver(self.other)._election_timeout()
            return holds()

        self.until(holds_now, step=0.001, steps=4000)

    def give_entries_instead(self, snapshot: Snapshot) -> None:
        """The other one leads, and its log has all that `away` needs: it comes as far as the snapshot, and no further for now."""
        self.lead_instead()
        self.cluster.isolate(self.first.config.name)
        self.campaign_until(lambda: self.away.host.applied_index >= snapshot.index)
        self.assertEqual(self.away.host.applied_index, snapshot.index)
        self.assertTrue(self.is_restoring())

    def left(self) -> list[str]:
        """The files of snapshots that `away` has."""
        return [name.lstrip("0") for name in self.files.names(self.away.config.data_dir.absolute() / "snapshots")]

    def require_recorded(self, origin: str) -> None:
        """The file of the snapshot that the log of `away` knows is that very one, and it starts from it."""
        storage = self.away.storage
        assert storage is not None and storage.snapshot is not None
        content = self.files.content(storage.snapshot_path(storage.snapshot.index))
        self.assertEqual(sha256(content).hexdigest(), storage.snapshot.sha256.hex())
        self.assertIn(origin.encode(), content)
        self.assertEqual(self.left(), [f"{storage.snapshot.index}.snapshot"])
        self.assertEqual(self.cluster.halted, {})
        self.cluster.crash(self.name)
        self.cluster.start(self.name)
        self.cluster.cut.clear()
        self.level()
