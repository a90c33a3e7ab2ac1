"""The note that a directory has lost something: as long as it is there, the server takes no part in votes and commitments.

It is written, durably, before anything is moved out of the way, and removed when what was lost is restored.
"""

from __future__ import annotations

from contextlib import closing

import msgspec
from attrs import frozen

from txraft.storage.files import replace_durably
from txraft.storage.layout import FORMAT_VERSION, Layout
from txraft.storage.records import seal, unseal

__all__ = ["RepairNote"]

_MAGIC = b"txraftR%d" % FORMAT_VERSION
_FILE_BYTES_MAX = 1024 * 1024
_LINES_MAX = 1000


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """The content of the file."""

    reasons: list[str]
    votes_lost: bool
    moved: list[str]


@frozen
class RepairNote:
    """What was found, and what was done about it.

    Attributes:
        reasons: a sentence for each thing that was damaged or missing.
        votes_lost: nobody knows in which terms this server has voted.
        moved: the files that were moved out of the way, each with the place where it is now.
    """

    reasons: tuple[str, ...]
    votes_lost: bool
    moved: tuple[str, ...]

    @classmethod
    def read(cls, layout: Layout, seed: int) -> RepairNote | None:
        """The note; None if there is none. One that is unreadable is taken for the worst there is.

        Raises:
            OSError: the disk does not answer.
        """
        try:
            with closing(layout.files.open(layout.repair)) as file:
                content = unseal(_MAGIC, file.read(min(file.size(), _FILE_BYTES_MAX), 0), seed)
            stored = None if content is None else msgspec.msgpack.decode(content, type=_Stored)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            stored = None
        if stored is None:
            return cls((f"{layout.repair} is unreadable: what was lost before is not known",), True, ())
        return cls(tuple(stored.reasons), stored.votes_lost, tuple(stored.moved))

    def joined(self, other: RepairNote | None) -> RepairNote:
        """Both in one, this one last; of very many lines the newest."""
        if other is None:
            return self
        reasons, moved = (*other.reasons, *self.reasons), (*other.moved, *self.moved)
        return RepairNote(
            tuple(dict.fromkeys(reasons))[-_LINES_MAX:], self.votes_lost or other.votes_lost, tuple(dict.fromkeys(moved))[-_LINES_MAX:]
        )

    def write(self, layout: Layout, seed: int) -> None:
        """Make it durable.

        Raises:
            OSError: it may or may not be on disk.
        """
        stored = _Stored(list(self.reasons), self.votes_lost, list(self.moved))
        replace_durably(layout.files, layout.repair, seal(_MAGIC, msgspec.msgpack.encode(stored), seed))

    @staticmethod
    def remove(layout: Layout) -> None:
        """All is well again, durably.

        Raises:
            OSError: it may or may not be gone.
        """
        layout.files.remove(layout.repair)
        layout.files.sync_directory(layout.root)
