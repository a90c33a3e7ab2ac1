"""A leader's work: its first entry, proposals, commitment, and the majority it must stay in touch with."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.one_server import OneServer, accepted, all_of, append, said, said_to, the, vote
from txraft.core.effects import Apply, LeadershipReady, Persist, Proposed, ReadsLost, ResetElectionTimer, StopHeartbeats
from txraft.core.entry import OVERHEAD_BYTES, Entry, EntryKind
from txraft.core.ids import Index, Term
from txraft.core.messages import AppendEntries
from txraft.core.roles import Follower, Leader
from txraft.limits import Limits


class Establishing(SynchronousTestCase):
    """A server with the log (1, 1, 2) wins the election of term 3."""

    def test_the_term_begins_with_an_entry_of_its_own_which_all_are_sent(self) -> None:
        server = OneServer("abc", learners="x", log=(1, 1, 2)).as_candidate()
        server.disk_answers()

        effects = server.hears(vote(3, "b"))

        first = Entry(3, EntryKind.NOOP, b"")
        self.assertEqual(said(effects, AppendEntries), [(peer, append(3, "a", (3, 2), [first])) for peer in "bcx"])
        self.assertEqual(the(effects, Persist).entries, [first])

    def test_next_indexes_begin_behind_the_old_log_and_match_indexes_at_zero(self) -> None:
        server = OneServer(log=(1, 1, 2)).as_new_leader()

        self.assertEqual([(server.progress(peer).next_index, server.progress(peer).match_index) for peer in "bc"], [(4, 0)] * 2)

    def test_the_first_entry_needs_no_room_among_the_proposals(self) -> None:
        server = OneServer(limits=Limits(uncommitted_bytes_max=0)).as_new_leader()

        self.assertEqual(server.log_terms(), [1, 2])
        self.assertEqual(server.leading.uncommitted_bytes, 0)

    def test_the_only_voter_elects_itself_once_its_vote_is_on_disk(self) -> None:
        server = OneServer("a", learners="x")
        self.assertNotIsInstance(server.record.role, Leader)

        server.disk_answers()

        self.assertIsInstance(server.record.role, Leader)

    def test_leadership_is_ready_when_the_first_entry_is_committed(self) -> None:
        server = OneServer(log=(1, 1, 2)).as_new_leader()
        server.disk_answers()
        self.assertEqual(server.record.commit_index, 0)

        effects = server.hears(accepted(3, "b", 4))

        self.assertEqual(all_of(effects, LeadershipReady), [LeadershipReady(Term(3))])
        self.assertEqual(all_of(effects, Apply), [Apply(Index(4))])

    def test_it_is_ready_once(self) -> None:
        server = OneServer().as_leader()
        server.proposes(b"x")
        server.disk_answers()

        self.assertEqual(all_of(server.hears(accepted(2, "b", 3)), LeadershipReady), [])


class Proposing(SynchronousTestCase):
    def test_commands_become_entries_of_the_term_written_and_sent_in_one_go(self) -> None:
        server = OneServer().as_leader()

        effects = server.proposes(b"x", b"y")

        entries = [Entry(2, EntryKind.COMMAND, b"x"), Entry(2, EntryKind.COMMAND, b"y")]
        self.assertEqual(the(effects, Persist).entries, entries)
        self.assertEqual(said(effects, AppendEntries), [(peer, append(2, "a", (2, 2), entries, commit=2)) for peer in "bc"])

    def test_what_was_taken_is_told_first(self) -> None:
        effects = OneServer().as_leader().proposes(b"x", b"y")

        first, *_ = (effect for effect in effects if not isinstance(effect, Persist))
        self.assertEqual(first, Proposed(Index(3), Term(2), 2))

    def test_requests_do_not_wait_for_the_leaders_own_disk(self) -> None:
        effects = OneServer().as_leader().proposes(b"x")

        self.assertEqual(the(effects, Persist).then, ())
        self.assertEqual(len(said(effects, AppendEntries)), 2)

    def test_who_does_not_lead_takes_nothing(self) -> None:
        for server in (OneServer().as_follower_of("b"), OneServer().as_pre_candidate(), OneServer().as_candidate()):
            effects = server.proposes(b"x")

            self.assertEqual([effect for effect in effects if not isinstance(effect, Proposed)], [])
            self.assertEqual(the(effects, Proposed).accepted, 0)
            self.assertEqual(server.log_terms(), [1])

    def test_without_commands_nothing_is_written(self) -> None:
        self.assertEqual(OneServer().as_leader().proposes(), [Proposed(Index(3), Term(2), 0)])


class Room(SynchronousTestCase):
    """What waits for commitment is bounded in bytes; what finds no room is not taken."""

    SIZE = OVERHEAD_BYTES + 10

    def server(self, entries: int) -> OneServer:
        return OneServer(limits=Limits(uncommitted_bytes_max=entries * self.SIZE)).as_leader()

    def taken(self, server: OneServer, count: int) -> int:
        return the(server.proposes(*[b"0123456789"] * count), Proposed).accepted

    def test_as_many_as_fit_from_the_first_on(self) -> None:
        server = self.server(5)

        self.assertEqual([self.taken(server, 3), self.taken(server, 3), self.taken(server, 3)], [3, 2, 0])
        self.assertEqual(server.record.log.last_index, 2 + 5)

    def test_commitment_makes_room(self) -> None:
        server = self.server(5)
        self.taken(server, 3)
        self.taken(server, 2)
        server.disk_answers()

        server.hears(accepted(2, "b", 5))

        self.assertEqual(server.leading.uncommitted_bytes, 2 * self.SIZE)
        self.assertEqual(self.taken(server, 5), 3)

    def test_when_nothing_waits_one_command_is_taken_however_large(self) -> None:
        server = self.server(0)

        self.assertEqual([self.taken(server, 2), self.taken(server, 1)], [1, 0])

    def test_a_new_leader_counts_from_nothing(self) -> None:
        server = self.server(5)
        self.taken(server, 5)
        server.step(lambda module: module.step_down("its disk hangs"))

        server.as_new_leader()

        self.assertEqual(self.taken(server, 5), 5)


class Commitment(SynchronousTestCase):
    """A leader of term 3 among five whose log is (1, 1, 2), its first entry 4."""

    def leader(self, voters: str = "abcde", *, learners: str = "") -> OneServer:
        return OneServer(voters, learners=learners, log=(1, 1, 2)).as_new_leader()

    def test_an_entry_is_committed_when_most_have_it_on_disk(self) -> None:
        server = self.leader()
        server.disk_answers()

        server.hears(accepted(3, "b", 4))
        self.assertEqual(server.record.commit_index, 0)

        server.hears(accepted(3, "c", 4))
        self.assertEqual(server.record.commit_index, 4)

    def test_half_are_not_most(self) -> None:
        server = self.leader("abcd")
        server.disk_answers()

        server.hears(accepted(3, "b", 4))

        self.assertEqual(server.record.commit_index, 0)

    def test_the_leader_counts_only_what_is_on_its_own_disk(self) -> None:
        server = self.leader("abc")

        server.hears(accepted(3, "b", 4))
        self.assertEqual(server.record.commit_index, 0)

        server.disk_answers()
        self.assertEqual(server.record.commit_index, 4)

    def test_the_followers_disks_may_be_enough_but_the_leader_applies_when_its_own_has_answered(self) -> None:
        server = self.leader("abc")
        server.hears(accepted(3, "b", 4))

        effects = server.hears(accepted(3, "c", 4))
        self.assertEqual(server.record.commit_index, 4)
        self.assertEqual(all_of(effects, Apply), [Apply(Index(3))])

        self.assertEqual(all_of(server.disk_answers(), Apply), [Apply(Index(4))])

    def test_entries_of_earlier_terms_are_not_committed_by_counting(self) -> None:
        server = self.leader()
        server.disk_answers()

        for follower in "bcde":
            server.hears(accepted(3, follower, 3))

        self.assertEqual(server.record.commit_index, 0)

    def test_an_entry_of_the_term_commits_all_before_it(self) -> None:
        server = self.leader("abc")
        server.disk_answers()

        effects = server.hears(accepted(3, "b", 4))

        self.assertEqual(all_of(effects, Apply), [Apply(Index(4))])

    def test_learners_do_not_count(self) -> None:
        server = self.leader("abc", learners="xyz")
        server.disk_answers()

        for learner in "xyz":
            server.hears(accepted(3, learner, 4))

        self.assertEqual(server.record.commit_index, 0)

    def test_the_slower_half_does_not_hold_it_up(self) -> None:
        server = self.leader()
        server.disk_answers()
        for follower in "bc":
            server.hears(accepted(3, follower, 4))
        server.proposes(b"x")
        server.disk_answers()

        for follower in "bc":
            server.hears(accepted(3, follower, 5))

        self.assertEqual(server.record.commit_index, 5)

    def test_a_single_server_commits_what_its_disk_has_answered_and_nothing_before(self) -> None:
        server = OneServer("a")
        server.disk_answers()
        server.disk_answers()
        self.assertEqual(server.record.commit_index, 2)

        effects = server.proposes(b"x")
        self.assertEqual((all_of(effects, Apply), server.record.commit_index), ([], 2))

        self.assertEqual(all_of(server.disk_answers(), Apply), [Apply(Index(3))])

    def test_followers_are_told_with_the_next_message(self) -> None:
        server = self.leader("abc")
        server.disk_answers()
        server.hears(accepted(3, "b", 4))

        self.assertEqual(said_to(server.beats(), "b", AppendEntries).leader_commit, 4)


class Heartbeats(SynchronousTestCase):
    def test_all_members_are_sent_an_empty_message(self) -> None:
        server = OneServer("abc", learners="x").as_leader()

        self.assertEqual(said(server.beats(), AppendEntries), [(peer, append(2, "a", (2, 2), commit=2, round=1)) for peer in "bcx"])

    def test_each_begins_a_round_and_says_which_one_was_answered(self) -> None:
        server = OneServer("abc").as_leader()
        server.beats()
        server.hears(accepted(2, "b", 2, round=1))

        told = {peer: (message.round, message.confirmed) for peer, message in said(server.beats(), AppendEntries)}

        self.assertEqual(told, {"b": (2, 1), "c": (2, 0)})

    def test_without_an_answer_from_most_for_an_election_timeout_the_leader_steps_down(self) -> None:
        server = OneServer("abcde").as_leader()
        server.now += 0.5
        server.hears(accepted(2, "b", 2))
        server.now += 0.5

        effects = server.beats()

        self.assertEqual((server.record.role, server.record.current_term), (Follower(None), 2))
        self.assertEqual(effects[1:], [StopHeartbeats(), ReadsLost(), ResetElectionTimer()])

    def test_most_are_enough(self) -> None:
        server = OneServer("abcde").as_leader()
        server.now += 0.5
        server.hears(accepted(2, "b", 2))
        server.hears(accepted(2, "c", 2))
        server.now += 0.5

        server.beats()

        self.assertIsInstance(server.record.role, Leader)

    def test_learners_do_not_keep_a_leader_in_office(self) -> None:
        server = OneServer("abc", learners="xyz").as_leader()
        server.now += 1.0
        for learner in "xyz":
            server.hears(accepted(2, learner, 2))

        server.beats()

        self.assertEqual(server.record.role, Follower(None))

    def test_a_new_leader_has_an_election_timeout_to_hear_from_its_followers(self) -> None:
        server = OneServer("abc").as_new_leader()
        server.now += 0.99

        server.beats()

        self.assertIsInstance(server.record.role, Leader)

    def test_a_single_server_is_in_touch_with_itself(self) -> None:
        server = OneServer("a")
        server.disk_answers()
        server.now += 1_000

        self.assertEqual(server.beats(), [])
        self.assertIsInstance(server.record.role, Leader)

    def test_a_late_heartbeat_is_nothing_to_a_follower(self) -> None:
        self.assertEqual(OneServer().as_follower_of("b").beats(), [])


class SteppingDown(SynchronousTestCase):
    def test_a_later_term_deposes_a_leader_at_once(self) -> None:
        server = OneServer().as_leader()

        effects = server.hears(accepted(7, "b", 0))

        self.assertEqual((server.record.role, server.record.current_term, server.record.voted_for), (Follower(None), 7, None))
        self.assertIn(StopHeartbeats(), effects)
        self.assertIn(ReadsLost(), effects)

    def test_what_it_had_proposed_stays_in_its_log_for_the_next_leader_to_decide(self) -> None:
        server = OneServer().as_leader()
        server.proposes(b"x")

        server.step(lambda module: module.step_down("its disk hangs"))

        self.assertEqual(server.log_terms(), [1, 2, 2])
        self.assertEqual(server.record.commit_index, 2)

    def test_for_who_does_not_lead_it_is_nothing(self) -> None:
        server = OneServer().as_follower_of("b")

        self.assertEqual(server.step(lambda module: module.step_down("its disk hangs")), [])
