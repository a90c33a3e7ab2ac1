"""Chapter 5: logs that are compacted, and followers that are sent a snapshot."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cluster import BY_HAND, Cluster
from tests.support.logs import commands_from, snapshot_at
from tests.support.one_server import OneServer, accepted, all_of, append, chunk, chunk_reply, rejected, said, said_to, the
from txraft.core.configuration import Configuration
from txraft.core.effects import Base, Persist, ReadChunk, Restore, StoreChunk
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import AppendEntries, AppendEntriesReply, InstallSnapshot, InstallSnapshotReply
from txraft.limits import Limits


class Compaction(SynchronousTestCase):
    def applied(self) -> OneServer:
        """A follower that has applied four of its five entries, (1, 1, 2, 2, 2)."""
        server = OneServer(log=(1, 1, 2, 2, 2), term=5).as_follower_of("b")
        server.hears(append(5, "b", (5, 2), commit=4))
        server.applies(4)
        server.disk_answers()
        return server

    def test_each_for_itself(self) -> None:
        """§5.1: Each server compacts the committed beginning of its log on its own, followers too."""
        server = self.applied()

        server.takes_snapshot(snapshot_at(4, 2), 4)

        self.assertEqual((server.record.log.base_index, server.log_terms()), (4, [2]))

    def test_only_what_is_applied(self) -> None:
        """§5.1: What a state machine has not applied stays in the log."""
        server = self.applied()

        persist = the(server.takes_snapshot(snapshot_at(4, 2), 99), Persist)

        assert persist.base is not None
        self.assertEqual((persist.base.index, server.record.log.last_index), (4, 5))

    def test_the_entry_before(self) -> None:
        """§5.1: Index and term of the last discarded entry are kept, for the check of the entry that follows."""
        server = self.applied()
        server.takes_snapshot(snapshot_at(4, 2), 4)

        self.assertEqual((server.record.log.base_index, server.record.log.base_term), (4, 2))
        reply = said_to(server.hears(append(5, "b", (4, 2), commands_from(5, 2, 5))), "b", AppendEntriesReply)
        self.assertEqual(reply, accepted(5, "a", 6))

    def test_the_configuration(self) -> None:
        """§5.1: The latest configuration of what is discarded is kept as well."""
        server = self.applied()
        snapshot = snapshot_at(4, 2)
        self.assertEqual(server.module.configurations_at(Index(4)), snapshot.configurations)

        server.takes_snapshot(snapshot, 4)

        self.assertEqual(set(server.record.configuration.voters), set("abc"))

    def test_after_the_state_is_safe(self) -> None:
        """§5.1: Entries are discarded only once the state that stands for them is on disk."""
        persist = the(self.applied().takes_snapshot(snapshot_at(4, 2), 4), Persist)

        self.assertEqual(persist.base, Base(Index(4), Term(2), snapshot_at(4, 2), keeps_log=True))

    def test_a_restart(self) -> None:
        """§5.1: A server that restarts begins with its snapshot and applies what follows."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"x", b"y")
        cluster.await_level()
        cluster.take_snapshot("b")
        cluster.crash("b")
        cluster.restart("b")
        self.assertEqual((cluster["b"].disk.entries, cluster.commands("b")), ([], [b"x", b"y"]))

        cluster.commit("a", b"z")
        cluster.await_level()
        self.assertEqual(cluster.commands("b"), [b"x", b"y", b"z"])

    def test_a_little_more_than_needed(self) -> None:
        """§5.1.3: A leader that keeps some of the entries that its snapshot has need not send that to those who lag a little."""
        server = OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=snapshot_at(4, 2), base=2).as_new_leader()

        effects = server.hears(rejected(6, "b", 5, (3, 2)))

        self.assertEqual(said(effects, InstallSnapshot), [])


