"""From a locked directory to a log that can be written: what is there is read and judged, and made durable.

Everything is read and judged before anything is changed.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from txraft.core.effects import Metadata
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.errors import LostFiles, LostVotes
from txraft.limits import Limits
from txraft.storage.identity import Claim
from txraft.storage.layout import Layout
from txraft.storage.log_files import LogFiles, encode
from txraft.storage.metadata import MetadataFiles
from txraft.storage.records import Run
from txraft.storage.recovery import Recovery
from txraft.storage.repair_note import RepairNote
from txraft.storage.replay import Recovered, Replay
from txraft.storage.segment import Begin, Segment
from txraft.storage.shelf import Shelf

__all__ = ["Opening"]


@define
class Opening:
    """The directory of one server while it is opened. Blocking.

    Attributes:
        layout: where it is.
        claim: whose it is.
        bootstrap: the first entries of a log that does not exist yet.
        limits: sizes.
        progress: told from 0 to 1 how much has been read.
        metadata: term and vote, as far as they were read.
        recovery: the log, as far as it was read.
    """

    layout: Layout
    claim: Claim
    bootstrap: list[Entry]
    limits: Limits
    progress: Callable[[float], None]
    metadata: MetadataFiles = field(init=False)
    recovery: Recovery = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Nothing is read yet."""
        self.metadata = MetadataFiles(self.layout, self.claim.origin.seed)
        self.recovery = Recovery(self.layout, self.claim.origin, Replay(self.limits.log_cache_bytes_max), 0, self.progress)

    def examine(self) -> None:
        """Read everything. Nothing is changed, but that a log is begun where there never was one.

        Raises:
            DamagedDirectory: something that was durable is unreadable or missing.
            StorageError: the files cannot be trusted for another reason.
            OSError: the disk does not answer.
        """
        layout = self.layout
        self.close()
        self._forget()
        begun, opened_before = bool(layout.segments()), self.claim.identity.incarnation > 0
        metadata = self.metadata = MetadataFiles.read(layout, self.claim.origin.seed)
        if not begun:
            if opened_before:
                raise LostFiles(f"{layout.log} is empty, but this server had a log: its entries are lost")
            self._begin(metadata)
        log_bytes = sum(layout.files.size(path) for _, path in layout.segments())
        share = log_bytes / max(1, log_bytes + max((layout.files.size(path) for _, path in layout.snapshot_files()), default=0))
        self.recovery.durable_upto = metadata.durable_upto
        self.recovery.progress = lambda fraction: self.progress(fraction * share)
        self.recovery.read()
        self._require_votes()
        snapshot = self.recovery.replay.snapshot
        if snapshot is not None:
            Shelf(layout).require_whole(snapshot, lambda fraction: self.progress(share + fraction * (1 - share)))
        self.progress(1.0)

    def _require_votes(self) -> None:
        """Term and vote must be there, and not older than the log."""
        first, second = self.layout.metadata
        if self.metadata.current is None:
            raise LostVotes(f"{first} and {second.name}: neither holds a readable term and vote, so this server could vote twice in a term")
        if self.last_term > self.metadata.term:
            raise LostVotes(
                f"{first} and {second.name} are older than the log (term {self.metadata.term} against {self.last_term}): "
                "votes are forgotten"
            )

    @property
    def last_term(self) -> Term:
        """The term that the log knows of; no vote can be older."""
        replay = self.recovery.replay
        return Term(max(replay.last_term, replay.snapshot.term if replay.snapshot is not None else 0))

    def finish(self, moved_aside: list[str]) -> tuple[LogFiles, Recovered]:
        """Make durable what was read, and remove what nobody needs. Interrupted and repeated it does the same.

        Raises:
            OSError: the disk does not answer.
        """
        metadata, recovery, replay = self.metadata, self.recovery, self.recovery.replay
        current = metadata.current or Metadata(Term(0), None)
        log = recovery.repair(self.limits.segment_bytes)
        try:
            metadata.write(current, log.last_sequence)
            Shelf(self.layout).clear(replay.snapshot)
            note = RepairNote.read(self.layout, self.claim.origin.seed)
        except BaseException:
            log.close()
            raise
        tail = replay.tail()
        return log, Recovered(
            metadata=current,
            last_index=Index(replay.last_index),
            term_runs=replay.term_runs(),
            configurations=replay.configurations(),
            tail_first_index=Index(replay.last_index + 1 - len(tail)),
            tail=tail,
            torn_tail=recovery.torn_tail,
            base_index=Index(replay.base_index),
            base_term=Term(replay.base_term),
            snapshot=replay.snapshot,
            repair=note,
            moved_aside=moved_aside,
        )

    def close(self) -> None:
        """Close what is open; what was handed out stays."""
        self.metadata.close()

    def _begin(self, metadata: MetadataFiles) -> None:
        """Make the first term and the first segment. The log has begun when the segment has its name, not earlier."""
        metadata.write(Metadata(Term(1 if self.bootstrap else 0), None), 0)
        batch = encode([Run(1, self.bootstrap)], last_index=0, last_sequence=0, seed=self.claim.origin.seed)
        Segment.create(self.layout, self.claim.origin, Begin(1, 1), records=batch.records, size=self.limits.segment_bytes)
