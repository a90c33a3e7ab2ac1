"""A new data directory whose state is that of a snapshot: how a backup becomes a cluster again.

What is made is what a server has that was just sent the snapshot: a log that is empty and begins behind it. The file is written anew,
because its head names the new cluster and its members; made from the same file, it is the same on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from attrs import frozen
from msgspec import structs

from txraft.core.effects import Base, Metadata
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.errors import ConfigurationError, StorageError
from txraft.storage.files import FileSystem
from txraft.storage.identity import Claim, DirectoryLock
from txraft.storage.layout import Layout
from txraft.storage.log_files import encode
from txraft.storage.metadata import MetadataFiles
from txraft.storage.records import Run
from txraft.storage.segment import Begin, Segment
from txraft.storage.shelf import Shelf
from txraft.storage.snapshot_file import open_snapshot, verify_snapshot, write_snapshot

__all__ = ["Seed", "seed_directory"]


@frozen
class Seed:
    """What the new directory is to be.

    Attributes:
        cluster_id: of the new cluster.
        server_id: of this server.
        configuration: payload of the configuration that names the members of the new cluster.
        segment_bytes: size of a segment of the log.
    """

    cluster_id: str
    server_id: str
    configuration: bytes
    segment_bytes: int


def seed_directory(
    files: FileSystem, source: Path, root: Path, seed: Seed, progress: Callable[[float], None] = lambda fraction: None
) -> Snapshot:
    """Make the directory `root` from the snapshot in the file `source`. `progress` is told from 0 to 1.

    The identity is written last: a directory that was not finished has none, and is refused by every start because of what else is in it.

    Raises:
        DamagedSnapshot: the file is not whole; nothing was made.
        ConfigurationError: it is not a new cluster.
        StorageError: there is something in the directory already.
        OSError, DiskFailed: what was made is not whole, and is to be removed.
    """
    layout = Layout(root.absolute(), files)
    if set(files.names(layout.root)) - {"lost+found"}:
        raise StorageError(f"{layout.root} is not empty; name a directory that does not exist, or remove what is in it")
    size = max(files.size(source), 1)
    head, _ = verify_snapshot(files, source, progress=lambda done: progress(done / size / 2))
    if head.cluster_id == seed.cluster_id:
        raise ConfigurationError(
            "the new cluster would have the id of the one that the snapshot is of: a server of that one, back with its longer log, would "
            "lead the new one and take back what it has acknowledged",
            key="cluster",
            remedy="Give the new cluster another name",
        )
    layout.prepare()
    lock = DirectoryLock.take(layout)
    try:
        snapshot = _fill(layout, source, seed, lambda done: progress(0.5 + done / size / 2))
    finally:
        lock.release()
    progress(1.0)
    return snapshot


def _fill(layout: Layout, source: Path, seed: Seed, progress: Callable[[int], None]) -> Snapshot:
    files = layout.files
    claim = Claim.draw(layout, seed.cluster_id, seed.server_id)
    head, parts = open_snapshot(files, source)
    with closing(parts):
        with closing(MetadataFiles.read(layout, claim.origin.seed)) as metadata:
            metadata.write(Metadata(Term(head.term), None), 0)
        head = structs.replace(head, cluster_id=seed.cluster_id, configurations=[(head.index, seed.configuration)])
        snapshot = write_snapshot(files, layout.new_snapshot, head, parts, progress=progress)
    Shelf(layout).keep(snapshot, layout.new_snapshot)
    base = Base(Index(snapshot.index), Term(snapshot.term), snapshot, keeps_log=False)
    batch = encode([Run(snapshot.index + 1, [], base)], last_index=0, last_sequence=0, seed=claim.origin.seed)
    Segment.create(layout, claim.origin, Begin(1, 1), records=batch.records, size=seed.segment_bytes)
    claim.write()
    return snapshot
