"""The whole state of a host, as parts and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import SAMPLES, Driver
from tests.statemachine.streamed_machines import SMALL, STREAMED, Shelves, parts_of, used
from tests.statemachine.values_given import PLAIN, UNPLAIN
from txraft.errors import CorruptState, Halted, MachineUnavailable, NotApplied, RestoreFailed, Unknown
from txraft.limits import Limits
from txraft.statemachine import state_parts
from txraft.statemachine.plugin import load_machine
from txraft.statemachine.values import decode_value


class RoundTrip(SynchronousTestCase):
    def test_a_restored_host_goes_on_like_the_first(self) -> None:
        driver = used()
        other = driver.restored()
        self.assertEqual(other.digest(), driver.host.digest())
        applied = driver.host.applied_index
        self.assertEqual((other.applied_index, other.log_time_ms, other.deadline_ms()), (applied, 1_000, 10_000))
        driver.call("two", "add", session=5, serial=60, amount=1)
        driver.call("two", "add", session=5, serial=60, amount=1)
        driver.clock(20_000)
        self.assertEqual(driver.replayed(other).digest(), driver.host.digest())
        self.assertEqual(other.status(), driver.host.status())

    def test_an_empty_host(self) -> None:
        driver = Driver(shelves=STREAMED + "Shelves", one="Recorder")
        self.assertEqual(driver.restored().digest(), driver.host.digest())
        nothing = Driver()
        self.assertEqual(nothing.restored().digest(), nothing.host.digest())
        self.assertEqual([decode_value(part)[0] for part in parts_of(nothing)], ["state", "end"])

    def test_a_capture_says_what_it_is_of(self) -> None:
        driver = used()
        capture = driver.host.capture()
        self.assertEqual((capture.index, capture.log_time_ms), (driver.host.applied_index, 1_000))
        self.assertEqual(capture.machines[1:3], [("one", SAMPLES + "Recorder", 1), ("shelves", STREAMED + "Shelves", 1)])

    def test_a_capture_does_not_change_with_the_state(self) -> None:
        """Wherever another thread is while the state changes."""
        driver = used()
        before, parts = driver.host.digest(), len(parts_of(driver))
        for read in range(parts + 1):
            driver = used()
            reading = driver.host.capture().parts()
            seen = [next(reading) for _ in range(read)]
            driver.call("one", "integer", value=1)
            driver.call("shelves", "fill", start=50, count=200)
            driver.call("shelves", "drop", sku="sku-1")
            driver.call("two", "add", session=5, serial=60, first=50)
            driver.open_session()
            driver.close_session(6)
            driver.call("leases", "take", name="y", seconds=1)
            other = driver.fresh_host()
            other.adopt(other.restored([*seen, *reading]))
            self.assertEqual(other.digest(), before)
            self.assertNotEqual(driver.host.digest(), before)

    def test_adopting_replaces_everything(self) -> None:
        driver, other = used(), Driver(one="Recorder", plain="Plain")
        other.call("one", "integer", value=1)
        waiting = other.open_session()
        told: list[Any] = []
        other.host.on_signal = lambda *signal: told.append(signal)
        other.host.adopt(other.host.restored(driver.host.capture().parts()))
        self.assertEqual(other.host.digest(), driver.host.digest())
        self.assertEqual(sorted(other.host.status()["machines"]), ["leases", "one", "shelves", "two"])
        self.assertEqual(other.host.unhosted(), [("plain", SAMPLES + "Plain", 3)])
        self.assertRaises(NotApplied, other.host.prepare, "plain", "add", b"\x80")
        self.assertTrue(other.host.is_answered(waiting, 1))
        self.assertEqual(told, [])

    def test_restoring_changes_nothing_yet(self) -> None:
        driver, other = used(), Driver(one="Recorder")
        before = other.host.digest()
        restored = other.host.restored(driver.host.capture().parts())
        self.assertEqual(other.host.digest(), before)
        other.call("one", "integer", value=1)
        other.host.adopt(restored)
        self.assertEqual(other.host.digest(), driver.host.digest())

    def test_machine_errors_and_pauses_are_kept(self) -> None:
        driver = Driver(buggy="Buggy")
        self.assertRaises(Unknown, driver.call, "buggy", "raise_it", name="bug")
        self.assertTrue(driver.restored().status()["machines"]["buggy"]["degraded"])
        self.assertEqual(driver.restored().digest(), driver.host.digest())

    @settings(deadline=None, max_examples=30)
    @given(
        units=st.dictionaries(st.text(max_size=4), st.recursive(st.integers() | st.binary(max_size=300), st.lists, max_leaves=5)),
        part_bytes=st.sampled_from([1, 50, 1_000, 65_536]),
    )
    def test_whatever_the_items_are(self, units: dict[str, Any], part_bytes: int) -> None:
        driver = Driver(shelves=STREAMED + "Shelves", limits=Limits(snapshot_part_bytes=part_bytes))
        for sku, content in units.items():
            driver.call("shelves", "put", sku=sku, units=content)
        restored = driver.restored()
        machine: Any = restored.hosted("shelves").machine
        self.assertEqual((dict(machine.units), restored.digest()), (units, driver.host.digest()))


class Parts(SynchronousTestCase):
    def kinds(self, parts: Iterable[bytes]) -> list[str]:
        return [decode_value(part)[0] for part in parts]

    def test_they_are_small(self) -> None:
        self.assertLess(max(map(len, parts_of(used()))), 300)

    def test_a_large_plain_state_is_cut_up(self) -> None:
        driver = Driver(one="Recorder", limits=SMALL)
        for number in range(100):
            driver.call("one", "text", value=f"text {number}")
        pieces = [decode_value(part)[1] for part in parts_of(driver) if decode_value(part)[0] == "plain"]
        self.assertEqual({len(piece) for piece in pieces[:-1]}, {200})
        self.assertEqual(decode_value(b"".join(pieces)), driver.host.hosted("one").machine.snapshot())

    def test_a_session_with_many_results_is_cut_up(self) -> None:
        driver = Driver(two="Plain", limits=SMALL)
        session = driver.open_session()
        for serial in range(1, 200):
            driver.call("two", "add", session=session, serial=serial)
        pieces = [one for part in parts_of(driver) if decode_value(part)[0] == "sessions" for one in decode_value(part)[1]]
        self.assertGreater(len(pieces), 10)
        self.assertEqual({tuple(piece[:4]) for piece in pieces}, {(session, 60_000, 61_000, 1)})
        self.assertEqual([serial for piece in pieces for serial, _ in piece[4]], list(range(1, 200)))

    def test_events_are_parts_of_their_own(self) -> None:
        driver = Driver(bells="tests.statemachine.watched_machines:Bell", limits=SMALL)
        for number in range(40):
            driver.call("bells", "ring", topic=f"tower {number}")
        kinds = self.kinds(parts_of(driver))
        self.assertGreater(kinds.count("events"), 5)
        self.assertEqual(driver.restored().digest(), driver.host.digest())

    def test_tiny_items_are_not_gathered_without_end(self) -> None:
        driver = Driver(shelves=STREAMED + "Shelves", limits=Limits(snapshot_part_bytes=1 << 20))
        driver.call("shelves", "fill", start=0, count=5_000)
        sizes = [len(decode_value(part)[1]) for part in parts_of(driver) if decode_value(part)[0] == "items"]
        self.assertEqual(sizes, [256] * 19 + [136])

    def test_they_can_be_had_once(self) -> None:
        capture = used().host.capture()
        list(capture.parts())
        self.assertRaises(Halted, capture.parts)


class Digest(SynchronousTestCase):
    def test_it_does_not_depend_on_the_order_of_maps(self) -> None:
        first, second = Driver(leases="Leases"), Driver(leases="Leases")
        for driver, names in ((first, "ab"), (second, "ba")):
            for name in names:
                driver.call("leases", "take", name=name, seconds=5)
        self.assertEqual(first.host.digest(), second.host.digest())

    def test_it_does_not_depend_on_the_order_of_items_nor_of_sessions(self) -> None:
        driver = Driver(shelves=STREAMED + "Shelves")
        for _ in range(200):
            driver.open_session()
        driver.call("shelves", "fill", start=0, count=500)
        before = driver.host.digest()
        hosted: Any = driver.host.hosted("shelves")
        units = sorted(hosted.machine.units.frozen(), reverse=True)
        hosted.machine.snapshot = lambda: iter(units)
        self.assertEqual(driver.host.digest(), before)
        self.assertEqual(driver.restored().digest(), before)

    def test_it_depends_on_everything_else(self) -> None:
        changes: list[Callable[[Driver], Any]] = [
            lambda driver: driver.call("shelves", "put", sku="sku-5", units=6),
            lambda driver: driver.call("shelves", "drop", sku="sku-5"),
            lambda driver: driver.call("two", "add", session=5, serial=60),
            lambda driver: driver.close_session(6),
            lambda driver: driver.clock(1_001),
        ]
        digests = {used().host.digest()}
        for change in changes:
            driver = used()
            change(driver)
            digests.add(driver.host.digest())
        self.assertEqual(len(digests), 6)

    def test_it_may_be_worked_out_later(self) -> None:
        driver = used()
        before, later = driver.host.digest(), driver.host.capture_digest()
        driver.call("shelves", "put", sku="sku-5", units=6)
        self.assertEqual(later(), before)
        self.assertNotEqual(driver.host.digest(), before)


class MachinesThatFail(SynchronousTestCase):
    def failing(self, name: str) -> Driver:
        driver = Driver(shelves=STREAMED + name)
        driver.call("shelves", "fill", start=0, count=10)
        return driver

    def test_an_iterator_that_fails_is_a_machine_error(self) -> None:
        for name, error in (("Halfway", "LookupError"), ("Unplain", "TypeError")):
            driver = self.failing(name)
            problem = self.assertRaises(NotApplied, list, driver.host.capture().parts())
            self.assertEqual((problem.code, problem.details), ("machine_error", {"machine": "shelves"}))
            self.assertIn(f"shelves.snapshot failed with {error}", problem.message)
            self.assertEqual(driver.failures, [])  # that was in another thread
            driver.host.note_snapshot_failure(problem)
            [(machine, operation, traceback)] = driver.failures
            self.assertEqual((machine, operation), ("shelves", "snapshot"))
            self.assertIn(error, traceback)
            self.assertIn(f"snapshot: {error}", driver.host.status()["machines"]["shelves"]["last_error"])
            self.assertRaises(NotApplied, driver.host.digest)

    def refused(self, driver: Driver) -> str:
        """Why there is no snapshot."""

        def parts() -> None:
            list(driver.host.capture().parts())

        problem = self.assertRaises(NotApplied, parts)
        self.assertEqual((problem.code, problem.details), ("machine_error", {"machine": "shelves"}))
        self.assertIn("shelves.snapshot failed with ", problem.message)
        return str(problem.message)

    def test_a_state_that_could_never_be_read_again_was_recorded(self) -> None:
        """And the log compacted behind it. Records as keys of a dict, and extensions, can be encoded only."""
        for name in ("Odd", "OddPlain"):
            for unplain, (_, named) in UNPLAIN.items():
                driver = Driver(shelves=STREAMED + name)
                driver.call("shelves", "put", sku="fig", units=f"unplain: {unplain}")
                self.assertIn("TypeError: " + named.replace("it is", "an item of a list is"), self.refused(driver))
            driver = Driver(shelves=STREAMED + name)
            for plain in PLAIN:
                driver.call("shelves", "put", sku=plain, units=f"plain: {plain}")
            driver.restored()

    def test_nor_is_one_recorded_that_no_sample_would_find(self) -> None:
        for name, named in (("Odd", "a key of a dict is a Spot"), ("OddPlain", "a key of a dict is a dict, or a record")):
            driver = Driver(shelves=STREAMED + name)
            driver.call("shelves", "fill", start=0, count=2_000)
            driver.call("shelves", "put", sku="fig", units="unplain: a record as a key")
            machine: Any = driver.host.hosted("shelves").machine
            spoiled = machine.snapshot()
            state = sorted(spoiled, key=lambda item: item[0] == "fig" or item[0] == "sku-0")  # the two of them at the end
            machine.snapshot = lambda name=name, state=state: iter(state) if name == "Odd" else state
            self.assertIn(named, self.refused(driver))

    def test_what_comes_back_as_something_else_is_found_in_a_sample(self) -> None:
        driver = Driver(shelves=STREAMED + "Odd")
        driver.call("shelves", "fill", start=0, count=300)
        driver.call("shelves", "put", sku="fig", units="unplain: set")
        machine: Any = driver.host.hosted("shelves").machine
        [fig], rest = ([item for item in machine.snapshot() if (item[0] == "fig") is wanted] for wanted in (True, False))
        for at, found in ((199, True), (200, False)):
            machine.snapshot = lambda at=at: iter([*rest[:at], fig, *rest[at:]])
            if found:
                self.assertIn("a value in a dict is a set", self.refused(driver))
            else:
                list(driver.host.capture().parts())

    def test_no_memory_for_a_snapshot_halted_the_node(self) -> None:
        driver = self.failing("Breathless")
        problem = self.assertRaises(NotApplied, list, driver.host.capture().parts())
        self.assertEqual((problem.code, problem.details), ("machine_error", {"machine": "shelves"}))
        self.assertIn("not enough memory", problem.message)
        driver.host.note_snapshot_failure(problem)
        self.assertIn("snapshot: MemoryError", driver.host.status()["machines"]["shelves"]["last_error"])

    def test_an_item_that_is_too_long(self) -> None:
        driver = self.failing("Shelves")
        self.patch(state_parts, "ITEM_BYTES_MAX", 20)
        list(driver.host.capture().parts())
        driver.call("shelves", "put", sku="fig", units="x" * 20)
        problem = self.assertRaises(NotApplied, list, driver.host.capture().parts())
        self.assertIn("ValueError", problem.message)

    def test_a_capture_that_is_given_up_is_no_failure(self) -> None:
        driver = self.failing("Shelves")
        driver.call("shelves", "fill", start=0, count=2_000)
        parts: Any = driver.host.capture().parts()
        while decode_value(next(parts))[0] != "items":
            pass
        parts.close()
        self.assertEqual(driver.failures, [])

    def test_a_failure_of_a_machine_that_is_gone(self) -> None:
        driver = self.failing("Halfway")
        for problem in (NotApplied("machine_error", "", machine="absent"), NotApplied("machine_error", "")):
            driver.host.note_snapshot_failure(problem)
        self.assertEqual(driver.failures, [])

    def test_no_memory_is_no_fault_of_the_state(self) -> None:
        driver = self.failing("Starving")
        self.assertRaises(MemoryError, driver.host.restored, driver.host.capture().parts())

    def test_items_that_a_machine_leaves(self) -> None:
        driver = self.failing("Forgetful")
        error = self.assertRaises(RestoreFailed, driver.host.restored, driver.host.capture().parts())
        self.assertIn("machine 'shelves'", str(error))
        self.assertIn("does not take over all", str(error))

    def test_what_the_source_raises_comes_through_whatever_the_machine_makes_of_it(self) -> None:
        for name in ("Shelves", "Deaf"):
            driver = self.failing(name)
            parts = parts_of(driver)

            def source(parts: list[bytes] = parts) -> Iterator[bytes]:
                yield from parts[:-1]
                raise OSError("the disk")

            self.assertRaises(OSError, driver.host.restored, source())
            self.assertRaises(CorruptState, driver.host.restored, [*parts[:-1], b"\xc1"])


class Loading(SynchronousTestCase):
    def test_a_snapshot_that_yields_is_refused_when_the_class_is_made(self) -> None:
        def snapshot(self: Any) -> Iterator[Any]:
            yield from self.units.frozen()

        error = self.assertRaises(TypeError, type, "Careless", (Shelves,), {"snapshot": snapshot})
        self.assertIn("Take the frozen views", str(error))

    def test_or_when_it_is_loaded(self) -> None:
        error = self.assertRaises(MachineUnavailable, load_machine, STREAMED + "Careless")
        self.assertIn("Take the frozen views", str(error))

    def test_a_fresh_machine_is_tried_out(self) -> None:
        error = self.assertRaises(MachineUnavailable, load_machine, STREAMED + "Leftover")
        self.assertIn("1 are left", str(error))
        self.assertEqual(load_machine(STREAMED + "Pairs").version, 1)

    def test_what_a_command_left_is_what_a_query_finds_after_a_restart(self) -> None:
        driver = Driver(shelves=STREAMED + "Shelves")
        driver.call("shelves", "put", sku="fig", units=4)
        driver.host = driver.restored()
        self.assertEqual(driver.ask("shelves", "left", sku="fig"), 4)
