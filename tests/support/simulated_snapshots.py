"""The snapshot files of a simulated server: taken, sent, received in pieces, restored, and removed when nobody needs them.

What a file holds is who wrote it and all entries that its state machine had been given: enough to tell whether a restored state is the one
that it should be, and long enough to be sent in many pieces.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

import msgspec
from attrs import define, field

from txraft.core.effects import Persist, ReadChunk, Restore, StoreChunk
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId
from txraft.core.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.support.simulated_server import SimulatedServer

__all__ = ["SimulatedSnapshots"]

Content = tuple[str, list[Entry]]
DECODER: msgspec.msgpack.Decoder[Content] = msgspec.msgpack.Decoder(Content)


@define
class SimulatedSnapshots:
    """What a node does with snapshots, for one server.

    Attributes:
        files: whole ones, by their SHA-256, with the index of each; they are durable.
        incoming: what there is of those being received.
        taking: one is being written.
        restoring: those received whole, of which machines are being made.
        refuses: chance that no machine can be made of one.
    """

    server: SimulatedServer
    files: dict[bytes, tuple[int, bytes]] = field(factory=dict)
    incoming: dict[bytes, bytearray] = field(factory=dict)
    taking: bool = False
    restoring: set[bytes] = field(factory=set)

    # The server begins and ends.

    def restored(self) -> list[Entry]:
        """The state that a server begins with: that of the snapshot its disk has recorded. Other files are removed."""
        recorded = self.server.disk.snapshot
        self.files = {recorded.sha256: self.files[recorded.sha256]} if recorded is not None else {}
        return entries_in(self.files[recorded.sha256][1]) if recorded is not None else []

    def crash(self) -> None:
        """What was being received is there as far as chance has it."""
        random = self.server.disk.random
        for received in self.incoming.values():
            del received[random.randint(0, len(received)) :]
        self.taking = False
        self.restoring.clear()

    # Taking one.

    def take(self, *, trailing: int | None = None) -> None:
        """Write the state as it is now to a file; later, when that is done, the log may begin behind it."""
        server = self.server
        if self.taking or server.module is None or not server.applied:
            return
        self.taking = True
        conditions, state, last = server.cluster.conditions, list(server.applied), server.applied[-1]
        content = msgspec.msgpack.encode((str(server.id), state))
        held = server.module.configurations_at(Index(len(state)))
        snapshot = Snapshot(len(state), last.term, len(content), hashlib.sha256(content).digest(), held)
        kept = conditions.trailing_entries if trailing is None else trailing

        def written() -> None:
            self.taking = False
            self.files[snapshot.sha256] = snapshot.index, content
            self.record(snapshot, snapshot.index - kept)

        server.later(conditions.snapshot_s, written)

    def take_when_due(self) -> None:
        """Take one when enough entries have been applied since the last."""
        every, recorded = self.server.cluster.conditions.snapshot_every, self.server.disk.snapshot
        if every and len(self.server.applied) >= (recorded.index if recorded is not None else 0) + every:
            self.take()

    def record(self, snapshot: Snapshot, base_index: int) -> None:
        """A whole file is there: tell the consensus module, which keeps what is still needed by others."""
        server = self.server
        assert server.module is not None
        pinned = server.module.pinned_index(server.now)
        if pinned is not None and server.disk.random.random() < 0.8:
            base_index = min(base_index, pinned)
        server.step("has taken", snapshot.index, lambda module, now: module.snapshot_taken(now, snapshot, Index(max(base_index, 0))))
        self._drop_unless_recorded(snapshot)

    def _drop_unless_recorded(self, snapshot: Snapshot) -> None:
        if self.server.record.snapshot != snapshot:
            self.server.cluster.witness.marks["snapshot superseded"] += 1
            self.files.pop(snapshot.sha256, None)

    def made_durable(self, write: Persist) -> None:
        """A snapshot is recorded: older ones are removed, unless they are being sent."""
        module = self.server.module
        if write.base is not None and module is not None:
            sent, recorded = {each.sha256 for each in module.snapshots_being_sent()}, write.base.snapshot.index
            self.files = {sha256: file for sha256, file in self.files.items() if file[0] >= recorded or sha256 in sent}

    # Sending one.

    def read_chunk(self, request: ReadChunk) -> None:
        server, snapshot = self.server, request.snapshot

        def read() -> None:
            _, whole = self.files.get(snapshot.sha256, (0, b""))
            content = whole[request.offset : request.offset + request.bytes_max]
            crc = zlib.crc32(content)
            server.step(
                "has read of",
                snapshot.index,
                lambda module, now: module.chunk_read(now, request.to, snapshot, request.offset, content, crc),
            )

        server.later(server.disk.latency_s(), read)

    # Receiving one.

    def store_chunk(self, request: StoreChunk) -> None:
        server, chunk = self.server, request.chunk

        def store() -> None:
            sha256 = chunk.snapshot.sha256
            if sha256 not in self.restoring:
                self.incoming = {sha256: self.incoming.get(sha256, bytearray())}
            received = self.incoming.get(sha256, bytearray())
            if chunk.content and chunk.offset == len(received):
                assert zlib.crc32(chunk.content) == chunk.crc, "a piece came other than it was sent"
                received += chunk.content
            elif chunk.content:
                server.cluster.witness.marks["piece of a snapshot that does not fit"] += 1
            if len(received) == chunk.snapshot.size:
                self._restore(request.sender, chunk.snapshot)
            stored = len(received)
            server.step("has stored", stored, lambda module, now: module.chunk_stored(now, request.sender, sha256, stored))

        server.later(server.disk.latency_s(), store)

    def _restore(self, sender: ServerId, snapshot: Snapshot) -> None:
        server = self.server
        if snapshot.sha256 in self.restoring:
            return
        self.restoring.add(snapshot.sha256)
        content = bytes(self.incoming[snapshot.sha256])
        assert hashlib.sha256(content).digest() == snapshot.sha256, "a snapshot is put together wrongly"

        def restored() -> None:
            self.restoring.discard(snapshot.sha256)
            self.incoming.pop(snapshot.sha256, None)
            if server.disk.random.random() < server.cluster.conditions.refusal:
                server.cluster.witness.marks["snapshot refused"] += 1
                server.step("refuses", snapshot.index, lambda module, now: module.snapshot_refused(now, sender, snapshot.sha256))
                return
            self.files[snapshot.sha256] = snapshot.index, content
            server.step("has received", snapshot.index, lambda module, now: module.snapshot_received(now, snapshot))
            self._drop_unless_recorded(snapshot)

        server.later(server.cluster.conditions.restore_s, restored)

    def restore(self, effect: Restore) -> None:
        """The state machine is that of the snapshot from now on."""
        server, index = self.server, effect.snapshot.index
        server.applied = entries_in(self.files[effect.snapshot.sha256][1])
        server.cluster.witness.restored(server.id, effect.snapshot, server.applied)
        # Whether what was proposed up to there is in the snapshot, nobody can say.
        server.proposals = {at: proposal for at, proposal in server.proposals.items() if at > index}
        server.answer_reads()


def entries_in(content: bytes) -> list[Entry]:
    """The state that a file holds."""
    return DECODER.decode(content)[1]
