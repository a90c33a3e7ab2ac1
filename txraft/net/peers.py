"""All the other servers: a link out to each, a port for what they say, and who of those that come in is one of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from txraft.core.ids import ServerId
from txraft.errors import Unknown
from txraft.limits import PROTOCOL_VERSION, Limits, Timing
from txraft.net.connections import Port
from txraft.net.peer_link import EndpointOf, PeerLink, client_endpoint
from txraft.net.peer_protocol import PeerProtocol
from txraft.node.ports import PeerGate
from txraft.statemachine.results import answer_of_problem
from txraft.wire.codec import LastEncoded, PeerMessage, encode_peer_message
from txraft.wire.hello import NOT_READY, HelloRefused, PeerHello, PeerWelcome, problem_of_welcome, refusal_of_hello
from txraft.wire.requests import ForwardReply
from txraft.wire.starts import Start

__all__ = ["Peers"]


@define
class _Member:
    """Another server of the cluster.

    Attributes:
        link: the way out to it.
        start: the newest of its starts that it has shown while this process lived.
        directory: the mark of its data directory as the configuration has it; "" until it does.
        client_address: where it says that clients reach it.
        accepted: the connection on which it sends.
    """

    link: PeerLink
    start: Start = Start()
    directory: str = ""
    client_address: str = ""
    accepted: PeerProtocol | None = None

    @property
    def known(self) -> Start:
        """What it must not contradict."""
        return self.start.of_directory(self.directory)

    @property
    def connected(self) -> bool:
        """Whether there is a connection, in either direction."""
        return self.link.connected or self.accepted is not None

    def shown(self, greeting: PeerHello | PeerWelcome) -> bool:
        """Note what it said of itself in a greeting that was found good; whether it is another start of it than before."""
        before, self.start = self.start, self.known.followed_by(greeting)
        self.client_address = greeting.client_address
        return self.start.incarnation > before.incarnation

    def disconnect(self) -> None:
        """Let nothing more come from, or go to, whoever is there now."""
        self.link.redial()
        if self.accepted is not None:
            self.accepted.close()


class Peers(Service):
    """The peer network of one node; see `node.ports.PeerNetwork`.

    Attributes:
        factory: for the listening peer port.
        port: what its connections share.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        gate: PeerGate,
        limits: Limits,
        timing: Timing,
        *,
        endpoint: EndpointOf = client_endpoint,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`endpoint` gives where to dial an address, `jitter` a number from 0 to 1; tests have their own."""
        self.factory = _PeerPort(self)
        self.port = Port(reactor, limits, timing, "peer")
        self._gate = gate
        self._endpoint = endpoint
        self._jitter = jitter
        self._members: dict[ServerId, _Member] = {}
        self._members_known = False
        self._last_encoded = LastEncoded()
        self._links_ending: set[Deferred[None]] = set()

    # What the node asks: node.ports.PeerNetwork

    def set_members(self, addresses: Mapping[str, str], directories: Mapping[str, str]) -> None:
        """Link to each of these servers but this one, and to no other; and to none that has another directory than this."""
        self._members_known = True
        own_id = self._gate.identity.server_id
        wanted = {ServerId(name): address for name, address in addresses.items() if name != own_id}
        for peer in self._members.keys() - wanted.keys():
            member = self._members.pop(peer)
            self._end(member.link)
            if member.accepted is not None:
                member.accepted.close()
        for peer, address in wanted.items():
            known = self._members.get(peer)
            if known is not None and known.link.address == address:
                continue
            link = PeerLink(self.port, self, peer, address, endpoint=self._endpoint, jitter=self._jitter)
            if known is None:
                self._members[peer] = _Member(link)
            else:
                self._end(known.link)
                known.link = link
            if self.running:
                link.start()
        for peer, member in self._members.items():
            member.directory = directories.get(peer, "")
            if member.directory and member.start.directory not in ("", member.directory):
                member.disconnect()

    def send(self, to: ServerId, message: PeerMessage) -> None:
        """Send, or drop."""
        member = self._members.get(to)
        if member is not None:
            member.link.send(message)

    def client_address(self, server: ServerId) -> str:
        """Where clients reach `server`; "" while unknown."""
        identity = self._gate.identity
        if server == identity.server_id:
            return identity.client_address
        member = self._members.get(server)
        return member.client_address if member is not None else ""

    def connected(self) -> Mapping[str, bool]:
        """Whether messages to each other member can be sent."""
        return {peer: member.link.connected for peer, member in self._members.items()}

    def directories(self) -> Mapping[ServerId, str]:
        """See `PeerNetwork`."""
        return {peer: member.start.directory for peer, member in self._members.items() if member.connected and member.start.directory}

    def refusals(self) -> Mapping[ServerId, HelloRefused]:
        """See `PeerNetwork`."""
        return {peer: member.link.refusal for peer, member in self._members.items() if member.link.refusal is not None}

    def status(self) -> dict[str, Any]:
        """Plain data for the status of the node: links, and incidents by cause."""
        links = {
            peer: {
                "address": member.link.address,
                "connected": member.link.connected,
                "receiving": member.accepted is not None,
                "refused": member.link.refusal.sentence if member.link.refusal is not None else "",
                "dropped": member.link.dropped,
                "unsent_bytes": member.link.unsent_bytes,
            }
            for peer, member in self._members.items()
        }
        return {"links": links, "incidents": dict(self.port.incidents.counts)}

    # Service

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        for member in self._members.values():
            member.link.start()

    def stopService(self) -> Deferred[None]:
        """Close all connections; fires when they have ended. The listening port is its owner's to close, before."""
        super().stopService()  # type: ignore[no-untyped-call]
        for member in self._members.values():
            self._end(member.link)
        ended = DeferredList([*self._links_ending, self.port.open.close_all()])
        return ended.addCallback(lambda _: None)

    def _end(self, link: PeerLink) -> None:
        ended = link.stop()
        self._links_ending.add(ended)
        ended.addCallback(lambda _: self._links_ending.discard(ended))

    # What connections ask: peer_protocol.Doorkeeper, peer_link.Dialler

    def peer_connection_made(self, remote: str) -> PeerProtocol | None:
        """A protocol for a connection that came in, if there is room for a stranger."""
        if not self.running:
            return None
        if not self.port.take_greeting_place(remote):
            return None
        connection = PeerProtocol(self.port, self._gate, self)
        self.port.open.opened(connection)
        return connection

    def admit(self, hello: PeerHello, connection: PeerProtocol) -> PeerWelcome | HelloRefused:
        """Judge a hello; once admitted, `connection` is the one of that sender, and an older one is closed."""
        if not self._members_known:
            return NOT_READY
        identity = self._gate.identity
        member = self._members.get(ServerId(hello.sender))
        refusal = refusal_of_hello(
            hello,
            cluster_id=identity.cluster_id,
            server_id=identity.server_id,
            is_member=member is not None,
            known=member.known if member is not None else Start(),
        )
        if refusal is not None:
            return refusal
        assert member is not None
        if member.accepted is not None:
            member.accepted.close()
        member.accepted = connection
        if member.shown(hello):
            member.link.redial()  # an earlier start may still be at its other end
        return PeerWelcome(
            PROTOCOL_VERSION,
            identity.cluster_id,
            identity.server_id,
            identity.incarnation,
            identity.client_address,
            identity.directory,
            identity.process,
            list(identity.previous_processes),
        )

    def peer_connection_lost(self, connection: PeerProtocol) -> None:
        """`connection` has ended, whether it was admitted or not."""
        self.port.open.closed(connection)
        member = self._members.get(connection.peer)
        if member is not None and member.accepted is connection:
            member.accepted = None

    def hello_to(self, peer: ServerId) -> PeerHello:
        """What to say to `peer`."""
        identity = self._gate.identity
        return PeerHello(
            PROTOCOL_VERSION,
            PROTOCOL_VERSION,
            identity.cluster_id,
            identity.server_id,
            peer,
            identity.incarnation,
            identity.client_address,
            identity.directory,
            identity.process,
            list(identity.previous_processes),
        )

    def accept_welcome(self, peer: ServerId, welcome: PeerWelcome) -> str | None:
        """Note what `peer` said of itself; or why it is not `peer` that has answered."""
        member = self._members.get(peer)
        if member is None:
            return "is no longer a member of the cluster"
        problem = problem_of_welcome(
            welcome,
            cluster_id=self._gate.identity.cluster_id,
            peer=peer,
            known=member.known,
        )
        if problem is None and member.shown(welcome) and member.accepted is not None:
            member.accepted.close()
        return problem

    def encode(self, message: PeerMessage) -> bytes:
        """The frame content for `message`; b"" when it is longer than a peer takes."""
        frame = self._last_encoded.encode(message)
        if len(frame) > self.port.limits.peer_frame_bytes_max and isinstance(message, ForwardReply):
            problem = Unknown("answer_too_large", f"the answer has {len(message.answer)} bytes, more than servers can pass on")
            frame = encode_peer_message(msgspec.structs.replace(message, answer=msgspec.Raw(answer_of_problem(problem))))
        if len(frame) > self.port.limits.peer_frame_bytes_max:
            kind = type(message).__name__
            self.port.incidents.report("oversized", "", f"a {kind} of {len(frame)} bytes is longer than a frame: not sent")
            return b""
        return frame

    def peer_unreachable(self, peer: ServerId) -> None:
        """What was sent to `peer` may be lost."""
        self._gate.peer_unreachable(peer)

    def hello_refused(self, peer: ServerId, refusal: HelloRefused) -> None:
        """`peer` takes nothing from this server."""
        self._gate.hello_refused(peer, refusal)


class _PeerPort(ServerFactory):
    noisy = False

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def buildProtocol(self, addr: IAddress | None) -> PeerProtocol | None:
        return self._peers.peer_connection_made(str(addr))
