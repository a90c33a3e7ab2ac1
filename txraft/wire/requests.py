"""What clients ask and are answered, in frames of many requests each; and how a follower forwards a request to the leader.

Pure data: the frames around it are `net.framing`, the greeting before it `wire.hello`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX

__all__ = [
    "Ask",
    "CloseSessionRequest",
    "Consistency",
    "DescribeRequest",
    "Forward",
    "ForwardReply",
    "InvokeRequest",
    "KeepSessionRequest",
    "OpenSessionRequest",
    "Replies",
    "Reply",
    "Request",
    "Requests",
    "StatusRequest",
]

Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Consistency = Literal["linearizable", "local"]


class _Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`id` is the client's, unique among its unanswered requests of one connection, and comes back with the answer."""

    id: Number


class InvokeRequest(_Request, tag="i", frozen=True, array_like=True, gc=False):
    """Call a command. `serial` is 0 outside a session. `arguments`: msgpack map by name, or `[[positional…], {named…}]`."""

    serial: Number
    machine: Name
    command: Name
    arguments: msgspec.Raw


class Ask(_Request, tag="q", frozen=True, array_like=True, gc=False):
    """Run a query; `arguments` as above."""

    machine: Name
    query: Name
    arguments: msgspec.Raw
    consistency: Consistency = "linearizable"


class OpenSessionRequest(_Request, tag="o", frozen=True, array_like=True, gc=False):
    """Open a session; the value of the answer is its id. `timeout_ms` 0: the server's default."""

    timeout_ms: Number = 0


class KeepSessionRequest(_Request, tag="k", frozen=True, array_like=True, gc=False):
    """Keep the session of the frame from expiring."""


class CloseSessionRequest(_Request, tag="x", frozen=True, array_like=True, gc=False):
    """Close the session of the frame."""


class StatusRequest(_Request, tag="s", frozen=True, array_like=True, gc=False):
    """The status of the node asked, as `GET /v1/status` gives it. `digest`: with the state's digest (costs a pass over the state)."""

    digest: bool = False


class DescribeRequest(_Request, tag="d", frozen=True, array_like=True, gc=False):
    """Which machines there are, with their commands and queries: `ClientGate.describe_machines`."""


Request = InvokeRequest | Ask | OpenSessionRequest | KeepSessionRequest | CloseSessionRequest | StatusRequest | DescribeRequest


class Requests(msgspec.Struct, frozen=True, array_like=True, tag="requests"):
    """One frame from a client: everything that gathered there in one turn.

    Attributes:
        session: of all commands in this frame; 0 for none.
        first_outstanding: the client has the results of all smaller serial numbers.
        requests: in the order they are to be taken.
    """

    session: Number
    first_outstanding: Number
    requests: list[Request]


class Reply(msgspec.Struct, array_like=True, gc=False):
    """`answer` is an encoded `statemachine.results.Answer`, embedded as it is."""

    id: Number
    answer: msgspec.Raw


class Replies(msgspec.Struct, frozen=True, array_like=True, tag="replies"):
    """One frame to a client: everything that became ready there in one turn."""

    replies: list[Reply]


class Forward(msgspec.Struct, frozen=True, array_like=True, tag="forward"):
    """A follower passes a client's request on to the leader of `term`, over the peer connection. It is never passed on twice.

    Attributes:
        id: of the sender's choosing, comes back in `ForwardReply`.
        session, first_outstanding: as in `Requests`.
        request: its own `id` is meaningless here.
    """

    term: Number
    sender: Name
    id: Number
    session: Number
    first_outstanding: Number
    request: Request


class ForwardReply(msgspec.Struct, frozen=True, array_like=True, tag="forwarded"):
    """The leader's answer to a `Forward`."""

    term: Number
    sender: Name
    id: Number
    answer: msgspec.Raw
