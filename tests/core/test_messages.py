"""Messages: what decodes cannot overflow anything, and is what was sent."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from
from tests.support.one_server import accepted, append, rejected, vote, vote_request
from txraft.core.messages import Message
from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX

DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def decoded(fields: Sequence[object]) -> Message:
    return DECODER.decode(msgspec.msgpack.encode(fields))


class Messages(SynchronousTestCase):
    def test_each_comes_back_as_it_was(self) -> None:
        for message in (
            vote_request(3, "b", (7, 2), pre_vote=True),
            vote(3, "b", granted=False),
            append(3, "b", (7, 2), commands_from(8, 2, 3), commit=6, round=9),
            accepted(3, "b", 9, round=9),
            rejected(3, "b", 7, (5, 1)),
        ):
            self.assertEqual(DECODER.decode(msgspec.msgpack.encode(message)), message)

    def test_numbers_are_within_what_disks_hold(self) -> None:
        self.assertEqual(decoded(["voted", INDEX_MAX, "b", True]), vote(INDEX_MAX, "b"))

        for term in (-1, INDEX_MAX + 1, 1.5, "1", None):
            self.assertRaises(msgspec.ValidationError, decoded, ["voted", term, "b", True])

    def test_every_number_is_bounded(self) -> None:
        sound = ["append", 1, "b", 1, 1, 1, 1, []]
        decoded(sound)

        for place in (1, 3, 4, 5, 6):
            self.assertRaises(msgspec.ValidationError, decoded, [*sound[:place], -1, *sound[place + 1 :]])

    def test_senders_have_names_of_bounded_length(self) -> None:
        decoded(["voted", 1, "b" * NAME_LENGTH_MAX, True])

        for name in ("", "b" * (NAME_LENGTH_MAX + 1), 7):
            self.assertRaises(msgspec.ValidationError, decoded, ["voted", 1, name, True])

    def test_unknown_kinds_and_missing_fields_are_no_messages(self) -> None:
        for fields in (["vatic", 1, "b", True], ["voted", 1, "b"], [], ["append", 1, "b", 1, 1, 1, 1, [[1, 1]]]):
            self.assertRaises(msgspec.ValidationError, decoded, fields)
