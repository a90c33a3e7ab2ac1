"""Local queries as fresh as the caller asks for: what a node cannot vouch for it does not answer."""

from __future__ import annotations

from tests.node.following_case import FollowingCase
from tests.support.node_cluster import NodeCluster
from txraft.core.entry import Entry, EntryKind
from txraft.core.messages import AppendEntries


class StalenessTests(FollowingCase):
    """A heartbeat every 0.1 s: a state is known to be younger than a few of them, or not."""

    def test_leader_and_follower_in_touch_are_fresh(self) -> None:
        self.assertEqual([self.ask_within(node, 500) for node in (self.leader, self.follower)], [1, 1])

    def test_a_follower_that_is_cut_off_grows_old(self) -> None:
        self.cluster.isolate(self.follower.config.name)
        self.cluster.advance(0.2)
        self.assertEqual(self.ask_within(self.follower, 500), 1)
        self.cluster.advance(0.4)
        self.assertEqual(self.ask_within(self.follower, 500), "stale")
        self.assertEqual(self.ask_within(self.other, 500), 1)
        self.cluster.cut.clear()
        self.cluster.advance(4)
        self.assertEqual(self.ask_within(self.follower, 500), 1)

    def test_so_does_a_leader_that_is_cut_off(self) -> None:
        self.cluster.isolate(self.leader.config.name)
        self.cluster.advance(0.6)
        self.assertEqual((self.leader.view.role, self.ask_within(self.leader, 500)), ("leader", "stale"))
        self.cluster.advance(2)
        self.assertEqual(self.ask_within(self.leader, 60_000), "stale")

    def test_with_a_follower_it_cannot_hear_it_is_fresh_by_the_other(self) -> None:
        self.cluster.isolate(self.follower.config.name)
        self.cluster.advance(1)
        self.assertEqual(self.ask_within(self.leader, 300), 1)

    def test_a_leader_that_was_paused_is_not_fresh_by_what_waited_in_its_sockets(self) -> None:
        """Found by review: it counted from the moment it read an answer, not from the one it had asked."""
        held = self.hold_messages_to(self.leader)
        self.cluster.advance(0.6)
        for message in held[: len(held) // 2]:
            self.deliver(*message)
        self.assertEqual(self.ask_within(self.leader, 250), "stale")

    def test_a_follower_that_was_paused_is_not_either(self) -> None:
        held = self.hold_messages_to(self.follower)
        self.cluster.advance(0.8)
        for message in held[: len(held) // 2]:
            self.deliver(*message)
        self.assertEqual(self.ask_within(self.follower, 300), "stale")

    def test_a_leaders_word_counts_once_it_has_committed_something_of_its_own(self) -> None:
        """Before, it may not know of all that is committed."""
        self.cluster.isolate(self.follower.config.name)
        assert self.follower.driver is not None
        server, sender = self.follower.driver.core.server, self.other.server_id
        last, term = server.log.last_index, server.current_term
        for round_number in (1, 2):
            word = AppendEntries(term + 1, sender, last, term, server.commit_index, round_number, [], round_number - 1)
            self.follower.message_received(sender, word)
        self.assertEqual(self.ask_within(self.follower, 60_000), "stale")
        own = Entry(term + 1, EntryKind.NOOP, b"")
        for commit_index, entries in ((last, [own]), (last + 1, [])):
            behind = (last, term) if entries else (last + 1, term + 1)
            self.follower.message_received(sender, AppendEntries(term + 1, sender, *behind, commit_index, 3, entries, 2))
            self.cluster.advance(0.02)
        self.assertEqual(self.ask_within(self.follower, 500), 1)

    def test_a_new_leader_does_not_know_before_its_first_entry_is_applied(self) -> None:
        self.cluster.crash(self.leader.config.name)
        hung = {self.follower.config.name, self.other.config.name}
        for _ in range(400):
            self.cluster.advance(0.01)
            new = next((node for node in self.cluster.nodes.values() if node.view.role == "leader"), None)
            if new is not None and not new.view.serving:
                self.cluster.hung |= hung
                break
        assert new is not None
        self.assertFalse(new.view.serving)
        self.assertEqual(self.ask_within(new, 60_000), "stale")
        self.cluster.hung.clear()
        self.cluster.advance(1)
        self.assertEqual(self.ask_within(self.cluster.leader(), 500), 1)

    def test_a_follower_whose_applying_lags_is_as_old_as_what_is_applied(self) -> None:
        self.cluster.advance(0.5)
        assert self.follower.driver is not None
        self.patch(self.follower.driver.applier, "apply_through", lambda target: None)
        self.add(1)
        self.cluster.advance(0.5)
        self.assertEqual((self.ask_within(self.follower, 500), self.ask_within(self.follower, 5_000)), ("stale", 1))

    def test_what_has_waited_is_looked_at_again_when_it_is_answered(self) -> None:
        coming = self.add(0).index + 1
        self.cluster.advance(0.3)
        answer = self.ask(self.follower, "local", at_least=coming, max_staleness_ms=500)
        held = self.hold_messages_to(self.follower)
        self.add(1)
        self.cluster.advance(0.6)
        for message in held[:25]:
            self.deliver(*message)
        self.cluster.advance(0.01)
        self.assertEqual(self.code(answer), "stale")

    def test_a_single_server_is_always_fresh(self) -> None:
        self.cluster.stop_all()
        self.cluster = NodeCluster(self.mktemp(), 1)
        self.cluster.start()
        self.leader = self.cluster.leader()
        self.add(1)
        self.assertEqual(self.ask_within(self.leader, 1), 1)
