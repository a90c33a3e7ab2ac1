"""A peer is a directory and not a name: what `Peers` believes of those who greet, and what it does about those it believes no more."""

from __future__ import annotations

from tests.net.test_peers import LONG_ENOUGH_S, N1, N2, ClusterTestCase, Server

OLD, NEW, OWN = "0d" * 16, "ae" * 16, "11" * 16


class DirectoriesTestCase(ClusterTestCase):
    """Server n1 is looked at; n2 comes in different shapes."""

    def setUp(self) -> None:
        super().setUp()
        self.one = self.server("n1", directory=OWN, process="p")

    def two(self, incarnation: int, *processes: str, directory: str = OLD, address: str = "") -> Server:
        process, *previous = processes
        return self.server(
            "n2", incarnation=incarnation, directory=directory, process=process, previous_processes=tuple(previous), address=address
        )

    def comes(self, server: Server) -> Server:
        server.start(**self.members)
        self.pass_time(LONG_ENOUGH_S + 0.1)
        return server

    def assert_together(self, server: Server) -> None:
        self.assertEqual((self.one.peers.connected(), server.peers.connected()), ({"n2": True}, {"n1": True}))
        for sender, receiver in ((self.one, server), (server, self.one)):
            receiver.gate.received.clear()
            sender.peers.send(receiver.name, sender.vote())
            self.settle()
            self.assertEqual(receiver.gate.received, [(sender.name, sender.vote())])

    def assert_refused(self, server: Server, code: str) -> None:
        self.assertFalse(server.peers.connected()["n1"])
        self.assertEqual(set(server.gate.refused), {("n1", code)})
        self.assertEqual([refusal.code for refusal in server.peers.refusals().values()], [code])
        self.assertIn("docs/operating.md", server.peers.status()["links"]["n1"]["refused"])
        self.assertIn(f"refused_{code}", self.one.peers.status()["incidents"])
        self.one.gate.received.clear()
        server.peers.send(N1, server.vote())
        self.settle()
        self.assertEqual(self.one.gate.received, [])


class TheConfiguration(DirectoriesTestCase):
    def test_row_32_a_directory_that_is_not_the_configurations_is_refused_though_no_other_was_ever_met(self) -> None:
        self.one.start({"n2": OLD}, **self.members)

        wiped = self.comes(self.two(1, "q", directory=NEW))

        self.assert_refused(wiped, "directory")
        self.assertEqual(self.one.peers.connected(), {"n2": False})
        self.assertIn("wrong_peer", self.one.peers.status()["incidents"])
        self.stop_now(wiped)
        self.assert_together(self.comes(self.two(1, "q")))

    def test_who_was_believed_before_the_configuration_knew_better_is_cut_off(self) -> None:
        self.one.start(**self.members)
        wiped = self.comes(self.two(7, "q", directory=NEW))
        self.assert_together(wiped)

        self.one.peers.set_members(self.members, {"n2": OLD})
        self.pass_time(LONG_ENOUGH_S)

        self.assert_refused(wiped, "directory")
        self.stop_now(wiped)
        self.assert_together(self.comes(self.two(2, "p2", "p1")))

    def test_the_right_one_is_not_disturbed_when_the_configuration_learns_of_it(self) -> None:
        self.one.start(**self.members)
        two = self.comes(self.two(1, "q"))
        attempts = len(self.network.attempts)

        self.one.peers.set_members(self.members, {"n2": OLD, "n1": OWN})
        self.pass_time(LONG_ENOUGH_S)

        self.assert_together(two)
        self.assertEqual(len(self.network.attempts), attempts)

    def test_when_the_configuration_takes_a_mark_back_what_was_seen_counts_again(self) -> None:
        self.one.start(**self.members)
        two = self.comes(self.two(1, "q"))

        self.one.peers.set_members(self.members, {"n2": NEW})
        self.pass_time(LONG_ENOUGH_S)
        self.assertEqual(self.one.peers.connected(), {"n2": False})
        self.one.peers.set_members(self.members, {})
        self.pass_time(LONG_ENOUGH_S + 0.1)

        self.assert_together(two)

    def test_marks_are_told_of_those_who_are_connected(self) -> None:
        self.one.start(**self.members)
        self.assertEqual(self.one.peers.directories(), {})
        two = self.comes(self.two(1, "q"))

        self.assertEqual((self.one.peers.directories(), two.peers.directories()), ({"n2": OLD}, {"n1": OWN}))

        self.stop_now(two)
        self.pass_time(LONG_ENOUGH_S)
        self.assertEqual(self.one.peers.directories(), {})


