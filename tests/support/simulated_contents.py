"""What a file in memory holds, and what a power cut may leave of it."""

from __future__ import annotations

from attrs import define, field

__all__ = ["SECTOR_BYTES", "Choice", "Contents"]

SECTOR_BYTES = 512

Choice = tuple[int, bytes] | int
"""One way in which a file may be other than it is: a sector that is not the newest, or another length."""


@define(eq=False)
class Contents:
    """What a file holds, and what may be left of it.

    Attributes:
        content: what was written; up to `size` zeros follow.
        size: the length of the file.
        unsynced: by number of a sector all that it has been since the last sync, that which is durable first.
        sizes: all lengths since the last sync, likewise, but for the one it has.
        forsaken: likewise, of sectors for which a sync has failed: the kernel takes them for written, and no sync writes them any more.
        locked_by: the opening that has the lock.
    """

    content: bytearray = field(factory=bytearray)
    size: int = 0
    unsynced: dict[int, list[bytes]] = field(factory=dict)
    sizes: list[int] = field(factory=list)
    forsaken: dict[int, list[bytes]] = field(factory=dict)
    locked_by: object = None

    def sector(self, number: int) -> bytes:
        """What a sector holds."""
        at = number * SECTOR_BYTES
        return bytes(self.content[at : at + SECTOR_BYTES]).ljust(SECTOR_BYTES, b"\0")

    def read(self, length: int, offset: int) -> bytes:
        """What is there."""
        stop = min(offset + length, self.size)
        if stop <= offset:
            return b""
        return bytes(self.content[offset:stop]).ljust(stop - offset, b"\0")

    def write(self, content: bytes, offset: int) -> None:
        """Change it, in memory only."""
        end = offset + len(content)
        self._remember(offset, end)
        if len(self.content) < offset:
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset:end] = content
        self.resize(max(self.size, end))

    def resize(self, size: int) -> None:
        """Change its length, in memory only."""
        if size != self.size:
            self.sizes.append(self.size)
            if size < len(self.content):
                self._remember(size, len(self.content))
                del self.content[size:]
            self.size = size

    def _remember(self, start: int, stop: int) -> None:
        for number in range(start // SECTOR_BYTES, -(-stop // SECTOR_BYTES)):
            was = self.unsynced.setdefault(number, self.forsaken.pop(number, []))
            if (now := self.sector(number)) not in was:
                was.append(now)

    def sync(self) -> None:
        """All of it is durable now."""
        self.unsynced.clear()
        self.sizes.clear()

    def forsake(self) -> None:
        """A sync has failed: what was not durable may never be, unless it is written again."""
        for number, was in self.unsynced.items():
            self.forsaken.setdefault(number, []).extend(was)
        self.unsynced.clear()

    def choices(self) -> list[list[Choice]]:
        """All that is open: for a sector its other contents, for the length the other lengths. Nothing chosen, it is as it is."""
        open_: list[list[Choice]] = []
        for number, others in sorted([*self.unsynced.items(), *self.forsaken.items()]):
            now = self.sector(number)
            if different := [(number, was) for was in others if was != now]:
                open_.append([*different])
        if different_sizes := [size for size in dict.fromkeys(self.sizes) if size != self.size]:
            open_.append([*different_sizes])
        return open_

    def durable(self) -> tuple[Choice, ...]:
        """The choice by which nothing is left that was not synced."""
        return (*((number, others[0]) for number, others in [*self.unsynced.items(), *self.forsaken.items()]), *self.sizes[:1])

    def left(self, chosen: tuple[Choice | None, ...]) -> Contents:
        """The file after a power cut that decided so."""
        content, size = bytearray(self.content), self.size
        for choice in chosen:
            if isinstance(choice, tuple):
                at = choice[0] * SECTOR_BYTES
                if len(content) < at:
                    content.extend(bytes(at - len(content)))
                content[at : at + SECTOR_BYTES] = choice[1]
            elif choice is not None:
                size = choice
        del content[size:]
        return Contents(content, size)

    def copy(self) -> Contents:
        """The same, with nothing forgotten but the lock."""
        unsynced, forsaken = ({n: [*was] for n, was in sectors.items()} for sectors in (self.unsynced, self.forsaken))
        return Contents(bytearray(self.content), self.size, unsynced, [*self.sizes], forsaken)
