"""The log of versions against a plain list."""

from __future__ import annotations

import random
from bisect import bisect_left

from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.config_store.key_values import KeyValue
from txraft.machines.config_store.log import MOD_REVISION, Log


def written(revision: int, key: bytes = b"k") -> KeyValue:
    return KeyValue(key, b"", revision, revision, 1, 0)


def log_of(*pieces: list[KeyValue]) -> Log:
    """The last of these lists is not made a piece."""
    log = Log()
    for number, piece in enumerate(pieces):
        if number:
            log.seal()
        log.newest += piece
    return log


class LogOfVersions(SynchronousTestCase):
    def test_pieces_are_one_log(self) -> None:
        versions = [written(revision) for revision in range(2, 9)]
        for log in (log_of(versions), log_of(versions[:3], versions[3:4], versions[4:]), log_of(versions[:5], versions[5:], [])):
            self.assertEqual(list(log), versions)
            self.assertEqual((len(log), log.start, log.stop), (7, 0, 7))
            self.assertEqual([log.at(place) for place in range(7)], versions)
            self.assertEqual([log.position(revision) for revision in range(11)], [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7])

    def test_nothing_was_written(self) -> None:
        log = Log()
        self.assertEqual((list(log), len(log), log.position(5), log.pieces()), ([], 0, 0, [()]))

    def test_a_view_keeps_what_is_dropped_and_has_nothing_that_comes(self) -> None:
        log = log_of([written(2), written(3)], [written(4)])
        pieces = log.pieces()
        log.drop(3)
        log.newest.append(written(5))
        self.assertEqual([one.mod_revision for piece in pieces for one in piece], [2, 3, 4])
        self.assertEqual([one.mod_revision for one in log], [5])

    def test_a_view_has_nothing_that_was_dropped(self) -> None:
        log = log_of([written(2), written(3)], [written(4), written(5)], [written(6)])
        for place, left in ((1, [3, 4, 5, 6]), (2, [4, 5, 6]), (3, [5, 6]), (4, [6]), (5, [])):
            log.drop(place)
            self.assertEqual([one.mod_revision for piece in log.pieces() for one in piece], left)

    def test_the_newest_are_always_in_the_same_list(self) -> None:
        log = Log()
        newest = log.newest
        newest.append(written(2))
        log.seal()
        newest.append(written(3))
        log.drop(2)
        newest.append(written(4))
        self.assertEqual([one.mod_revision for one in log], [4])

    def test_any_operations(self) -> None:
        source, log, revision = random.Random(7), Log(), 2
        model: list[KeyValue] = []
        dropped = 0
        views: list[tuple[list[tuple[KeyValue, ...]], list[KeyValue]]] = []
        for number in range(3_000):
            choice = source.random()
            if choice < 0.6:
                for _ in range(source.choice((1, 1, 1, 4))):
                    log.newest.append(written(revision, b"%d" % number))
                    model.append(log.newest[-1])
                revision += source.choice((0, 1, 1, 3))  # what is restored may be divided within a revision
            elif choice < 0.75 and log.newest:
                log.seal()
            elif choice < 0.8:
                views = [*views[-3:], (log.pieces(), model[dropped:])]
            elif choice < 0.9 and source.random() < 0.3:
                dropped = source.randint(dropped, len(model))
                log.drop(dropped)
            self.assertEqual((log.start, log.stop, len(log)), (dropped, len(model), len(model) - dropped))
            sought = source.randint(0, revision + 1)
            self.assertEqual(log.position(sought), bisect_left(model, sought, lo=dropped, key=MOD_REVISION))
            place, stop = sorted(source.randint(dropped, len(model)) for _ in range(2))
            self.assertEqual(list(log.since(place)), model[place:])
            self.assertEqual(list(log.portion(place, stop)), model[place:stop])
            if place < len(model):
                self.assertIs(log.at(place), model[place])
        for pieces, expected in views:
            self.assertEqual([one for piece in pieces for one in piece], expected)
