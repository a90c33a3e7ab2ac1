from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.messages import mutated, numbers, peer_messages, requests
from txraft.core.configuration import Configuration
from txraft.core.entry import Entry, EntryKind
from txraft.core.messages import AppendEntries, AppendEntriesReply, InstallSnapshot, InstallSnapshotReply, RequestVote, RequestVoteReply
from txraft.core.snapshot import Snapshot
from txraft.errors import RemoteProtocolError
from txraft.limits import INDEX_MAX
from txraft.statemachine.results import answer_of_value
from txraft.wire.codec import (
    LastEncoded,
    PeerMessage,
    decode_peer_message,
    decode_replies,
    decode_requests,
    encode_peer_message,
    encode_replies,
    encode_requests,
)
from txraft.wire.requests import ForwardReply, InvokeRequest, Reply, Request, Requests, StatusRequest

BEYOND = INDEX_MAX + 1
encode = msgspec.msgpack.encode


def append(**changes: Any) -> AppendEntries:
    fields: dict[str, Any] = {"term": 3, "sender": "n1", "prev_log_index": 4, "prev_log_term": 2, "leader_commit": 4, "round": 1}
    return AppendEntries(**{**fields, **changes})


def chunk(**changes: Any) -> InstallSnapshot:
    """A piece of a snapshot; changes to the snapshot and to the message by their names."""
    configurations = [(1, Configuration.of({"n1": "a:1"}).encode())]
    snapshot: dict[str, Any] = {"index": 9, "term": 2, "size": 100, "sha256": bytes(32), "configurations": configurations}
    message: dict[str, Any] = {"term": 3, "sender": "n1", "offset": 60, "content": bytes(40), "crc": 7}
    for name, value in changes.items():
        (snapshot if name in snapshot else message)[name] = value
    return InstallSnapshot(snapshot=Snapshot(**snapshot), **message)


def entries_of(*terms: int) -> list[Entry]:
    return [Entry(term, int(EntryKind.COMMAND), b"c") for term in terms]


