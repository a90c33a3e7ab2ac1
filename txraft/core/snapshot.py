"""What a snapshot is to the algorithm: where in the log it stands, and which file it is. What the file holds is the state machines' affair.

Source: Figure 5.3.
"""

from __future__ import annotations

import msgspec

__all__ = ["Snapshot"]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot that is whole, on a disk.

    Attributes:
        index: of the last entry it includes.
        term: of that entry.
        size: of the file, in bytes.
        sha256: of the whole file: its name in transfers and in the log.
        configurations: index and payload of configurations, ascending: at least the one in force at `index`, none newer than `index`.

    Source: Figure 5.3, "lastIncludedIndex, lastIncludedTerm, lastConfig".
    """

    index: int
    term: int
    size: int
    sha256: bytes
    configurations: list[tuple[int, bytes]]
