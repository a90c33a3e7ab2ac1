"""The invariants can fail: each is held against a state that breaks it."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from, snapshot_at
from tests.support.one_server import OneServer
from txraft.core.ids import Index, ServerId, Term
from txraft.core.invariants import ClusterHistory, check_state, check_step, remember
from txraft.core.progress import ProgressState
from txraft.core.roles import Candidate, Follower, Leader, Repair
from txraft.core.server import Server
from txraft.errors import Halted

A, B, C = ServerId("a"), ServerId("b"), ServerId("c")


class States(SynchronousTestCase):
    def broken(self, words: str, server: Server) -> None:
        error: Halted = self.assertRaises(Halted, check_state, server)
        self.assertIn(words, str(error))

    def follower(self) -> Server:
        return OneServer(log=(1, 1, 2), term=5, voted_for="b").as_follower_of("b").record

    def leader(self) -> Server:
        return OneServer(log=(1, 1, 2)).as_leader().record

    def test_sound_servers_pass(self) -> None:
        for server in (OneServer(), OneServer().as_pre_candidate(), OneServer().as_candidate(), OneServer().as_leader()):
            check_state(server.record)

    def test_committed_beyond_the_log(self) -> None:
        server = self.follower()
        server.commit_index = Index(4)
        self.broken("committed", server)

    def test_applied_beyond_committed(self) -> None:
        server = self.follower()
        server.last_applied = Index(1)
        self.broken("applied", server)

    def test_applied_beyond_durable(self) -> None:
        server = self.follower()
        server.commit_index = server.last_applied = Index(3)
        server.log.durable_index = Index(2)
        self.broken("durable", server)

    def test_an_entry_of_a_later_term(self) -> None:
        server = self.follower()
        server.log.append(commands_from(4, 6))
        self.broken("later term", server)

    def test_a_leader_that_voted_for_another(self) -> None:
        server = self.leader()
        server.voted_for = B
        self.broken("voted for itself", server)

    def test_a_candidate_that_voted_for_another(self) -> None:
        server = OneServer().as_candidate().record
        server.voted_for = B
        self.broken("voted for itself", server)

    def test_a_candidate_with_a_majority(self) -> None:
        server = OneServer().as_candidate().record
        server.role = Candidate(pre_vote=False, votes={A, B})
        self.broken("majority", server)

    def test_a_log_that_begins_behind_what_is_committed_or_behind_its_snapshot(self) -> None:
        server = OneServer(log=(1, 1, 1, 1), snapshot=snapshot_at(3, 1), base=2).record
        check_state(server)

        server.log.base_index = Index(4)
        self.broken("only committed entries are discarded", server)
        server.commit_index = Index(4)
        self.broken("stands for what is discarded", server)

    def test_entries_in_memory_from_before_the_log(self) -> None:
        server = OneServer(log=(1, 1, 1, 1), snapshot=snapshot_at(3, 1), base=2).record
        server.log.first_cached = Index(2)
        server.log._entries.insert(0, server.log._entries[0])
        self.broken("lies within the log", server)

    def test_a_leader_or_candidate_that_is_repairing(self) -> None:
        for server in (self.leader(), OneServer().as_candidate().record):
            server.repair = Repair()
            self.broken("has all that it acknowledged", server)

    def test_a_snapshot_being_sent_that_nobody_knows(self) -> None:
        server = self.leader()
        assert isinstance(server.role, Leader)
        server.role.progress[B].state = ProgressState.SNAPSHOT
        self.broken("sent a snapshot", server)

    def test_a_follower_of_itself(self) -> None:
        server = self.follower()
        server.role = Follower(A)
        self.broken("follow itself", server)

    def test_a_next_index_not_beyond_the_match_index(self) -> None:
        server = self.leader()
        assert isinstance(server.role, Leader)
        server.role.progress[B].next_index = server.role.progress[B].match_index
        self.broken("match < next", server)

    def test_a_next_index_beyond_the_log(self) -> None:
        server = self.leader()
        assert isinstance(server.role, Leader)
        server.role.progress[B].next_index = Index(server.log.last_index + 2)
        self.broken("match < next", server)

    def test_a_round_confirmed_before_it_was_begun(self) -> None:
        server = self.leader()
        assert isinstance(server.role, Leader)
        server.role.progress[B].round = 1
        self.broken("rounds", server)

    def test_a_window_without_bounds(self) -> None:
        server = self.leader()
        assert isinstance(server.role, Leader)
        for _ in range(5):
            server.role.progress[B].sent(server.log.last_index, 1)
        self.broken("window", server)


class Steps(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2)).as_leader().record
        self.before = remember(self.server)

    def broken(self, words: str) -> None:
        error: Halted = self.assertRaises(Halted, check_step, self.before, self.server)
        self.assertIn(words, str(error))

    def test_nothing_changed(self) -> None:
        check_step(self.before, self.server)

    def test_a_term_that_went_back(self) -> None:
        self.server.current_term = Term(2)
        self.broken("term")

    def test_a_commit_index_that_went_back(self) -> None:
        self.server.commit_index = Index(3)
        self.broken("commit")

    def test_applied_entries_taken_back(self) -> None:
        self.before = evolve(self.before, last_applied=Index(1))
        self.broken("applied")

    def test_discarded_entries_that_came_back(self) -> None:
        self.before = evolve(self.before, base_index=Index(1))
        self.broken("does not come back")

    def test_a_changed_vote(self) -> None:
        self.server.voted_for = B
        self.broken("vote")

    def test_a_vote_taken_back(self) -> None:
        self.server.voted_for = None
        self.broken("vote")

    def test_another_leader_in_the_same_term(self) -> None:
        self.server.role = Follower(B)
        self.broken("one leader")

    def test_a_leader_whose_log_became_shorter(self) -> None:
        self.before = evolve(self.before, last_index=Index(9))
        self.broken("only appends")


class Clusters(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = ClusterHistory()

    def broken(self, words: str, *servers: Server) -> None:
        error: Halted = self.assertRaises(Halted, self.history.check, servers)
        self.assertIn(words, str(error))

    def named(self, name: str, server: Server) -> Server:
        server.id = ServerId(name)
        return server

    def committed(self, *log: int) -> Server:
        server = OneServer(log=log).record
        server.commit_to(len(log))
        return server

    def test_two_leaders_in_a_term_even_one_after_the_other(self) -> None:
        self.history.check([OneServer().as_leader().record])

        self.broken("both lead term 2", self.named("b", OneServer().as_new_leader().record))

    def test_two_votes_in_a_term_even_one_after_the_other(self) -> None:
        self.history.check([OneServer(term=3, voted_for="b").record])

        self.broken("voted for b and c", OneServer(term=3, voted_for="c").record)

    def test_another_entry_committed_than_elsewhere(self) -> None:
        self.history.check([self.committed(1, 1, 2)])

        self.broken("another entry 3", self.named("b", self.committed(1, 1, 3)))

    def test_another_command_of_the_same_term_committed_than_elsewhere(self) -> None:
        self.history.check([self.committed(1, 1)])
        other = OneServer(log=(1,)).record
        other.append(commands_from(7, 1))
        other.commit_to(2)

        self.broken("another entry 2", self.named("b", other))

    def test_what_a_restarted_server_commits_is_checked_from_the_beginning(self) -> None:
        self.history.check([self.committed(1, 1, 2)])
        self.history.restarted(A)

        self.broken("another entry 2", self.committed(1, 3))

    def test_a_leader_that_lacks_a_committed_entry(self) -> None:
        self.history.check([self.named("b", self.committed(1, 1, 1))])

        self.broken("lacks committed entry 3", OneServer(log=(1, 1)).as_new_leader().record)

    def test_a_leader_elected_long_ago_need_not_have_what_later_terms_committed(self) -> None:
        """It was stopped between the last vote and taking office."""
        late = OneServer(log=(1, 1), term=3)
        later = self.named("b", OneServer(log=(1, 1, 1), term=7).record)
        later.commit_to(3)
        self.history.check([later])

        self.history.check([late.as_new_leader().record])

    def snapshot_only(self, index: int, term: int, *, name: str = "b") -> Server:
        """A server that has nothing but a snapshot."""
        server = OneServer(term=term)
        server.as_follower_of("c").has_received(snapshot_at(index, term))
        return self.named(name, server.record)

    def test_a_snapshot_of_another_entry_than_was_committed(self) -> None:
        self.history.check([self.committed(1, 1, 2), self.snapshot_only(3, 2)])

        self.broken("another entry 3", self.snapshot_only(3, 1, name="c"))

    def test_a_snapshot_of_what_nobody_has_committed(self) -> None:
        self.history.check([self.committed(1, 1)])

        self.broken("nobody has committed", self.snapshot_only(3, 1))

    def test_a_leader_whose_snapshot_stands_for_what_was_committed(self) -> None:
        self.history.check([self.named("b", self.committed(1, 1, 1))])

        leader = OneServer(log=(1, 1, 1), snapshot=snapshot_at(3, 1), base=3).as_new_leader().record
        self.history.check([leader])
        leader.log.base_term = Term(7)
        self.history.leaders.clear()
        self.broken("lacks committed entry 3", leader)

    def test_a_sound_history(self) -> None:
        self.history.check([self.committed(1, 1), self.named("b", self.committed(1, 1, 2)), OneServer(log=(1, 1, 2)).as_leader().record])

        self.assertEqual(self.history.leaders, {3: "a"})
