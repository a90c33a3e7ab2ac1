"""Replication: what a follower takes and refuses, and what a leader makes of the answers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import command_at, commands_from, snapshot_at
from tests.support.one_server import OneServer, accepted, all_of, append, rejected, said, said_to, the
from txraft.core.effects import Apply, Metadata, Persist, ReadEntries, ResetElectionTimer, Send
from txraft.core.entry import entry_bytes
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import AppendEntries, AppendEntriesReply
from txraft.core.progress import ProgressState
from txraft.core.roles import Follower
from txraft.errors import Halted
from txraft.limits import Limits


class Receiving(SynchronousTestCase):
    """A follower of term 5 with the log (1, 1, 2, 2)."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2), term=5).as_follower_of("b")

    def answer(self, message: AppendEntries) -> AppendEntriesReply:
        return said_to(self.server.hears(message), message.sender, AppendEntriesReply)

    def test_entries_behind_a_matching_one_are_taken(self) -> None:
        new = commands_from(5, 5, 5)

        effects = self.server.hears(append(5, "b", (4, 2), new))

        self.assertEqual(self.server.log_terms(), [1, 1, 2, 2, 5, 5])
        persist = the(effects, Persist)
        self.assertEqual((persist.truncate_from, persist.first_index, persist.entries), (None, 5, new))
        self.assertEqual([send.message for send in persist.then], [accepted(5, "a", 6)])

    def test_they_are_accepted_only_once_they_are_on_disk(self) -> None:
        effects = self.server.hears(append(5, "b", (4, 2), commands_from(5, 5)))

        self.assertEqual(all_of(effects, Send), [])
        self.assertEqual(the(effects, Persist).then, (Send(ServerId("b"), accepted(5, "a", 5)),))

    def test_behind_an_entry_of_another_term_they_are_refused(self) -> None:
        before = self.server.entries()

        answer = self.answer(append(5, "b", (4, 3), commands_from(5, 5)))

        self.assertEqual(answer, rejected(5, "a", 4, (4, 2)))
        self.assertEqual(self.server.entries(), before)

    def test_behind_an_entry_that_is_missing_they_are_refused(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (7, 5), commands_from(8, 5))), rejected(5, "a", 7, (4, 2)))
        self.assertEqual(self.server.log_terms(), [1, 1, 2, 2])

    def test_a_refusal_names_the_newest_entry_that_could_agree(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (4, 1))), rejected(5, "a", 4, (2, 1)))
        self.assertEqual(self.answer(append(5, "b", (3, 1))), rejected(5, "a", 3, (2, 1)))

    def test_what_conflicts_is_removed_with_all_that_follows_it(self) -> None:
        new = commands_from(3, 4)

        effects = self.server.hears(append(5, "b", (2, 1), new))

        self.assertEqual(self.server.log_terms(), [1, 1, 4])
        persist = the(effects, Persist)
        self.assertEqual((persist.truncate_from, persist.first_index, persist.entries), (3, 3, new))
        self.assertEqual([send.message for send in persist.then], [accepted(5, "a", 3)])

    def test_what_agrees_is_kept_and_only_the_rest_written(self) -> None:
        effects = self.server.hears(append(5, "b", (1, 1), commands_from(2, 1, 2, 4)))

        self.assertEqual(self.server.log_terms(), [1, 1, 2, 4])
        persist = the(effects, Persist)
        self.assertEqual((persist.truncate_from, persist.first_index, persist.entries), (4, 4, commands_from(4, 4)))

    def test_a_late_message_with_old_entries_removes_nothing(self) -> None:
        self.server.hears(append(5, "b", (4, 2), commands_from(5, 5, 5)))

        effects = self.server.hears(append(5, "b", (1, 1), commands_from(2, 1)))

        self.assertEqual(self.server.log_terms(), [1, 1, 2, 2, 5, 5])
        self.assertEqual(said_to(effects, "b", AppendEntriesReply), accepted(5, "a", 2))
        self.assertIsNone(the(effects, Persist).truncate_from)

    def test_a_doubled_message_changes_nothing_the_second_time(self) -> None:
        message = append(5, "b", (4, 2), commands_from(5, 5, 5))
        self.server.hears(message)

        effects = self.server.hears(message)

        self.assertEqual((the(effects, Persist).truncate_from, the(effects, Persist).entries), (None, []))
        self.assertEqual(said_to(effects, "b", AppendEntriesReply), accepted(5, "a", 6))

    def test_the_first_message_of_a_log_doubled_later_appends_nothing_again(self) -> None:
        first = append(5, "b", (0, 0), self.server.entries())

        self.server.hears(append(5, "b", (4, 2), commands_from(5, 5)))
        self.server.hears(first)

        self.assertEqual(self.server.log_terms(), [1, 1, 2, 2, 5])

    def test_an_empty_message_is_accepted_as_far_as_it_has_shown_the_logs_to_agree(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (2, 1))), accepted(5, "a", 2))

    def test_a_late_message_from_before_what_is_committed_is_accepted_and_no_conflict(self) -> None:
        self.server.hears(append(5, "b", (4, 2), commit=4))

        self.assertEqual(self.answer(append(5, "b", (1, 1), commands_from(2, 1))), accepted(5, "a", 2))
        self.assertEqual(self.server.log_terms(), [1, 1, 2, 2])

    def test_a_later_term_and_its_first_entries_are_one_write_so_none_is_on_disk_before_its_term(self) -> None:
        effects = self.server.hears(append(6, "c", (4, 2), commands_from(5, 6)))

        persist = the(effects, Persist)
        self.assertEqual((persist.metadata, persist.entries), (Metadata(Term(6), None), commands_from(5, 6)))

    def test_the_round_comes_back_whatever_the_answer(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (4, 2), round=7)).round, 7)
        self.assertEqual(self.answer(append(5, "b", (9, 5), round=8)).round, 8)
        self.assertEqual(self.answer(append(3, "c", (4, 2), round=9)).round, 9)

    def test_a_configuration_among_them_is_in_force_at_once(self) -> None:
        configuration = OneServer("abcde").entries()[0]

        self.server.hears(append(5, "b", (4, 2), [type(configuration)(5, configuration.kind, configuration.payload)]))

        self.assertEqual(set(self.server.record.configuration.voters), set("abcde"))


