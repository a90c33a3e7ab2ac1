"""The example in the documentation of the wire format is what is really sent."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from txraft.limits import Limits
from txraft.statemachine.results import answer_of_value
from txraft.wire.codec import encode_replies, encode_requests
from txraft.wire.frames import frame_header
from txraft.wire.hello import CLIENT_MAGIC, ClientHello, ClientWelcome, encode_greeting
from txraft.wire.requests import InvokeRequest, Reply, Requests

DOCUMENT = Path(__file__).resolve().parents[2] / "txraft" / "docs" / "wire-format.md"
HEX = re.compile(r"^```hex\n(.*?)^```", re.MULTILINE | re.DOTALL)


class ExampleTests(SynchronousTestCase):
    def test_the_bytes_in_the_document_are_the_bytes_on_the_wire(self) -> None:
        limits = Limits()
        arguments = msgspec.Raw(msgspec.msgpack.encode({"name": "a", "amount": 2}))
        welcome = ClientWelcome(1, "c0ffee", "n1", limits.client_frame_bytes_max, limits.requests_per_connection_max)
        contents = [
            encode_greeting(ClientHello(1, 1, "demo")),
            encode_greeting(welcome),
            encode_requests(Requests(0, 0, [InvokeRequest(1, 0, "counter", "add", arguments)])),
            encode_replies([Reply(1, msgspec.Raw(answer_of_value(2, 7, 1)))]),
        ]
        expected = [frame_header(len(content)) + content for content in contents]
        expected[0] = CLIENT_MAGIC + expected[0]
        written = [bytes.fromhex(block) for block in HEX.findall(DOCUMENT.read_text("utf-8"))]
        self.assertEqual(written, expected)
