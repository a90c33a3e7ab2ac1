"""What a server with peers does about damage: it writes down that it lost something, moves what is spoiled out of the way, and opens with
what is left. Its peers give it the rest; until then it takes no part in votes and commitments.

One damage is mended at a time, and the directory is examined again. Each step is written down before it is taken, leaves less to be
mended, and can be interrupted anywhere: the next start finds what is left of the damage, and the note. Nothing is deleted but what has
another name in `damaged/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from attrs import define, field

from txraft.core.effects import Base, Metadata
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedDirectory, DamagedLog, DamagedSnapshot, LostVotes
from txraft.storage.log_files import encode
from txraft.storage.metadata import MetadataFiles
from txraft.storage.opening import Opening
from txraft.storage.records import Run
from txraft.storage.repair_note import RepairNote
from txraft.storage.segment import SEGMENT_HEADER_BYTES, Begin, Segment
from txraft.storage.snapshot_file import verify_snapshot

__all__ = ["Repair"]

_STEPS_MAX = 10
"""More than there are kinds of damage: what is still not mended then is refused."""


@define
class Repair:
    """One opening of a directory that may be damaged.

    Attributes:
        opening: of which directory.
        moved: what was moved out of the way, and where to.
    """

    opening: Opening
    moved: list[str] = field(factory=list)
    _aside: Path | None = None

    def examine(self) -> None:
        """Have the directory examined, and mended until nothing is wrong with it.

        Raises:
            StorageError: it cannot be trusted for another reason than damage, or not be mended.
            OSError: the disk does not answer.
        """
        for _ in range(_STEPS_MAX):
            try:
                self.opening.examine()
            except (DamagedDirectory, DamagedSnapshot) as damage:
                self._mend(damage)
            else:
                return
        self.opening.examine()

    def _mend(self, damage: DamagedDirectory | DamagedSnapshot) -> None:
        recovery = self.opening.recovery
        found = damage.found
        if isinstance(damage, LostVotes):
            self._renew_votes(found)
            return
        newest = self._newest_snapshot()
        reached = newest is None or newest.index <= recovery.replay.last_index
        if recovery.segments and reached and not recovery.is_read and not isinstance(damage, DamagedSnapshot):
            self._cut(found, damage.path if isinstance(damage, DamagedLog) else "")
        else:
            self._begin_anew(found, newest)

    def _cut(self, why: str, damaged: str) -> None:
        """The log ends before what is damaged from now on. What is good of the damaged segment stays, as another file in its place."""
        opening, recovery = self.opening, self.opening.recovery
        files, log = opening.layout.files, opening.layout.log
        last = recovery.segments[-1]
        partial = last if str(last.path) == damaged else None
        kept = {segment.path for segment in recovery.segments if segment is not partial}
        spoiled = [path for _, path in opening.layout.segments() if path not in kept]
        copied = partial is not None and partial.end > SEGMENT_HEADER_BYTES
        plan = self._note(why, spoiled)
        for path, aside in reversed(plan):
            if partial is not None and copied and path == partial.path:
                files.link(path, aside)
            else:
                files.rename(path, aside)
        self._sync_aside()
        if partial is not None and copied:
            self._copy_good_part(partial)
        files.sync_directory(log)
        if opening.metadata.current is not None:
            opening.metadata.write(opening.metadata.current, recovery.last_sequence)

    def _copy_good_part(self, segment: Segment) -> None:
        """Put a segment that ends with the last good record in the place of this one, in one step."""
        layout, limits = self.opening.layout, self.opening.limits
        with closing(layout.files.open(segment.path)) as file:
            content = file.read(segment.end, 0)
        # A crash may have left it as a second name of a segment.
        layout.files.remove(layout.new_segment)
        with closing(layout.files.open(layout.new_segment, create=True, empty=True)) as file:
            file.preallocate(limits.segment_bytes)
            file.write(content, 0)
            file.sync()
        layout.files.rename(layout.new_segment, segment.path)

    def _begin_anew(self, why: str, snapshot: Snapshot | None) -> None:
        """The log is empty and begins behind the newest snapshot that is whole, or with the bootstrap entries."""
        opening, layout = self.opening, self.opening.layout
        spoiled = [path for _, path in layout.segments()]
        snapshots = [path for _, path in layout.snapshot_files() if snapshot is None or path != layout.snapshot(snapshot.index)]
        numbers = [number for number, _ in layout.segments()]
        last = max([opening.metadata.durable_upto, opening.recovery.durable_upto, opening.recovery.last_sequence, *numbers])
        self._move([*spoiled, *snapshots], why)
        layout.files.sync_directory(layout.snapshots)
        layout.files.sync_directory(layout.log)
        if snapshot is not None:
            run = Run(snapshot.index + 1, [], Base(Index(snapshot.index), Term(snapshot.term), snapshot, keeps_log=False))
        else:
            run = Run(1, opening.bootstrap)
            if opening.bootstrap and opening.metadata.current is not None and opening.metadata.term < 1:
                opening.metadata.write(Metadata(Term(1), None), opening.metadata.durable_upto)
        batch = encode([run], last_index=0, last_sequence=last, seed=opening.claim.origin.seed)
        begin = Begin(last + 1, 1)
        Segment.create(layout, opening.claim.origin, begin, records=batch.records, size=opening.limits.segment_bytes)

    def _renew_votes(self, why: str) -> None:
        """Nobody knows in which terms this server has voted. What the log knows is written down as the term, without a vote."""
        opening, layout = self.opening, self.opening.layout
        opening.close()
        spoiled = [path for path in layout.metadata if layout.files.is_file(path)]
        self._move(spoiled, why, votes_lost=True)
        layout.files.sync_directory(layout.root)
        with closing(MetadataFiles(layout, opening.claim.origin.seed)) as fresh:
            fresh.write(Metadata(max(opening.metadata.term, opening.last_term), None), opening.recovery.last_sequence)

    def _newest_snapshot(self) -> Snapshot | None:
        """The newest of the files that is a whole snapshot of this cluster, recorded or not."""
        layout, claim = self.opening.layout, self.opening.claim
        for index, path in reversed(layout.snapshot_files()):
            try:
                head, snapshot = verify_snapshot(layout.files, path)
            except (DamagedSnapshot, OSError):
                continue
            if snapshot.index == index and head.cluster_id == claim.identity.cluster_id:
                return snapshot
        return None

    def _move(self, spoiled: Sequence[Path], why: str, *, votes_lost: bool = False) -> None:
        """Move files aside, once that is written down."""
        for path, aside in self._note(why, spoiled, votes_lost=votes_lost):
            self.opening.layout.files.rename(path, aside)
        self._sync_aside()

    def _note(self, why: str, spoiled: Sequence[Path], *, votes_lost: bool = False) -> list[tuple[Path, Path]]:
        """Write down, durably, what was found and which files are to be moved. Returns them, each with its new name."""
        layout, seed = self.opening.layout, self.opening.claim.origin.seed
        plan: list[tuple[Path, Path]] = []
        if spoiled:
            directory = self._directory()
            for path in spoiled:
                aside, number = directory / path.name, 0
                while layout.files.is_file(aside) or any(aside == other for _, other in plan):
                    number += 1
                    aside = directory / f"{path.name}.{number}"
                plan.append((path, aside))
        lines = [f"{path.relative_to(layout.root)} to {aside.relative_to(layout.root)}" for path, aside in plan]
        self.moved += lines
        RepairNote((why,), votes_lost, tuple(lines)).joined(RepairNote.read(layout, seed)).write(layout, seed)
        return plan

    def _directory(self) -> Path:
        """Where this opening moves files: a directory of its own."""
        if self._aside is None:
            layout, incarnation, number = self.opening.layout, self.opening.claim.identity.incarnation + 1, 1
            while layout.files.is_directory(layout.damaged / f"{incarnation}-{number}"):
                number += 1
            self._aside = layout.damaged / f"{incarnation}-{number}"
            layout.files.make_directory(self._aside)
        return self._aside

    def _sync_aside(self) -> None:
        """The new names are durable before anything is changed that the old ones stood for."""
        if self._aside is not None:
            self.opening.layout.files.sync_directory(self._aside)
