"""The kernel's tables, as files of our own."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.listeners import listener_on
from txraft.cli.examinations.ports import Listener

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0000000000000000 100 0 0 10 0
   1: 0100007F:094C 0100007F:A001 01 00000000:00000000 00:00000000 00000000  1000        0 31338 1 0000000000000000 100 0 0 10 0
broken
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000000000000000000000000000:094D 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 99 1 0
"""


class Listeners(SynchronousTestCase):
    def setUp(self) -> None:
        self.proc = Path(self.mktemp())
        (self.proc / "net").mkdir(parents=True)
        (self.proc / "net" / "tcp").write_text(TCP)
        (self.proc / "net" / "tcp6").write_text(TCP6)
        self.process(12, b"init\0", "socket:[1]", "/dev/null")
        self.process(345, b"twistd\0-n\0txraft\0", "/dev/null", "socket:[31337]", "socket:[31338]", "socket:[99]")
        (self.proc / "self").mkdir()

    def process(self, pid: int, command: bytes, *descriptors: str) -> None:
        folder = self.proc / str(pid) / "fd"
        folder.mkdir(parents=True)
        (folder.parent / "cmdline").write_bytes(command)
        for number, target in enumerate(descriptors):
            (folder / str(number)).symlink_to(target)

    def test_found(self) -> None:
        self.assertEqual(listener_on(2379, self.proc), Listener(345, "twistd -n txraft"))
        self.assertEqual(listener_on(2381, self.proc), Listener(345, "twistd -n txraft"))

    def test_a_connection_is_no_listener(self) -> None:
        self.assertIsNone(listener_on(2380, self.proc))

    def test_not_to_be_seen(self) -> None:
        (self.proc / "345" / "fd" / "1").unlink()
        self.assertIsNone(listener_on(2379, self.proc))

    def test_no_tables(self) -> None:
        self.assertIsNone(listener_on(2379, Path(self.mktemp())))

    def test_a_command_line_that_is_hidden_or_odd(self) -> None:
        (self.proc / "345" / "cmdline").write_bytes(b"a\x1b[31m\0")
        self.assertEqual(listener_on(2379, self.proc), Listener(345, repr("a\x1b[31m")))
        (self.proc / "345" / "cmdline").unlink()
        self.assertEqual(listener_on(2379, self.proc), Listener(345, "?"))
