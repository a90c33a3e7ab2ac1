"""Operations as clients write them."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.config_store.operations import Compare, Delete, Operation, Put, Range, Txn


class Operations(SynchronousTestCase):
    def test_the_tag_says_which_one_it_is(self) -> None:
        text = (
            b'{"op":"txn","compare":[{"key":"YQ==","target":"value","value":"MQ=="}],"success":[{"op":"put","key":"YQ=="},{"op":"range"}]}'
        )
        expected = Txn([Compare(b"a", "value", value=b"1")], [Put(b"a"), Range()])
        self.assertEqual(msgspec.json.decode(text, type=Operation), expected)
        self.assertEqual(
            msgspec.msgpack.decode(msgspec.msgpack.encode(Delete(b"a", prefix=True)), type=Operation), Delete(b"a", None, True)
        )

    def test_mistakes_are_found(self) -> None:
        for wrong in (b'{"op":"get","key":"YQ=="}', b'{"key":"YQ=="}', b'{"op":"put","key":"YQ==","ttl":1}', b'{"op":"put","key":1}'):
            self.assertRaises(msgspec.ValidationError, msgspec.json.decode, wrong, type=Operation)
