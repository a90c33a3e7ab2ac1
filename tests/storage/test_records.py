"""Frames on disk: whole, or nothing."""

from __future__ import annotations

import os
import struct
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import command, commands
from txraft.core.entry import Entry
from txraft.errors import Halted
from txraft.limits import INDEX_MAX
from txraft.storage.files import REAL_FILES
from txraft.storage.records import (
    HEADER_BYTES,
    Run,
    decode_body,
    encode_record,
    encode_run,
    inspect_rest,
    parse_header,
    scan,
    seal,
    unseal,
)

SEED = 12345


def record(body: bytes, sequence: int = 1, durable_upto: int = 0, seed: int = SEED) -> bytes:
    return encode_record(body, sequence=sequence, durable_upto=durable_upto, seed=seed)


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def bodies(self, content: bytes, sequence: int = 1, stop: int | None = None) -> list[bytes]:
        self.path.write_bytes(content)
        with closing(REAL_FILES.open(self.path)) as file:
            found = scan(file, 0, len(content) if stop is None else stop, sequence, SEED)
            return [bytes(record.body) for record in found]


class FrameTests(FileCase):
    def test_records_are_read_back_in_order(self) -> None:
        bodies = [b"one", b"", b"three" * 100_000, b"four"]
        content = b"".join(record(body, sequence) for sequence, body in enumerate(bodies, 1))
        self.assertEqual(self.bodies(content), bodies)

    def test_header_says_what_was_put_in(self) -> None:
        header = parse_header(record(b"body", 7, 6)[:HEADER_BYTES], SEED)
        assert header is not None
        self.assertEqual(header[:3], (4, 7, 6))

    def test_any_flipped_bit_ends_the_scan(self) -> None:
        good, spoiled = record(b"one", 1), record(b"body", 2)
        for bit in range(len(spoiled) * 8):
            flipped = bytearray(spoiled)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assertEqual(self.bodies(good + bytes(flipped)), [b"one"], bit)

    def test_zeros_are_never_a_record_whatever_the_seed(self) -> None:
        for seed in (0, 1, SEED, 2**32 - 1):
            self.assertIsNone(parse_header(bytes(HEADER_BYTES), seed))

    def test_a_record_of_another_directory_is_none(self) -> None:
        self.assertEqual(self.bodies(record(b"one", seed=SEED + 1)), [])

    def test_a_record_with_another_number_ends_the_scan(self) -> None:
        self.assertEqual(self.bodies(record(b"one", 1) + record(b"three", 3)), [b"one"])
        self.assertEqual(self.bodies(record(b"one", 1) + record(b"one", 1)), [b"one"])

    def test_a_length_beyond_the_end_is_not_read(self) -> None:
        self.assertEqual(self.bodies(record(b"x" * 50)[:-1]), [])
        self.assertEqual(self.bodies(record(b"x" * 50), stop=60), [])

    def test_numbers_that_do_not_fit_are_refused_before_they_are_packed(self) -> None:
        for sequence, durable_upto in ((0, 0), (-1, 0), (1, 1), (5, -1), (INDEX_MAX + 1, 0), (2**64, 3)):
            self.assertRaises(Halted, record, b"", sequence, durable_upto)

    def test_proof_is_a_later_header_that_covers_the_missing_record(self) -> None:
        later = record(b"later", 9, 8)
        self.path.write_bytes(b"rubbish" + later + bytes(100))
        size = self.path.stat().st_size
        with closing(REAL_FILES.open(self.path)) as file:
            self.assertEqual(inspect_rest(file, 0, size, 8, SEED), (7 + len(later), 7))
            self.assertEqual(inspect_rest(file, 0, size, 9, SEED), (7 + len(later), None))
            self.assertEqual(inspect_rest(file, 0, size, 8, SEED + 1), (7 + len(later), None))
            self.assertEqual(inspect_rest(file, 7 + len(later), size, 8, SEED), (7 + len(later), None))

    def test_proof_is_found_at_every_place_around_the_end_of_a_chunk(self) -> None:
        chunk = 256 * 1024
        for at in range(chunk - HEADER_BYTES - 2, chunk + 3):
            self.path.write_bytes(bytes(at) + record(b"", 9, 8))
            with closing(REAL_FILES.open(self.path)) as file:
                self.assertEqual(inspect_rest(file, 0, at + HEADER_BYTES, 8, SEED).proof, at)

    def test_a_file_full_of_beginnings_of_records_is_searched_in_one_pass(self) -> None:
        self.path.write_bytes(record(b"")[:12].replace(b"\0", b"\1") * 20_000)
        with closing(REAL_FILES.open(self.path)) as file:
            self.assertEqual(inspect_rest(file, 0, self.path.stat().st_size, 1, SEED), (240_000, None))

    @given(st.binary(max_size=400), st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=200)
    def test_rubbish_is_no_record_and_no_error(self, content: bytes, seed: int) -> None:
        path = Path(f"{os.getpid()}-rubbish")
        path.write_bytes(b"\xabTxR" + content)
        with closing(REAL_FILES.open(path)) as file:
            self.assertEqual(list(scan(file, 0, len(content) + 4, 1, seed)), [])
            self.assertIsNone(inspect_rest(file, 0, len(content) + 4, 1, seed).proof)