class BeforeTheLog(SynchronousTestCase):
    """A follower of term 5 whose log of (1, 1, 2, 2, 2) begins behind entry 4: what is gone is committed, and so the same at the leader."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=snapshot_at(4, 2), base=4).as_follower_of("b")

    def answer(self, message: AppendEntries) -> AppendEntriesReply:
        return said_to(self.server.hears(message), message.sender, AppendEntriesReply)

    def test_row_28_the_first_entries_once_more_append_nothing(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (0, 0), commands_from(1, 1, 1, 2))), accepted(5, "a", 4))
        self.assertEqual(self.answer(append(5, "b", (2, 1))), accepted(5, "a", 4))
        self.assertEqual((self.server.log_terms(), self.server.record.log.base_index), ([2], 4))

    def test_what_goes_on_beyond_is_taken_from_where_the_log_begins(self) -> None:
        new = commands_from(3, 2, 2, 2, 5)

        effects = self.server.hears(append(5, "b", (2, 1), new))

        persist = the(effects, Persist)
        self.assertEqual((persist.truncate_from, persist.first_index, persist.entries), (None, 6, new[3:]))
        self.assertEqual(said_to(effects, "b", AppendEntriesReply), accepted(5, "a", 6))

    def test_what_conflicts_beyond_is_removed(self) -> None:
        new = commands_from(3, 2, 2, 5)

        persist = the(self.server.hears(append(5, "b", (2, 1), new)), Persist)

        self.assertEqual((persist.truncate_from, persist.entries), (5, new[2:]))

    def test_behind_the_last_that_is_gone_its_term_counts(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (4, 2), commands_from(5, 2))), accepted(5, "a", 5))
        self.assertRaises(Halted, self.server.hears, append(5, "b", (4, 3)))

    def test_row_24_a_refusal_names_nothing_before_it(self) -> None:
        self.assertEqual(self.answer(append(5, "b", (9, 5))), rejected(5, "a", 9, (5, 2)))
        server = OneServer(log=(1, 1, 2, 2, 4), term=5, snapshot=snapshot_at(4, 2), base=4).as_follower_of("b")
        self.assertEqual(said_to(server.hears(append(5, "b", (5, 3))), "b", AppendEntriesReply), rejected(5, "a", 5, (4, 2)))

    def test_it_commits_no_further_than_it_was_shown(self) -> None:
        self.server.hears(append(5, "b", (1, 1), commands_from(2, 1), commit=5))

        self.assertEqual(self.server.record.commit_index, 4)


class Committing(SynchronousTestCase):
    """A follower learns what is committed, and goes no further than what it was shown to agree."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2), term=5).as_follower_of("b")

    def test_what_the_leader_has_committed_is_committed_here_and_applied_once_durable(self) -> None:
        effects = self.server.hears(append(5, "b", (4, 2), commands_from(5, 5), commit=5))

        self.assertEqual(self.server.record.commit_index, 5)
        self.assertEqual(all_of(effects, Apply), [Apply(Index(4))])
        self.assertEqual(all_of(self.server.disk_answers(), Apply), [Apply(Index(5))])

    def test_entries_behind_those_of_the_message_are_not_committed_by_it(self) -> None:
        self.server.hears(append(5, "b", (1, 1), commands_from(2, 1), commit=4))

        self.assertEqual(self.server.record.commit_index, 2)

    def test_a_heartbeat_commits_no_further_than_the_entry_it_names(self) -> None:
        self.server.hears(append(5, "b", (2, 1), commit=9))

        self.assertEqual(self.server.record.commit_index, 2)

    def test_a_refused_message_commits_nothing(self) -> None:
        self.server.hears(append(5, "b", (4, 3), commit=4))

        self.assertEqual(self.server.record.commit_index, 0)

    def test_an_older_message_does_not_take_it_back(self) -> None:
        self.server.hears(append(5, "b", (4, 2), commit=4))

        self.server.hears(append(5, "b", (3, 2), commit=2))

        self.assertEqual(self.server.record.commit_index, 4)

    def test_what_is_committed_here_cannot_be_contradicted(self) -> None:
        self.server.hears(append(5, "b", (4, 2), commit=3))

        self.assertRaises(Halted, self.server.hears, append(5, "b", (3, 4)))

    def test_what_is_committed_here_is_not_removed(self) -> None:
        self.server.hears(append(5, "b", (4, 2), commit=3))

        self.assertRaises(Halted, self.server.hears, append(5, "b", (2, 1), commands_from(3, 4)))


