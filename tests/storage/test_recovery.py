"""What recovery makes of a log: torn tails are cut, damage is refused with nothing changed, strangers are named."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from pathlib import Path
from unittest import mock
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import (
    BOOTSTRAP,
    changed_sectors,
    command,
    commands,
    contents,
    flip_bit,
    no_sync,
    open_storage,
    overwrite,
    persist,
    segments,
    small,
    vote,
    whole_log,
    with_sectors,
)
from txraft.core.entry import Entry
from txraft.errors import DamagedLog, StorageError
from txraft.storage.identity import Claim
from txraft.storage.layout import Layout
from txraft.storage.records import HEADER_BYTES, encode_record, parse_header
from txraft.storage.segment import SEGMENT_HEADER_BYTES


class DirectoryCase(SynchronousTestCase):
    """A directory in which a server was killed (or pulled from the socket) after some writes."""

    def setUp(self) -> None:
        base = Path(self.mktemp())
        base.mkdir()
        self.root = base / "n1"
        self.copy = base / "copy"
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)

    def killed_after(self, *batches: list[Entry], segment_bytes: int = 4096) -> list[Entry]:
        """Append these batches, each in a write of its own, and end without closing. Returns the log."""
        storage = open_storage(self.root, limits=small(segment_bytes))
        log = whole_log(storage)
        for batch in batches:
            storage.write([persist(len(log) + 1, batch)])
            log += batch
        left = contents(self.root)
        storage.close()
        for name, content in left.items():
            (self.root / name).write_bytes(content)
        return log

    @property
    def segment(self) -> Path:
        return segments(self.root)[-1]

    @property
    def seed(self) -> int:
        return Claim.stake(Layout(self.root), "c1" * 16, "n1").origin.seed

    def offsets(self, path: Path) -> list[int]:
        """Where the records of a segment begin, and where the last one ends."""
        content, at, found = path.read_bytes(), SEGMENT_HEADER_BYTES, [SEGMENT_HEADER_BYTES]
        while (header := parse_header(content[at : at + HEADER_BYTES], self.seed)) is not None:
            at += HEADER_BYTES + header.length
            found.append(at)
        return found

    def reopened(self, root: Path | None = None, segment_bytes: int = 4096) -> tuple[list[Entry], str | None]:
        """The log and what was cut, twice: a second recovery finds the same and has nothing to cut."""
        storage = open_storage(root or self.root, limits=small(segment_bytes))
        found, torn = whole_log(storage), storage.recovered.torn_tail
        storage.close()
        storage = open_storage(root or self.root, limits=small(segment_bytes))
        self.assertEqual(whole_log(storage), found)
        self.assertIsNone(storage.recovered.torn_tail)
        storage.close()
        return found, torn

    def require_refused(self, error: type[StorageError], *words: str) -> StorageError:
        """Opening fails with a sentence that has these words, and nothing was changed."""
        before = contents(self.root)
        refusal = self.assertRaises(error, open_storage, self.root)
        self.assertEqual(contents(self.root), before)
        for word in words:
            self.assertIn(word, str(refusal))
        return refusal


class TornTailTests(DirectoryCase):
    def test_scenario_56_the_last_batch_cut_at_every_byte_leaves_the_log_before_it(self) -> None:
        before = self.killed_after(commands("a", "b"))
        start = self.offsets(self.segment)[-1]
        log = self.killed_after(commands("c", "d" * 60, "e"))
        whole = self.segment.read_bytes()
        end = self.offsets(self.segment)[-1]
        self.assertGreater(end - start, 80)
        for cut in range(start, end + 1):
            for image in (whole[:cut], whole[:cut].ljust(len(whole), b"\0")):
                self.segment.write_bytes(image)
                found, torn = self.reopened()
                self.assertEqual(found, log if cut == end else before, f"cut at {cut}, {len(image)} bytes left")
                self.assertEqual(torn is None, cut in (start, end), torn)

    def test_scenario_56_any_subset_of_the_sectors_of_the_last_batch_is_all_or_nothing(self) -> None:
        before = self.killed_after(commands("a" * 300))
        old = self.segment.read_bytes()
        log = self.killed_after(commands("b" * 700, "c" * 900, "d" * 500))
        new = self.segment.read_bytes()
        sectors = changed_sectors(old, new)
        self.assertGreaterEqual(len(sectors), 5)
        for count in range(len(sectors) + 1):
            for taken in itertools.combinations(sectors, count):
                self.segment.write_bytes(with_sectors(old, new, taken))
                found, _ = self.reopened()
                self.assertEqual(found, log if count == len(sectors) else before, taken)

    def test_scenario_56_of_several_records_of_one_write_any_subset_of_sectors_leaves_the_first_whole_ones(self) -> None:
        """A truncation within a write makes a second record; a whole second record behind a torn first one must not count."""
        before = self.killed_after(commands("a" * 300))
        old = self.segment.read_bytes()
        storage = open_storage(self.root)
        storage.write(
            [persist(3, commands("b" * 700, "x")), persist(4, commands("c" * 500), truncate=True), persist(4, commands("d" * 600), truncate=True)]
        )
        new = self.segment.read_bytes()
        storage.close()
        shutil.copytree(self.root, self.copy)
        meta = [(name, content) for name, content in contents(self.root).items() if name.startswith("metadata")]
        possible = [
            before,
            [*before, *commands("b" * 700, "x")],
            [*before, *commands("b" * 700, "c" * 500)],
            [*before, *commands("b" * 700, "d" * 600)],
        ]
        seen = []
        sectors = changed_sectors(old, new)
        del meta
        self._forget_the_close()
        left = contents(self.root)
        for count in range(len(sectors) + 1):
            for taken in itertools.combinations(sectors, count):
                for name, content in left.items():
                    (self.root / name).write_bytes(content)
                self.segment.write_bytes(with_sectors(old, new, taken))
                found, _ = self.reopened()
                self.assertIn(found, possible, taken)
                seen.append(possible.index(found))
        self.assertEqual(set(seen), {0, 1, 2, 3})

    def _forget_the_close(self) -> None:
        raise NotImplementedError
