"""What can be known of a command: that it happened, that it never will, or nothing."""

from __future__ import annotations

from tests.scenarios.scenario import BY_HAND, Scenario, carries
from tests.support.cluster import Cluster
from tests.support.witness import Proposal


class Fates(Scenario):
    """A leader appends a command and loses its office before it is committed."""

    def story(self) -> tuple[Cluster, Proposal]:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster.network.drops.append(lambda by, to, message: to == "c" and carries()(by, to, message))
        cluster.network.drops.append(lambda by, to, message: to == "a")
        (proposal,) = cluster.propose("a", b"one")
        cluster.run(1.2)
        self.assertFalse(cluster.leads("a"))
        self.assertEqual([len(cluster.terms(name)) for name in "abc"], [3, 3, 2])
        return cluster, proposal

    def test_while_it_is_open_nothing_can_be_said(self) -> None:
        _, proposal = self.story()

        self.assertEqual((proposal.answered, proposal.overwritten), (False, False))

    def test_the_next_leader_may_have_it_and_then_it_happens(self) -> None:
        cluster, proposal = self.story()

        cluster.heal()
        cluster.elect("b")

        self.assert_commands(cluster, b"one")
        self.assertEqual((proposal.answered, proposal.overwritten), (True, False))

    def test_the_next_leader_may_not_have_it_and_then_it_never_does(self) -> None:
        cluster, proposal = self.story()
        cluster.crash("b")
        cluster["b"].disk.entries.pop()
        cluster.restart("b")
        cluster.isolate("a")
        cluster.elect("c")
        cluster.commit("c", b"two")

        cluster.heal()

        self.assert_commands(cluster, b"two")
        self.assertEqual((proposal.answered, proposal.overwritten), (False, True))


class Taking(Scenario):
    def test_only_a_leader_takes_commands_so_none_goes_in_a_circle(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")

        self.assertEqual([len(cluster.propose(name, b"one")) for name in "abc"], [1, 0, 0])
        self.assert_commands(cluster, b"one")

    def test_quick_changes_of_leader_repeat_no_command(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        commands = []
        for number, name in enumerate("abcabcabc"):
            cluster.elect(name)
            commands.append(b"%d" % number)
            cluster.propose(name, commands[-1])
            cluster[name].step_down("to see what happens")
            cluster.run(0.2)

        cluster.elect("a")
        cluster.await_level()

        found = cluster.commands("a")
        self.assertEqual(found, [command for command in commands if command in found])
        self.assertEqual(len(found), len(set(found)))