class Leaders(SynchronousTestCase):
    def test_a_message_of_the_current_term_makes_its_sender_the_leader(self) -> None:
        for server in (OneServer(term=5), OneServer(term=5).as_pre_candidate(), OneServer(term=4).as_candidate()):
            effects = server.hears(append(5, "b", (0, 0)))

            self.assertEqual((server.record.role, server.record.current_term), (Follower(ServerId("b")), 5))
            self.assertIn(ResetElectionTimer(), effects)

    def test_one_of_an_older_term_is_told_the_newer_one(self) -> None:
        server = OneServer(term=5).as_pre_candidate()

        effects = server.hears(append(4, "b", (1, 1), commands_from(2, 4)))

        self.assertEqual(said(effects, AppendEntriesReply), [("b", rejected(5, "a", 1))])
        self.assertNotIn(ResetElectionTimer(), effects)
        self.assertEqual(server.log_terms(), [1])

    def test_even_a_refused_message_of_the_leader_keeps_the_follower_quiet(self) -> None:
        server = OneServer(term=5)

        self.assertIn(ResetElectionTimer(), server.hears(append(5, "b", (9, 5))))

    def test_two_leaders_in_a_term_cannot_be(self) -> None:
        server = OneServer(term=5).as_follower_of("b")

        self.assertRaises(Halted, server.hears, append(5, "c", (0, 0)))

    def test_a_leader_that_hears_of_another_in_its_term_halts(self) -> None:
        server = OneServer().as_leader()

        self.assertRaises(Halted, server.hears, append(2, "b", (0, 0)))


