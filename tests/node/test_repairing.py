"""Whole nodes whose disk is full, or has lost what it once held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from tests.node.snapshots_case import SnapshotsCase
from tests.support.disk import flip_bit, segments
from txraft.config import NodeConfig
from txraft.core.effects import Persist
from txraft.errors import DiskFull, NotApplied, StorageError, Unknown
from txraft.node import opening
from txraft.node.node import Node
from txraft.storage import Storage


class FullDiskTests(SnapshotsCase):
    def fill(self, node: Node) -> list[bool]:
        """The disk of this node is full until the first of what is returned is false."""
        assert node.storage is not None
        storage, is_full = node.storage, [True]
        write = storage.write

        def refusing(persists: Sequence[Persist]) -> None:
            if is_full[0] and any(persist.entries for persist in persists):
                raise DiskFull("no space left for the log")
            write(persists)

        self.driver(node).durability._write = refusing
        reserve = SimpleNamespace(release_reserve=lambda: None, restore_reserve=lambda: not is_full[0])
        self.driver(node).space._storage = reserve  # type: ignore[assignment]
        return is_full

    def test_a_leader_steps_down_and_comes_back_when_there_is_room_and_nothing_is_lost(self) -> None:
        """A full disk on the leader of three, and the others go on without it."""
        self.add(3)
        leader = self.cluster.leader()
        is_full = self.fill(leader)
        answer = self.cluster.invoke(leader, "add", name="a", amount=1)
        self.cluster.advance(0.5)
        self.assertFalse(leader.view.serving)
        self.assertEqual((leader.gate.ready()[0], leader.gate.alive()[0]), (False, True))
        self.assertIn("no space left", leader.gate.status()["alarm"])
        other = self.cluster.leader()
        self.assertIsNot(other, leader)
        self.assertEqual(self.wait(self.cluster.ask(leader, "get", name="a", consistency="local")).value(), 3)
        self.add(5)
        is_full[0] = False
        self.cluster.advance(3)
        self.assertEqual((leader.gate.status()["alarm"], leader.gate.ready()[0]), ("", True))
        self.level()
        self.assertEqual(self.cluster.halted, {})
        value = self.add(1)
        self.assertIn(value, (9, 10) if answer.called else (9,))

    def test_a_full_follower_acknowledges_nothing_and_does_not_campaign(self) -> None:
        leader, (one, other) = self.cluster.leader(), self.cluster.followers()
        is_full = self.fill(one)
        self.add(2)
        self.cluster.crash(other.config.name)
        answer = self.cluster.invoke(leader, "add", name="a", amount=1)
        self.cluster.advance(8)
        self.assertIsInstance(self.successResultOf(answer).problem(), Unknown)
        self.assertEqual((one.view.role, leader.view.serving), ("follower", False))
        is_full[0] = False
        self.cluster.leader()
        self.cluster.start(other.config.name)
        self.level()


class FullAtTheStartTests(SnapshotsCase):
    size = 1

    def test_a_node_that_cannot_open_its_directory_for_want_of_room_waits_until_there_is_some(self) -> None:
        """Found by a newcomer: killed while its disk was full, a node stayed down after there was room again."""
        self.add(3)
        self.cluster.crash("n1")
        is_full, opened = [True], []

        def open_storage(config: NodeConfig, progress: Callable[[float], None]) -> Storage:
            if is_full[0]:
                raise DiskFull("no space left for a segment")
            opened.append(config.name)
            return opening.open_storage(config, progress)

        self.cluster.start("n1", open_storage=open_storage)
        self.cluster.advance(5)
        node = self.node("n1")
        self.assertEqual((node.gate.ready()[0], node.gate.alive()[0], self.cluster.halted), (False, True, {}))
        self.assertIn("no space left", node.gate.status()["alarm"])
        is_full[0] = False
        self.cluster.advance(1.5)
        self.assertEqual((opened, node.gate.status()["alarm"]), (["n1"], ""))
        self.assertEqual(self.add(1), 4)

    def test_one_that_stops_meanwhile_tries_no_more(self) -> None:
        self.cluster.crash("n1")

        def open_storage(config: NodeConfig, progress: Callable[[float], None]) -> Storage:
            raise DiskFull("no space left for a segment")

        self.cluster.start("n1", open_storage=open_storage)
        self.cluster.advance(1)
        self.cluster.stop_all()
        self.assertEqual(self.cluster.clock.getDelayedCalls(), [])


class AloneTests(FullDiskTests):
    size = 1

    def test_a_leader_steps_down_and_comes_back_when_there_is_room_and_nothing_is_lost(self) -> None:
        self.add(3)
        node = self.cluster.leader()
        is_full = self.fill(node)
        under_way = self.cluster.invoke(node, "add", name="a", amount=1)
        self.cluster.advance(0.5)
        refused = self.successResultOf(self.cluster.invoke(node, "add", name="a", amount=1)).problem()
        assert isinstance(refused, NotApplied)
        self.assertEqual((refused.code, refused.retryable), ("disk_full", True))
        self.assertEqual(self.wait(self.cluster.ask(node, "get", name="a", consistency="local")).value(), 3)
        is_full[0] = False
        self.cluster.advance(4)
        self.cluster.leader()
        self.assertEqual(self.wait(self.cluster.ask(node, "get", name="a")).value(), 4)
        self.assertTrue(under_way.called)

    def test_a_full_follower_acknowledges_nothing_and_does_not_campaign(self) -> None:
        """There is none."""


class DamageTests(SnapshotsCase):
    def root(self, name: str) -> Path:
        return self.directory / name

    def stop_follower(self, entries: int = 120, *, snapshot: bool = False) -> str:
        """A follower is down, with a log of several segments; its name."""
        self.add(entries)
        if snapshot:
            self.take()
            self.add(60)
        self.cluster.advance(0.5)
        name = self.cluster.followers()[0].config.name
        self.cluster.crash(name)
        return name

    def heals(self, name: str) -> None:
        """It starts as repairing, and ends as one of them."""
        value = self.add(1)
        self.cluster.start(name)
        self.cluster.advance(0.03)
        self.assertEqual(self.node(name).gate.status()["role"], "repairing")
        self.assertTrue((self.root(name) / "repair").exists())
        self.level()
        self.cluster.advance(1)
        self.assertEqual(self.node(name).gate.status()["role"], "follower")
        self.assertFalse((self.root(name) / "repair").exists())
        self.assertTrue(list((self.root(name) / "damaged").iterdir()))
        self.assertEqual(self.add(1), value + 1)
        self.cluster.crash(name)
        self.cluster.start(name)
        self.level()

    def test_a_flipped_bit_in_the_middle_of_the_log_is_fetched_again(self) -> None:
        name = self.stop_follower()
        flip_bit(segments(self.root(name))[1], 2000)
        self.heals(name)

    def test_a_lost_segment_is_fetched_again(self) -> None:
        name = self.stop_follower()
        segments(self.root(name))[1].rename(self.root(name) / "elsewhere")
        (self.root(name) / "elsewhere").unlink()
        name_of_moved = name
        self.add(1)
        self.cluster.start(name_of_moved)
        self.level()
        self.cluster.advance(1)
        self.assertEqual(self.node(name).gate.status()["role"], "follower")

    def test_a_damaged_snapshot_is_fetched_again(self) -> None:
        name = self.stop_follower(snapshot=True)
        [snapshot] = (self.root(name) / "snapshots").glob("*.snapshot")
        flip_bit(snapshot, 100)
        self.heals(name)

    def test_lost_votes_are_asked_for_before_it_takes_part(self) -> None:
        name = self.stop_follower()
        for number in (0, 1):
            flip_bit(self.root(name) / f"metadata-{number}", 20)
        self.heals(name)

    def test_with_lost_votes_it_waits_until_all_others_have_told_their_terms(self) -> None:
        name = self.stop_follower()
        for number in (0, 1):
            flip_bit(self.root(name) / f"metadata-{number}", 20)
        down = next(node.config.name for node in self.cluster.followers())
        self.cluster.crash(down)
        self.cluster.start(name)
        self.cluster.advance(5)
        self.assertEqual(self.node(name).gate.status()["role"], "repairing")
        self.assertIn("repairing", self.node(name).gate.ready()[1])
        self.cluster.start(down)
        self.level()
        self.cluster.advance(2)
        self.assertEqual(self.node(name).gate.status()["role"], "follower")

    def test_while_it_repairs_it_elects_nobody(self) -> None:
        name = self.stop_follower()
        leader = self.cluster.leader().config.name
        flip_bit(segments(self.root(name))[1], 2000)
        self.cluster.crash(leader)
        self.cluster.start(name)
        self.cluster.advance(10)
        self.assertFalse(any(node.view.serving for node in self.cluster.nodes.values()))
        self.cluster.start(leader)
        self.level(20)

    def test_a_restart_in_the_middle_of_a_repair_goes_on_repairing(self) -> None:
        name = self.stop_follower()
        flip_bit(segments(self.root(name))[0], 2000)
        self.cluster.isolate(name)
        for _ in range(3):
            self.cluster.start(name)
            self.cluster.advance(1)
            self.assertEqual(self.node(name).gate.status()["role"], "repairing")
            self.cluster.crash(name)
        self.cluster.cut.clear()
        self.heals(name)


class AloneDamagedTests(SnapshotsCase):
    size = 1

    def test_a_single_server_has_nobody_to_fetch_it_from_and_refuses(self) -> None:
        self.add(120)
        self.cluster.crash("n1")
        before = {path: path.read_bytes() for path in segments(self.directory / "n1")}
        flip_bit(segments(self.directory / "n1")[1], 2000)
        self.cluster.start("n1")
        self.cluster.advance(0.1)
        self.assertIsInstance(self.cluster.halted.pop("n1"), StorageError)
        self.assertEqual(set(segments(self.directory / "n1")), set(before))
