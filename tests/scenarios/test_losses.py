"""A server's disk has lost what it once held: it must not vote or be counted before it has that again, and nothing acknowledged is lost."""

from __future__ import annotations

from attrs import evolve

from tests.scenarios.scenario import BY_HAND, Scenario, carries, watch
from tests.support.cluster import Cluster
from tests.support.simulated_network import Choice
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries, AppendEntriesReply, Message, RequestVote, RequestVoteReply
from txraft.core.roles import Candidate, Follower, Repair


def votes_asked(by: str, of: str) -> Choice:
    """Chooses a candidate's requests, but not those that only rehearse."""

    def chosen(sender: ServerId, to: ServerId, message: Message) -> bool:
        return sender == by and to in of and isinstance(message, RequestVote) and not message.pre_vote

    return chosen


def entries_sent(by: str, to: str) -> Choice:
    """Chooses a leader's messages that carry entries."""
    return lambda sender, receiver, message: sender == by and receiver in to and carries()(sender, receiver, message)


class LossScenario(Scenario):
    def committed_without_b(self) -> Cluster:
        """`a` leads, and `one` is on the disks of `a` and `c` only."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster.isolate("b")
        cluster.commit("a", b"one")
        return cluster

    def stand(self, cluster: Cluster, candidate: str, friends: str, leader: str) -> int:
        """`candidate` asks for votes, since friends who were restarted just now have not heard of the leader yet; in which term."""

        def silence(by: ServerId, to: ServerId, message: Message) -> bool:
            return by == leader and to in candidate + friends and isinstance(message, AppendEntries)

        cluster.crash(*friends)
        cluster.restart(*friends)
        cluster.network.drops.append(silence)
        cluster.run(0.01)
        cluster.campaign(candidate)
        standing = lambda: cluster[candidate].record.role == Candidate(pre_vote=False, votes={ServerId(candidate)})  # noqa: E731
        cluster.run_until(standing, within_s=0.1, what=f"{candidate} asks for votes")
        cluster.run(0.01)
        self.assertTrue(cluster.leads(leader))
        cluster.network.drops.remove(silence)
        return cluster[candidate].record.current_term

    def assert_whole(self, cluster: Cluster, name: str) -> None:
        cluster.run_until(lambda: cluster[name].disk.note is None, within_s=5.0, what=f"{name} is repaired")
        cluster.run_until(lambda: cluster[name].record.repair is None, within_s=1.0, what=f"{name} takes part again")


class LostEntries(LossScenario):
    def test_row_64_who_has_lost_a_committed_entry_helps_nobody_to_be_elected_who_lacks_it(self) -> None:
        """Records acknowledged on a majority are gone when one of it has lost them and elects a third (NATS #7549)."""
        cluster = self.committed_without_b()
        votes = watch(cluster, RequestVoteReply, sender="c")
        cluster.lose("c", log_from=3)
        cluster.crash("a")
        cluster.network.cuts.clear()
        cluster.restart("c")

        for _ in range(3):
            cluster.run(1.0)
            cluster.campaign("b")
            cluster.campaign("c")
        self.assertFalse(cluster.leads("b"))
        self.assertFalse(any(vote.granted for vote in votes))
        self.assertIsInstance(cluster["c"].record.role, Follower)

        cluster.restart("a")
        cluster.elect("a")
        self.assert_commands(cluster, b"one")
        self.assert_whole(cluster, "c")

    def test_it_takes_part_again_when_it_has_everything(self) -> None:
        cluster = self.committed_without_b()
        cluster.lose("c", log_from=2)
        cluster.heal()
        cluster.restart("c")
        self.assert_whole(cluster, "c")

        cluster.crash("b")
        cluster.commit("a", b"two")
        cluster.crash("a")
        cluster.restart("b")
        cluster.elect("c")

        self.assert_serves(cluster, "b", "c")
        cluster.restart("a")
        self.assert_commands(cluster, b"one", b"two", b"still serving")

    def test_a_leader_does_not_commit_by_who_is_repairing(self) -> None:
        cluster = self.committed_without_b()
        cluster.lose("c", log_from=2)
        cluster.crash("a")
        cluster.restart("a", "c")
        cluster.heal()
        cluster.network.drops.append(lambda by, to, message: to == "b" and carries()(by, to, message))
        cluster.elect("a")
        (proposal,) = cluster.propose("a", b"two")
        cluster.run(0.5)

        self.assertEqual(cluster["c"].record.log.last_index, cluster["a"].record.log.last_index)
        self.assertFalse(proposal.answered)
        cluster.heal()
        self.assert_commands(cluster, b"one", b"two")

    def test_an_answer_from_before_the_loss_that_comes_after_it_does_not_commit(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster.isolate("b")
        late = watch(cluster, AppendEntriesReply, sender="c")
        cluster.network.drops.append(
            lambda by, to, message: isinstance(message, AppendEntriesReply) and message.match_index == 3 and not message.repairing
        )
        (proposal,) = cluster.propose("a", b"one")
        cluster.run_until(lambda: any(answer.match_index == 3 for answer in late), within_s=1.0, what="c has acknowledged")
        acknowledged = next(answer for answer in late if answer.match_index == 3)
        cluster.lose("c", log_from=3)
        cluster.network.drops.append(lambda by, to, message: to == "c" and carries()(by, to, message))
        cluster.restart("c")
        cluster.run_until(lambda: any(answer.repairing for answer in late), within_s=1.0, what="c says that it is repairing")
        cluster.run(0.05)

        cluster["a"].receive(ServerId("c"), acknowledged)
        cluster.run(0.05)
        self.assertFalse(proposal.answered)

        cluster.heal()
        self.assert_commands(cluster, b"one")

    def test_a_new_leader_that_has_committed_nothing_yet_makes_nobody_whole(self) -> None:
        """What it knows as committed says nothing about what was: `b` must not be elected by `c` without the entry."""
        cluster = self.committed_without_b()
        cluster.lose("c", log_from=3)
        cluster.crash("a")
        cluster.heal()
        cluster.restart("a", "c")
        cluster.network.drops.append(lambda by, to, message: by == "a" and carries()(by, to, message))
        knows = watch(cluster, AppendEntries, sender="a")
        cluster.elect("a")
        cluster.run(0.5)
        self.assertTrue(any(request.repairing for request in knows))
        self.assertIsNotNone(cluster["c"].disk.note)

        cluster.crash("a")
        cluster.run(1.0)
        cluster.campaign("b")
        cluster.run(1.0)
        self.assertFalse(cluster.leads("b"))

        cluster.heal()
        cluster.restart("a")
        cluster.elect("a")
        self.assert_commands(cluster, b"one")

    def test_a_restart_in_the_middle_begins_over(self) -> None:
        cluster = self.committed_without_b()
        cluster.lose("c", log_from=1)
        cluster.heal()
        for _ in range(4):
            cluster.restart("c")
            cluster.run(0.004)
            cluster.crash("c")
            self.assertIsNotNone(cluster["c"].disk.note)
        cluster.restart("c")

        self.assert_whole(cluster, "c")
        self.assert_commands(cluster, b"one")

    def test_several_at_once_as_long_as_a_majority_has_lost_nothing(self) -> None:
        cluster = Cluster("abcde")
        leader = cluster.await_leader()
        cluster.commit(leader, b"one", b"two")
        others = [name for name in "abcde" if name != leader]
        for name in others[:2]:
            cluster.lose(name, log_from=1)
            cluster.restart(name)

        for name in others[:2]:
            self.assert_whole(cluster, name)
        self.assert_commands(cluster, b"one", b"two")

    def test_a_leader_that_loses_something_comes_back_as_a_follower(self) -> None:
        cluster = Cluster("abc")
        leader = cluster.await_leader()
        cluster.commit(leader, b"one")
        cluster.lose(leader, log_from=2)
        cluster.restart(leader)
        self.assertIsInstance(cluster[leader].record.role, Follower)

        self.assert_whole(cluster, leader)
        self.assert_commands(cluster, b"one")

    def test_without_anybody_who_has_it_nothing_is_made_up(self) -> None:
        """A majority has lost the entry: the one that is left cannot be elected, and nobody else wants to be."""
        cluster = self.committed_without_b()
        cluster.heal()
        cluster.await_level()
        cluster.crash("a")
        for name in "bc":
            cluster.lose(name, log_from=2)
        cluster.restart("a", "b", "c")
        for name in "abc":
            cluster.run(1.0)
            cluster.campaign(name)
        cluster.run(1.0)

        self.assertIsNone(cluster.leader())


class LostSnapshots(LossScenario):
    def test_row_65_without_its_snapshot_a_server_begins_as_a_new_one_and_is_sent_another(self) -> None:
        cluster = self.committed_without_b()
        cluster.heal()
        cluster.await_level()
        for name in "abc":
            cluster.take_snapshot(name)
        cluster.lose("c", snapshot=True)
        self.assertEqual((cluster["c"].disk.base[0], len(cluster["c"].disk.entries)), (0, 1))

        cluster.restart("c")

        self.assert_whole(cluster, "c")
        self.assert_commands(cluster, b"one")

    def test_what_is_lost_of_the_log_behind_it_is_sent_again(self) -> None:
        cluster = self.committed_without_b()
        cluster.heal()
        cluster.await_level()
        cluster.take_snapshot("c")
        cluster.commit("a", b"two", b"three")
        cluster.await_level()
        cluster.lose("c", log_from=5)
        cluster.restart("c")

        self.assert_whole(cluster, "c")
        self.assert_commands(cluster, b"one", b"two", b"three")


class LostVotes(LossScenario):
    def test_who_has_lost_its_vote_waits_for_the_words_of_all_others(self) -> None:
        cluster = self.committed_without_b()
        cluster.heal()
        cluster.await_level()
        cluster.crash("b")
        cluster.lose("c", votes=True)
        answers = watch(cluster, AppendEntriesReply, sender="c")
        cluster.restart("c")
        cluster.run(0.5)
        self.assertEqual(answers, [])

        cluster.restart("b")
        cluster.campaign("c")
        cluster.run(0.1)

        self.assert_whole(cluster, "c")
        self.assertEqual(cluster["c"].record.current_term, cluster["a"].record.current_term)

    def test_it_does_not_give_a_second_vote_in_a_term_in_which_it_has_voted(self) -> None:
        """`c` has made `a` the leader of term 2 and forgets it; `b` would like to lead the same term."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.cut("a>b b>a")
        cluster.elect("a")
        self.assertEqual(cluster["b"].record.current_term, 1)
        cluster.isolate("a")
        cluster.lose("c", votes=True)
        cluster.restart("c")

        for _ in range(3):
            cluster.run(1.0)
            cluster.campaign("b")
            cluster.campaign("c")
        self.assertFalse(cluster.leads("b"))

        cluster.heal()
        cluster.campaign("c")
        cluster.run(0.2)
        cluster.elect("a")
        self.assert_whole(cluster, "c")
        self.assert_commands(cluster)

    def test_only_the_note_of_repair_is_unreadable_and_the_vote_is_still_there(self) -> None:
        """It halted at every start: `a second vote in term 2: a, then c`."""
        cluster = self.committed_without_b()
        cluster.heal()
        cluster.await_level()
        self.assertEqual(cluster["c"].disk.metadata.voted_for, "a")
        cluster.lose("c")
        cluster["c"].disk.note = Repair(votes_lost=True)
        cluster.restart("c")

        self.assert_whole(cluster, "c")
        self.assertEqual(cluster["c"].record.voted_for, "a")
        self.assert_commands(cluster, b"one")

    def test_it_does_not_confirm_the_reads_of_a_leader_that_it_has_helped_to_depose(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"one")
        cluster.cut("a>b b>a a>c c>a")
        cluster.elect("b")
        cluster.commit("b", b"two")
        cluster.isolate("b")
        cluster.lose("c", votes=True, log_from=1)
        cluster.network.cuts -= {(ServerId("a"), ServerId("c")), (ServerId("c"), ServerId("a"))}
        cluster.restart("c")
        cluster.run(0.05)

        read = cluster.read("a")
        cluster.run(0.5)

        self.assertFalse(read is not None and read.answered)

    def test_a_late_request_of_an_earlier_start_does_not_elect_who_has_lost_its_log_since(self) -> None:
        """`e` stands in a term of which nobody hears, loses its vote and an entry, and stands in that term again. Then what it asked
        the first time arrives: it speaks for a log with the entry in it, which is committed by now.
        """
        cluster = Cluster("abcde", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        asked = watch(cluster, RequestVote, sender="e")
        cluster.network.drops += [entries_sent("a", "bcd"), votes_asked("e", "abcd")]
        (proposal,) = cluster.propose("a", b"one")
        cluster.run(0.05)
        self.assertEqual(cluster["e"].disk.last_index, 3)
        term = self.stand(cluster, "e", "cd", "a")
        late = next(request for request in asked if not request.pre_vote)

        cluster.lose("e", log_from=3, votes=True)
        cluster.network.drops.append(entries_sent("a", "e"))
        cluster.restart("e")
        self.assert_whole(cluster, "e")
        cluster.network.drops[:] = [entries_sent("a", "bcde"), votes_asked("e", "abc")]
        self.assertEqual(self.stand(cluster, "e", "cd", "a"), term)
        self.assertEqual((cluster["d"].record.current_term, cluster["d"].record.voted_for), (term, "e"))
        cluster.network.drops[:] = [lambda by, to, message: by == "a" and to in "de", votes_asked("e", "abcd")]
        cluster.run_until(lambda: proposal.answered, within_s=1.0, what="one is acknowledged")
        cluster.crash("b")
        cluster.network.drops.append(lambda by, to, message: by == "a")
        cluster.restart("b")
        cluster["b"].receive(ServerId("e"), late)
        cluster.run(0.05)

        self.assertEqual((cluster["b"].record.current_term, cluster["b"].record.voted_for), (term, "e"))
        self.assertFalse(cluster.leads("e"))
        cluster.heal()
        cluster.elect("a")
        self.assert_commands(cluster, b"one")

    def test_a_vote_for_itself_that_nobody_has_heard_of_is_free_again(self) -> None:
        """`c` stood in a term, and has forgotten it: it may help another to lead that very term, since it can never win it any more."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster.network.drops.append(votes_asked("c", "ab"))
        term = self.stand(cluster, "c", "b", "a")
        cluster.lose("c", votes=True)
        cluster.restart("c")
        self.assert_whole(cluster, "c")

        cluster.crash("a")
        cluster.elect("b")

        self.assertEqual((cluster["b"].record.current_term, cluster["c"].record.voted_for), (term, "b"))
        cluster.restart("a")
        cluster.heal()
        self.assert_serves(cluster, "b")

    def test_two_that_have_both_lost_their_votes_do_not_guess(self) -> None:
        cluster = Cluster("abcde", conditions=evolve(BY_HAND))
        cluster.elect("a")
        cluster.await_level()
        for name in "de":
            cluster.lose(name, votes=True)
            cluster.restart(name)
        for _ in range(3):
            cluster.run(1.0)
            cluster.campaign("d")
            cluster.campaign("e")

        self.assertEqual([cluster[name].disk.note is None for name in "de"], [False, False])
        self.assert_serves(cluster, "a", "b", "c")
