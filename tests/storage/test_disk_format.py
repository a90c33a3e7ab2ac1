"""The document is enough: a reader written from it alone, with nothing of the package, reads what the package wrote."""

from __future__ import annotations

import re
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

import txraft
from tests.support.disk import (
    BOOTSTRAP,
    CLUSTER_ID,
    SERVER_ID,
    base,
    commands,
    make_snapshot,
    no_sync,
    open_storage,
    overwrite,
    persist,
    segments,
    vote,
    whole_log,
)
from txraft.core.entry import Entry
from txraft.core.snapshot import Snapshot
from txraft.storage.records import Run, encode_record, encode_run


def small_file(path: Path, magic: bytes, seed: int) -> list[Any] | None:
    content = path.read_bytes()
    length, crc = int.from_bytes(content[8:12], "big"), int.from_bytes(content[12:16], "big")
    body = content[16 : 16 + length]
    if content[:8] != magic or crc32(body, crc32(magic, seed)) != crc:
        return None
    found: list[Any] = msgspec.msgpack.decode(body)
    return found


@define
class Read:
    """The log as it was read: entries by index, and where it begins."""

    entries: dict[int, list[Any]] = field(factory=dict)
    last_index: int = 0
    base: list[Any] = field(factory=lambda: [0, 0])

    def take(self, first_index: int, entries: list[list[Any]], base: list[Any] | None) -> None:
        if base is not None:
            self.base = base
            if not base[2]:
                self.entries.clear()
                self.last_index = base[3]
        assert 1 <= first_index <= self.last_index + 1
        for index in range(first_index, self.last_index + 1):
            self.entries.pop(index, None)
        self.entries.update(enumerate(entries, first_index))
        self.last_index = first_index - 1 + len(entries)


def read_log(root: Path, seed: int) -> Read:
    log, due = Read(), 0
    for path in sorted((root / "log").glob("*.segment")):
        content = path.read_bytes()
        assert content[:8] == b"txraftL2"
        assert crc32(content[8:24]) == seed
        assert crc32(content[:56], seed) == int.from_bytes(content[56:60], "big")
        first_sequence, next_index, *begin = struct.unpack(">QQQQ", content[24:56])
        if not due:
            due, log.last_index, log.base = first_sequence, next_index - 1, begin
        assert [first_sequence, next_index, *begin] == [due, log.last_index + 1, *log.base[:2]]
        assert first_sequence == int(path.stem)
        at = 64
        while True:
            header = content[at : at + 32]
            length, sequence = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:16], "big")
            if header[:4] != b"\xabTxR" or crc32(header[:28], seed) != int.from_bytes(header[28:], "big") or sequence != due:
                break
            body = content[at + 32 : at + 32 + length]
            if len(body) != length or crc32(body, seed) != int.from_bytes(header[24:28], "big"):
                break
            assert int.from_bytes(header[16:24], "big") < sequence
            log.take(*msgspec.msgpack.decode(body))
            at += 32 + length
            due += 1
    return log


class DocumentTests(SynchronousTestCase):
    def test_a_reader_made_from_the_document_reads_a_directory(self) -> None:
        root = Path(self.mktemp())
        with no_sync():
            storage = open_storage(root)
            storage.write([persist(2, commands("a", "b" * 3000), metadata=vote(1, "n1"))])
            storage.write([persist(4, commands("c" * 3000))])
            storage.write([persist(3, commands("d", term=6), truncate=True, metadata=vote(6, "n3")), persist(4, commands("e", term=6))])
            storage.write([persist(4, [], truncate=True)])
            log = whole_log(storage)
            self.assertEqual(log, [*BOOTSTRAP, *commands("a"), *commands("d", term=6)])
            snapshot = make_snapshot(storage, 3, 6)
            storage.write([persist(4, commands("f" * 3000, term=6))])
            storage.write([persist(5, commands("g" * 3000, term=6), base=base(snapshot, 2, 1))])
            storage.close()
        self.assertGreater(len(segments(root)), 1)
        overwrite(segments(root)[-1], 4000, b"torn")

        identity = small_file(root / "identity", b"txraftI2", 0)
        assert identity is not None
        self.assertEqual(identity[:3], [CLUSTER_ID, SERVER_ID, 1])
        self.assertEqual([len(process) for process in identity[4]], [8])
        seed = crc32(identity[3])
        metadata = [small_file(root / f"metadata-{number}", b"txraftM2", seed) for number in (0, 1)]
        version, *newest = max(found for found in metadata if found is not None)
        self.assertEqual(newest, [6, "n3", 7])
        self.assertGreater(version, 3)
        read = read_log(root, seed)
        needed = {index: Entry(*entry) for index, entry in read.entries.items() if index > 2}
        self.assertEqual(needed, dict(enumerate([*log[2:], *commands("f" * 3000, "g" * 3000, term=6)], 3)))
        self.assertEqual(read.base[:6], [2, 1, True, 3, 6, 5])
        file = root / "snapshots" / f"{read.base[3]:020d}.snapshot"
        self.assertEqual(sha256(file.read_bytes()).digest(), read.base[6])
        self.assertEqual(read.base[7], [[1, BOOTSTRAP[0].payload]])

    def test_the_example_is_what_is_written(self) -> None:
        document = (Path(txraft.__file__).parent / "docs" / "disk-format.md").read_text("utf-8")
        examples = re.findall(r"```\n(ab547852[^`]*)```", document)
        seed = crc32(bytes(range(16)))
        self.assertIn(f"`{seed:X}`", document)
        snapshot = Snapshot(1, 1, 5, sha256(b"state").digest(), [(1, b"c")])
        runs = [Run(1, [Entry(1, 0, b"hi")]), Run(2, [], base(snapshot))]
        records = [
            encode_record(body, sequence=sequence, durable_upto=sequence - 1, seed=seed)
            for sequence, run in enumerate(runs, 1)
            for _, body in encode_run(run)
        ]
        self.assertEqual([bytes.fromhex(example) for example in examples], records)