class Sending(SynchronousTestCase):
    """A leader of term 6 whose log is (1, 1, 2, 2) and its own first entry, 5."""

    def new_leader(self, **limits: int) -> OneServer:
        return OneServer(log=(1, 1, 2, 2), term=5, limits=Limits(**limits)).as_new_leader()

    def established(self, **limits: int) -> OneServer:
        return OneServer(log=(1, 1, 2, 2), term=5, limits=Limits(**limits)).as_leader()

    def test_nothing_more_is_sent_to_a_follower_before_it_is_known_where_the_logs_agree(self) -> None:
        server = self.new_leader()

        effects = server.proposes(b"x")

        self.assertEqual(said(effects, AppendEntries), [])

    def test_a_refused_probe_is_repeated_at_once_where_the_logs_may_agree(self) -> None:
        server = self.new_leader()

        effects = server.hears(rejected(6, "b", 4, (2, 1)))

        self.assertEqual(said_to(effects, "b", AppendEntries), append(6, "a", (2, 1), server.entries()[2:]))

    def test_a_term_that_only_one_of_them_has_costs_one_refusal(self) -> None:
        server = OneServer(log=(1, 1, 4, 4, 4, 4), term=5).as_new_leader()

        effects = server.hears(rejected(6, "b", 6, (6, 2)))

        self.assertEqual(said_to(effects, "b", AppendEntries), append(6, "a", (2, 1), server.entries()[2:]))

    def test_a_doubled_refusal_moves_nothing(self) -> None:
        server = self.new_leader()
        server.hears(rejected(6, "b", 4, (2, 1)))

        self.assertEqual(server.hears(rejected(6, "b", 4, (0, 0))), [])
        self.assertEqual(server.progress("b").next_index, 3)

    def test_a_lost_probe_is_found_out_by_the_next_heartbeat(self) -> None:
        server = self.new_leader()
        heartbeat = said_to(server.beats(), "b", AppendEntries)

        effects = server.hears(accepted(6, "b", heartbeat.prev_log_index))

        self.assertEqual(said_to(effects, "b", AppendEntries), append(6, "a", (4, 2), server.entries()[4:], round=1))

    def test_after_a_match_more_is_sent_without_waiting_for_a_heartbeat(self) -> None:
        server = self.new_leader()
        server.proposes(b"x")

        effects = server.hears(accepted(6, "b", 5))

        self.assertEqual([entry.payload for entry in said_to(effects, "b", AppendEntries).entries], [b"x"])

    def test_entries_go_out_ahead_of_answers_until_the_window_is_full(self) -> None:
        server = self.established(in_flight_messages_max=2)

        sent = [len(said(server.proposes(b"x"), AppendEntries)) for _ in range(4)]

        self.assertEqual(sent, [2, 2, 0, 0])
        self.assertEqual(server.progress("b").in_flight, 2)

    def test_an_answer_makes_room_and_what_waited_goes_out_together(self) -> None:
        server = self.established(in_flight_messages_max=1)
        for command in (b"x", b"y", b"z"):
            server.proposes(command)

        effects = server.hears(accepted(6, "b", 6))

        message = said_to(effects, "b", AppendEntries)
        self.assertEqual((message.prev_log_index, [entry.payload for entry in message.entries]), (6, [b"y", b"z"]))

    def test_the_window_is_bounded_by_bytes_too(self) -> None:
        server = self.established(in_flight_bytes_max=100)

        sent = [len(said(server.proposes(b"x" * 60), AppendEntries)) for _ in range(3)]

        self.assertEqual(sent, [2, 2, 0])

    def test_a_full_window_still_lets_an_empty_probe_through_which_shows_what_was_lost(self) -> None:
        server = self.established(in_flight_messages_max=1)
        server.proposes(b"x")
        heartbeat = said_to(server.beats(), "b", AppendEntries)
        self.assertEqual((heartbeat.prev_log_index, heartbeat.entries), (6, []))

        effects = server.hears(rejected(6, "b", 6, (5, 6)))

        self.assertEqual([entry.payload for entry in said_to(effects, "b", AppendEntries).entries], [b"x"])

    def test_large_batches_are_divided_without_a_hole(self) -> None:
        size = entry_bytes(command_at(6, 6))
        server = self.established(append_bytes_max=2 * size, in_flight_messages_max=10)

        messages = [message for to, message in said(server.proposes(*[b"6/6"] * 5), AppendEntries) if to == "b"]

        self.assertEqual([(message.prev_log_index, len(message.entries)) for message in messages], [(5, 2), (7, 2), (9, 1)])

    def test_an_entry_larger_than_the_limit_goes_alone(self) -> None:
        server = self.established(append_bytes_max=10)

        self.assertEqual(len(said_to(server.proposes(b"x" * 1_000), "b", AppendEntries).entries), 1)

    def test_the_number_of_entries_in_a_message_is_bounded(self) -> None:
        server = self.established(append_entries_max=3)

        messages = [message for to, message in said(server.proposes(*[b"x"] * 7), AppendEntries) if to == "b"]

        self.assertEqual([len(message.entries) for message in messages], [3, 3, 1])

    def test_followers_at_the_same_place_are_sent_the_same_list(self) -> None:
        messages = [message for _, message in said(self.established().proposes(b"x"), AppendEntries)]

        self.assertEqual(len(messages), 2)
        self.assertIs(messages[0].entries, messages[1].entries)

    def test_a_broken_connection_leads_back_to_probing(self) -> None:
        server = self.established()
        server.proposes(b"x")

        server.step(lambda module: module.peer_unreachable(ServerId("b")))

        progress = server.progress("b")
        self.assertEqual((progress.state, progress.match_index, progress.next_index), (ProgressState.PROBE, 5, 6))


