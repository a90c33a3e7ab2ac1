"""Addresses as people write them."""

from __future__ import annotations

from twisted.internet.endpoints import clientFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txraft.addresses import endpoint_string, host_and_port, split_endpoint, split_pairs


class AddressesTests(SynchronousTestCase):
    def test_host_and_port_become_an_endpoint_that_twisted_connects_to(self) -> None:
        for address, host, port in [("a.example:1", "a.example", 1), ("[::1]:2380", "::1", 2380), ("10.0.0.1:65535", "10.0.0.1", 65535)]:
            reactor = MemoryReactorClock()
            clientFromString(reactor, endpoint_string(address)).connect(object())
            self.assertEqual(reactor.tcpClients[0][:2], (host, port))
            self.assertEqual(host_and_port(address), (host, port))
            self.assertEqual(host_and_port(endpoint_string(address)), (host, port))

    def test_endpoint_strings_pass_through(self) -> None:
        for endpoint, place in [
            ("unix:/run/txraft.sock", None),
            ("tls:host=a:port=1", None),
            ("tcp:h:80", ("h", 80)),
            ("tcp:host=h:80", ("h", 80)),
            ("tcp:host=\\:\\:1:port=5", ("::1", 5)),
            ("tcp:host=h:port=http", None),
            ("own:key=value", None),
        ]:
            self.assertEqual(endpoint_string(endpoint), endpoint)
            self.assertEqual(host_and_port(endpoint), place)

    def test_what_is_no_address_is_refused_with_what_to_write(self) -> None:
        for address, sentence in [
            ("", "write HOST:PORT"),
            ("localhost", "localhost:PORT"),
            ("localhost:http", "number for the port"),
            ("a:0", "1 to 65535"),
            ("a:65536", "1 to 65535"),
            ("::1:2380", "brackets"),
            ("[::1]", "HOST:PORT"),
            (":80", "HOST:PORT"),
            ("a b:1", "write HOST:PORT"),
            ("a\n:1", "write HOST:PORT"),
            ("tcp:2380", "lacks the host"),
        ]:
            for function in (endpoint_string, host_and_port):
                error = self.assertRaises(ValueError, function, address)
                self.assertIn(sentence, str(error), address)

    def test_endpoints_are_split_as_twisted_does(self) -> None:
        self.assertEqual(split_endpoint("TCP:80:interface=\\:\\:1"), ("tcp", ["80"], {"interface": "::1"}))
        self.assertEqual(split_endpoint("unix:a\\=b:mode=660"), ("unix", ["a=b"], {"mode": "660"}))


class PairsTests(SynchronousTestCase):
    def test_pairs_keep_their_order_and_later_equal_signs(self) -> None:
        pairs = split_pairs("n2=tcp:host=a:port=1, n1 = b:2,counter")
        self.assertEqual(list(pairs.items()), [("n2", "tcp:host=a:port=1"), ("n1", "b:2"), ("counter", "")])

    def test_empty_parts_and_repeated_names_are_refused(self) -> None:
        for text in ("", "a=", "=b", "a=b,,c=d", "a=b,a=c"):
            self.assertRaises(ValueError, split_pairs, text)
