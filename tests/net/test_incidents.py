from __future__ import annotations

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.testing import StringTransport

from tests.net.case import NetTestCase
from txraft.net.incidents import LOG_INTERVAL_S, Incidents, remote_address


class IncidentsTests(NetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.incidents = Incidents(self.clock, "peer")

    def test_a_flood_is_counted_in_full_and_logged_once_in_a_while(self) -> None:
        for _ in range(1000):
            self.incidents.report("malformed", "10.0.0.9:1", "nonsense")
        self.assertEqual(self.incidents.counts, {"malformed": 1000})
        self.assertEqual(len(self.lines()), 1)
        self.clock.advance(LOG_INTERVAL_S)
        self.incidents.report("malformed", "10.0.0.9:1", "nonsense")
        self.assertEqual(len(self.lines()), 2)
        self.assertIn("999 more", self.lines()[1])

    def test_each_cause_has_its_line_with_the_address(self) -> None:
        self.incidents.report("malformed", "10.0.0.9:1", "nonsense")
        self.incidents.report("slow_hello", "10.0.0.8:1", "silence")
        self.assertEqual(len(self.lines()), 2)
        self.assertIn("10.0.0.9:1", self.lines()[0])
        self.assertIn("10.0.0.8:1", self.lines()[1])

    def test_a_clock_that_is_set_back_does_not_silence_the_log(self) -> None:
        self.clock.advance(5000)
        self.incidents.report("malformed", "", "nonsense")
        self.clock.rightNow -= 3600
        self.incidents.report("malformed", "", "nonsense")
        self.assertEqual(len(self.lines()), 2)

    def test_row_30_text_of_strangers_stays_on_its_line(self) -> None:
        self.incidents.report("malformed", "x", "name 'n1\nn2 won term 9\x1b[2K\u202e\u2028{remote}'" + "a" * 10_000)
        (line,) = self.lines()
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertIn(r"n1\nn2 won term 9\x1b[2K\u202e\u2028{remote}", line)
        self.assertLess(len(line), 1000)


class RemoteAddressTests(NetTestCase):
    def test_every_kind(self) -> None:
        self.assertEqual(remote_address(StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.9", 77))), "10.0.0.9:77")
        self.assertIn("/tmp/s", remote_address(StringTransport(peerAddress=UNIXAddress(b"/tmp/s"))))
        self.assertEqual(remote_address(None), "nobody")
