"""Snapshots for followers: which pieces a leader sends, what it makes of the answers, and what a follower does with them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from, snapshot_at
from tests.support.one_server import OneServer, accepted, all_of, append, chunk, chunk_reply, rejected, said, said_to, the, vote_request
from txraft.core.configuration import Configuration
from txraft.core.effects import (
    Apply,
    Base,
    ConfigurationChanged,
    Metadata,
    Persist,
    ReadChunk,
    ResetElectionTimer,
    Restore,
    SnapshotRefused,
    StoreChunk,
)
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import AppendEntries, InstallSnapshot, InstallSnapshotReply, RequestVoteReply
from txraft.core.progress import ProgressState
from txraft.core.roles import Candidate, Follower
from txraft.errors import Halted
from txraft.limits import Limits

B, C = ServerId("b"), ServerId("c")
SNAPSHOT = snapshot_at(4, 2)
LIMITS = Limits(snapshot_chunk_bytes=60)


class Sending(SynchronousTestCase):
    """A leader of term 6 whose log begins behind entry 4 of term 2, with one entry there and its own first, 6. It was just elected."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=SNAPSHOT, base=4, limits=LIMITS).as_new_leader()
        self.server.disk_answers()

    def asked(self) -> OneServer:
        """The follower `b` has nothing but its first entry, and was asked how much of the snapshot it has."""
        self.server.hears(rejected(6, "b", 5, (1, 1)))
        return self.server

    def sending(self) -> OneServer:
        """The first piece is under way."""
        self.asked().hears(chunk_reply(6, "b", SNAPSHOT, 0))
        self.server.has_read_chunk("b", SNAPSHOT, 0, bytes(60))
        return self.server

    def test_a_follower_that_needs_what_is_gone_is_asked_how_much_of_the_snapshot_it_has(self) -> None:
        effects = self.server.hears(rejected(6, "b", 5, (1, 1)))

        self.assertEqual(said(effects, InstallSnapshot), [("b", chunk(6, "a", SNAPSHOT))])
        self.assertEqual(said(effects, AppendEntries), [])
        self.assertIs(self.server.progress("b").state, ProgressState.SNAPSHOT)

    def test_one_whose_log_ends_where_this_one_begins_is_sent_entries(self) -> None:
        effects = self.server.hears(rejected(6, "b", 5, (4, 2)))

        self.assertEqual((said_to(effects, "b", AppendEntries).prev_log_index, said(effects, InstallSnapshot)), (4, []))

    def test_the_piece_that_it_wants_is_read_and_sent(self) -> None:
        effects = self.asked().hears(chunk_reply(6, "b", SNAPSHOT, 30))
        self.assertEqual(effects, [ReadChunk(B, SNAPSHOT, 30, 60)])

        effects = self.server.has_read_chunk("b", SNAPSHOT, 30, bytes(60))
        self.assertEqual(said(effects, InstallSnapshot), [("b", chunk(6, "a", SNAPSHOT, 30, bytes(60)))])

    def test_one_piece_is_under_way_at_a_time(self) -> None:
        server = self.asked()
        server.hears(chunk_reply(6, "b", SNAPSHOT, 0))
        self.assertEqual(server.hears(chunk_reply(6, "b", SNAPSHOT, 0)), [], "it is being read")

        server.has_read_chunk("b", SNAPSHOT, 0, bytes(60))
        self.assertEqual(server.hears(chunk_reply(6, "b", SNAPSHOT, 0)), [], "it is under way")
        self.assertEqual(server.has_read_chunk("b", SNAPSHOT, 0, bytes(60)), [], "it was read before")

        self.assertEqual(server.hears(chunk_reply(6, "b", SNAPSHOT, 60)), [ReadChunk(B, SNAPSHOT, 60, 60)])

    def test_meanwhile_no_entries_are_sent_and_heartbeats_stand_behind_the_snapshot(self) -> None:
        server = self.sending()

        self.assertEqual([to for to, message in said(server.proposes(b"x"), AppendEntries) if to == "b"], [])
        heartbeat = said_to(server.beats(), "b", AppendEntries)
        self.assertEqual((heartbeat.prev_log_index, heartbeat.prev_log_term, heartbeat.entries), (4, 2, []))

    def test_refused_heartbeats_change_nothing(self) -> None:
        server = self.sending()

        self.assertEqual(server.hears(rejected(6, "b", 4, (1, 1))), [])
        self.assertIs(server.progress("b").state, ProgressState.SNAPSHOT)

    def test_after_an_election_timeout_of_silence_it_asks_again_and_goes_on_where_the_follower_is(self) -> None:
        server, questions = self.sending(), 0
        for _ in range(10):
            effects = server.beats()
            server.hears(accepted(6, "c", 6))
            questions += len(said(effects, InstallSnapshot))
        self.assertEqual(questions, 1)

        self.assertEqual(server.hears(chunk_reply(6, "b", SNAPSHOT, 0)), [ReadChunk(B, SNAPSHOT, 0, 60)])

    def test_a_follower_that_has_all_of_it_and_restores_is_waited_for_and_asked_now_and_then(self) -> None:
        server = self.sending()

        self.assertEqual(server.hears(chunk_reply(6, "b", SNAPSHOT, 100)), [])
        questions = 0
        for _ in range(30):
            questions += len(said(server.beats(), InstallSnapshot))
            server.hears(accepted(6, "c", 6))
            server.hears(chunk_reply(6, "b", SNAPSHOT, 100))
        self.assertEqual(questions, 3)
        self.assertIs(server.progress("b").state, ProgressState.SNAPSHOT)

    def test_installed_it_is_asked_with_the_entries_behind_it_and_only_its_answer_to_those_counts(self) -> None:
        effects = self.sending().hears(chunk_reply(6, "b", SNAPSHOT, 100, "installed"))

        probe = said_to(effects, "b", AppendEntries)
        self.assertEqual((probe.prev_log_index, len(probe.entries)), (4, 2))
        self.assertEqual((self.server.progress("b").match_index, self.server.record.commit_index), (0, 4))

        self.server.hears(accepted(6, "b", 6))
        self.assertEqual(self.server.record.commit_index, 6)

    def test_any_answer_that_shows_the_logs_to_meet_ends_it(self) -> None:
        effects = self.sending().hears(accepted(6, "b", 4))

        self.assertEqual(len(said_to(effects, "b", AppendEntries).entries), 2)
        self.assertIsNot(self.server.progress("b").state, ProgressState.SNAPSHOT)

    def test_one_that_shows_less_does_not(self) -> None:
        self.assertEqual(self.sending().hears(accepted(6, "b", 3)), [])
        self.assertIs(self.server.progress("b").state, ProgressState.SNAPSHOT)

    def test_answers_about_another_file_change_nothing(self) -> None:
        other = snapshot_at(4, 2, name="another")
        for state in ("more", "installed", "refused"):
            self.assertEqual(self.sending().hears(chunk_reply(6, "b", other, 60, state)), [])

    def test_an_unreachable_follower_is_probed_again_and_the_transfer_goes_on_with_its_snapshot(self) -> None:
        server = self.sending()
        server.step(lambda module: module.peer_unreachable(B))
        self.assertIs(server.progress("b").state, ProgressState.PROBE)
        self.take_newer()

        self.assertEqual(said(server.beats(), InstallSnapshot), [("b", chunk(6, "a", SNAPSHOT))])
        self.assertEqual(server.hears(chunk_reply(6, "b", SNAPSHOT, 60)), [ReadChunk(B, SNAPSHOT, 60, 60)])

    def take_newer(self, base: int = 4) -> None:
        self.server.hears(accepted(6, "c", 6))
        self.server.applies(6)
        self.server.takes_snapshot(snapshot_at(6, 6), base)

    def test_refused_it_begins_again_later_with_the_newest(self) -> None:
        server = self.sending()
        self.take_newer()

        self.assertEqual(said(server.hears(chunk_reply(6, "b", SNAPSHOT, 0, "refused")), InstallSnapshot), [])
        questions = [message for _ in range(10) for _, message in said(server.beats(), InstallSnapshot)]

        self.assertEqual(questions, [chunk(6, "a", snapshot_at(6, 6))])

    def test_that_it_was_refused_is_told_since_its_file_may_have_gone_bad(self) -> None:
        server = self.sending()

        effects = server.hears(chunk_reply(6, "b", SNAPSHOT, 0, "refused"))

        self.assertEqual(effects, [SnapshotRefused(B, SNAPSHOT)])

    def test_refused_by_a_follower_that_needs_none_any_more_it_is_nobodys_affair(self) -> None:
        server = self.sending()
        server.hears(accepted(6, "b", 6))

        self.assertEqual(all_of(server.hears(chunk_reply(6, "b", SNAPSHOT, 0, "refused")), SnapshotRefused), [])

    def test_when_its_file_is_there_no_longer_it_begins_again_with_the_newest(self) -> None:
        server = self.asked()
        server.hears(chunk_reply(6, "b", SNAPSHOT, 0))
        self.take_newer(6)

        server.has_read_chunk("b", SNAPSHOT, 0, b"")
        questions = [message for _ in range(10) for _, message in said(server.beats(), InstallSnapshot)]

        self.assertEqual(questions, [chunk(6, "a", snapshot_at(6, 6))])

    def test_a_snapshot_that_the_log_no_longer_reaches_back_to_is_followed_by_a_newer_one(self) -> None:
        server = self.sending()
        self.take_newer(6)

        effects = server.hears(chunk_reply(6, "b", SNAPSHOT, 100, "installed"))

        self.assertEqual(said(effects, InstallSnapshot), [("b", chunk(6, "a", snapshot_at(6, 6)))])

    def test_chunks_read_for_a_follower_that_does_not_need_them_any_more_are_not_sent(self) -> None:
        server = self.asked()
        server.hears(chunk_reply(6, "b", SNAPSHOT, 0))
        server.hears(accepted(6, "b", 6))

        self.assertEqual(server.has_read_chunk("b", SNAPSHOT, 0, bytes(60)), [])

    def test_a_follower_that_answers_about_snapshots_is_in_touch(self) -> None:
        server = self.sending()
        for _ in range(30):
            server.now += 0.1
            server.hears(chunk_reply(6, "b", SNAPSHOT, 100))
            server.beats()

        self.assertTrue(server.leading)

    def test_row_85_a_snapshot_below_what_the_follower_has_since_is_no_reason_to_go_back(self) -> None:
        server = self.sending()
        server.hears(accepted(6, "b", 6))

        server.hears(chunk_reply(6, "b", SNAPSHOT, 100, "installed"))

        self.assertEqual((server.progress("b").match_index, server.progress("b").next_index), (6, 7))


