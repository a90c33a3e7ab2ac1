from __future__ import annotations

import itertools
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import RemoteProtocolError
from txraft.wire.frames import FrameSplitter, frame_header


def stream_of(*contents: bytes) -> bytes:
    return b"".join(frame_header(len(content)) + content for content in contents)


def split_in(splitter: FrameSplitter, *pieces: bytes) -> list[bytes]:
    return [frame for piece in pieces for frame in splitter.split(piece)]


class FrameSplitterTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 300), max_size=12))
    def test_any_chunking_gives_the_same_frames(self, contents: list[bytes], cuts: list[int]) -> None:
        stream = stream_of(*contents)
        places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        pieces = [stream[begin:end] for begin, end in itertools.pairwise(places)]
        splitter = FrameSplitter(40)
        self.assertEqual(split_in(splitter, *pieces), contents)
        self.assertFalse(splitter.incomplete)

    def test_split_at_every_byte(self) -> None:
        contents = [b"a", b"bc" * 100, b"d"]
        stream = stream_of(*contents)
        for place in range(len(stream) + 1):
            self.assertEqual(split_in(FrameSplitter(200), stream[:place], stream[place:]), contents)
        self.assertEqual(split_in(FrameSplitter(200), *(stream[at : at + 1] for at in range(len(stream)))), contents)

    def test_a_begun_frame_is_incomplete(self) -> None:
        splitter = FrameSplitter(10)
        self.assertEqual(split_in(splitter, b"\x00"), [])
        self.assertTrue(splitter.incomplete)
        self.assertEqual(split_in(splitter, b"\x00\x00\x01x"), [b"x"])
        self.assertFalse(splitter.incomplete)

    def test_the_limit_may_change_between_two_frames(self) -> None:
        splitter = FrameSplitter(1)
        received = []
        for frame in splitter.split(stream_of(b"a", b"bb")):
            received.append(frame)
            splitter.frame_bytes_max = 2
        self.assertEqual(received, [b"a", b"bb"])

    def test_row_03_zero_and_beyond_the_limit_are_refused_and_the_limit_itself_is_not(self) -> None:
        self.assertEqual(split_in(FrameSplitter(3), stream_of(b"abc")), [b"abc"])
        for length in (0, 4, 2**31, 2**32 - 1):
            with self.assertRaises(RemoteProtocolError, msg=str(length)):
                split_in(FrameSplitter(3), frame_header(length))

    def test_row_03_a_length_alone_allocates_nothing(self) -> None:
        splitter = FrameSplitter(2**32 - 1)
        tracemalloc.start()
        try:
            split_in(splitter, frame_header(2**32 - 1), b"x" * 100)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 100_000)

    def test_a_long_frame_costs_linear_time(self) -> None:
        # Small pieces of a long frame are appended, not joined anew: 4 MiB in 64-byte pieces would otherwise take minutes.
        splitter = FrameSplitter(2**22)
        content = bytes(2**22)
        stream = memoryview(stream_of(content))
        pieces = (bytes(stream[at : at + 64]) for at in range(0, len(stream), 64))
        self.assertEqual(split_in(splitter, *pieces), [content])