class Sending(SynchronousTestCase):
    """A leader of term 6 whose log begins behind entry 4, and follower `b`, who has only the first."""

    snapshot = snapshot_at(4, 2)

    def leader(self) -> OneServer:
        limits = Limits(snapshot_chunk_bytes=60)
        server = OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=self.snapshot, base=4, limits=limits).as_new_leader()
        server.disk_answers()
        return server

    def test_when_entries_are_gone(self) -> None:
        """§5.1: A leader that has discarded the next entry of a follower sends it the snapshot."""
        effects = self.leader().hears(rejected(6, "b", 5, (1, 1)))

        self.assertEqual(said(effects, InstallSnapshot), [("b", chunk(6, "a", self.snapshot))])

    def test_in_pieces(self) -> None:
        """§5.1: It goes in pieces, each with its place in the file."""
        server = self.leader()
        server.hears(rejected(6, "b", 5, (1, 1)))

        self.assertEqual(server.hears(chunk_reply(6, "b", self.snapshot, 30)), [ReadChunk(ServerId("b"), self.snapshot, 30, 60)])
        effects = server.has_read_chunk("b", self.snapshot, 30, bytes(60))
        self.assertEqual(said(effects, InstallSnapshot), [("b", chunk(6, "a", self.snapshot, 30, bytes(60)))])

    def test_then_the_rest(self) -> None:
        """§5.1: Entries behind the snapshot follow it."""
        server = self.leader()
        server.hears(rejected(6, "b", 5, (1, 1)))

        effects = server.hears(chunk_reply(6, "b", self.snapshot, 100, "installed"))

        request = said_to(effects, "b", AppendEntries)
        self.assertEqual((request.prev_log_index, len(request.entries)), (4, 2))


class Receiving(SynchronousTestCase):
    """A follower of term 5 with the log (1, 1, 2)."""

    snapshot = snapshot_at(9, 4)

    def follower(self) -> OneServer:
        return OneServer(log=(1, 1, 2), term=5).as_follower_of("b")

    def test_an_older_term(self) -> None:
        """§5.1: A snapshot of a leader whose term is over is refused."""
        effects = self.follower().hears(chunk(4, "c", self.snapshot))

        self.assertEqual(said(effects, InstallSnapshotReply), [("c", chunk_reply(5, "a", self.snapshot, 0, "refused"))])

    def test_pieces_are_stored(self) -> None:
        """§5.1: A piece is written where it belongs and answered."""
        server, piece = self.follower(), chunk(5, "b", self.snapshot, 0, b"content")

        self.assertEqual(all_of(server.hears(piece), StoreChunk), [StoreChunk(ServerId("b"), piece)])
        effects = server.has_stored_chunk("b", self.snapshot, 7)
        self.assertEqual(said(effects, InstallSnapshotReply), [("b", chunk_reply(5, "a", self.snapshot, 7))])

    def test_nothing_new(self) -> None:
        """§5.1: A snapshot that stands for less than is committed here changes nothing."""
        server = self.follower()
        server.hears(append(5, "b", (3, 2), commit=3))

        effects = server.has_received(snapshot_at(2, 1))

        self.assertIsNone(the(effects, Persist).base)
        self.assertEqual(server.log_terms(), [1, 1, 2])

    def test_the_same_entry(self) -> None:
        """§5.1: If the log has the snapshot's last entry, what follows that entry is kept."""
        server = self.follower()
        server.hears(append(5, "b", (3, 2), commands_from(4, 5, 5)))

        server.has_received(snapshot_at(4, 5))

        self.assertEqual((server.log_terms(), server.record.commit_index), ([1, 1, 2, 5, 5], 4))

    def test_anything_else(self) -> None:
        """§5.1: If it has not, the whole log is discarded."""
        server = self.follower()

        persist = the(server.has_received(self.snapshot), Persist)

        self.assertEqual(persist.base, Base(Index(9), Term(4), self.snapshot, keeps_log=False))
        self.assertEqual((server.log_terms(), server.record.log.last_index, server.record.log.last_term), ([], 9, 4))

    def test_the_state_machine(self) -> None:
        """§5.1: The state machine begins again with what is in the snapshot."""
        server = self.follower()
        server.has_received(self.snapshot)

        self.assertEqual(all_of(server.disk_answers(), Restore), [Restore(self.snapshot)])
        self.assertEqual(server.record.last_applied, 9)

    def test_its_configuration(self) -> None:
        """§5.1: The snapshot's configuration is the server's."""
        configuration = Configuration.of({name: name for name in "abcde"})
        server = self.follower()

        server.has_received(snapshot_at(9, 4, configurations={3: configuration}))

        self.assertEqual(server.record.configuration, configuration)