class Pins(SynchronousTestCase):
    """What the log must keep while a follower is being sent a snapshot."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=SNAPSHOT, base=4).as_new_leader()
        self.server.disk_answers()

    def pinned(self) -> tuple[int | None, list[int]]:
        module = self.server.module
        return module.pinned_index(self.server.now), [snapshot.index for snapshot in module.snapshots_being_sent()]

    def test_nothing_without_a_transfer(self) -> None:
        self.assertEqual(self.pinned(), (None, []))
        self.assertEqual(OneServer().module.pinned_index(100.0), None)

    def test_what_comes_behind_the_snapshot_until_the_follower_has_caught_up(self) -> None:
        self.server.hears(rejected(6, "b", 5, (1, 1)))
        self.assertEqual(self.pinned(), (4, [4]))

        self.server.hears(accepted(6, "c", 6))
        self.server.hears(chunk_reply(6, "b", SNAPSHOT, 100, "installed"))
        self.assertEqual(self.pinned(), (4, [4]))

        self.server.hears(accepted(6, "b", 5))
        self.assertEqual(self.pinned(), (5, []))

        self.server.hears(accepted(6, "b", 6))
        self.assertEqual(self.pinned(), (None, []))

    def test_not_for_one_that_has_not_been_heard_for_long(self) -> None:
        self.server.hears(rejected(6, "b", 5, (1, 1)))
        self.server.now += 20.0
        self.server.hears(accepted(6, "c", 6))
        self.server.applies(6)

        self.server.takes_snapshot(snapshot_at(6, 6), 6)

        self.assertEqual(self.pinned(), (None, []))
        self.assertIs(self.server.progress("b").state, ProgressState.PROBE)


class Taking(SynchronousTestCase):
    """A server's own snapshot, and where its log begins then."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2, 2), term=5).as_follower_of("b")
        self.server.hears(append(5, "b", (5, 2), commit=4))
        self.server.applies(4)
        self.server.disk_answers()

    def test_it_is_recorded_and_the_log_begins_later(self) -> None:
        effects = self.server.takes_snapshot(SNAPSHOT, 3)

        persist = the(effects, Persist)
        self.assertEqual(persist.base, Base(Index(3), Term(2), SNAPSHOT, keeps_log=True))
        self.assertEqual((persist.receipt.installed, persist.entries, persist.then), (None, [], ()))
        self.assertEqual((self.server.record.log.base_index, self.server.log_terms()), (3, [2, 2]))
        self.assertEqual(all_of(self.server.disk_answers(), Restore), [])

    def test_the_log_never_begins_behind_the_snapshot_and_never_earlier_than_it_does(self) -> None:
        self.server.takes_snapshot(snapshot_at(3, 2), 3)

        self.assertEqual(the(self.server.takes_snapshot(SNAPSHOT, 1), Persist).base, Base(Index(3), Term(2), SNAPSHOT, keeps_log=True))
        self.assertEqual(self.server.record.log.base_index, 3)

        other = OneServer(log=(1, 1, 1), term=1).as_follower_of("b")
        other.hears(append(1, "b", (3, 1), commit=3))
        other.applies(2)
        self.assertEqual(the(other.takes_snapshot(snapshot_at(2, 1), 3), Persist).base, Base(Index(2), Term(1), snapshot_at(2, 1), True))

    def test_an_older_one_than_is_recorded_is_not(self) -> None:
        self.server.takes_snapshot(SNAPSHOT, 4)

        for superseded in (snapshot_at(3, 2), snapshot_at(4, 2, name="again")):
            self.assertEqual(self.server.takes_snapshot(superseded, 3), [])
        self.assertEqual(self.server.record.snapshot, SNAPSHOT)

    def test_one_of_what_is_not_applied_halts(self) -> None:
        self.assertRaises(Halted, self.server.takes_snapshot, snapshot_at(5, 2), 4)

    def test_row_81_it_holds_the_configuration_as_of_its_index(self) -> None:
        first, second = Configuration.of({name: name for name in "abc"}), Configuration.of({name: name for name in "abcd"})
        entry = self.server.entries()[0]
        self.server.hears(append(5, "b", (5, 2), [type(entry)(5, entry.kind, second.encode()), *commands_from(7, 5)]))

        self.assertEqual(self.server.module.configurations_at(Index(5)), [(1, first.encode())])
        self.assertEqual(self.server.module.configurations_at(Index(6)), [(6, second.encode())])
        self.assertEqual(self.server.module.configurations_at(Index(7)), [(6, second.encode())])


