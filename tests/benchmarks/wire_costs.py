"""What the wire costs in microseconds: `PYTHONPATH=. python tests/benchmarks/wire_costs.py`.

Each figure is the best of several runs, so that a busy machine disturbs it little.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from functools import partial

import msgspec
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.net.case import RecordedClientGate, framed
from txraft.core.entry import Entry
from txraft.core.messages import AppendEntries, AppendEntriesReply
from txraft.limits import Limits, Timing
from txraft.net.client_protocol import ClientProtocolFactory
from txraft.node.ports import Caller
from txraft.statemachine.results import answer_of_value
from txraft.wire.codec import LastEncoded, decode_peer_message, decode_requests, encode_peer_message, encode_requests
from txraft.wire.hello import CLIENT_MAGIC, ClientHello, encode_greeting
from txraft.wire.requests import InvokeRequest, Requests

ENTRIES = 200
PAYLOAD_BYTES = 80
ANSWER = answer_of_value(12, 345, 6)


def best_us(step: Callable[[], object], repeats: int = 2_000) -> float:
    """Microseconds of one `step`."""
    return min(timeit.repeat(step, number=repeats, repeat=7)) / repeats * 1e6


def show(what: str, microseconds: float, per: int = 1, unit: str = "") -> None:
    print(f"{what:<66} {microseconds:8.2f} us" + (f" {microseconds / per:7.3f} us per {unit}" if unit else ""))


class AnsweringGate(RecordedClientGate):
    """Answers everything at once, as cheaply as can be."""

    def submit(self, caller: Caller, frame: Requests) -> None:
        answer = caller.answer
        for request in frame.requests:
            answer(request.id, ANSWER)
        caller.flush()


class Sink(StringTransport):
    """Keeps nothing."""

    def write(self, data: bytes) -> None: ...

    def writeSequence(self, data: object) -> None: ...


def between_servers() -> None:
    entries = [Entry(7, 1, bytes(PAYLOAD_BYTES)) for _ in range(ENTRIES)]
    message = AppendEntries(7, "n1", 1_000_000, 7, 999_800, 42, entries)
    frame = encode_peer_message(message)
    reply = AppendEntriesReply(7, "n2", True, 1_000_200, 42)
    reply_frame = encode_peer_message(reply)
    untyped = msgspec.msgpack.Decoder(AppendEntries)
    print(f"AppendEntries, {ENTRIES} entries of {PAYLOAD_BYTES} bytes: {len(frame)} bytes")
    show("  encode", best_us(lambda: encode_peer_message(message)), ENTRIES, "entry")
    last = LastEncoded()
    last.encode(message)
    again = msgspec.structs.replace(message, entries=list(entries))
    show("  encode the same for the next follower", best_us(lambda: last.encode(again)))
    show("  decode and check", best_us(lambda: decode_peer_message(frame)), ENTRIES, "entry")
    show("    of which decoding", best_us(lambda: untyped.decode(frame)))
    show("AppendEntriesReply, encode", best_us(lambda: encode_peer_message(reply)))
    show("AppendEntriesReply, decode", best_us(lambda: decode_peer_message(reply_frame)))


def between_client_and_server() -> None:
    factory = ClientProtocolFactory(Clock(), AnsweringGate(), Limits(), Timing())
    protocol = factory.buildProtocol(None)
    assert protocol is not None
    protocol.makeConnection(Sink())
    protocol.dataReceived(CLIENT_MAGIC + framed(encode_greeting(ClientHello(1, 1))))
    for count in (1, 8, 64, 256):
        arguments = msgspec.Raw(msgspec.msgpack.encode({"name": "visits", "amount": 2}))
        content = encode_requests(Requests(9, 1, [InvokeRequest(number, number, "counter", "add", arguments) for number in range(count)]))
        stream = framed(content)
        print(f"a frame of {count} requests: {len(content)} bytes")
        show(
            "  bytes in to bytes out, the node answering at once",
            best_us(partial(protocol.dataReceived, stream)),
            count,
            "request",
        )
        show("    of which decoding", best_us(partial(decode_requests, content)), count, "request")


if __name__ == "__main__":
    between_servers()
    between_client_and_server()
