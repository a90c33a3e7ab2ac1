"""Directories are lost, copied and put back: whoever has forgotten what it promised is not taken for the server that promised it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.greeting_cluster import GreetingCluster
from txraft.errors import CopiedDirectory
from txraft.statemachine.results import Answer

SOON_S = 4.0


class Directories(SynchronousTestCase):
    """Three nodes that know each other's directories. `other` does not lead."""

    def setUp(self) -> None:
        self.cluster = GreetingCluster(self.mktemp(), 3)
        self.addCleanup(self.end)
        self.cluster.start()
        self.cluster.leader()
        self.marks = self.cluster.await_marks()
        self.other = max(self.names(leading=False))
        self.added = 0

    def end(self) -> None:
        self.cluster.apart.clear()
        self.cluster.stop_all()

    def names(self, *, leading: bool) -> list[str]:
        return [name for name, node in self.cluster.nodes.items() if (node is self.cluster.leader()) == leading]

    def assert_serves(self) -> None:
        """A command is acknowledged, and all that ever were are there."""
        answers: list[Answer] = []
        self.cluster.invoke(self.cluster.leader(), "add", name="a").addCallback(answers.append)
        self.cluster.advance(1.0)
        self.added += 1
        self.assertEqual([answer.value() for answer in answers], [self.added])

    def assert_level(self) -> None:
        """All nodes run and have the same state."""
        self.cluster.advance(SOON_S)
        self.assertEqual(len(self.cluster.nodes), 3)
        self.assertEqual(len(self.cluster.digests()), 1)

    def assert_halted(self, *names: str) -> None:
        self.assertEqual(sorted(self.cluster.halted), sorted(names))
        for name in names:
            error = self.cluster.halted.pop(name)
            assert isinstance(error, CopiedDirectory), error
            self.assertEqual(error.exit_code, 78)
            self.assertIn("docs/operating.md", str(error))
            self.assertIn(str(self.cluster.directory(name)), str(error))

    def restart(self, *names: str) -> None:
        self.cluster.crash(*names)
        self.cluster.start(*names)
        self.cluster.advance(SOON_S)