class Receiving(SynchronousTestCase):
    """A follower of term 5 with the log (1, 1, 2), of which two entries are committed. The snapshot is at (9, 4)."""

    new = snapshot_at(9, 4)

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2), term=5).as_follower_of("b")
        self.server.hears(append(5, "b", (2, 1), commit=2))
        self.server.applies(2)
        self.server.disk_answers()

    def test_pieces_and_questions_go_to_the_disk_which_says_what_is_there(self) -> None:
        for message in (chunk(5, "b", self.new), chunk(5, "b", self.new, 0, b"content")):
            self.assertEqual(self.server.hears(message), [StoreChunk(B, message), ResetElectionTimer()][::-1])

        effects = self.server.has_stored_chunk("b", self.new, 7)
        self.assertEqual(said(effects, InstallSnapshotReply), [("b", chunk_reply(5, "a", self.new, 7))])

    def test_they_keep_the_follower_quiet_as_a_heartbeat_does(self) -> None:
        self.server.now += 5.0
        self.server.hears(chunk(5, "b", self.new))

        self.assertEqual(self.server.record.leader_contact, self.server.now)
        self.assertEqual(self.server.hears(vote_request(6, "c", (9, 9))), [])

    def test_a_later_term_is_entered_and_its_leader_followed(self) -> None:
        for server in (self.server, OneServer(term=5).as_pre_candidate(), OneServer().as_leader()):
            effects = server.hears(chunk(9, "c", self.new))

            self.assertEqual((server.record.role, server.record.current_term), (Follower(C), 9))
            self.assertEqual(the(effects, Persist).metadata, Metadata(Term(9), None))

    def test_row_80_a_piece_from_a_leader_of_an_older_term_is_refused_with_the_newer_one(self) -> None:
        effects = self.server.hears(chunk(4, "c", self.new, 0, b"content"))

        self.assertEqual(said(effects, InstallSnapshotReply), [("c", chunk_reply(5, "a", self.new, 0, "refused"))])
        self.assertEqual(all_of(effects, StoreChunk), [])

    def test_a_leader_that_is_sent_one_in_its_own_term_halts(self) -> None:
        self.assertRaises(Halted, OneServer().as_leader().hears, chunk(2, "b", self.new))

    def test_row_80_the_disks_answer_to_a_piece_of_a_leader_that_leads_no_longer_is_told_nobody(self) -> None:
        self.server.hears(append(6, "c", (2, 1)))

        self.assertEqual(self.server.has_stored_chunk("b", self.new, 7), [])
        self.assertEqual(self.server.step(lambda module: module.snapshot_refused(self.server.now, B, self.new.sha256)), [])

    def test_a_snapshot_that_is_no_good_is_refused(self) -> None:
        effects = self.server.step(lambda module: module.snapshot_refused(self.server.now, B, self.new.sha256))

        self.assertEqual(said(effects, InstallSnapshotReply), [("b", chunk_reply(5, "a", self.new, 0, "refused"))])

    def test_row_75_one_older_than_what_is_committed_is_answered_as_installed_and_changes_nothing(self) -> None:
        old = snapshot_at(2, 1)
        for effects in (self.server.hears(chunk(5, "b", old)), self.server.has_received(old)):
            self.assertEqual(said(effects, InstallSnapshotReply), [("b", chunk_reply(5, "a", old, 100, "installed"))])
            self.assertIsNone(the(effects, Persist).base)
        self.assertEqual((self.server.log_terms(), self.server.record.commit_index), ([1, 1, 2], 2))

    def test_row_75_a_log_that_has_its_last_entry_stays_and_knows_that_all_is_committed_up_to_there(self) -> None:
        self.server.hears(append(5, "b", (3, 2), commands_from(4, 5, 5)))
        self.server.disk_answers()
        for index in (4, 5):
            snapshot = snapshot_at(index, 5)
            effects = self.server.hears(chunk(5, "b", snapshot)) if index == 4 else self.server.has_received(snapshot)

            self.assertEqual(said(effects, InstallSnapshotReply)[0][1].state, "installed")
            self.assertEqual(all_of(effects, Apply), [Apply(Index(index))])
        self.assertEqual((self.server.log_terms(), self.server.record.log.base_index), ([1, 1, 2, 5, 5], 0))


