"""Exactly once (rows 24 and 25; scenarios 48 to 50)."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from txraft.errors import Outcome, Refused, Unknown
from txraft.limits import INDEX_MAX, Limits
from txraft.statemachine.log_commands import Invoke, OpenSession
from txraft.statemachine.sessions import NEVER_MS, SESSION_TIMEOUT_MS_MAX, Sessions

LIMITS = Limits(sessions_max=3, session_results_max=10)


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(sum="Plain", limits=LIMITS)
        self.session = self.driver.open_session(timeout_ms=1_000)

    def add(self, serial: int, first: int = 0, amount: int = 1, session: int | None = None) -> Any:
        return self.driver.call(
            "sum", "add", session=self.session if session is None else session, serial=serial, first=first, amount=amount
        )

    def problem(self, kind: type[Outcome], code: str, serial: int, first: int = 0, session: int | None = None) -> None:
        before = self.driver.ask("sum", "total")
        problem = self.assertRaises(kind, self.add, serial, first, 1, session)
        self.assertEqual(problem.code, code)
        self.assertEqual(self.driver.ask("sum", "total"), before)


class Repeating(SessionCase):
    def test_without_a_session_every_call_counts(self) -> None:
        self.assertEqual([self.add(0, session=0), self.add(7, session=0), self.add(7, session=0)], [1, 2, 3])

    def test_the_same_serial_number_is_answered_with_the_same_bytes(self) -> None:
        self.assertEqual([self.add(1), self.add(2), self.add(1), self.add(1, amount=99)], [1, 2, 1, 1])
        self.assertEqual(self.driver.answers[-1], self.driver.answers[-4])
        self.assertEqual(self.driver.ask("sum", "total"), 2)

    def test_serial_numbers_may_come_in_any_order(self) -> None:
        self.assertEqual([self.add(5), self.add(2), self.add(5), self.add(3), self.add(2)], [1, 2, 1, 3, 2])

    def test_sessions_do_not_mix(self) -> None:
        other = self.driver.open_session()
        self.assertEqual([self.add(1), self.add(1, session=other), self.add(1)], [1, 2, 1])

    def test_the_answer_survives_in_a_snapshot(self) -> None:
        self.add(1)
        first = self.driver.answers[-1]
        self.driver.host = self.driver.restored()
        self.assertEqual(self.add(1, amount=5), 1)
        self.assertEqual(self.driver.answers[-1], first)

    def test_a_view_does_not_see_what_follows_in_the_session_used_last(self) -> None:
        self.add(1)
        view = self.driver.host._sessions.capture()
        self.add(2)
        [(_, seen)] = view
        self.assertEqual(list(seen.results), [1])
        [(_, now)] = self.driver.host._sessions.capture()
        self.assertEqual(list(now.results), [1, 2])

    def test_the_session_used_last_can_be_closed(self) -> None:
        self.add(1)
        self.driver.host._sessions.close(self.session)
        self.problem(Unknown, "session_expired", 2)

    def test_refusals_of_the_machine_are_kept_too(self) -> None:
        driver = Driver(buggy="Buggy")
        session = driver.open_session()
        for _ in range(2):
            self.assertRaises(Refused, driver.call, "buggy", "raise_it", session=session, serial=1, name="refused")
        self.assertEqual(driver.answers[-1], driver.answers[-2])


class SerialNumbers(SessionCase):
    def test_zero_is_none(self) -> None:
        self.problem(Refused, "serial_missing", 0)

    def test_forgotten_results_are_not_applied_again(self) -> None:
        for serial in (1, 2, 3):
            self.add(serial)
        self.assertEqual(self.add(4, first=3), 4)
        self.problem(Unknown, "serial_forgotten", 1, first=3)
        self.problem(Unknown, "serial_forgotten", 2)
        self.assertEqual(self.add(3), 3)

    def test_numbers_never_seen_but_below_the_first_outstanding(self) -> None:
        self.add(9, first=8)
        self.problem(Unknown, "serial_forgotten", 5)

    def test_what_the_client_has_is_not_kept(self) -> None:
        for serial in range(1, 100):
            self.add(serial, first=serial)
        [(_, session)] = self.driver.host._sessions.capture()
        self.assertEqual(list(session.results), [99])
        self.add(10**15, first=10**15)
        [(_, session)] = self.driver.host._sessions.capture()
        self.assertEqual((session.first_outstanding, len(session.results)), (10**15, 1))

    def test_the_first_outstanding_result_itself_is_kept(self) -> None:
        for first in (5, 9):
            self.add(first, first=1)
            self.add(10, first=first)
            self.add(first)
            self.assertNotEqual(self.driver.answers[-1], self.driver.answers[-2])
            self.assertEqual(self.driver.answers[-1], self.driver.answers[-3])

    def test_running_too_far_ahead(self) -> None:
        self.add(1)
        self.add(11)
        self.problem(Refused, "serial_out_of_window", 12)
        self.problem(Refused, "serial_out_of_window", INDEX_MAX)
        self.assertEqual(self.add(12, first=2), 3)

    def test_the_first_outstanding_never_goes_back(self) -> None:
        self.add(5, first=5)
        self.add(6, first=1)
        self.problem(Unknown, "serial_forgotten", 4, first=1)

    def test_claiming_a_result_before_it_is_there(self) -> None:
        self.problem(Unknown, "serial_forgotten", 1, first=2)


class Expiry(SessionCase):
    def test_an_unused_session_expires_by_log_time(self) -> None:
        self.add(1)
        self.driver.clock(1_999)
        self.assertEqual(self.driver.host.status()["sessions"], 1)
        self.driver.clock(2_000)
        self.assertEqual(self.driver.host.status()["sessions"], 0)
        self.problem(Unknown, "session_expired", 1)

    def test_the_host_wants_a_clock_entry_for_it(self) -> None:
        self.assertEqual(self.driver.host.deadline_ms(), 2_000)
        self.driver.time_ms = 1_500
        self.add(1)
        self.assertEqual(self.driver.host.deadline_ms(), 2_500)
        self.driver.clock(2_500)
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_every_command_keeps_it(self) -> None:
        for serial in range(1, 20):
            self.driver.time_ms += 900
            self.add(serial, first=serial)

    def test_repeats_and_refusals_keep_it(self) -> None:
        self.add(1)
        for serial in (1, 0, 99, 1):
            self.driver.time_ms += 900
            with contextlib.suppress(Refused):
                self.add(serial)
        self.assertEqual(self.add(2), 2)

    def test_keeping_it_keeps_it(self) -> None:
        for _ in range(5):
            self.driver.time_ms += 900
            self.driver.keep_session(self.session)
        self.driver.time_ms += 1_000
        self.assertEqual(self.assertRaises(Unknown, self.driver.keep_session, self.session).code, "session_expired")

    def test_expiry_comes_before_the_command_of_the_entry(self) -> None:
        self.driver.time_ms = 2_000
        self.problem(Unknown, "session_expired", 1)

    def test_a_clock_that_goes_back_expires_nothing_early_and_keeps_nothing_long(self) -> None:
        self.driver.clock(1_900)
        self.driver.time_ms = 5
        self.add(1)
        self.assertEqual(self.driver.host.deadline_ms(), 2_900)

    def test_a_restored_server_expires_the_same(self) -> None:
        """Scenario 50: nothing of a server's own clock or history decides."""
        driver = self.driver
        others = [driver.open_session(timeout_ms=timeout) for timeout in (400, 3_000)]
        driver.time_ms = 1_300
        self.add(1)
        restored = driver.restored()
        for time_ms in (1_399, 1_400, 2_299, 2_300, 3_999, 4_000):
            driver.clock(time_ms)
            driver.replayed(restored)
            self.assertEqual(restored.digest(), driver.host.digest())
            self.assertEqual(restored.deadline_ms(), driver.host.deadline_ms())
        self.assertEqual(driver.host.status()["sessions"], 0)
        self.assertEqual(len(others), 2)


