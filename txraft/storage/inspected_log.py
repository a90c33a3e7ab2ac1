"""The log of a directory read from outside, as far as it is whole: for people who want to see what is in it. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from attrs import define

from txraft.core.entry import Entry
from txraft.errors import StorageError
from txraft.limits import Limits
from txraft.storage.identity import Claim
from txraft.storage.layout import Layout
from txraft.storage.log_files import LogFiles
from txraft.storage.metadata import MetadataFiles
from txraft.storage.opening import Opening
from txraft.storage.recovery import Recovery
from txraft.storage.replay import Replay
from txraft.storage.segment import OpenSegment

__all__ = ["InspectedLog", "verify_directory"]

_READ_BYTES = 1_048_576


def _claim_of(layout: Layout) -> Claim:
    """Whose it is. Raises `StorageError` if it is nobody's, or if that cannot be read."""
    claim = Claim.read(layout)
    if claim is None:
        why = "there is no such directory" if not layout.files.is_directory(layout.root) else "it is no data directory of txraft"
        raise StorageError(f"{layout.root}: {why}")
    return claim


def verify_directory(layout: Layout, progress: Callable[[float], None]) -> Recovery | None:
    """Check everything, as at a start. None if a log was never begun.

    Raises:
        StorageError: naming file and place of what is damaged or missing.
        OSError: the disk does not answer.
    """
    claim = _claim_of(layout)
    if not layout.segments() and claim.identity.incarnation == 0:
        return None  # An opening would begin a log here.
    opening = Opening(layout, claim, [], Limits(log_cache_bytes_max=1), progress)
    try:
        opening.examine()
    finally:
        opening.close()
    return opening.recovery


@define
class InspectedLog:
    """What could be read.

    Attributes:
        layout: where it is.
        claim: whose it is.
        metadata: term and vote; `current` is None where they cannot be read.
        recovery: what the records come to.
        problem: what is behind cannot be read, because of this; None if all could.
    """

    layout: Layout
    claim: Claim
    metadata: MetadataFiles
    recovery: Recovery
    problem: StorageError | None

    @classmethod
    def read(cls, layout: Layout, progress: Callable[[float], None], *, strict: bool) -> InspectedLog:
        """Read all of it once.

        Args:
            layout: where it is.
            progress: told from 0 to 1.
            strict: raise what is wrong instead of noting it.

        Raises:
            StorageError: it is no data directory.
            OSError: the disk does not answer.
        """
        claim = _claim_of(layout)
        metadata = MetadataFiles.read(layout, claim.origin.seed)
        recovery = Recovery(layout, claim.origin, Replay(1), metadata.durable_upto, progress)
        try:
            if layout.segments():
                recovery.read()
        except StorageError as problem:
            if strict:
                raise
            return cls(layout, claim, metadata, recovery, problem)
        return cls(layout, claim, metadata, recovery, None)

    @property
    def first_index(self) -> int:
        """Of the first entry that is there, or would be."""
        return self.recovery.replay.base_index + 1

    @property
    def last_index(self) -> int:
        """Of the last entry that could be read."""
        return self.recovery.replay.last_index

    def entries(self, first_index: int) -> Iterator[tuple[int, Entry]]:
        """The entries from `first_index` on, with their indexes.

        Raises:
            StorageError: one cannot be read any more; in a directory that is in use, it may just have been removed.
        """
        recovery, replay = self.recovery, self.recovery.replay
        if not recovery.segments:
            return
        newest = recovery.segments[-1]
        with closing(self.layout.files.open(newest.path)) as file:
            log = LogFiles(
                self.layout,
                self.claim.origin,
                0,
                recovery.segments,
                recovery.positions,
                replay.last_index,
                recovery.last_sequence,
                replay.base_index,
                replay.base_term,
                replay.snapshot,
                recovery.base_segment,
                OpenSegment(newest, file, 0),
            )
            index = max(first_index, self.first_index)
            while index <= self.last_index:
                try:
                    read = log.read(index, _READ_BYTES)
                except FileNotFoundError as error:
                    raise StorageError(f"{error.filename}: removed meanwhile, by the node that has the directory; try again") from error
                yield from enumerate(read, index)
                index += len(read)

    def snapshots(self) -> list[tuple[Path, int, bool]]:
        """Files of snapshots, their sizes, and whether the log has a record of them."""
        files, recorded = self.layout.files, self.recovery.replay.snapshot
        return [
            (path, files.size(path), recorded is not None and recorded.index == index and recorded.size == files.size(path))
            for index, path in self.layout.snapshot_files()
        ]
