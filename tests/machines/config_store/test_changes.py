"""The history of changes, page by page."""

from __future__ import annotations

from typing import Any

from tests.machines.config_store.case import ConfigStoreCase, version
from txraft.machines.config_store import changes
from txraft.machines.config_store.changes import Changes


class ChangesCase(ConfigStoreCase):
    @property
    def history(self) -> Changes:
        history = self.driver.host.hosted("config").history
        assert isinstance(history, Changes)
        return history

    def read(self, topic: bytes, prefix: bool, first: int, skip: int = 0) -> tuple[list[tuple[int, bytes]], int, int]:
        page = self.history.read(topic, prefix, first, skip)
        return [(event["index"], event["topic"]) for event in page.events], page.next, page.skip


class Pages(ChangesCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(b"a/1", b"b", b"a/2", b"b", b"a/1", value=b"v")

    def test_events_are_versions(self) -> None:
        self.call("delete", b"b")
        page = self.history.read(b"b", False, 4, 0)
        gone: dict[str, Any] = version(b"b", b"", 0, 7, 0)
        fields = [{"type": "put", "kv": version(b"b", b"v", 3, 5, 2)}, {"type": "delete", "kv": gone}]
        self.assertEqual([event["fields"] for event in page.events], fields)

    def test_of_a_key_and_of_a_prefix(self) -> None:
        self.assertEqual(self.read(b"b", False, 1), ([(3, b"b"), (5, b"b")], 7, 0))
        self.assertEqual(self.read(b"b", False, 4), ([(5, b"b")], 7, 0))
        self.assertEqual(self.read(b"a/", True, 3), ([(4, b"a/2"), (6, b"a/1")], 7, 0))
        self.assertEqual(self.read(b"a/", False, 1), ([], 7, 0))

    def test_from_where_there_is_nothing_yet(self) -> None:
        for first in (7, 50):
            self.assertEqual(self.read(b"b", False, first, 3), ([], first, 3))

    def test_oldest_follows_compaction(self) -> None:
        self.assertEqual((self.history.oldest, self.history.newest), (1, 6))
        self.call("compact", revision=5)
        self.assertEqual(self.history.oldest, 5)
        self.assertEqual(self.read(b"", True, 5), ([(5, b"b"), (6, b"a/1")], 7, 0))
        self.assertEqual(self.read(b"b", False, 5), ([(5, b"b")], 7, 0))

    def test_a_deletion_at_the_compacted_revision_can_be_read(self) -> None:
        self.call("delete", b"b")
        self.put(b"c")
        self.call("compact", revision=7)
        self.assertEqual(self.read(b"b", False, 7), ([(7, b"b")], 9, 0))
        self.call("compact", revision=8)
        self.assertEqual(self.read(b"b", False, 8), ([], 9, 0))

    def test_a_page_ends_by_bytes_but_not_before_its_first_event(self) -> None:
        self.patch(changes, "EVENTS_BYTES_MAX", 1)
        self.assertEqual(self.read(b"b", False, 1), ([(3, b"b")], 5, 0))
        self.assertEqual(self.read(b"a", True, 1), ([(2, b"a/1")], 4, 0))

    def test_a_page_ends_by_what_it_passes_over(self) -> None:
        self.patch(changes, "OTHERS_MAX", 2)
        self.assertEqual(self.read(b"a/2", True, 1), ([(4, b"a/2")], 5, 0))
        self.assertEqual(self.read(b"z", True, 1), ([], 4, 0))


class WithinARevision(ChangesCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(b"k")
        twice = [{"op": "txn", "success": [{"op": "put", "key": b"k"}]}, {"op": "txn", "success": [{"op": "delete", "key": b"k"}]}]
        self.call("txn", success=[*twice, {"op": "put", "key": b"m"}])
        self.put(b"k")

    def test_the_place_counts_all_that_the_revision_wrote(self) -> None:
        # Revision 3: k, m is written after the inner transactions: k, k, m.
        self.assertEqual(self.read(b"", True, 3, 1), ([(3, b"k"), (3, b"m"), (4, b"k")], 5, 0))
        self.assertEqual(self.read(b"k", False, 3, 0), ([(3, b"k"), (3, b"k"), (4, b"k")], 5, 0))
        self.assertEqual(self.read(b"k", False, 3, 1), ([(3, b"k"), (4, b"k")], 5, 0))
        self.assertEqual(self.read(b"k", False, 3, 2), ([(4, b"k")], 5, 0))
        self.assertEqual(self.read(b"k", False, 3, 9), ([(4, b"k")], 5, 0))
        self.assertEqual(self.read(b"m", False, 3, 3), ([], 5, 0))

    def test_a_page_may_end_in_its_midst(self) -> None:
        self.patch(changes, "EVENTS_BYTES_MAX", 1)
        self.assertEqual(self.read(b"k", False, 3, 0), ([(3, b"k")], 3, 1))
        self.assertEqual(self.read(b"k", False, 3, 1), ([(3, b"k")], 4, 0))
        self.assertEqual(self.read(b"", True, 3, 1), ([(3, b"k")], 3, 2))