class OpeningAndClosing(SessionCase):
    def test_the_id_is_the_index_of_the_entry(self) -> None:
        self.assertEqual(self.session, 2)
        self.assertEqual(self.driver.open_session(), 3)

    def test_no_more_than_allowed(self) -> None:
        self.driver.open_session()
        self.driver.open_session()
        self.assertEqual(self.assertRaises(Refused, self.driver.open_session).code, "too_many_sessions")
        self.driver.close_session(self.session)
        self.driver.open_session()
        self.driver.clock(2_000)
        self.assertRaises(Refused, self.driver.open_session)

    def test_timeouts_are_bounded(self) -> None:
        for timeout_ms in (0, SESSION_TIMEOUT_MS_MAX + 1, INDEX_MAX):
            error = self.assertRaises(Refused, self.driver.apply(OpenSession(0, timeout_ms)).value)
            self.assertEqual(error.code, "invalid_timeout")
        self.driver.open_session(SESSION_TIMEOUT_MS_MAX)

    def test_a_closed_session_is_gone(self) -> None:
        self.add(1)
        self.driver.close_session(self.session)
        self.problem(Unknown, "session_expired", 1)
        self.driver.close_session(self.session)
        self.driver.close_session(INDEX_MAX)
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_a_session_of_nobody(self) -> None:
        self.problem(Unknown, "session_expired", 1, session=99)

    def test_opening_and_closing_for_ever_leaves_nothing(self) -> None:
        sessions = Sessions(sessions_max=10, results_max=10)
        for index in range(1, 5_000):
            sessions.open(index, 60_000, index)
            sessions.close(index)
        self.assertTrue(len(sessions._deadlines) <= 1_001)
        self.assertEqual((sessions.next_expiry_ms(), len(sessions)), (NEVER_MS, 0))