class Installing(SynchronousTestCase):
    """The same follower has all of the snapshot at (9, 4)."""

    new = snapshot_at(9, 4)

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2), term=5).as_follower_of("b")

    def test_the_log_is_empty_behind_it_and_everything_up_to_it_committed(self) -> None:
        persist = the(self.server.has_received(self.new), Persist)

        self.assertEqual(persist.base, Base(Index(9), Term(4), self.new, keeps_log=False))
        log = self.server.record.log
        self.assertEqual((log.base_index, log.last_index, log.last_term, self.server.record.commit_index), (9, 9, 4, 9))

    def test_row_74_nothing_of_a_log_that_goes_on_beyond_it_is_left(self) -> None:
        server = OneServer(log=(1, 1, 2, *[2] * 20), term=5).as_follower_of("b")

        server.has_received(self.new)

        self.assertEqual((server.record.log.last_index, server.log_terms()), (9, []))

    def test_the_machines_are_exchanged_once_it_is_recorded_and_not_before(self) -> None:
        effects = self.server.has_received(self.new)
        self.assertEqual((all_of(effects, Restore), self.server.record.last_applied), ([], 0))

        effects = self.server.disk_answers()
        self.assertEqual(all_of(effects, Restore), [Restore(self.new)])
        self.assertEqual(self.server.record.last_applied, 9)

    def test_so_it_is_even_if_there_is_another_term_by_then(self) -> None:
        self.server.has_received(self.new)
        self.server.hears(append(7, "c", (9, 4)))

        self.assertEqual(all_of(self.server.disk_answers(1), Restore), [Restore(self.new)])

    def test_it_is_said_to_be_installed_when_it_is_recorded(self) -> None:
        self.assertEqual(
            [send.message for send in the(self.server.has_received(self.new), Persist).then],
            [chunk_reply(5, "a", self.new, 100, "installed")],
        )

    def test_entries_behind_it_are_applied_after_it(self) -> None:
        self.server.has_received(self.new)
        effects = self.server.hears(append(5, "b", (9, 4), commands_from(10, 5), commit=10))
        self.assertEqual(all_of(effects, Apply), [])

        kinds = [effect for effect in self.server.disk_answers() if isinstance(effect, Restore | Apply)]
        self.assertEqual(kinds, [Restore(self.new), Apply(Index(10))])

    def test_receipts_for_what_was_there_before_prove_nothing(self) -> None:
        self.server.hears(append(5, "b", (3, 2), commands_from(4, *[5] * 12)))
        self.server.has_received(self.new)

        self.server.disk_answers(1)

        self.assertEqual(self.server.record.log.durable_index, 9)

    def test_row_81_its_configuration_is_in_force(self) -> None:
        configuration = Configuration.of({name: name for name in "abcde"})
        new = snapshot_at(9, 4, configurations={6: configuration})

        effects = self.server.has_received(new)

        self.assertEqual(all_of(effects, ConfigurationChanged), [ConfigurationChanged(configuration)])
        self.assertEqual((self.server.record.configuration, self.server.record.configurations.latest_index), (configuration, 6))

    def test_row_82_a_learner_stays_one_and_an_unlisted_server_does_not_become_a_member(self) -> None:
        others = Configuration.of({name: name for name in "bcd"}, {"a": "a"})
        for configuration in (others, Configuration.of({name: name for name in "bcd"})):
            server = OneServer("bcd", learners="a", term=5).as_follower_of("b")
            server.has_received(snapshot_at(9, 4, configurations={1: configuration}))

            server.times_out()

            self.assertIsInstance(server.record.role, Follower)

    def test_a_leader_never_installs_one(self) -> None:
        server = OneServer(term=5).as_leader()

        self.assertEqual(server.has_received(self.new), [])
        self.assertEqual(server.record.log.base_index, 0)

    def test_a_candidate_gives_its_candidacy_up_for_it(self) -> None:
        for server in (OneServer(term=5).as_pre_candidate(), OneServer(term=5).as_candidate()):
            self.assertIsInstance(server.record.role, Candidate)

            effects = server.has_received(self.new)

            self.assertEqual((server.record.role, server.record.log.base_index), (Follower(), 9))
            self.assertEqual(said(effects, InstallSnapshotReply), [])

    def test_with_it_a_server_is_as_up_to_date_as_its_last_entry(self) -> None:
        self.server.has_received(self.new)
        self.server.now += 5.0

        for last, granted in (((8, 4), False), ((9, 3), False), ((9, 4), True)):
            reply = said_to(self.server.hears(vote_request(6, "c", last, pre_vote=True)), "c", RequestVoteReply)
            self.assertEqual(reply.granted, granted, last)
