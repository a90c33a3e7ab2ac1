"""Where the node ends: what it asks of the network and what the network may ask of it. `net` and `http` see nothing else of the node.

All calls are on the reactor thread. None of them blocks or raises because of a peer or client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from txraft.core.ids import ServerId
from txraft.core.messages import Message
from txraft.core.snapshot import Snapshot
from txraft.statemachine import Declaration
from txraft.statemachine.results import Answer
from txraft.wire.hello import HelloRefused
from txraft.wire.requests import Forward, ForwardReply, Request, Requests, Withdraw

__all__ = ["Caller", "ClientGate", "Identity", "OpenedSnapshot", "PeerGate", "PeerMessage", "PeerNetwork"]

PeerMessage = Message | Forward | ForwardReply | Withdraw


@frozen
class Identity:
    """Who this server is, as it tells its peers.

    Attributes:
        cluster_id: 32 hexadecimal digits.
        server_id: the name of this server.
        incarnation: how many times this directory has been started; an older copy of the directory is told by it.
        client_address: where clients reach this node (`HOST:PORT`), passed on as a hint; "" if unknown.
        directory: the mark of the data directory, 32 hexadecimal digits; a wiped directory is told by it. "" if unknown.
        process: drawn by lot at this start of the directory; a copied directory is told by it. "" if unknown.
        previous_processes: those of the starts before this one, the last first.
    """

    cluster_id: str
    server_id: ServerId
    incarnation: int
    client_address: str
    directory: str = ""
    process: str = ""
    previous_processes: tuple[str, ...] = ()


class PeerNetwork(Protocol):
    """The way out to the other servers. Implemented by `net.peers.Peers`."""

    def set_members(self, addresses: Mapping[str, str], directories: Mapping[str, str]) -> None:
        """Keep a link to each of these servers (own id excluded by the implementation), and accept hellos of these only; where the mark of
        a member's data directory is given, with that directory only.
        """

    def send(self, to: ServerId, message: PeerMessage) -> None:
        """Send, or drop when there is no connection or no room; then `PeerGate.peer_unreachable` is called."""

    def client_address(self, server: ServerId) -> str:
        """Where clients reach `server`, as it said in its hello; "" while unknown."""

    def connected(self) -> Mapping[str, bool]:
        """Whether there is an established link to each member."""

    def directories(self) -> Mapping[ServerId, str]:
        """The marks that those members say their data directories have to whom there is a connection."""

    def refusals(self) -> Mapping[ServerId, HelloRefused]:
        """The members that refused this server when it last came to them, and what they said."""

    def status(self) -> dict[str, Any]:
        """Links by member, and counters of what peers did wrong; plain data."""


class PeerGate(Protocol):
    """The way in from the other servers. Implemented by `node.node.Node`."""

    @property
    def identity(self) -> Identity:
        """For the hello; final once the node's directory is open."""

    def message_received(self, sender: ServerId, message: PeerMessage) -> None:
        """A whole, valid message came from the authenticated `sender` (`message.sender == sender` was checked)."""

    def peer_unreachable(self, peer: ServerId) -> None:
        """What was last sent to `peer` may be lost: its connection ended or its outbox overflowed."""

    def hello_refused(self, peer: ServerId, refusal: HelloRefused) -> None:
        """The member `peer` takes nothing from this server, for a reason that is not its own being busy."""


class Caller(Protocol):
    """Whoever waits for answers: a client connection, an HTTP request, an embedding program."""

    def answer(self, request_id: int, answer: bytes) -> None:
        """An encoded `Answer` for one request. Must not raise; must only gather: `flush` follows in the same turn."""

    def flush(self) -> None:
        """All answers of this turn have been given: write them, in one go."""


class OpenedSnapshot(NamedTuple):
    """A snapshot that is being read: its file stays until it is closed, even when a newer one takes its place.

    Attributes:
        snapshot: which one.
        read: some bytes of the file, by offset and length; never fewer. Fails with a `StorageError` if the disk does not give them.
        close: no more is read. To be called once, whatever has happened.
    """

    snapshot: Snapshot
    read: Callable[[int, int], Deferred[bytes]]
    close: Callable[[], None]


class ClientGate(Protocol):
    """The way in for clients. Implemented by `node.gate.Gate`."""

    def submit(self, caller: Caller, frame: Requests) -> None:
        """Take the requests of a native client. Each is answered exactly once; on a server that is not the leader with
        `NotApplied("not_leader", leader=…, address=…)`, `local` queries and status requests excepted.
        """

    def forget(self, caller: Caller) -> None:
        """A caller of `submit` has gone: what waits on its behalf need not wait any more."""

    def call(self, request: Request, *, session: int = 0, first_outstanding: int = 0, timeout_s: float | None = None) -> Deferred[Answer]:
        """Take one request wherever the leader is: a follower forwards it, or answers a query itself once the leader has confirmed it.

        Fires with the answer within `timeout_s` (default: `Timing.request_s`, and what the request itself may wait), never fails but when
        it is cancelled; after the timeout the answer is *unknown* for a command, *not applied* for others.

        Arguments as JSON come in through `arguments_of_json` first.
        """

    def arguments_of_json(self, machine: str, operation: str, body: bytes, *, text: bool = False) -> bytes:
        """Turn a JSON object into the arguments of a command or query, checked against its declaration. `text`: bytes in it are UTF-8,
        or `{"base64": …}`; else base64.

        Raises:
            NotApplied: `unknown_machine`, `unknown_command` or `invalid_arguments`, with the sentence for the caller.
        """

    def describe_machines(self) -> dict[str, Any]:
        """Machines by name with their commands and queries: see `Host.describe`."""

    def declarations(self) -> Mapping[str, Declaration]:
        """What can be asked of each machine, with all types: not to be changed."""

    def status(self, *, digest: bool = False) -> dict[str, Any]:
        """What `GET /v1/status` shows; plain data. With `digest`, the node does nothing else until it has gone through the state."""

    def digested_status(self) -> Deferred[dict[str, Any]]:
        """The same with the digest of the state as it is now, found out by a thread. Fails with `NotApplied` `machine_error`."""

    def take_snapshot(self) -> Deferred[dict[str, Any]]:
        """Take a snapshot of what this node has applied, now, and make it durable. If one is being taken, that one will do.

        Fires with its `index`, `term`, size in `bytes` and `sha256` in hexadecimal digits. Fails with `NotApplied`, saying why.
        """

    def open_snapshot(self) -> Deferred[OpenedSnapshot]:
        """Open the newest snapshot of this node, to be read. Cancelled, it leaves nothing open.

        Fails with `NotApplied`: `no_snapshot` when none has been taken yet, `not_ready` before the directory is open.
        """

    def ready(self) -> tuple[bool, str]:
        """Whether this node can serve (log replayed, a leader known), and if not, why."""

    def alive(self) -> tuple[bool, str]:
        """Whether this node is sound (not halted, disk answering), and if not, why."""


HaltObserver = Callable[[BaseException], None]