class Client(RuleBasedStateMachine):
    """Clients that lose, repeat and reorder what they send, against a model that counts each serial number once."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(sum="Plain", limits=LIMITS)
        self.total = 0
        self.answered: dict[tuple[int, int], Any] = {}
        self.first: dict[int, int] = {}
        self.used_ms: dict[int, int] = {}

    @rule()
    def open(self) -> None:
        try:
            session = self.driver.open_session(timeout_ms=100)
        except Refused:
            assert len(self.used_ms) == LIMITS.sessions_max
        else:
            self.first[session], self.used_ms[session] = 1, self.driver.host.log_time_ms

    @rule(step=st.integers(0, 60))
    def wait(self, step: int) -> None:
        self.driver.clock(self.driver.time_ms + step)
        self.forget_expired()

    def forget_expired(self) -> None:
        now = self.driver.host.log_time_ms
        self.used_ms = {session: used for session, used in self.used_ms.items() if used + 100 > now}

    @rule()
    def restart(self) -> None:
        self.driver.host = self.driver.restored()

    @rule(which=st.integers(0, 3), serial=st.integers(0, 30), first=st.integers(0, 25), amount=st.integers(1, 9))
    def add(self, which: int, serial: int, first: int, amount: int) -> None:
        session = list(self.first)[which] if which < len(self.first) else 10_000
        prepared = self.driver.host.prepare("sum", "add", b"\x81\xa6amount" + bytes([amount]))
        answer = self.driver.apply(Invoke(self.driver.time_ms, session, serial, first, "sum", "add", prepared))
        expected = self.expected(session, serial, first)
        if expected == "applied":
            self.total += amount
            assert answer.value() == self.total
            self.answered[session, serial] = self.driver.answers[-1]
        elif expected == "again":
            assert self.driver.answers[-1] == self.answered[session, serial]
        else:
            assert answer.problem().code == expected, (answer.problem(), expected)

    def expected(self, session: int, serial: int, first: int) -> str:
        if session not in self.used_ms:
            return "session_expired"
        self.used_ms[session] = self.driver.host.log_time_ms
        if serial == 0:
            return "serial_missing"
        self.first[session] = max(self.first[session], first)
        if serial < self.first[session]:
            return "serial_forgotten"
        if (session, serial) in self.answered:
            return "again"
        return "serial_out_of_window" if serial > self.first[session] + LIMITS.session_results_max else "applied"

    @invariant()
    def nothing_was_applied_twice_or_lost(self) -> None:
        assert self.driver.ask("sum", "total") == self.total
        assert self.driver.host.status()["sessions"] == len(self.used_ms)

    def teardown(self) -> None:
        assert self.driver.replayed().digest() == self.driver.host.digest()


class Model(SynchronousTestCase):
    def test_no_order_of_repeats_applies_anything_twice(self) -> None:
        run_state_machine_as_test(Client, settings=settings(deadline=None, max_examples=60, stateful_step_count=30))