class BodyTests(SynchronousTestCase):
    def test_a_run_comes_back(self) -> None:
        run = Run(17, commands("a", "", "c" * 300, term=5))
        ((index, body),) = encode_run(run)
        self.assertEqual(index, 17)
        self.assertEqual(decode_body(memoryview(body)), run)

    def test_a_run_without_entries_comes_back(self) -> None:
        self.assertEqual([decode_body(memoryview(body)) for _, body in encode_run(Run(4, []))], [Run(4, [])])

    def test_a_very_long_run_is_split_into_neighbours(self) -> None:
        entries = [command(bytes([n]) * 1_000_000) for n in range(10)]
        pieces = encode_run(Run(5, entries))
        self.assertGreater(len(pieces), 2)
        self.assertTrue(all(len(body) < 4_500_000 for _, body in pieces))
        due = 5
        together: list[Entry] = []
        for index, body in pieces:
            run = decode_body(memoryview(body))
            assert run is not None
            self.assertEqual((index, run[0]), (due, due))
            together += run[1]
            due += len(run[1])
        self.assertEqual(together, entries)

    def test_a_single_long_entry_stays_whole(self) -> None:
        self.assertEqual(len(encode_run(Run(1, [command(b"x" * 5_000_000)]))), 1)

    def test_a_number_beyond_64_bits_is_refused(self) -> None:
        self.assertRaises(Halted, encode_run, Run(1, [Entry(1, 1, b""), Entry(2**64, 1, b"")]))

    def test_what_makes_no_sense_is_none(self) -> None:
        for body in (
            b"",
            b"\xc1",
            b"\x93\x01\xdd\xff\xff\xff\xff",
            b"\x93\x01\xc6\xff\xff\xff\xff",
            b"\x91" * 5000,
            b"\x93\xa1x\x90\xc0",
            b"\x92\x01\x90",
        ):
            self.assertIsNone(decode_body(memoryview(body)), body)
        for first_index in (0, -1, INDEX_MAX + 1):
            self.assertIsNone(decode_body(memoryview(encode_run(Run(first_index, []))[0][1])))


class SealTests(SynchronousTestCase):
    def test_content_comes_back_and_padding_is_not_looked_at(self) -> None:
        self.assertEqual(unseal(b"magic--1", seal(b"magic--1", b"content", 5) + bytes(99), 5), b"content")

    def test_any_flipped_bit_cut_or_other_seed_is_noticed(self) -> None:
        sealed = seal(b"magic--1", b"content", 5)
        for bit in range(len(sealed) * 8):
            flipped = bytearray(sealed)
            flipped[bit // 8] ^= 1 << bit % 8
            self.assertIsNone(unseal(b"magic--1", bytes(flipped), 5), bit)
        for cut in range(len(sealed)):
            self.assertIsNone(unseal(b"magic--1", sealed[:cut], 5), cut)
        self.assertIsNone(unseal(b"magic--1", sealed, 6))

    def test_an_absurd_length_is_not_believed(self) -> None:
        self.assertIsNone(unseal(b"magic--1", struct.pack(">8sII", b"magic--1", 2**32 - 1, 0) + b"x", 0))
