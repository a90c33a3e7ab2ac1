"""Names and modes in the data directory."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import WatchedDisk, commands, no_sync, open_storage, persist
from txraft.errors import StorageError
from txraft.storage.layout import Layout


class ModeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()) / "deep" / "below" / "n1"
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)

    def test_row_22_directories_are_0700_and_files_0600_whatever_the_umask(self) -> None:
        """CVE-2020-15113: etcd left a directory with loose permissions as it was."""
        with no_sync():
            storage = open_storage(self.root)
            storage.write([persist(2, commands("x" * 5000))])
            storage.close()
        self.assertGreater(len(list(self.root.rglob("*"))), 6)
        for path in [self.root, *self.root.rglob("*")]:
            self.assertEqual(path.stat().st_mode & 0o777, 0o700 if path.is_dir() else 0o600, path)

    def test_nodes_that_begin_at_once_below_a_new_directory_make_it_together(self) -> None:
        make, neighbours = Path.mkdir, 0

        def with_a_neighbour(path: Path, *args: object, **options: object) -> None:
            nonlocal neighbours
            if path.name == self.root.parent.name and not path.exists():
                neighbours += 1
                make(path)
            make(path, *args, **options)  # type: ignore[arg-type]

        self.patch(Path, "mkdir", with_a_neighbour)
        with no_sync():
            open_storage(self.root).close()
        self.assertEqual((neighbours, self.root.is_dir()), (1, True))

    def test_an_empty_directory_and_our_own_are_made_private(self) -> None:
        self.root.mkdir(parents=True, mode=0o755)
        with no_sync():
            open_storage(self.root).close()
            self.assertEqual(self.root.stat().st_mode & 0o777, 0o700)
            self.root.chmod(0o777)
            open_storage(self.root).close()
        self.assertEqual(self.root.stat().st_mode & 0o777, 0o700)

    def test_somebody_elses_directory_is_neither_used_nor_closed_to_others(self) -> None:
        self.root.mkdir(parents=True, mode=0o755)
        (self.root / "passwd").write_text("precious")
        refusal = self.assertRaises(StorageError, open_storage, self.root)
        self.assertIn(str(self.root), str(refusal))
        self.assertEqual(self.root.stat().st_mode & 0o777, 0o755)
        self.assertEqual([path.name for path in self.root.iterdir()], ["passwd"])

    def test_a_private_directory_may_hold_other_things(self) -> None:
        self.root.mkdir(parents=True, mode=0o700)
        (self.root / "node.yaml").write_text("name: n1")
        with no_sync():
            open_storage(self.root).close()
        self.assertEqual((self.root / "node.yaml").read_text(), "name: n1")

    def test_every_new_directory_is_made_durable_in_its_parent(self) -> None:
        disk = WatchedDisk(self.root)
        with disk.watching():
            open_storage(self.root).close()
        names = ["deep", "below", "n1", "log"]
        parents = [self.root.parent.parent.parent.name, "deep", "below", "n1"]
        made = [call for call in disk.calls if call[0] == "mkdir" and call[1] in names]
        self.assertEqual([name for _, name in made], names)
        for call, parent in zip(made, parents, strict=True):
            self.assertEqual(disk.calls[disk.calls.index(call) + 1], ("fsync", parent))

    def test_a_file_in_the_place_of_the_directory_is_named(self) -> None:
        self.root.parent.mkdir(parents=True)
        self.root.write_text("a file")
        self.assertIn(str(self.root), str(self.assertRaises(StorageError, open_storage, self.root)))


class NameTests(SynchronousTestCase):
    def test_segments_are_sorted_by_number_and_others_are_left_out(self) -> None:
        layout = Layout(Path(self.mktemp()))
        layout.prepare()
        for number in (300, 5, 41):
            layout.segment(number).touch()
        layout.new_segment.touch()
        (layout.log / "notes.txt").touch()
        self.assertEqual([number for number, _ in layout.segments()], [5, 41, 300])

    def test_a_segment_without_a_number_is_refused(self) -> None:
        layout = Layout(Path(self.mktemp()))
        layout.prepare()
        for name in ("5.segment", "backup.segment", "٠" * 20 + ".segment", "-0000000000000000005.segment"):
            path = layout.log / name
            path.touch()
            self.assertIn(name, str(self.assertRaises(StorageError, layout.segments)))
            path.unlink()
