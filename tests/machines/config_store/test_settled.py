"""What is settled, against a dict."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.config_store import settled as settled_module
from txraft.machines.config_store.key_values import KeyValue
from txraft.machines.config_store.settled import Settled


def in_order(pieces: list[dict[bytes, KeyValue]]) -> list[KeyValue]:
    return [one for piece in pieces for one in piece.values()]


class SettledVersions(SynchronousTestCase):
    def setUp(self) -> None:
        self.settled = Settled()
        self.revision = 1
        self.model: dict[bytes, KeyValue] = {}
        self.patch(settled_module, "PIECE", 8)
        self.patch(settled_module, "PIECE_MIN", 2)

    def add(self, *keys: bytes, a_revision_each: bool = True) -> None:
        versions: dict[bytes, KeyValue] = {}
        for key in keys:
            self.revision += a_revision_each or not versions
            versions[key] = KeyValue(key, b"", self.revision, self.revision, 1, 0)
        self.settled.add(versions, self.revision)
        self.model.update(versions)

    def remove(self, *keys: bytes) -> None:
        self.settled.remove([self.model.pop(key) for key in keys])

    def check(self) -> None:
        self.assertEqual(in_order(self.settled.pieces()), list(self.model.values()))

    def test_all_are_there_in_order(self) -> None:
        for number in range(50):
            self.add(b"%d" % number)
        self.check()
        self.assertEqual(len(self.settled.pieces()), 7)

    def test_a_revision_is_found_wherever_it_is(self) -> None:
        self.add(*(b"a%d" % number for number in range(7)))
        self.add(*(b"b%d" % number for number in range(20)), a_revision_each=False)
        newest = self.revision
        self.settled.add({b"c": KeyValue(b"c", b"", newest, newest, 1, 0)}, newest)  # as a snapshot may divide it
        self.model[b"c"] = KeyValue(b"c", b"", newest, newest, 1, 0)
        self.add(b"d")
        self.remove(b"c", b"b3", b"a6", b"d")
        self.check()

    def test_few_that_are_left_are_in_few_pieces(self) -> None:
        self.add(*(b"%d" % number for number in range(8)))
        for number in range(8, 800):
            self.add(b"%d" % number)
        self.remove(*(b"%d" % number for number in range(800) if number % 100))
        self.check()
        self.assertLessEqual(len(self.settled.pieces()), 4)
        self.remove(*(b"%d" % number for number in range(0, 800, 100)))
        self.add(b"x")
        self.check()

    def test_views_stay_what_they_were(self) -> None:
        source = random.Random(11)
        views: list[tuple[list[dict[bytes, KeyValue]], list[KeyValue]]] = []
        for number in range(2_000):
            if source.random() < 0.1:
                views.append((self.settled.pieces(), list(self.model.values())))
            if source.random() < 0.6:
                count = source.choice((1, 2, 5))
                self.add(*(b"%d.%d" % (number, at) for at in range(count)), a_revision_each=source.random() < 0.5)
            self.remove(*source.sample(sorted(self.model), min(len(self.model), source.choice((0, 1, 1, 3)))))
        self.check()
        self.assertGreater(len(views), 100)
        for pieces, expected in views:
            self.assertEqual(in_order(pieces), expected)

    def test_only_what_changes_is_copied(self) -> None:
        for number in range(80):
            self.add(b"%d" % number)
        view = self.settled.pieces()
        self.remove(b"20")
        self.add(b"new")
        pieces = self.settled.pieces()
        changed = [number for number, piece in enumerate(pieces[: len(view)]) if piece is not view[number]]
        self.assertEqual(changed, [2])
