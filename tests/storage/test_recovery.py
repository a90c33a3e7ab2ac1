"""What recovery makes of a log: torn tails are cut, damage is refused with nothing changed, strangers are named."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from unittest import mock
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import (
    BOOTSTRAP,
    changed_sectors,
    commands,
    configuration,
    contents,
    flip_bit,
    kill,
    no_sync,
    open_storage,
    overwrite,
    persist,
    quick_directory,
    restore,
    segments,
    small,
    vote,
    whole_log,
    with_sectors,
)
from txraft.core.entry import Entry, entry_bytes
from txraft.errors import DamagedLog, StorageError
from txraft.storage.records import HEADER_BYTES, Run, encode_record, encode_run, parse_header
from txraft.storage.segment import SEGMENT_HEADER_BYTES


class DirectoryCase(SynchronousTestCase):
    """A directory in which a server was killed after some writes."""

    def setUp(self) -> None:
        self.root = quick_directory(self) / "n1"
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)
        self.log: list[Entry] = []
        self.left: dict[str, bytes] = {}

    def run_and_kill(self, *batches: list[Entry]) -> None:
        """Append these batches, each in a write of its own. Afterwards `log` is the log and `left` what is on disk."""
        storage = open_storage(self.root)
        self.log = whole_log(storage)
        for batch in batches:
            storage.write([persist(len(self.log) + 1, batch)])
            self.log += batch
        self.left = kill(storage, self.root)

    @property
    def segment(self) -> Path:
        """The newest."""
        return segments(self.root)[-1]

    @property
    def seed(self) -> int:
        return crc32(segments(self.root)[0].read_bytes()[8:24])

    def offsets(self, path: Path) -> list[int]:
        """Where the records of a segment begin, and where the last one ends."""
        content, at, found = path.read_bytes(), SEGMENT_HEADER_BYTES, [SEGMENT_HEADER_BYTES]
        while (header := parse_header(content[at : at + HEADER_BYTES], self.seed)) is not None:
            at += HEADER_BYTES + header.length
            found.append(at)
        return found

    def recovered(self) -> tuple[list[Entry], str | None]:
        """The log and what was cut. A second recovery finds the same and has nothing to cut."""
        storage = open_storage(self.root)
        found, torn = whole_log(storage), storage.recovered.torn_tail
        self.assertEqual(storage.recovered.tail, found)
        kill(storage, self.root)
        storage = open_storage(self.root)
        self.assertEqual(whole_log(storage), found)
        self.assertIsNone(storage.recovered.torn_tail)
        storage.close()
        return found, torn

    def require_refused(self, error: type[StorageError], *words: str) -> StorageError:
        """Opening fails with a sentence that has these words, and nothing was changed."""
        before = contents(self.root)
        refusal: StorageError = self.assertRaises(error, open_storage, self.root)
        self.assertEqual(contents(self.root), before)
        for word in words:
            self.assertIn(word, str(refusal))
        return refusal


class TornTailTests(DirectoryCase):
    """Scenario 56 and its kin: what no fsync had covered may be gone in any way."""

    def test_scenario_56_the_last_batch_cut_at_every_byte_leaves_the_log_before_it(self) -> None:
        self.run_and_kill(commands("a", "b"))
        before, start = self.log, self.offsets(self.segment)[-1]
        self.run_and_kill(commands("c", "d" * 60, "e"))
        whole, end = self.segment.read_bytes(), self.offsets(self.segment)[-1]
        self.assertGreater(end - start, 80)
        for cut in range(start, end + 1):
            for image in (whole[:cut], whole[:cut].ljust(len(whole), b"\0")):
                restore(self.root, self.left)
                self.segment.write_bytes(image)
                found, torn = self.recovered()
                self.assertEqual(found, self.log if cut == end else before, f"cut at {cut}, {len(image)} bytes left")
                self.assertEqual(torn is None, cut in (start, end), torn)

    def test_scenario_56_any_subset_of_the_sectors_of_the_last_batch_is_all_or_nothing(self) -> None:
        self.run_and_kill(commands("a" * 300))
        before, old = self.log, self.segment.read_bytes()
        self.run_and_kill(commands("b" * 700, "c" * 900, "d" * 500))
        new = self.segment.read_bytes()
        sectors = changed_sectors(old, new)
        self.assertGreaterEqual(len(sectors), 5)
        for count in range(len(sectors) + 1):
            for taken in itertools.combinations(sectors, count):
                restore(self.root, self.left)
                self.segment.write_bytes(with_sectors(old, new, taken))
                found, _ = self.recovered()
                self.assertEqual(found, self.log if count == len(sectors) else before, taken)

    def test_scenario_56_a_whole_record_behind_a_torn_one_of_the_same_write_does_not_count(self) -> None:
        """A truncation within a write begins another record: of several, only those before the first torn one may be taken."""
        self.run_and_kill(commands("a" * 300))
        before, old = self.log, self.segment.read_bytes()
        storage = open_storage(self.root)
        replacing = [persist(4, commands(letter * 500), truncate=True) for letter in "cd"]
        storage.write([persist(3, commands("b" * 700, "x")), *replacing])
        left = kill(storage, self.root)
        new = self.segment.read_bytes()
        common = [*before, *commands("b" * 700)]
        possible = [before, [*common, *commands("x")], [*common, *commands("c" * 500)], [*common, *commands("d" * 500)]]
        seen = set()
        sectors = changed_sectors(old, new)
        for count in range(len(sectors) + 1):
            for taken in itertools.combinations(sectors, count):
                restore(self.root, left)
                self.segment.write_bytes(with_sectors(old, new, taken))
                found, _ = self.recovered()
                self.assertIn(found, possible, taken)
                seen.add(possible.index(found))
        self.assertEqual(seen, {0, 1, 2, 3})

    def test_stale_records_behind_a_torn_one_never_come_back(self) -> None:
        """The next record written has the number and the length of the torn one, so that the stale one would fit behind it."""
        self.run_and_kill(commands("a"))
        start = self.offsets(self.segment)[-1]
        storage = open_storage(self.root)
        storage.write([persist(3, commands("torn!")), persist(3, commands("stale"), truncate=True)])
        kill(storage, self.root)
        flip_bit(self.segment, start + HEADER_BYTES + 2)
        storage = open_storage(self.root)
        self.assertIn(f"offset {start}", storage.recovered.torn_tail or "")
        storage.write([persist(3, commands("after"))])
        kill(storage, self.root)
        found, torn = self.recovered()
        self.assertEqual(found, [*self.log, *commands("after")])
        self.assertIsNone(torn)

    def test_the_sentence_names_file_offset_and_bytes(self) -> None:
        self.run_and_kill(commands("a"))
        overwrite(self.segment, self.offsets(self.segment)[-1], b"half a rec")
        storage = open_storage(self.root)
        sentence = storage.recovered.torn_tail or ""
        storage.close()
        for part in (str(self.segment), "10 bytes", f"offset {self.offsets(self.segment)[-1]}", "entry 2"):
            self.assertIn(part, sentence)

    def test_a_cut_segment_is_preallocated_again(self) -> None:
        self.run_and_kill(commands("a"))
        overwrite(self.segment, self.offsets(self.segment)[-1], b"half a rec")
        open_storage(self.root).close()
        self.assertEqual(self.segment.stat().st_size, 4096)

    def test_scenario_67_a_huge_length_in_the_tail_allocates_nothing_and_is_cut(self) -> None:
        """etcd's CVE-2020-15106: the length was believed."""
        self.run_and_kill(commands("a"))
        end = self.offsets(self.segment)[-1]
        overwrite(self.segment, end, b"\xabTxR\xff\xff\xff\xff" + b"\x01" * 24)
        read: list[int] = []
        pread = os.pread

        def watched(fd: int, length: int, offset: int) -> bytes:
            read.append(length)
            return pread(fd, length, offset)

        with mock.patch.object(os, "pread", watched):
            found, torn = self.recovered()
        self.assertEqual(found, self.log)
        self.assertIsNotNone(torn)
        self.assertLessEqual(max(read), 4096)

    def test_scenario_67_a_huge_length_with_valid_checksums_is_not_believed_either(self) -> None:
        self.run_and_kill(commands("a"))
        record = encode_record(b"x" * 8000, sequence=3, durable_upto=2, seed=self.seed)
        end = self.offsets(self.segment)[-1]
        overwrite(self.segment, end, record[: 4096 - end])
        found, torn = self.recovered()
        self.assertEqual(found, self.log)
        self.assertIsNotNone(torn)

    def test_scenario_68_preallocated_zeros_are_no_records(self) -> None:
        self.run_and_kill(commands("a"))
        for zeros in (0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, 100_000):
            restore(self.root, self.left)
            end = self.offsets(self.segment)[-1]
            self.segment.write_bytes(self.segment.read_bytes()[:end] + bytes(zeros))
            self.assertEqual(self.recovered(), (self.log, None), zeros)

    def test_a_command_that_imitates_a_record_proves_nothing(self) -> None:
        """Whoever stores bytes that look like a later record must not turn a torn tail into damage."""
        self.run_and_kill(commands("a"))
        end = self.offsets(self.segment)[-1]
        imitation = encode_record(b"", sequence=1000, durable_upto=999, seed=0)
        storage = open_storage(self.root)
        storage.write([persist(3, [Entry(1, 1, imitation)])])
        kill(storage, self.root)
        flip_bit(self.segment, end)
        self.assertEqual(self.recovered()[0], self.log)

    def test_what_was_read_is_made_durable_before_it_is_acted_upon(self) -> None:
        """The process before may have been killed before its fsync, or after one that failed."""
        self.run_and_kill(commands("a"), commands("b" * 50))
        start = self.offsets(self.segment)[-2]
        calls: list[tuple[str, str, int]] = []
        pwrite = os.pwrite

        def path_of(fd: int) -> str:
            return Path(f"/proc/self/fd/{fd}").readlink().name

        def noted_pwrite(fd: int, content: bytes, offset: int) -> int:
            calls.append(("pwrite", path_of(fd), offset))
            return pwrite(fd, content, offset)

        def noted_sync(fd: int) -> None:
            calls.append(("sync", path_of(fd), 0))

        def segment_calls() -> list[tuple[str, str, int]]:
            calls.clear()
            with mock.patch.multiple(os, pwrite=noted_pwrite, fsync=noted_sync, fdatasync=noted_sync):
                open_storage(self.root).close()
            return [call for call in calls if call[1] in (self.segment.name, "log")]

        name = self.segment.name
        self.assertEqual(segment_calls(), [("pwrite", name, start), ("sync", name, 0), ("sync", "log", 0)])
        # A clean end notes that all is durable.
        self.assertEqual(segment_calls(), [("sync", name, 0), ("sync", "log", 0)])


