"""§6.3 and §6.4: sessions and reads."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from tests.support.cluster import BY_HAND, Cluster
from tests.support.one_server import OneServer, accepted, all_of, said
from txraft.core.effects import ReadsReady
from txraft.core.entry import EntryKind
from txraft.core.ids import Index
from txraft.core.messages import AppendEntries, AppendEntriesReply
from txraft.errors import Unknown

COUNTER = "txraft.machines.counter:Counter"


class Sessions(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(counter=COUNTER)
        self.session = self.driver.open_session(timeout_ms=1_000)

    def add(self, serial: int, *, first: int = 0, session: int | None = None) -> Any:
        session = self.session if session is None else session
        return self.driver.call("counter", "add", session=session, serial=serial, first=first, name="a")

    def value(self) -> Any:
        return self.driver.ask("counter", "get", name="a")

    def test_without_sessions(self) -> None:
        """§6.3: A command that is retried because its answer was lost is applied twice, if nothing is done about it."""
        self.add(0, session=0)
        self.add(0, session=0)

        self.assertEqual(self.value(), 2)

    def test_executed_once(self) -> None:
        """§6.3: A serial number that was executed before is answered with the answer it had, and not executed again."""
        self.assertEqual([self.add(1), self.add(2), self.add(1)], [1, 2, 1])
        self.assertEqual(self.value(), 2)

    def test_concurrent_requests(self) -> None:
        """§6.3: A client may have several commands under way: the answers of all it has not yet received are kept."""
        self.assertEqual([self.add(3), self.add(1), self.add(2), self.add(3), self.add(1)], [1, 2, 3, 1, 2])

    def test_lowest_outstanding(self) -> None:
        """§6.3: With each command a client says which answers it has; those are forgotten."""
        self.add(1)
        self.add(2, first=2)

        self.assertRaises(Unknown, self.add, 1)
        self.assertEqual(self.value(), 2)

    def test_the_id(self) -> None:
        """§6.3: A session's id is the index of the log entry that opened it."""
        self.assertEqual(self.session, self.driver.host.applied_index)

    def test_agreed_time(self) -> None:
        """§6.3: Sessions expire by the time that the leader writes into entries, so all servers agree on it."""
        self.add(1)
        self.driver.clock(self.driver.time_ms + 999)
        self.assertEqual(self.driver.host.status()["sessions"], 1)

        self.driver.clock(self.driver.time_ms + 1)

        self.assertEqual(self.driver.host.status()["sessions"], 0)
        self.assertEqual(self.driver.replayed().digest(), self.driver.host.digest())

    def test_keeping_alive(self) -> None:
        """§6.3: A client that has nothing to say keeps its session alive by saying so."""
        for _ in range(5):
            self.driver.clock(self.driver.time_ms + 900)
            self.driver.keep_session(self.session)

        self.assertEqual(self.add(1), 1)

    def test_expired(self) -> None:
        """§6.3: A command of a session that has expired is not executed, for it may have been before; the client gets an error."""
        self.add(1)
        self.driver.clock(self.driver.time_ms + 1_000)

        problem = self.assertRaises(Unknown, self.add, 1)

        self.assertEqual((problem.code, self.value()), ("session_expired", 1))

    def test_part_of_the_state(self) -> None:
        """§6.3: Sessions are part of the state: every server that applies the log has the same, with the same answers."""
        for serial in (1, 2, 1, 3):
            self.add(serial)

        self.assertEqual(self.driver.replayed_answers(), self.driver.answers)
        self.assertEqual(self.driver.replayed().digest(), self.driver.host.digest())


class Reads(SynchronousTestCase):
    def test_first_commit(self) -> None:
        """§6.4: A new leader reads nothing before an entry of its own term is committed, for it cannot know what is."""
        server = OneServer("abc", log=(1, 1)).as_new_leader()
        server.disk_answers()
        self.assertEqual(server.reads(1), [])
        self.assertEqual(server.record.commit_index, 0)

        server.hears(accepted(2, "b", 3))
        effects = server.hears(accepted(2, "b", 3, round=1))

        self.assertEqual(all_of(effects, ReadsReady), [ReadsReady(1, Index(3))])

    def test_no_op(self) -> None:
        """§6.4: So that this happens soon, each leader begins its term with an entry without a command."""
        server = OneServer(log=(1, 1)).as_new_leader()

        entry = server.entries()[-1]
        self.assertEqual((entry.term, entry.kind, entry.payload), (2, EntryKind.NOOP, b""))

    def test_read_index(self) -> None:
        """§6.4: A read sees at least what was committed when it was asked."""
        server = OneServer("abc").as_leader()
        server.proposes(b"x")
        server.disk_answers()
        server.hears(accepted(2, "b", 3))

        server.reads(1)
        effects = server.hears(accepted(2, "b", 3, round=1))

        self.assertEqual(all_of(effects, ReadsReady), [ReadsReady(1, Index(3))])

    def test_a_new_round(self) -> None:
        """§6.4: Before it is answered, most servers must answer a round of heartbeats begun after it: nobody else led meanwhile."""
        server = OneServer("abcde").as_leader()
        server.beats()
        effects = server.reads(1)
        self.assertEqual(len(said(effects, AppendEntries)), 4)

        answers = [all_of(server.hears(accepted(2, peer, 2, round=round)), ReadsReady) for peer, round in (("b", 1), ("c", 1), ("b", 2))]
        self.assertEqual(answers, [[], [], []])

        self.assertEqual(all_of(server.hears(accepted(2, "d", 2, round=2)), ReadsReady), [ReadsReady(1, Index(2))])

    def test_superseded(self) -> None:
        """§6.4: A leader that was superseded without noticing answers no reads."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"x")
        cluster["a"].pause()
        cluster.elect("b")
        cluster.commit("b", b"y")

        reads = []
        cluster["a"].resume(first=lambda: reads.append(cluster.read("a")))
        cluster.run(2.0)

        (read,) = reads
        assert read is not None
        self.assertEqual((read.answered, read.lost), (False, True))

    def test_wait_for_the_state_machine(self) -> None:
        """§6.4: It is answered when the state machine has come so far."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster["a"].disk.hang()
        cluster.propose("a", b"x")
        cluster.run(0.3)
        read = cluster.read("a")
        assert read is not None
        cluster.run(0.3)
        self.assertEqual((read.index, read.answered), (3, False))

        cluster["a"].disk.resume()
        cluster.run(0.1)

        self.assertEqual((read.answered, cluster.commands("a")), (True, [b"x"]))

    def test_one_round_for_many(self) -> None:
        """§6.4: One round of heartbeats serves any number of reads that wait for it."""
        server = OneServer("abc").as_leader()
        for number in range(1, 6):
            server.reads(number)

        self.assertEqual(all_of(server.hears(accepted(2, "b", 2, round=5)), ReadsReady), [ReadsReady(5, Index(2))])

    def test_refused_by_the_later_term(self) -> None:
        """§6.4: Whoever knows a later leader does not confirm the old one."""
        server = OneServer(term=9)

        effects = server.hears(AppendEntries(5, "b", 0, 0, 0, 7))

        ((_, answer),) = said(effects, AppendEntriesReply)
        self.assertEqual((answer.success, answer.term), (False, 9))
