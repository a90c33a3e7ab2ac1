"""The document is enough: a reader written from it alone, with nothing of the package, reads what the package wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from twisted.trial.unittest import SynchronousTestCase

import txraft
from tests.support.disk import (
    BOOTSTRAP,
    CLUSTER_ID,
    SERVER_ID,
    commands,
    no_sync,
    open_storage,
    overwrite,
    persist,
    segments,
    vote,
    whole_log,
)
from txraft.core.entry import Entry
from txraft.storage.records import Run, encode_record, encode_run


def small_file(path: Path, magic: bytes, seed: int) -> list[Any] | None:
    content = path.read_bytes()
    length, crc = int.from_bytes(content[8:12], "big"), int.from_bytes(content[12:16], "big")
    body = content[16 : 16 + length]
    if content[:8] != magic or crc32(body, crc32(magic, seed)) != crc:
        return None
    found: list[Any] = msgspec.msgpack.decode(body)
    return found


def read_log(root: Path, seed: int) -> list[list[Any]]:
    log: list[list[Any]] = []
    due = 1
    for path in sorted((root / "log").glob("*.segment")):
        content = path.read_bytes()
        assert content[:8] == b"txraftL2"
        assert crc32(content[8:24]) == seed
        assert crc32(content[:56], seed) == int.from_bytes(content[56:60], "big")
        assert int.from_bytes(content[24:32], "big") == due == int(path.stem)
        assert int.from_bytes(content[32:40], "big") == len(log) + 1
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
            first_index, entries, base = msgspec.msgpack.decode(body)
            assert base is None
            assert 1 <= first_index <= len(log) + 1
            log[first_index - 1 :] = entries
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
            storage.close()
        self.assertEqual(log, [*BOOTSTRAP, *commands("a"), *commands("d", term=6)])
        self.assertGreater(len(segments(root)), 1)
        overwrite(segments(root)[-1], 4000, b"torn")

        identity = small_file(root / "identity", b"txraftI2", 0)
        assert identity is not None
        self.assertEqual(identity[:3], [CLUSTER_ID, SERVER_ID, 1])
        self.assertEqual([len(process) for process in identity[4]], [8])
        seed = crc32(identity[3])
        metadata = [small_file(root / f"metadata-{number}", b"txraftM2", seed) for number in (0, 1)]
        version, *newest = max(found for found in metadata if found is not None)
        self.assertEqual(newest, [6, "n3", 5])
        self.assertGreater(version, 3)
        self.assertEqual([Entry(*entry) for entry in read_log(root, seed)], log)

    def test_the_example_is_what_is_written(self) -> None:
        document = (Path(txraft.__file__).parent / "docs" / "disk-format.md").read_text("utf-8")
        example = re.search(r"```\n(ab547852[^`]*)```", document)
        assert example is not None
        seed = crc32(bytes(range(16)))
        self.assertIn(f"`{seed:X}`", document)
        ((_, body),) = encode_run(Run(1, [Entry(1, 0, b"hi")]))
        self.assertEqual(bytes.fromhex(example[1]), encode_record(body, sequence=1, durable_upto=0, seed=seed))