class PeerMessageTests(SynchronousTestCase):
    def refused(self, frame: bytes, *words: str) -> None:
        with self.assertRaises(RemoteProtocolError) as caught:
            decode_peer_message(frame)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def refused_message(self, message: PeerMessage, *words: str) -> None:
        self.refused(encode_peer_message(message), *words)

    @settings(deadline=None, max_examples=200)
    @given(peer_messages)
    def test_what_was_encoded_is_decoded_and_has_one_encoding_only(self, message: PeerMessage) -> None:
        frame = encode_peer_message(message)
        decoded = decode_peer_message(frame)
        self.assertEqual(decoded, message)
        self.assertEqual(encode_peer_message(decoded), frame)

    @settings(deadline=None, max_examples=300)
    @given(mutated(peer_messages.map(encode_peer_message)))
    def test_mutated_frames_decode_or_are_refused_and_nothing_else(self, frame: bytes) -> None:
        try:
            decoded = decode_peer_message(frame)
        except RemoteProtocolError:
            return
        self.assertEqual(decode_peer_message(encode_peer_message(decoded)), decoded)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=60))
    def test_noise_is_refused(self, frame: bytes) -> None:
        try:
            decode_peer_message(frame)
        except RemoteProtocolError:
            return

    def test_row_06_unknown_type_or_missing_field_is_refused(self) -> None:
        self.refused(encode(["depend", 3, "n1"]))
        self.refused(encode(["append", 3, "n1", 4]))
        self.refused(encode([3, "n1"]))
        self.refused(encode({"type": "append"}))
        self.refused(encode("append"))
        self.refused(encode_peer_message(append()) + b"\x00", "trailing")

    def test_row_06_a_later_versions_additional_field_is_ignored(self) -> None:
        fields = msgspec.msgpack.decode(encode_peer_message(append()))
        self.assertEqual(decode_peer_message(encode([*fields, {"later": 1}])), append())

    def test_the_number_of_a_start_may_be_left_out_by_who_knows_of_none(self) -> None:
        self.assertEqual(decode_peer_message(encode(["vote", 3, "n1", 4, 2, True])), RequestVote(3, "n1", 4, 2, pre_vote=True))
        self.assertEqual(decode_peer_message(encode(["voted", 3, "n1", True])), RequestVoteReply(3, "n1", granted=True, incarnation=0))
        for wrong in (BEYOND, -1, 1.0, None):
            self.refused(encode(["vote", 3, "n1", 4, 2, False, False, wrong]))
            self.refused(encode(["voted", 3, "n1", True, False, wrong]))

    def test_row_13_numbers_beyond_a_signed_64_bit_field_are_refused(self) -> None:
        good: list[Any] = ["append", 3, "n1", 4, 2, 4, 1, []]
        self.assertEqual(decode_peer_message(encode(good)), append())
        for place, wrong in itertools.product((1, 3, 4, 5, 6), (BEYOND, 2**64 - 1, -1, 1.0, "1", None)):
            self.refused(encode([*good[:place], wrong, *good[place + 1 :]]))
        self.refused_message(append(prev_log_index=INDEX_MAX, entries=entries_of(2)), "greatest index")
        self.assertEqual(decode_peer_message(encode_peer_message(append(prev_log_index=INDEX_MAX))).term, 3)

    def test_row_13_entry_numbers_are_bounded_too(self) -> None:
        for term in (BEYOND, 2**64 - 1, -1):
            self.refused(encode(["append", INDEX_MAX, "n1", 4, 0, 4, 1, [[term, 1, b""]]]))

    def test_row_13_a_commit_index_beyond_the_last_entry_is_no_fault(self) -> None:
        self.assertEqual(decode_peer_message(encode_peer_message(append(leader_commit=INDEX_MAX))), append(leader_commit=INDEX_MAX))

    def test_row_14_terms_that_decrease_are_refused(self) -> None:
        self.refused_message(append(entries=entries_of(2, 3, 2, 3)), "decrease")
        self.refused_message(append(entries=entries_of(1)), "decrease")
        self.refused_message(append(entries=entries_of(2, 1, 2)), "decrease")
        good = append(entries=entries_of(2, 2, 3))
        self.assertEqual(decode_peer_message(encode_peer_message(good)), good)

    def test_row_14_an_entry_of_a_later_term_than_the_leaders_is_refused(self) -> None:
        self.refused_message(append(entries=entries_of(2, 4)), "term 4", "term 3")
        self.refused_message(append(prev_log_term=4), "term 4")
        self.refused_message(RequestVote(3, "n1", 4, 4), "term 4")

    def test_row_14_a_term_before_the_log_is_refused(self) -> None:
        self.refused_message(append(prev_log_index=0, prev_log_term=1), "before the log")

    def test_row_14_entries_of_unknown_kinds_are_refused(self) -> None:
        for kind in (3, -1, 2**63):
            self.refused_message(append(entries=[Entry(2, kind, b"")]), str(kind))

    def test_row_14_a_configuration_that_does_not_decode_is_refused(self) -> None:
        def with_configuration(payload: bytes) -> AppendEntries:
            return append(entries=[*entries_of(2), Entry(2, int(EntryKind.CONFIGURATION), payload)])

        good = with_configuration(Configuration.of({"n1": "a:1"}).encode())
        self.assertEqual(decode_peer_message(encode_peer_message(good)), good)
        for payload in (b"", b"garbage", encode([["n1"]]), encode([{"n1": 5}]), b"\x91" * 5000):
            self.refused_message(with_configuration(payload), "configuration")

    def test_pieces_of_snapshots_lie_within_them(self) -> None:
        self.assertEqual(decode_peer_message(encode_peer_message(chunk())), chunk())
        self.assertEqual(decode_peer_message(encode_peer_message(chunk(offset=100, content=b""))).term, 3)
        for changes in ({"offset": 61}, {"size": 99}, {"size": 0, "offset": 0, "content": b""}, {"size": BEYOND, "content": b""}):
            self.refused_message(chunk(**changes), "of a snapshot of")
        self.refused_message(chunk(offset=BEYOND))
        self.refused_message(chunk(crc=2**32))

    def test_a_snapshot_is_named_by_a_whole_sha_256(self) -> None:
        for length in (0, 31, 33):
            self.refused_message(chunk(sha256=bytes(length)), str(length))
            self.refused_message(InstallSnapshotReply(3, "n1", bytes(length), 0, "more"))

    def test_a_snapshot_of_a_later_term_than_the_leaders_or_of_nothing_is_refused(self) -> None:
        for changes in ({"term": 4}, {"term": -1}, {"index": 0}, {"index": BEYOND}):
            self.refused_message(chunk(**changes), "a snapshot at index")

    def test_a_snapshot_has_configurations_in_order_none_newer_than_itself(self) -> None:
        payload = Configuration.of({"n1": "a:1"}).encode()
        good = chunk(configurations=[(1, payload), (9, payload)])
        self.assertEqual(decode_peer_message(encode_peer_message(good)), good)
        for indexes in ((), (0,), (10,), (2, 2), (3, 2)):
            self.refused_message(chunk(configurations=[(index, payload) for index in indexes]), "configurations of indexes")
        self.refused_message(chunk(configurations=[(1, b"garbage")]), "configuration")

    def test_a_state_of_a_transfer_that_nobody_knows_is_refused(self) -> None:
        self.refused(encode(["snapshotted", 3, "n1", bytes(32), 0, "lost"]))

    def test_an_answer_passed_on_is_one(self) -> None:
        for answer in (answer_of_value([1, {"a": b"b"}], 3, 1), answer_of_value(2**80, 3, 1)):
            reply = ForwardReply(3, "n1", 7, msgspec.Raw(answer))
            self.assertEqual(decode_peer_message(encode_peer_message(reply)), reply)
        for wrong in (7, [0], [1, 2, 3, 4], [1, 2, 3, ["code", 5]]):
            self.refused_message(ForwardReply(3, "n1", 7, msgspec.Raw(encode(wrong))), "no answer")

    def test_row_22_a_million_nested_levels_are_refused(self) -> None:
        for deep in (b"\x91" * 1_000_000 + b"\x90", b"\x81\xa1a" * 1_000_000 + b"\x90"):
            self.refused(b"\x96\xa7forward\x03\xa2n1\x01\x00\x00\x96\xa1i\x00\x00\xa1m\xa1c" + deep)

    def test_text_that_is_not_utf_8_is_refused(self) -> None:
        self.refused(encode_peer_message(append()).replace(b"n1", b"\xff\xfe"))

    def test_lengths_and_counts_allocate_nothing(self) -> None:
        head = encode_peer_message(append())[:-1]
        entry = b"\x91\x93\x02\x01"
        hostile = [head + b"\xdd" + b"\xff" * 4, head + entry + b"\xc6" + b"\xff" * 4, head + entry + b"\xc9" + b"\xff" * 4 + b"\x01"]
        tracemalloc.start()
        try:
            for frame in hostile:
                self.refused(frame)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 1_000_000)