class DamageTests(DirectoryCase):
    """What was durable and cannot be read is refused, by name, and left as it is."""

    def test_scenario_66_any_bit_flipped_before_a_later_record_is_refused(self) -> None:
        """etcd's TestRepairWriteTearMiddle: a middle that is bad must not cut off committed entries behind it."""
        self.run_and_kill(commands("a"), commands("b"), commands("c"))
        starts = self.offsets(self.segment)
        for offset in range(starts[0], starts[3]):
            restore(self.root, self.left)
            flip_bit(self.segment, offset, offset % 8)
            refusal = self.require_refused(DamagedLog, str(self.segment))
            assert isinstance(refusal, DamagedLog)
            record = max(start for start in starts if start <= offset)
            self.assertEqual((refusal.path, refusal.offset), (str(self.segment), record))
            self.assertLess(offset, refusal.end)

    def test_scenario_66_a_middle_overwritten_with_zeros_is_refused(self) -> None:
        self.run_and_kill(commands("a"), commands("b"), commands("c"))
        starts = self.offsets(self.segment)
        overwrite(self.segment, starts[1], bytes(starts[2] - starts[1]))
        self.require_refused(DamagedLog, f"bytes {starts[1]} to {starts[2]}")

    def test_scenario_66_the_header_of_a_later_record_is_proof_even_if_its_body_is_torn(self) -> None:
        self.run_and_kill(commands("a"), commands("b"), commands("c"))
        starts = self.offsets(self.segment)
        flip_bit(self.segment, starts[2] + HEADER_BYTES)
        flip_bit(self.segment, starts[3] + HEADER_BYTES)
        self.require_refused(DamagedLog, f"bytes {starts[2]} to {starts[3]}")

    def test_scenario_67_a_huge_length_in_the_middle_is_refused(self) -> None:
        self.run_and_kill(commands("a"), commands("b"), commands("c"))
        overwrite(self.segment, self.offsets(self.segment)[1] + 4, b"\xff\xff\xff\xff")
        self.require_refused(DamagedLog)

    def test_proof_is_found_across_the_chunks_it_is_searched_in(self) -> None:
        for size in (262_100, 262_144 - 40, 262_144, 524_200):
            root = Path(self.mktemp()) / "n1"
            storage = open_storage(root, limits=small(1 << 20))
            storage.write([persist(2, commands("x" * size))])
            storage.write([persist(3, commands("y"))])
            kill(storage, root)
            flip_bit(segments(root)[0], 150)
            self.assertRaises(DamagedLog, open_storage, root)

    def test_damage_in_a_segment_that_others_follow_is_refused_even_at_its_end(self) -> None:
        self.run_and_kill(commands("a" * 2000), commands("b" * 2500))
        first, second = segments(self.root)
        flip_bit(first, self.offsets(first)[-1] - 1)
        self.require_refused(DamagedLog, str(first))
        restore(self.root, self.left)
        overwrite(first, self.offsets(first)[-1], b"rubbish")
        self.require_refused(DamagedLog, str(first), "a later segment follows")
        restore(self.root, self.left)
        flip_bit(second, 3)
        self.require_refused(DamagedLog, str(second), "header")

    def test_after_a_clean_end_the_last_record_is_known_to_have_been_durable(self) -> None:
        self.run_and_kill(commands("a"))
        open_storage(self.root).close()
        last = self.offsets(self.segment)[-2]
        flip_bit(self.segment, last + HEADER_BYTES)
        self.require_refused(DamagedLog, f"bytes {last} to ")

    def test_what_was_there_at_the_last_election_must_be_there(self) -> None:
        storage = open_storage(self.root)
        storage.write([persist(2, commands("a"))])
        storage.write([persist(metadata=vote(2, "n3"))])
        kill(storage, self.root)
        last = self.offsets(self.segment)[-2]
        overwrite(self.segment, last, bytes(200))
        self.require_refused(DamagedLog, "records 2 to 2")

    def test_scenario_73_a_missing_middle_segment_is_named(self) -> None:
        self.run_and_kill(commands("a" * 3000), commands("b" * 3000), commands("c" * 3000))
        first, second, third, *_ = segments(self.root)
        second.unlink()
        self.require_refused(StorageError, first.name, third.name, "records 3 to 3 are missing")

    def test_scenario_73_a_missing_first_segment_is_named(self) -> None:
        self.run_and_kill(commands("a" * 3000), commands("b" * 3000))
        segments(self.root)[0].unlink()
        self.require_refused(StorageError, "entries 1 to 2 are missing", "beginning")

    def test_scenario_73_a_missing_last_segment_is_noticed(self) -> None:
        self.run_and_kill(commands("a" * 3000), commands("b" * 3000))
        open_storage(self.root).close()
        self.segment.unlink()
        self.require_refused(DamagedLog, "records 3 to 3", "later segment file")

    def test_scenario_73_a_last_segment_that_went_missing_after_kill_9_is_noticed(self) -> None:
        """Found with real processes: nothing but the file itself knew of the newest segment, and the log ended without it."""
        self.run_and_kill(commands("a" * 3000), commands("b" * 3000))
        self.segment.unlink()
        self.require_refused(DamagedLog, "records 3 to 3", "later segment file")

    def test_scenario_73_a_segment_from_the_future_is_refused(self) -> None:
        self.run_and_kill(commands("a" * 3000), commands("b" * 3000), commands("c" * 3000))
        future = self.segment.read_bytes()
        name = self.segment.name
        self.segment.unlink()
        segments(self.root)[1].unlink()
        (self.root / "log" / name).write_bytes(future)
        self.require_refused(StorageError, "missing")

    def test_a_renamed_segment_is_refused_and_its_name_told(self) -> None:
        self.run_and_kill(commands("a" * 3000), commands("b" * 3000))
        name = self.segment.name
        self.segment.rename(self.root / "log" / f"{9:020d}.segment")
        self.require_refused(StorageError, "renamed", name)
        self.segment.rename(self.root / "log" / "old.segment")
        self.require_refused(StorageError, "old.segment")

    def test_a_segment_that_was_begun_behind_another_entry_is_refused(self) -> None:
        """Its records are numbered as they should be, but it comes from a copy with another log."""
        storage = open_storage(self.root)
        storage.write([persist(2, commands("a" * 3000, "x"))])
        storage.write([persist(4, commands("b" * 3000))])
        kill(storage, self.root)
        second = self.segment
        content = bytearray(second.read_bytes())
        content[32:40] = (99).to_bytes(8, "big")
        content[56:60] = crc32(content[:56], self.seed).to_bytes(4, "big")
        second.write_bytes(content)
        self.require_refused(StorageError, "do not belong together", second.name)

    def test_a_segment_of_another_directory_is_refused(self) -> None:
        other = Path(self.mktemp()) / "n1"
        for root in (self.root, other):
            storage = open_storage(root)
            storage.write([persist(2, commands("a" * 3000))])
            storage.write([persist(3, commands("b" * 3000))])
            storage.close()
        self.segment.write_bytes(segments(other)[-1].read_bytes())
        self.require_refused(StorageError, self.segment.name, "another data directory")

    def test_a_segment_of_a_later_format_is_refused(self) -> None:
        self.run_and_kill(commands("a"))
        overwrite(self.segment, 7, b"3")
        self.require_refused(DamagedLog, "header")
        overwrite(self.segment, 56, crc32(self.segment.read_bytes()[:56], self.seed).to_bytes(4, "big"))
        self.require_refused(StorageError, "version b'3'")

    def test_a_record_with_valid_checksums_that_makes_no_sense_is_refused(self) -> None:
        bodies = {
            "makes no sense": b"\xc1",
            "makes no sense ": b"\x93\x02\xdd\xff\xff\xff\xff",
            "makes no sense  ": encode_run(Run(0, commands("x")))[0][1],
            "the log ends with entry 2": encode_run(Run(4, commands("x")))[0][1],
            "has term 0 after term 1": encode_run(Run(3, commands("x", term=0)))[0][1],
        }
        self.run_and_kill(commands("a"))
        for words, body in bodies.items():
            restore(self.root, self.left)
            end = self.offsets(self.segment)[-1]
            overwrite(self.segment, end, encode_record(body, sequence=3, durable_upto=2, seed=self.seed))
            self.require_refused(DamagedLog, words.strip(), "record 3")

    def test_a_log_without_its_metadata_or_with_older_ones_is_refused(self) -> None:
        self.run_and_kill(commands("a"))
        for path in ("metadata-0", "metadata-1"):
            (self.root / path).unlink()
        self.require_refused(StorageError, "metadata-0", "vote twice")
        restore(self.root, self.left)
        storage = open_storage(self.root)
        storage.write([persist(3, commands("b", term=2), metadata=vote(2))])
        kill(storage, self.root)
        for name in ("metadata-0", "metadata-1"):
            (self.root / name).write_bytes(self.left[name])
        self.require_refused(StorageError, "older than the log", "term 1 against 2")

    def test_a_wiped_log_is_refused(self) -> None:
        self.run_and_kill(commands("a"))
        self.segment.unlink()
        self.require_refused(StorageError, "its entries are lost")
        (self.root / "log").rmdir()
        self.assertRaises(StorageError, open_storage, self.root)


