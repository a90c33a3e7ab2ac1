"""The greetings: what is said before anything else on a connection, and when a greeting is refused.

A peer connection begins with `PEER_MAGIC`, a client's with `CLIENT_MAGIC`; then come frames, the first of them a hello, answered by a
welcome or a refusal. Greetings keep their shape in all versions of the protocol: later fields go to the end, where older servers
overlook them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from txraft.core.messages import Name, Number
from txraft.limits import PROTOCOL_VERSION
from txraft.wire.codec import decode_as
from txraft.wire.starts import PROBLEMS, Start, contradiction

__all__ = [
    "CLIENT_MAGIC",
    "HELLO_BYTES_MAX",
    "NOT_READY",
    "PEER_MAGIC",
    "ClientHello",
    "ClientHelloReply",
    "ClientWelcome",
    "HelloRefused",
    "PeerHello",
    "PeerHelloReply",
    "PeerWelcome",
    "agreed_version",
    "decode_client_hello",
    "decode_client_hello_reply",
    "decode_peer_hello",
    "decode_peer_hello_reply",
    "encode_greeting",
    "problem_of_welcome",
    "refusal_of_hello",
]

PEER_MAGIC = b"TXRP"
CLIENT_MAGIC = b"TXRC"

HELLO_BYTES_MAX = 4_096
"""Longest frame on a connection that has not been greeted: strangers cannot make a server keep more."""

Version = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Text = Annotated[str, msgspec.Meta(max_length=256)]
Drawn = Annotated[str, msgspec.Meta(max_length=32)]
Drawns = Annotated[list[Drawn], msgspec.Meta(max_length=64)]


class PeerHello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """A server introduces itself to the server it dialled.

    Attributes:
        version_min, version_max: the protocol versions it speaks.
        cluster_id: its cluster.
        sender: its name.
        receiver: the name of the server it means to talk to; behind a mistaken address sits another.
        incarnation: how often its directory has been started.
        client_address: where clients reach it; "" if unknown.
        directory: the mark of its data directory; "" from a server that is too old to say.
        process: drawn by lot at this start of the directory; "" likewise.
        previous_processes: those of the starts before, the last first, as far as the directory remembers them.
    """

    version_min: Version
    version_max: Version
    cluster_id: Text
    sender: Name
    receiver: Name
    incarnation: Number
    client_address: Text = ""
    directory: Text = ""
    process: Drawn = ""
    previous_processes: Drawns = []


class PeerWelcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """The dialled server accepts: `version` is spoken from here on; the rest is the dialled server's own, as in `PeerHello`."""

    version: Version
    cluster_id: Text
    server_id: Name
    incarnation: Number
    client_address: Text = ""
    directory: Text = ""
    process: Drawn = ""
    previous_processes: Drawns = []


class HelloRefused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The hello is refused and the connection closed.

    Attributes:
        code: a stable word: `version`, `cluster`, `receiver`, `member`, `directory`, `incarnation`, `copied`; `not_ready` while
            the server is starting.
        sentence: for the log of the one refused; it tells nothing that a stranger should not know.
    """

    code: Text
    sentence: Text


class ClientHello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """A client introduces itself; `program` is free text for the server's log, e.g. `txraft.client 1.0`."""

    version_min: Version
    version_max: Version
    program: Text = ""


class ClientWelcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """The server accepts a client.

    Attributes:
        version: spoken from here on.
        cluster_id, server_id: whom the client has reached.
        frame_bytes_max: longest frame content, either way; a longer one closes the connection.
        requests_max: requests that may be unanswered on this connection; those beyond it are answered `overloaded`.
    """

    version: Version
    cluster_id: Text
    server_id: Name
    frame_bytes_max: Number
    requests_max: Number


PeerHelloReply = PeerWelcome | HelloRefused
ClientHelloReply = ClientWelcome | HelloRefused

NOT_READY = HelloRefused("not_ready", "this server is still starting")
"""Said until the server knows its members; nobody's fault."""

encode_greeting = msgspec.msgpack.Encoder().encode
_PEER_HELLO = msgspec.msgpack.Decoder(PeerHello)
_PEER_HELLO_REPLY: msgspec.msgpack.Decoder[PeerHelloReply] = msgspec.msgpack.Decoder(PeerHelloReply)
_CLIENT_HELLO = msgspec.msgpack.Decoder(ClientHello)
_CLIENT_HELLO_REPLY: msgspec.msgpack.Decoder[ClientHelloReply] = msgspec.msgpack.Decoder(ClientHelloReply)


def decode_peer_hello(frame: bytes) -> PeerHello:
    """Raises `RemoteProtocolError`, as the following do."""
    return decode_as(_PEER_HELLO, frame)


def decode_peer_hello_reply(frame: bytes) -> PeerHelloReply:
    """What the dialled server said."""
    return decode_as(_PEER_HELLO_REPLY, frame)


def decode_client_hello(frame: bytes) -> ClientHello:
    """What a client said."""
    return decode_as(_CLIENT_HELLO, frame)


def decode_client_hello_reply(frame: bytes) -> ClientHelloReply:
    """What the server said to a client."""
    return decode_as(_CLIENT_HELLO_REPLY, frame)


def agreed_version(version_min: int, version_max: int) -> int | None:
    """The newest protocol version that both sides speak, or None."""
    newest = min(version_max, PROTOCOL_VERSION)
    return newest if newest >= max(version_min, 1) else None


def refusal_of_hello(hello: PeerHello, *, cluster_id: str, server_id: str, is_member: bool, known: Start) -> HelloRefused | None:
    """Why the server `server_id` does not take this hello, or None if it does.

    Args:
        hello: what the dialler said.
        cluster_id: the cluster of the server that was dialled.
        server_id: its name.
        is_member: whether it knows the dialler as a member of its cluster.
        known: the directory that the dialler must have, and the newest start that was seen of it.
    """
    if agreed_version(hello.version_min, hello.version_max) is None:
        return HelloRefused("version", f"this server speaks protocol version {PROTOCOL_VERSION}")
    if hello.cluster_id != cluster_id:
        return HelloRefused("cluster", "this server belongs to another cluster")
    if hello.receiver != server_id:
        return HelloRefused("receiver", "this server is not the one the hello is meant for: check the addresses")
    if hello.sender == server_id:
        return HelloRefused("member", "this server has the same name as the one that dials it")
    if not is_member:
        return HelloRefused("member", "this server does not know the dialling one as a member of the cluster")
    code = contradiction(hello, known)
    return HelloRefused(code, f"the dialling server {PROBLEMS[code]}") if code is not None else None


def problem_of_welcome(welcome: PeerWelcome, *, cluster_id: str, peer: str, known: Start) -> str | None:
    """Why the dialler does not take this welcome as `peer`'s, as the end of a sentence about who answered; None if it does."""
    if agreed_version(welcome.version, welcome.version) is None:
        return f"speaks protocol version {welcome.version}, which was not offered"
    if welcome.cluster_id != cluster_id:
        return "belongs to another cluster"
    if welcome.server_id != peer:
        return f"is {welcome.server_id!r}, not {peer!r}: check the addresses"
    code = contradiction(welcome, known)
    return PROBLEMS[code] if code is not None else None
