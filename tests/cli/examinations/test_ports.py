"""Ports: free, ours, others'."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.ports import Listener, Place, examine_ports, places_of

CLIENT = "tcp:2379:interface=127.0.0.1"


class Ports(SynchronousTestCase):
    def setUp(self) -> None:
        self.tried: list[tuple[str, int]] = []
        self.failure = 0
        self.found: Listener | None = None

    def bind(self, interface: str, port: int) -> None:
        self.tried.append((interface, port))
        if self.failure:
            raise OSError(self.failure, os.strerror(self.failure))

    def examine(self, endpoint: str = CLIENT, *, failure: int = 0, found: Listener | None = None, own_pid: int | None = None) -> Finding:
        self.failure = failure
        (finding,) = examine_ports([Place("client", endpoint)], self.bind, lambda port: found, own_pid)
        return finding

    def test_places(self) -> None:
        self.assertEqual(
            places_of("tcp:1", ["tcp:2", "unix:/a"]), [Place("peer", "tcp:1"), Place("client", "tcp:2"), Place("client", "unix:/a")]
        )

    def test_free(self) -> None:
        self.assertEqual(self.examine().verdict, Verdict.OK)
        self.assertEqual(self.examine("tcp:80").verdict, Verdict.OK)
        self.assertEqual(self.tried, [("127.0.0.1", 2379), ("", 80)])

    def test_not_tried(self) -> None:
        for endpoint in ("unix:/run/txraft.sock", "systemd:domain=INET:index=0", "tcp:0"):
            self.assertEqual(self.examine(endpoint, failure=errno.EADDRINUSE).verdict, Verdict.OK)
        self.assertEqual(self.tried, [])

    def test_this_node_listens_there(self) -> None:
        finding = self.examine(failure=errno.EADDRINUSE, found=Listener(7, "twistd"), own_pid=7)
        self.assertEqual((finding.verdict, finding.figures["pid"]), (Verdict.OK, 7))

    def test_somebody_else_does(self) -> None:
        for own_pid in (None, 7):
            finding = self.examine(failure=errno.EADDRINUSE, found=Listener(8, "etcd --name a"), own_pid=own_pid)
            self.assertEqual((finding.verdict, "process 8 listens there: etcd --name a" in finding.found), (Verdict.PROBLEM, True))

    def test_nobody_may_tell_who(self) -> None:
        self.assertEqual(self.examine(failure=errno.EADDRINUSE).verdict, Verdict.PROBLEM)
        self.assertEqual(self.examine(failure=errno.EADDRINUSE, own_pid=7).verdict, Verdict.ADVICE)

    def test_a_node_that_runs_and_does_not_listen(self) -> None:
        self.assertEqual(self.examine(own_pid=7).verdict, Verdict.ADVICE)

    def test_an_address_of_another_computer(self) -> None:
        finding = self.examine(failure=errno.EADDRNOTAVAIL)
        self.assertEqual((finding.verdict, "client: tcp:PORT" in finding.advice), (Verdict.PROBLEM, True))

    def test_a_port_for_root(self) -> None:
        self.assertIn("CAP_NET_BIND_SERVICE", self.examine(failure=errno.EACCES).advice)
        self.assertEqual(self.examine(failure=errno.EAFNOSUPPORT).verdict, Verdict.PROBLEM)
