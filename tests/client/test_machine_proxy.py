from __future__ import annotations

import functools
from typing import Any

from twisted.internet.defer import CancelledError

from tests.support.client_case import ClientTestCase
from tests.support.fake_server import silence
from txraft.errors import NotApplied
from txraft.statemachine.results import answer_of_value
from txraft.wire.requests import Ask, DescribeRequest, InvokeRequest


class MachineProxyTests(ClientTestCase):
    def test_commands_and_queries_are_methods(self) -> None:
        counter = self.client.machine("counter")
        self.assertEqual(self.result(counter.add(3)), 3)
        self.assertEqual(self.result(counter.get()), 3)

    def test_the_servers_are_asked_once_however_many_calls_wait(self) -> None:
        calls = [self.client.machine("counter").add(1) for _ in range(10)]
        self.reactor.settle()
        self.assertEqual([self.successResultOf(call) for call in calls], list(range(1, 11)))
        self.result(self.client.machine("counter").get())
        self.assertEqual(len(self.servers[0].requests(DescribeRequest)), 1)

    def test_options_are_taken_too(self) -> None:
        counter = self.client.machine("counter")
        self.result(counter.add(1, exactly_once=False))
        self.result(counter.get(consistency="local"))
        self.assertEqual(self.servers[0].requests(InvokeRequest)[0].serial, 0)
        self.assertEqual(self.servers[0].requests(Ask)[0].consistency, "local")

    def test_unknown_names_are_not_applied_and_say_what_there_is(self) -> None:
        told = self.problem(self.client.machine("counter").subtract(1), NotApplied)
        self.assertEqual(told.code, "unknown_command")
        self.assertIn("add, get", told.message)
        self.assertEqual(self.problem(self.client.machine("stock").add(1), NotApplied).code, "unknown_machine")

    def test_after_an_unknown_name_the_servers_are_asked_again(self) -> None:
        self.problem(self.client.machine("stock").take(1), NotApplied)
        lead = self.servers[0].lead
        description = answer_of_value({"stock": {"commands": {"take": {}}, "queries": {}}}, 0, 1)
        self.servers[0].behave = lambda frame, request: description if isinstance(request, DescribeRequest) else lead(frame, request)
        self.assertEqual(self.result(self.client.machine("stock").take(1)), 1)

    def test_a_description_that_is_none_is_not_applied(self) -> None:
        values: list[Any] = [None, [], {"counter": []}, {"counter": {}}, 7]
        for value in values:
            answer = answer_of_value(value, 0, 1)
            self.servers[0].behave = functools.partial(lambda answer, frame, request: answer, answer)
            self.assertEqual(self.problem(self.client.machine("counter").add(1), NotApplied).code, "unexpected_answer")

    def test_servers_that_cannot_be_reached_are_not_applied(self) -> None:
        self.reactor.servers.clear()
        call = self.client.machine("counter").add(1)
        self.pass_time(self.timeout_s + 0.3)
        self.failureResultOf(call, NotApplied)

    def test_a_call_cancelled_while_the_servers_are_asked_is_never_sent(self) -> None:
        self.servers[0].behave = silence
        cancelled, other = self.client.machine("counter").add(1), self.client.machine("counter").add(10)
        self.reactor.settle()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.servers[0].hang_up()
        self.pass_time(0.05)
        self.assertEqual(self.successResultOf(other), 10)

    def test_private_names_are_no_commands(self) -> None:
        with self.assertRaises(AttributeError):
            self.client.machine("counter").__wrapped__  # noqa: B018