class Understanding(SynchronousTestCase):
    """What a leader of term 6 makes of answers."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2), term=5).as_leader()

    def test_late_answers_do_not_move_the_match_index_back(self) -> None:
        self.server.hears(accepted(6, "b", 3))

        self.assertEqual(self.server.progress("b").match_index, 5)

    def test_what_was_never_sent_cannot_be_accepted(self) -> None:
        self.assertEqual(self.server.hears(accepted(6, "b", 6)), [])
        self.assertEqual(self.server.progress("b").match_index, 5)

    def test_answers_of_an_older_term_prove_nothing(self) -> None:
        self.server.proposes(b"x")
        self.server.disk_answers()

        self.assertEqual(self.server.hears(accepted(5, "b", 6)), [])
        self.assertEqual((self.server.progress("b").match_index, self.server.record.commit_index), (5, 5))

    def test_answers_of_strangers_prove_nothing(self) -> None:
        self.server.proposes(b"x")
        self.server.disk_answers()

        self.server.hears(accepted(6, "z", 6))

        self.assertEqual(self.server.record.commit_index, 5)

    def test_an_answer_shows_that_the_follower_is_there(self) -> None:
        self.server.now += 5.0

        self.server.hears(rejected(6, "b", 4, (2, 1)))

        self.assertEqual(self.server.progress("b").last_heard, self.server.now)

    def test_a_round_that_was_never_begun_is_not_confirmed(self) -> None:
        self.server.hears(accepted(6, "b", 5, round=99))

        self.assertEqual(self.server.progress("b").round, 0)


class ReadingFromDisk(SynchronousTestCase):
    """A follower far behind needs entries that memory has dropped."""

    def setUp(self) -> None:
        limits = Limits(log_cache_bytes_max=200, append_bytes_max=100)
        self.server = OneServer(log=[1] * 40, term=1, limits=limits).as_new_leader()
        self.server.disk_answers()
        self.server.hears(accepted(2, "c", 41))
        for _ in range(5):
            self.server.proposes(b"x" * 40)
            self.server.disk_answers()
        self.assertGreater(self.server.record.log.first_cached, 35)

    def behind(self, index: int = 10) -> None:
        """Follower `b` turns out to have no more than `index` entries."""
        self.server.hears(rejected(2, "b", 40, (index, 1)))

    def read(self, first_index: int, count: int) -> None:
        entries = commands_from(first_index, *[1] * count)
        self.server.step(lambda module: module.entries_read(self.server.now, ServerId("b"), Index(first_index), entries))

    def test_they_are_asked_of_the_disk_once(self) -> None:
        self.behind()
        self.assertEqual(self.server.effects, [ReadEntries(ServerId("b"), Index(11), 100)])

        self.server.proposes(b"y")

        self.assertEqual(all_of(self.server.effects, ReadEntries), [])

    def test_what_was_read_is_sent(self) -> None:
        self.behind()

        self.read(11, 3)

        self.assertEqual(said(self.server.effects, AppendEntries)[0], ("b", append(2, "a", (10, 1), commands_from(11, 1, 1, 1), commit=41)))

    def test_what_is_no_longer_needed_is_dropped(self) -> None:
        self.behind()
        self.server.step(lambda module: module.peer_unreachable(ServerId("b")))

        self.read(11, 3)

        self.assertEqual(said(self.server.effects, AppendEntries), [])

    def test_replication_goes_on_when_an_answer_of_the_follower_overtakes_the_disk(self) -> None:
        """A late answer moves the match index while entries are being read: what was read is useless then, but more is still needed."""
        self.behind()

        effects = list(self.server.hears(accepted(2, "b", 20)))
        self.read(11, 3)
        effects += self.server.effects
        self.assertEqual(all_of(effects, ReadEntries), [ReadEntries(ServerId("b"), Index(21), 100)])

        self.read(21, 3)
        self.assertEqual(said(self.server.effects, AppendEntries)[0], ("b", append(2, "a", (20, 1), commands_from(21, 1, 1, 1), commit=41)))

    def test_other_entries_than_the_logs_halt_the_server(self) -> None:
        self.behind()

        self.assertRaises(Halted, self.server.module.entries_read, self.server.now, ServerId("b"), Index(11), commands_from(11, 2))

    def test_no_entries_where_the_log_has_some_halt_the_server(self) -> None:
        self.behind()

        self.assertRaises(Halted, self.server.module.entries_read, self.server.now, ServerId("b"), Index(11), [])

    def test_a_server_that_no_longer_leads_has_no_use_for_them(self) -> None:
        self.behind()
        self.server.step(lambda module: module.step_down("its disk hangs"))

        self.read(11, 3)

        self.assertEqual(self.server.effects, [])