class CombinationTests(DirectoryCase):
    """Files that went to disk at different times."""

    def test_scenario_58_every_combination_of_old_and_new_files_starts(self) -> None:
        """PySyncObj #197: the commit index was ahead of the log, and start-up waited for it for ever."""
        storage = open_storage(self.root)
        before = contents(self.root)
        storage.write([persist(2, commands("a"), metadata=vote(1, "n2"))])
        after = kill(storage, self.root)
        changed = [name for name in after if before.get(name) != after[name]]
        self.assertEqual(len(changed), 3)
        for count in range(4):
            for new in itertools.combinations(changed, count):
                restore(self.root, before | {name: after[name] for name in new})
                storage = open_storage(self.root)
                self.assertEqual(storage.recovered.metadata.voted_for, "n2" if any("metadata" in name for name in new) else None)
                self.assertEqual(storage.recovered.last_index, 2 if any("segment" in name for name in new) else 1)
                storage.close()

    def test_scenario_71_whatever_is_no_promise_can_be_missing_or_rubbish(self) -> None:
        """ra PR #589: an index file that was never synced kept a server from starting. Here there is none: all of it is rebuilt."""
        self.run_and_kill(*(commands(f"{n}" * 100) for n in range(8)))
        needed = {"identity", "metadata-0", "metadata-1", *(f"log/{path.name}" for path in segments(self.root))}
        self.assertEqual(set(self.left), needed)
        (self.root / "lock").unlink()
        self.assertEqual(self.recovered(), (self.log, None))
        for name in ("lock", "identity.new", "log/new"):
            (self.root / name).write_bytes(b"\xff" * 5000)
        self.assertEqual(self.recovered(), (self.log, None))


