"""Mounts, by the kernel's table of them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.file_system import examine_file_system, mount_of
from txraft.cli.examinations.findings import Finding, Verdict

TABLE = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
24 22 0:22 / /dev/shm rw,nosuid shared:2 master:1 - tmpfs tmpfs rw,size=65536k
25 22 0:23 / /srv/with\040blank rw - nfs4 server:/export rw,vers=4.2
26 22 0:24 / /srv/old ro,relatime - xfs /dev/vdb rw
27 22 0:25 / /srv/fast rw - ext4 /dev/vdc rw,nobarrier
28 22 0:26 / /srv/fast/card rw - vfat /dev/vdd rw
29 22 0:27 / /srv/there rw - fuse.sshfs me@there:/ rw
30 22 0:28 / /var/lib/twice rw - tmpfs tmpfs rw
31 22 0:29 / /var/lib/twice rw - xfs /dev/vde rw
32 22 0:30 / /layers rw - overlay overlay rw,lowerdir=/a
nonsense
"""


class Mounts(SynchronousTestCase):
    """Which line of the table."""

    def kind(self, path: str) -> str:
        mount = mount_of(Path(path), TABLE)
        assert mount is not None
        return mount.kind

    def test_the_longest_that_holds_the_path(self) -> None:
        paths = ["/", "/home/a", "/dev/shm", "/dev/shm/x", "/dev/shmooze", "/srv/fast/card/n1", "/srv/with blank/n1"]
        self.assertEqual([self.kind(path) for path in paths], ["ext4", "ext4", "tmpfs", "tmpfs", "ext4", "vfat", "nfs4"])

    def test_of_two_at_one_place_the_later(self) -> None:
        self.assertEqual(self.kind("/var/lib/twice/n1"), "xfs")

    def test_none(self) -> None:
        self.assertIsNone(mount_of(Path("/a"), "nonsense\n1 2 3 4 5 6 7 8 9 10 11\n"))


class Judged(SynchronousTestCase):
    """What it is good for."""

    def examine(self, path: str) -> Finding:
        return examine_file_system(Path(path), TABLE)

    def assert_advised(self, path: str, *words: str, verdict: Verdict = Verdict.ADVICE) -> None:
        finding = self.examine(path)
        self.assertEqual(finding.verdict, verdict)
        for word in words:
            self.assertIn(word, f"{finding.found} {finding.advice}")

    def test_a_local_disk_with_a_journal(self) -> None:
        self.assertEqual((self.examine("/home").verdict, self.examine("/home").figures["kind"]), (Verdict.OK, "ext4"))
        self.assertEqual(self.examine("/var/lib/twice/n1").verdict, Verdict.OK)

    def test_memory_network_layers_and_cards(self) -> None:
        self.assert_advised("/dev/shm/n1", "tmpfs", "memory", "votes")
        self.assert_advised("/srv/with blank", "nfs4", "local disk")
        self.assert_advised("/srv/there/x", "fuse.sshfs")
        self.assert_advised("/layers/n1", "container")
        self.assert_advised("/srv/fast/card", "journal")

    def test_syncs_that_reach_no_disk(self) -> None:
        self.assert_advised("/srv/fast/n1", "barriers")

    def test_read_only(self) -> None:
        self.assert_advised("/srv/old/n1", "read-only", verdict=Verdict.PROBLEM)

    def test_unknown(self) -> None:
        self.assertEqual(examine_file_system(Path("/a"), "").verdict, Verdict.ADVICE)
