"""Descriptors of a process that may have few."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from txraft.net.descriptors import RESERVED, connections_possible, raise_descriptor_limit


class Descriptors(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = (1_024, 4_096)
        self.patch(resource, "getrlimit", lambda which: self.limits)
        self.patch(resource, "setrlimit", self.set_limits)

    def set_limits(self, which: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.limits[1] != resource.RLIM_INFINITY:
            raise ValueError("not allowed to exceed maximum limit")
        self.limits = limits

    def test_clients_took_all_descriptors_and_the_log_could_not_open_its_next_file(self) -> None:
        self.assertEqual(connections_possible(10_000), 1_024 - RESERVED)
        self.limits = (256, 256)
        self.assertEqual(connections_possible(10_000), 128)

    def test_enough_are_asked_for(self) -> None:
        raise_descriptor_limit(1_000)
        self.assertEqual(self.limits, (1_000 + RESERVED, 4_096))
        self.assertEqual(connections_possible(1_000), 1_000)

    def test_as_many_as_are_allowed(self) -> None:
        raise_descriptor_limit(10_000)
        self.assertEqual(self.limits, (4_096, 4_096))
        self.assertEqual(connections_possible(10_000), 4_096 - RESERVED)

    def test_where_there_is_no_limit(self) -> None:
        self.limits = (1_024, resource.RLIM_INFINITY)
        raise_descriptor_limit(10_000)
        self.assertEqual(connections_possible(10_000), 10_000)
        self.limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        raise_descriptor_limit(10_000)
        self.assertEqual((self.limits[0], connections_possible(10_000)), (resource.RLIM_INFINITY, 10_000))

    def test_a_limit_that_is_enough_is_left_alone(self) -> None:
        self.limits = (65_536, 65_536)
        raise_descriptor_limit(1_000)
        self.assertEqual(self.limits, (65_536, 65_536))

    def test_a_limit_that_cannot_be_raised(self) -> None:
        def forbidden(which: int, limits: tuple[int, int]) -> None:
            raise OSError("not permitted")

        self.patch(resource, "setrlimit", forbidden)
        raise_descriptor_limit(10_000)
        self.assertEqual(connections_possible(10_000), 1_024 - RESERVED)