class Lost(Directories):
    """Row 32: a wiped or restored member (etcd #3504, #10817, #13509)."""

    def assert_shut_out(self, name: str) -> None:
        self.cluster.advance(SOON_S)
        node = self.cluster.nodes[name]
        assert node.driver is not None
        self.assertEqual((node.view.leader, node.driver.core.server.log.last_index), (None, 1))
        ready, why = self.cluster.ready(name)
        self.assertFalse(ready)
        for words in (*(peer for peer in self.marks if peer != name), "put the old directory back", "docs/operating.md"):
            self.assertIn(words, why)
        links = node.gate.status()["peers"]["links"]
        self.assertTrue(all("another data directory" in link["refused"] for link in links.values()), links)

    def test_row_32_a_wiped_directory_is_refused_by_peers_that_have_never_met_the_old_one(self) -> None:
        self.assert_serves()
        kept = self.cluster.copy(self.other, "kept")
        self.cluster.crash(*self.marks)
        self.cluster.wipe(self.other)
        self.cluster.start()

        self.assert_shut_out(self.other)
        self.assert_serves()
        self.restart(*[name for name in self.marks if name != self.other])
        self.assert_shut_out(self.other)
        self.assert_serves()

        self.cluster.crash(self.other)
        self.cluster.put_back(self.other, kept)
        self.cluster.start(self.other)
        self.assert_level()
        self.assertEqual(self.cluster.halted, {})

    def test_row_32_a_wiped_leader_is_refused_by_those_who_followed_it(self) -> None:
        self.assert_serves()
        (leader,) = self.names(leading=True)
        self.cluster.crash(leader)
        self.cluster.wipe(leader)
        self.cluster.start(leader)

        self.assert_shut_out(leader)
        self.assert_serves()

    def test_row_32_with_the_wiped_server_only_one_of_two_is_left_and_no_majority(self) -> None:
        """The wiped one would make two of three, and would vote for whom it voted against."""
        (leader,) = self.names(leading=True)
        (third,) = self.marks.keys() - {leader, self.other}
        self.assert_serves()
        self.cluster.crash(*self.marks)
        self.cluster.wipe(self.other)
        self.cluster.start(third, self.other)

        self.cluster.advance(3 * SOON_S)

        self.assertEqual([node.view.leader for node in self.cluster.nodes.values()], [None, None])
        self.cluster.start(leader)
        self.assert_serves()

    def test_row_32_an_older_copy_is_refused_however_often_it_is_started(self) -> None:
        self.cluster.crash(self.other)
        backup = self.cluster.copy(self.other, "backup")
        self.cluster.start(self.other)
        self.assert_serves()
        self.restart(self.other)
        self.cluster.crash(self.other)
        newest = self.cluster.copy(self.other, "newest")

        self.cluster.put_back(self.other, backup)
        for _ in range(5):
            self.cluster.start(self.other)
            self.cluster.advance(SOON_S)
            self.assert_halted(self.other)
            self.assert_serves()

        self.cluster.put_back(self.other, newest)
        self.cluster.start(self.other)
        self.assert_level()
        self.assertEqual(self.cluster.halted, {})

    def test_marks_once_known_stay_through_all_restarts_and_nobody_is_turned_away_wrongly(self) -> None:
        for number in range(12):
            names = sorted(self.marks)[: number % 4] or [*self.marks]
            self.restart(*names)
            self.assert_serves()
        self.assertEqual(self.cluster.await_marks(), self.marks)
        self.assertEqual(self.cluster.halted, {})
        for node in self.cluster.nodes.values():
            incidents = node.gate.status()["peers"]["incidents"]
            self.assertEqual({cause: n for cause, n in incidents.items() if "refused" in cause or "wrong" in cause}, {})


class RunningTwice(Directories):
    """Row 72: two processes, and each has a directory to itself: the same."""

    def test_row_72_of_two_that_are_started_the_second_ends(self) -> None:
        self.cluster.crash(self.other)
        self.cluster.add_copy(self.other, "copy", self.cluster.copy(self.other, "copy"))
        self.cluster.start(self.other)
        self.cluster.advance(SOON_S)
        self.cluster.start("copy")
        self.cluster.advance(SOON_S)

        self.assert_halted("copy")
        self.assert_serves()
        self.assert_level()
        self.restart(self.other)
        self.assert_level()
        self.assertEqual(self.cluster.halted, {})

    def test_row_72_both_end_if_different_peers_have_met_them(self) -> None:
        self.cluster.crash(self.other)
        self.cluster.add_copy(self.other, "copy", self.cluster.copy(self.other, "copy"))
        one, two = (name for name in self.marks if name != self.other)
        home = self.cluster.address(self.other)
        self.cluster.apart = {(self.other, self.cluster.address(one)), ("copy", self.cluster.address(two)), (one, home), (two, home)}
        self.cluster.start(self.other, "copy")
        self.cluster.advance(SOON_S)
        self.assertEqual(self.cluster.halted, {}, "they have not met the same peer")

        self.cluster.apart.clear()
        self.cluster.advance(SOON_S)

        self.assert_halted(self.other, "copy")
        self.assert_serves()

    def test_row_72_a_later_start_takes_the_place_of_an_earlier_one_for_good(self) -> None:
        """As it must after a crash that nobody has noticed; if the earlier one is alive, it ends."""
        self.cluster.add_copy(self.other, "copy", self.cluster.copy(self.other, "copy"))
        self.cluster.start("copy")
        self.cluster.advance(SOON_S)

        self.assert_halted(self.other)
        self.cluster.start(self.other)
        self.cluster.advance(SOON_S)
        self.assert_halted(self.other)
        self.assert_serves()