class LastEncodedTests(SynchronousTestCase):
    def test_equal_messages_to_several_followers_are_encoded_once(self) -> None:
        entries = entries_of(2, 3)
        last = LastEncoded()
        first = last.encode(append(entries=entries))
        self.assertIs(last.encode(append(entries=list(entries))), first)

    def test_messages_that_differ_in_anything_are_encoded_each(self) -> None:
        last = LastEncoded()
        messages: list[PeerMessage] = [
            append(entries=entries_of(2, 3)),
            append(entries=entries_of(2)),
            append(entries=entries_of(2), round=2),
            append(),
            AppendEntriesReply(3, "n1", True, 4, 2),
            AppendEntriesReply(3, "n1", False, 4, 2),
        ]
        for message in [*messages, *reversed(messages)]:
            self.assertEqual(last.encode(message), encode_peer_message(message))


class ClientFrameTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=100)
    @given(numbers, numbers, st.lists(requests, max_size=5))
    def test_requests_survive(self, session: int, first_outstanding: int, asked: list[Request]) -> None:
        frame = encode_requests(Requests(session, first_outstanding, asked))
        decoded = decode_requests(frame)
        self.assertEqual(decoded, Requests(session, first_outstanding, asked))
        self.assertEqual(encode_requests(decoded), frame)

    def test_replies_survive_with_their_answers_as_they_are(self) -> None:
        answer = answer_of_value({"a": 1}, 9, 2)
        decoded = decode_replies(encode_replies([Reply(1, msgspec.Raw(answer)), Reply(2, msgspec.Raw(answer))]))
        self.assertEqual([(reply.id, bytes(reply.answer)) for reply in decoded.replies], [(1, answer), (2, answer)])

    @settings(deadline=None, max_examples=150)
    @given(mutated(st.lists(requests, max_size=4).map(lambda asked: encode_requests(Requests(1, 2, asked)))))
    def test_mutated_requests_decode_or_are_refused_and_nothing_else(self, frame: bytes) -> None:
        try:
            decode_requests(frame)
        except RemoteProtocolError:
            return

    def refused(self, frame: bytes) -> None:
        with self.assertRaises(RemoteProtocolError):
            decode_requests(frame)

    def test_row_22_names_empty_too_long_or_not_utf_8_are_refused(self) -> None:
        good = encode_requests(Requests(0, 0, [InvokeRequest(1, 0, "mm", "c", msgspec.Raw(b"\x80"))]))
        self.assertEqual(len(decode_requests(good).requests), 1)
        self.refused(good.replace(b"mm", b"\xff\xff"))
        for name in ("", "m" * 129):
            self.refused(encode_requests(Requests(0, 0, [InvokeRequest(1, 0, name, "c", msgspec.Raw(b"\x80"))])))

    def test_row_22_a_million_nested_levels_are_refused(self) -> None:
        self.refused(b"\x94\xa8requests\x00\x00\x91\x96\xa1i\x00\x00\xa1m\xa1c" + b"\x91" * 1_000_000 + b"\x90")

    def test_row_23_an_unknown_kind_of_request_is_refused(self) -> None:
        self.refused(encode(["requests", 0, 0, [["z", 1]]]))

    def test_row_25_a_serial_number_or_session_out_of_range_is_refused(self) -> None:
        for wrong in (-1, BEYOND, 2**64 - 1, 1.5):
            self.refused(encode(["requests", wrong, 0, []]))
            self.refused(encode(["requests", 0, wrong, []]))
            self.refused(encode(["requests", 0, 0, [["i", 1, wrong, "m", "c", {}]]]))

    def test_a_consistency_that_nobody_promised_is_refused(self) -> None:
        self.refused(encode(["requests", 0, 0, [["q", 1, "m", "q", {}, "eventual"]]]))

    def test_defaults_may_be_left_out(self) -> None:
        self.assertEqual(decode_requests(encode(["requests", 0, 0, [["s", 1]]])).requests, [StatusRequest(1)])
