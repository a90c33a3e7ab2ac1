from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as OverdueError

from tests.support.client_case import ADDRESSES, ClientTestCase
from tests.support.fake_server import not_leader, problem, silence
from txraft.client import watches as watches_module
from txraft.client.courier import QUIET_S, SILENCE_S
from txraft.client.events import Event
from txraft.client.watch import POLL_WAIT_MS, Watch
from txraft.errors import NotApplied, Outcome, Unknown
from txraft.statemachine.results import answer_of_value
from txraft.wire.requests import PollRequest, StatusRequest


class WatchTestCase(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.history = self.cluster.history
        self.told: list[Event] = []
        self.ends: list[Outcome | None] = []

    def watch(self, *args: Any, **options: Any) -> Watch:
        watch = self.client.watch("counter", *args, **options)
        self.reactor.settle()
        return watch

    def listen(self, *args: Any, **options: Any) -> Watch:
        """A watch that tells `self.told`."""
        watch = self.watch(*args, **options)
        watch.on_event(self.told.append, self.ends.append)
        self.reactor.settle()
        return watch

    def emit(self, *topics: str | bytes) -> int:
        index = self.history.emit(*topics)
        self.serve()
        return index

    def serve(self) -> None:
        for server in self.servers:
            server.serve_polls()
        self.reactor.settle()

    def topics(self) -> list[str | bytes]:
        return [event.topic for event in self.told]

    def polls(self) -> list[PollRequest]:
        return [poll for server in self.servers for poll in server.requests(PollRequest)]

    def next_of(self, watch: Watch) -> Deferred[Event]:
        waiting = watch.__anext__()
        self.addCleanup(waiting.addErrback, lambda _: None)
        return waiting


class TellingTests(WatchTestCase):
    def test_events_after_its_beginning_are_told_in_order(self) -> None:
        self.emit("before")
        self.listen()
        self.emit("a", "b")
        self.emit("c")
        self.assertEqual(self.told, [Event(2, "a", {"n": 0}, (0, 0)), Event(2, "b", {"n": 1}, (0, 0)), Event(3, "c", {"n": 0}, (0, 0))])
        self.assertEqual([event.place for event in self.told], [(2, 1), (3, 0), (4, 0)])

    def test_the_place_is_learnt_at_once_and_nothing_is_missed_from_there(self) -> None:
        self.emit("before")
        watch = self.watch()
        self.assertEqual(self.successResultOf(watch.started), (2, 0))
        (first,) = self.polls()
        self.assertEqual((first.first, first.wait_ms), (0, 0))
        self.emit("a", "b", "c", "d", "e")
        waiting = self.next_of(watch)
        self.assertEqual(self.result(waiting).topic, "a")

    def test_it_is_an_async_iterator(self) -> None:
        async def listen(watch: Watch) -> list[str | bytes]:
            return [event.topic async for event in watch]

        watch = self.watch()
        listening = Deferred.fromCoroutine(listen(watch))
        self.emit("a", "b")
        self.emit("c", "d")
        self.assertNoResult(listening)
        watch.stop()
        self.assertEqual(self.successResultOf(listening), ["a", "b", "c", "d"])

    def test_a_topic_or_a_prefix(self) -> None:
        self.listen("jobs/a")
        others: list[Event] = []
        self.watch(prefix=b"jobs/").on_event(others.append)
        self.emit("jobs/b", "jobs/a", "jobs/ab", b"jobs/a", "other")
        self.assertEqual(self.topics(), ["jobs/a", b"jobs/a"])
        self.assertEqual([event.topic for event in others], ["jobs/b", "jobs/a", "jobs/ab", b"jobs/a"])
        self.assertEqual({(poll.topic, poll.prefix) for poll in self.polls()}, {(b"jobs/a", False), (b"jobs/", True)})

    def test_from_an_index_on_history_is_told_first(self) -> None:
        for topic in ("a", "b", "c", "d", "e", "f", "g"):
            self.emit(topic)
        self.listen(from_index=2)
        self.emit("h")
        self.assertEqual(self.topics(), ["b", "c", "d", "e", "f", "g", "h"])

    def test_a_poll_without_events_is_sent_again_when_its_wait_is_over(self) -> None:
        self.listen()
        for _ in range(3):
            self.pass_time(POLL_WAIT_MS / 1000 + 0.1)
            self.serve()
        self.assertEqual(len(self.polls()), 5)
        self.emit("a")
        self.assertEqual(self.topics(), ["a"])
        self.assertEqual(self.servers[0].accepted, 1)

    def test_a_server_that_does_not_wait_is_not_asked_all_the_time(self) -> None:
        self.servers[0].behave = lambda frame, request: answer_of_value({"events": [], "next": 1, "skip": 0}, 0, 1)
        self.listen()
        self.pass_time(20)
        self.assertLess(len(self.polls()), 20)

    def test_calls_go_on_beside_it_and_the_session_is_none_of_its(self) -> None:
        self.listen()
        self.assertEqual(self.cluster.sessions, {})
        self.assertEqual(self.result(self.add(2)), 2)
        self.emit("a")
        self.assertEqual(self.topics(), ["a"])

    def test_a_callback_may_take_its_time(self) -> None:
        busy: list[Deferred[None]] = []

        def work(event: Event) -> Deferred[None]:
            self.told.append(event)
            busy.append(Deferred())
            return busy[-1]

        self.watch().on_event(work)
        self.emit("a", "b")
        self.assertEqual(self.topics(), ["a"])
        busy[0].callback(None)
        self.assertEqual(self.topics(), ["a", "b"])

    def test_a_callback_that_fails_stops_it_and_is_logged(self) -> None:
        watch = self.watch()
        watch.on_event(lambda event: 1 / 0)
        self.emit("a", "b")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.failureResultOf(self.next_of(watch), StopAsyncIteration)


class SlowConsumerTests(WatchTestCase):
    def test_it_asks_for_no_more_than_a_page_ahead(self) -> None:
        watch = self.watch()
        for _ in range(20):
            self.emit("a")
        self.assertEqual(len(self.polls()), 1)
        self.result(self.next_of(watch))
        for _ in range(2):
            self.result(self.next_of(watch))
            self.assertEqual(len(self.polls()), 2)
        self.assertEqual(self.result(self.next_of(watch)).index, 4)
        self.assertEqual(len(self.polls()), 3)

    def test_without_anybody_who_waits_nothing_is_asked(self) -> None:
        self.watch()
        self.pass_time(100)
        self.assertEqual(len(self.polls()), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_too_slow_for_the_history_is_told_where_that_begins(self) -> None:
        watch = self.watch(from_index=1)
        for _ in range(10):
            self.emit("a")
        self.history.compact(8)
        told = self.problem(self.next_of(watch), NotApplied)
        self.assertEqual((told.code, told.details), ("compacted", {"oldest": 8}))
        self.assertEqual(self.problem(self.next_of(watch), NotApplied).code, "compacted")
        self.assertEqual(len(self.client._watches), 0)


class CancellationTests(WatchTestCase):
    def test_a_cancelled_wait_takes_no_event_away(self) -> None:
        watch = self.watch()
        first, second = self.next_of(watch), self.next_of(watch)
        self.reactor.settle()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.emit("a", "b")
        self.assertEqual(self.successResultOf(second).topic, "a")
        self.assertEqual(self.result(self.next_of(watch)).topic, "b")
        self.assertEqual(len(self.polls()), 2)

    def test_all_of_them_may_be_cancelled_while_the_answer_is_on_its_way(self) -> None:
        watch = self.watch()
        for _ in range(3):
            waiting = self.next_of(watch).addTimeout(1.0, self.reactor)
            self.pass_time(1.1)
            self.failureResultOf(waiting, OverdueError)
        self.emit("a")
        self.assertEqual(self.result(self.next_of(watch)).topic, "a")

    def test_a_wait_for_the_start_may_be_cancelled(self) -> None:
        watch = self.client.watch("counter")
        started, cancelled = watch.started, watch.started
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.assertEqual(self.result(started), (1, 0))


class EndTests(WatchTestCase):
    def test_stopping_ends_everything(self) -> None:
        watch = self.listen()
        waiting = self.next_of(watch)
        watch.stop()
        watch.stop()
        self.failureResultOf(waiting, StopAsyncIteration)
        self.assertEqual(self.ends, [None])
        self.emit("a")
        self.assertEqual(self.told, [])

    def test_stopped_before_it_stood(self) -> None:
        watch = self.client.watch("counter")
        started = watch.started
        watch.stop()
        self.assertEqual(self.problem(started, NotApplied).code, "watch_stopped")
        self.assertEqual(self.problem(watch.started, NotApplied).code, "watch_stopped")

    def test_stopped_by_its_own_callback(self) -> None:
        watch = self.watch()

        def once(event: Event) -> None:
            self.told.append(event)
            watch.stop()

        watch.on_event(once, self.ends.append)
        self.emit("a", "b")
        self.assertEqual((self.topics(), self.ends), (["a"], [None]))

    def test_closing_the_client_ends_it(self) -> None:
        self.listen()
        idle = self.watch()
        self.client.close()
        self.reactor.settle()
        self.assertEqual([end and end.code for end in self.ends], ["client_closed"])
        self.assertEqual(self.problem(self.next_of(idle), NotApplied).code, "client_closed")
        self.assertEqual(self.problem(self.watch().started, NotApplied).code, "client_closed")

    def test_what_no_later_try_could_cure_ends_it(self) -> None:
        for wrong in (NotApplied("unknown_machine"), NotApplied("compacted", oldest=7), Unknown("answer_too_large")):
            self.servers[0].behave = problem(wrong)
            watch = self.watch()
            ended = self.problem(watch.started, Outcome)
            self.assertEqual((type(ended), ended.code), (type(wrong), wrong.code))
            self.assertEqual(self.problem(self.next_of(watch), Outcome).code, wrong.code)

    def test_an_end_that_nobody_asked_about_is_logged(self) -> None:
        watch = self.watch()
        watch.on_event(self.told.append)
        logged: list[Any] = []
        self.patch(Watch, "_log", type("Log", (), {"error": lambda self, *args, **fields: logged.append(fields["problem"].code)})())
        self.client.close()
        self.assertEqual(logged, ["client_closed"])

    def test_answers_that_are_no_pages_end_it(self) -> None:
        event = {"index": 5, "topic": "a", "fields": {}}
        pages: list[Any] = [
            None,
            [],
            {"events": [], "next": 0, "skip": 0},
            {"events": [], "next": 4, "skip": 0},
            {"events": [], "next": 5, "skip": True},
            {"events": 7, "next": 9, "skip": 0},
            {"events": [{**event, "index": 4}], "next": 9, "skip": 0},
            {"events": [{**event, "index": 9}, event], "next": 10, "skip": 0},
            {"events": [{**event, "index": 10}], "next": 9, "skip": 0},
            {"events": [{**event, "topic": 5}], "next": 9, "skip": 0},
            {"events": [{"index": 5}], "next": 9, "skip": 0},
        ]
        for page in pages:
            self.servers[0].behave = lambda frame, request, page=page: answer_of_value(page, 0, 1)  # type: ignore[misc]
            self.assertEqual(self.problem(self.watch(from_index=5).started, NotApplied).code, "unexpected_answer", page)

    def test_wrong_arguments_are_told_and_nothing_is_sent(self) -> None:
        watches = [
            self.client.watch("counter", "a", prefix="b"),
            self.client.watch("counter", 5),  # type: ignore[arg-type]
            self.client.watch("counter", "\ud800"),
            self.client.watch("counter", b"x" * 65_537),
            *(self.client.watch("counter", from_index=place) for place in (0, -1, True, (1, -1), (0, 0), "1", (1, 2, 3))),  # type: ignore[arg-type]
        ]
        for watch in watches:
            self.assertEqual(self.problem(watch.started, NotApplied).code, "invalid_arguments")
        self.assertEqual(self.problem(self.client.watch("").started, NotApplied).code, "unknown_machine")
        self.assertEqual(self.reactor.dialled, [])

    def test_there_is_a_bound_and_room_again_after_a_stop(self) -> None:
        self.patch(watches_module, "WATCHES_MAX", 3)
        watches = [self.watch() for _ in range(3)]
        self.assertEqual(self.problem(self.watch().started, NotApplied).code, "too_many_waits")
        watches[0].stop()
        self.result(self.watch().started)


class ConnectionTests(WatchTestCase):
    """What lies between watch and servers comes and goes."""

    def test_a_lost_connection_is_replaced_and_nothing_is_missed(self) -> None:
        self.listen()
        self.emit("a")
        self.servers[0].hang_up()
        self.history.emit("b")
        self.pass_time(0.1)
        self.serve()
        self.assertEqual(self.topics(), ["a", "b"])

    def test_a_page_that_was_lost_is_asked_for_again(self) -> None:
        self.listen()
        self.servers[0].behave = silence
        self.servers[0].polls[0][0].reply(self.servers[0].polls[0][1], answer_of_value({"events": [], "next": 1, "skip": 0}, 0, 1))
        self.emit("a")
        self.servers[0].hang_up()
        self.pass_time(0.1)
        self.serve()
        self.assertEqual(self.topics(), ["a"])

    def test_when_the_leader_moves_it_is_asked_at_the_new_one_at_once(self) -> None:
        self.listen()
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.assertEqual(self.result(self.add(1)), 1)
        self.assertEqual(self.servers[0].connections, [])
        self.assertEqual(len(self.servers[1].polls), 1)
        self.emit("a")
        self.assertEqual(self.topics(), ["a"])

    def test_troubles_that_pass_are_waited_out(self) -> None:
        for code in ("not_ready", "no_leader", "shutting_down", "stale", "too_many_waits"):
            for server in self.servers:
                server.behave = problem(NotApplied(code))
            self.told.clear()
            watch = self.listen(from_index=1)
            self.pass_time(3 * self.timeout_s)
            self.emit("a")
            for server in self.servers:
                server.behave = server.lead
            self.pass_time(watches_module.PAUSE_S_MAX + 1)
            self.assertEqual(self.topics()[-1:], ["a"], code)
            watch.stop()

    def test_servers_that_are_away_for_long_are_waited_for(self) -> None:
        self.listen()
        servers, self.reactor.servers = self.reactor.servers, {}
        self.servers[0].hang_up()
        self.pass_time(200)
        self.history.emit("a")
        self.reactor.servers = servers
        self.pass_time(watches_module.PAUSE_S_MAX + 2)
        self.assertEqual(self.topics(), ["a"])

    def test_a_server_that_lags_is_waited_for(self) -> None:
        self.listen()
        self.emit("a")
        self.emit("b")
        self.servers[1].lags = 2
        self.servers[0].hang_up()
        self.pass_time(0.1)
        self.serve()
        self.assertEqual(self.topics(), ["a", "b"])
        self.servers[1].lags = 0
        self.emit("c")
        self.assertEqual(self.topics(), ["a", "b", "c"])

    def test_a_long_wait_is_no_silence(self) -> None:
        self.listen()
        self.pass_time(POLL_WAIT_MS / 1000 - 1)
        self.assertEqual(self.servers[0].accepted, 1)
        self.assertGreaterEqual(len(self.servers[0].requests(StatusRequest)), 2)

    def test_a_server_that_died_meanwhile_is_noticed(self) -> None:
        self.listen()
        self.servers[0].behave = silence
        self.history.emit("a")
        self.pass_time(QUIET_S + SILENCE_S + 1)
        self.assertEqual(self.topics(), ["a"])
        self.assertEqual(self.servers[0].connections, [])

    def test_a_call_beside_a_long_wait_has_its_time(self) -> None:
        self.listen()
        self.pass_time(SILENCE_S + 1)
        self.servers[0].behave = silence
        call = self.client.query("counter", "get")
        self.pass_time(SILENCE_S - 1)
        self.assertNoResult(call)
        self.assertEqual(self.servers[0].accepted, 1)
        self.pass_time(2)
        self.assertEqual(self.successResultOf(call), 0)

    def test_watches_leave_half_of_the_room_on_a_connection_to_calls(self) -> None:
        self.servers[0].requests_max = 10
        for _ in range(20):
            self.listen()
        self.assertEqual(len(self.servers[0].polls), 5)
        self.assertEqual(self.result(self.add(1)), 1)

    def test_polls_that_nobody_waits_for_any_more_do_not_keep_the_others_out(self) -> None:
        self.servers[0].requests_max = 16
        for _ in range(8):
            self.listen().stop()
        self.assertEqual(len(self.servers[0].polls), 8)
        self.listen()
        self.pass_time(1)
        self.emit("a")
        self.assertEqual(self.topics(), ["a"])
        self.assertEqual((self.servers[0].accepted, len(self.servers[0].connections)), (2, 1))


class NoGapNoDuplicateTests(WatchTestCase):
    """Whatever happens to connections and servers, and wherever a watch goes on from the place of an event."""

    TOPICS = ("a", "ab", b"a", "b", b"\xff")

    def trouble(self, rng: random.Random) -> None:
        server = rng.choice(self.servers)
        match rng.randrange(7):
            case 0:
                server.hang_up()
            case 1:
                server.behave = rng.choice([silence, problem(NotApplied("not_ready")), not_leader(rng.choice(ADDRESSES))])
            case 2:
                server.lags = rng.randrange(4)
            case 3:
                server.behave = server.lead
            case 4:
                self.add(1)
            case 5:
                self.pass_time(rng.choice([0.05, 1.0, 5.0]))
            case _:
                self.reactor.settle()

    def run_through(self, rng: random.Random, wanted: str, *, prefix: bool) -> None:
        begin = self.history.newest + 1
        watch = self.client.watch("counter", None if prefix else wanted, prefix=wanted if prefix else None, from_index=begin)
        told: list[Event] = []

        def take(event: Event) -> None:
            told.append(event)

        slow = rng.random() < 0.5
        waiting: Deferred[Any] | None = None
        if not slow:
            watch.on_event(take)
        for _ in range(40):
            self.history.emit(*rng.choices(self.TOPICS, k=rng.choice([0, 1, 1, 2, 9])))
            self.trouble(rng)
            self.serve()
            if slow and (waiting is None or waiting.called):
                waiting = watch.__anext__().addCallback(take)
            if waiting is not None and not waiting.called and rng.random() < 0.2:
                waiting.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
            if rng.random() < 0.05:  # Go on from where the last event was, with another watch.
                place = told[-1].place if told else begin
                watch.stop()
                if waiting is not None:
                    waiting.addErrback(lambda failure: failure.trap(StopAsyncIteration))
                watch = self.client.watch("counter", None if prefix else wanted, prefix=wanted if prefix else None, from_index=place)
                waiting = None
                if not slow:
                    watch.on_event(take)
        for server in self.servers:
            server.behave, server.lags = server.lead, 0
        if waiting is not None:
            waiting.addErrback(lambda failure: failure.trap(StopAsyncIteration, CancelledError))
        if slow:
            watch.on_event(take)
        for _ in range(60):  # Polls that a silent server has swallowed are late only now.
            self.pass_time(1)
            self.serve()
        watch.stop()
        self.assertEqual(
            [(event.index, event.topic, event.fields["n"]) for event in told],
            self.history.of(wanted.encode(), prefix=prefix, first=begin),
        )

    @settings(deadline=None, max_examples=25)
    @given(st.integers(0, 2**32))
    def test_random_troubles(self, seed: int) -> None:
        rng = random.Random(seed)
        self.run_through(rng, rng.choice(["", "a", "ab"]), prefix=rng.random() < 0.7)

    def test_from_the_place_of_every_event_the_rest_is_told(self) -> None:
        rng = random.Random(7)
        for _ in range(12):
            self.history.emit(*rng.choices(self.TOPICS, k=rng.randrange(9)))
        self.listen(prefix="a", from_index=1)
        everything = list(self.told)
        self.assertEqual(len(everything), len(self.history.of(b"a")))
        for number, event in enumerate(everything):
            self.told.clear()
            watch = self.listen(prefix="a", from_index=event.place)
            self.assertEqual(self.told, everything[number + 1 :])
            watch.stop()
