"""Space that is kept for the day when the disk is full: given up, it lets a server start, take a snapshot and so make room.

The file holds nothing. It is made when there is plenty of room, and never at the expense of the log.
"""

from __future__ import annotations

from contextlib import closing

from attrs import frozen

from txraft.storage.files import is_full
from txraft.storage.layout import Layout

__all__ = ["Reserve"]


@frozen
class Reserve:
    """The reserve of one directory.

    Attributes:
        layout: where it is.
        size: how much it should be, in bytes; none if 0.
    """

    layout: Layout
    size: int

    def exists(self) -> bool:
        """Whether there is something to give up."""
        return self.layout.files.is_file(self.layout.reserve)

    def make(self) -> bool:
        """Make it if it is missing and there is room for twice as much. Whether it is there, whole.

        Raises:
            OSError: the disk does not answer.
        """
        files, path = self.layout.files, self.layout.reserve
        if not self.size or (self.exists() and files.size(path) == self.size):
            return True
        if files.free_bytes(self.layout.root) < 2 * self.size:
            return False
        try:
            with closing(files.open(path, create=True, empty=True)) as file:
                file.preallocate(self.size)
                made = file.size() == self.size
        except OSError as error:
            files.remove(path)
            if not is_full(error):
                raise
            return False
        if not made:
            # A file system that cannot set space aside.
            files.remove(path)
        return made

    def release(self) -> None:
        """Give it up, so that its space is free when this returns.

        Raises:
            OSError: it may or may not be.
        """
        self.layout.files.remove(self.layout.reserve)
        self.layout.files.sync_directory(self.layout.root)
