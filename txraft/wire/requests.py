"""What clients ask and are answered, in frames of many requests each; and how a follower forwards a request to the leader.

Pure data: the frames around it are `net.framing`, the greeting before it `wire.hello`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX, TOPIC_BYTES_MAX, WAIT_MS_MAX

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
    "PollRequest",
    "ReadIndexRequest",
    "Replies",
    "Reply",
    "Request",
    "Requests",
    "StatusRequest",
    "Withdraw",
]

Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Topic = Annotated[bytes, msgspec.Meta(max_length=TOPIC_BYTES_MAX)]
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
    """Run a query; `arguments` as above.

    Attributes:
        consistency: `linearizable` sees all that was acknowledged before; `local` is answered by the server asked, from what it has.
        at_least: with `local`: not before this index is applied there. Who asks with the index of an own command's answer reads own writes.
        max_staleness_ms: with `local`: refused (`stale`) where the last word of the leader, applied, is older. 0: however old.
    """

    machine: Name
    query: Name
    arguments: msgspec.Raw
    consistency: Consistency = "linearizable"
    at_least: Number = 0
    max_staleness_ms: Number = 0


class PollRequest(_Request, tag="p", frozen=True, array_like=True, gc=False):
    """Ask for the events of a machine from a place on; any server answers, as soon as there is one, or when the wait is over.

    The value of the answer is a map: `events`, each a map of `index`, `topic` and `fields`, in order; and `next` and `skip`, the place
    from which to ask on. A watch is a chain of polls: no server keeps a place for it. `compacted`, with `oldest`: the place is gone.

    Attributes:
        topic: events of this topic only; with `prefix`, of all that begin with it.
        first: index of the first event wanted. One that has not come yet is waited for; 0 stands for the next one to come.
        skip: how many events of the index `first` have been seen (of whatever topic).
        wait_ms: how long to wait if there is none.
    """

    machine: Name
    topic: Topic = b""
    prefix: bool = True
    first: Number = 0
    skip: Number = 0
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=WAIT_MS_MAX)] = 0


class ReadIndexRequest(_Request, tag="r", frozen=True, array_like=True, gc=False):
    """Ask the leader for an index that holds all that was acknowledged before: the index of the answer. Its value is nil.

    A follower that has applied it may answer a linearizable query. Source: §6.4.
    """


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


Request = (
    InvokeRequest
    | Ask
    | PollRequest
    | ReadIndexRequest
    | OpenSessionRequest
    | KeepSessionRequest
    | CloseSessionRequest
    | StatusRequest
    | DescribeRequest
)


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


class Withdraw(msgspec.Struct, frozen=True, array_like=True, tag="withdraw"):
    """Whoever asked what was forwarded under this `id` has gone: if it still waits, it need not."""

    term: Number
    sender: Name
    id: Number


class ForwardReply(msgspec.Struct, frozen=True, array_like=True, tag="forwarded"):
    """The leader's answer to a `Forward`."""

    term: Number
    sender: Name
    id: Number
    answer: msgspec.Raw
