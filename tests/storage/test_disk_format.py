"""The examples of the document are what the package writes. A reader made from the document is in `independent_reader.py`."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

import txraft
from tests.support.disk import base
from txraft.core.entry import Entry
from txraft.core.snapshot import Snapshot
from txraft.storage.records import Run, encode_record, encode_run


class DocumentTests(SynchronousTestCase):
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