class StreamingTests(DirectoryCase):
    """Recovery holds no more than it was allowed to."""

    def test_only_the_newest_entries_are_kept(self) -> None:
        self.run_and_kill(*(commands(*(f"{batch}-{n}" for n in range(20))) for batch in range(20)))
        room = sum(entry_bytes(entry) for entry in self.log[-50:])
        for room_now, kept in ((room, 50), (room - 1, 49), (0, 0), (1 << 20, len(self.log))):
            storage = open_storage(self.root, limits=small(log_cache_bytes_max=room_now))
            self.assertEqual(storage.recovered.tail, self.log[len(self.log) - kept :])
            self.assertEqual(storage.recovered.tail_first_index, len(self.log) - kept + 1)
            self.assertEqual(whole_log(storage), self.log)
            kill(storage, self.root)

    def test_term_runs_and_configurations_follow_truncations(self) -> None:
        storage = open_storage(self.root)
        storage.write([persist(2, [*commands("a", "b"), configuration(b"second"), *commands("c", term=2)], metadata=vote(2))])
        storage.write([persist(6, [configuration(b"third", 2), *commands("d", term=3)], metadata=vote(3))])
        storage.write([persist(4, [*commands("e", term=4), configuration(b"fourth", 4)], truncate=True, metadata=vote(4))])
        storage.close()
        recovered = open_storage(self.root).recovered
        self.assertEqual(recovered.term_runs, [(1, 1), (4, 4)])
        self.assertEqual(recovered.configurations, [(1, BOOTSTRAP[0].payload), (5, b"fourth")])
        self.assertEqual(recovered.last_index, 5)
        self.assertEqual(recovered.tail, [*BOOTSTRAP, *commands("a", "b"), *commands("e", term=4), configuration(b"fourth", 4)])

    def test_progress_is_told_and_ends_with_one(self) -> None:
        storage = open_storage(self.root, limits=small(2 << 20))
        for first in range(2, 42):
            storage.write([persist(first, commands("x" * 200_000))])
        storage.close()
        told: list[float] = []
        open_storage(self.root, limits=small(2 << 20), progress=told.append).close()
        self.assertGreater(len(told), 4)
        self.assertEqual(told, sorted(told))
        self.assertEqual(told[-1], 1.0)
        self.assertTrue(all(0 < fraction <= 1 for fraction in told))

    def test_a_leftover_of_an_unfinished_segment_is_removed(self) -> None:
        self.run_and_kill(commands("a"))
        leftover = self.root / "log" / "new"
        leftover.write_bytes(b"anything")
        self.assertEqual(self.recovered(), (self.log, None))
        self.assertFalse(leftover.exists())