class Copies(DirectoriesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.one.start(**self.members)

    def test_row_32_an_older_copy_is_refused_at_its_first_start_and_at_later_ones(self) -> None:
        self.stop_now(self.comes(self.two(5, "p5", "p4", "p3")))
        for copy, code in (
            (self.two(4, "q4", "p3"), "incarnation"),
            (self.two(5, "q5", "q4", "p3"), "copied"),
            (self.two(6, "q6", "q5", "q4", "p3"), "copied"),
            (self.two(7, "q7", "q6", "q5", "q4", "p3"), "copied"),
        ):
            self.assert_refused(self.comes(copy), code)
            self.stop_now(copy)
        self.assert_together(self.comes(self.two(6, "p6", "p5", "p4")))

    def test_row_72_the_second_of_two_with_one_start_is_refused_and_the_first_stays(self) -> None:
        first = self.comes(self.two(5, "p5", "p4"))

        second = self.comes(self.two(5, "q5", "p4", address="elsewhere:1"))

        self.assert_refused(second, "copied")
        self.assert_together(first)
        self.assertEqual(first.gate.refused, [])

    def test_row_72_a_later_start_ends_both_connections_of_an_earlier_one(self) -> None:
        earlier = self.comes(self.two(5, "p5"))

        self.comes(self.two(6, "p6", "p5", address="elsewhere:1"))
        self.pass_time(LONG_ENOUGH_S)

        self.assert_refused(earlier, "incarnation")
        self.assertEqual(self.one.peers.connected(), {"n2": False}, "the one that is dialled is the earlier one")

    def test_row_72_a_later_start_that_is_reached_ends_the_connection_on_which_an_earlier_one_sends(self) -> None:
        self.one.peers.set_members(self.members | {"n2": "nowhere:1"}, {})
        earlier = self.comes(self.two(5, "p5"))
        self.assertEqual((self.one.peers.connected(), earlier.peers.connected()), ({"n2": False}, {"n1": True}))

        self.two(6, "p6", "p5", address="elsewhere:1").start(n2="elsewhere:1", n1="nowhere:1")
        self.one.peers.set_members(self.members | {"n2": "elsewhere:1"}, {})
        self.pass_time(2 * LONG_ENOUGH_S)

        self.assertEqual(self.one.peers.connected(), {"n2": True})
        self.assert_refused(earlier, "incarnation")

    def test_a_start_that_follows_is_not_disturbed(self) -> None:
        """Its hello may come while it is being dialled already."""
        self.stop_now(self.comes(self.two(5, "p5", "p4")))
        two = self.comes(self.two(6, "p6", "p5"))
        connections = len(self.network.connections)

        self.pass_time(LONG_ENOUGH_S)

        self.assert_together(two)
        self.assertEqual(len(self.network.connections), connections)

    def test_a_refusal_is_past_when_the_hello_is_taken(self) -> None:
        stranger = self.comes(self.server("n2", cluster_id="d" * 32, directory=OLD))
        self.assertEqual(list(stranger.peers.refusals()), [N1])
        self.stop_now(self.one)

        self.server("n1", cluster_id="d" * 32).start(**self.members)
        self.pass_time(2 * LONG_ENOUGH_S)

        self.assertEqual((stranger.peers.connected(), stranger.peers.refusals()), ({"n1": True}, {}))
        self.assertEqual(stranger.peers.status()["links"]["n1"]["refused"], "")

    def test_servers_too_old_to_say_are_taken_as_before(self) -> None:
        self.stop_now(self.comes(self.server("n2", incarnation=5, directory=OLD)))
        two = self.comes(self.server("n2", incarnation=6))
        self.assert_together(two)
        self.assertEqual(self.one.peers.client_address(N2), "n2:2379")
