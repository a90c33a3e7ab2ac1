"""A file system in memory that forgets as a real one may: what was not synced is there in part, or not, after a power cut.

Of every file it remembers what may still be on the platter: for each sector of 512 bytes everything it has been since the last sync, and
every length. Of every name it remembers to which files it led since its directory was synced. `images()` are all worlds that a power cut
may leave, `sampled(random)` is one of them, `lost()` the one where nothing unsynced is left, `killed()` what a killed process leaves.

    files = SimulatedFiles(cut_at=17)
    try:
        ...                      # the program, until its 17th changing call, which does not happen any more
    except PowerCut:
        for image in files.images():
            ...                  # the program again, on image
"""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from attrs import define, field

from tests.support.simulated_contents import SECTOR_BYTES, Choice, Contents
from txraft.storage.files import File

__all__ = ["SECTOR_BYTES", "Failure", "PowerCut", "SimulatedFiles"]


class PowerCut(BaseException):
    """The power went: no code of the program runs any more."""


@define
class Failure:
    """An error that calls are met with.

    Attributes:
        call: name of the call, as in `SimulatedFiles.calls`, or `read` or `open`.
        number: the `errno`.
        name: the file or directory it happens to; any if empty.
        after: how many such calls go well before.
        times: how many fail then.
        happened: how often it has struck.
    """

    call: str
    number: int
    name: str = ""
    after: int = 0
    times: int = 1
    happened: int = 0

    def strike(self, call: str, name: str) -> bool:
        """Whether this call fails."""
        if call != self.call or self.name not in ("", name) or self.happened >= self.times:
            return False
        if self.after:
            self.after -= 1
            return False
        self.happened += 1
        return True


class Directory:
    """What the name of a directory leads to."""


DIRECTORY = Directory()
Target = Contents | Directory | None
Names = dict[tuple[str, str], Target]


@define
class Change:
    """One change of names that may be lost as long as it is not synced: in `directory`, `name` leads to `target` now.

    Attributes:
        moved_from: for a renamed file, the change that took its old name away. It cannot be on disk without this one.
    """

    directory: str
    name: str
    target: Target
    moved_from: Change | None = None


@define(eq=False)
class SimulatedFile:
    """An open file."""

    files: SimulatedFiles
    path: Path
    contents: Contents
    closed: bool = False

    def read(self, length: int, offset: int) -> bytes:
        self.files.meet("read", self.path)
        return self.contents.read(length, offset)

    def write(self, content: bytes, offset: int) -> None:
        self.files.note("write", self.path)
        room = self.files.room_for(self.contents, offset + len(content)) - offset
        self.contents.write(content[: max(0, room)], offset)
        if room < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def size(self) -> int:
        return self.contents.size

    def truncate(self, size: int) -> None:
        self.files.note("truncate", self.path)
        self.contents.resize(size)

    def preallocate(self, size: int) -> None:
        self.files.note("preallocate", self.path)
        if size > self.contents.size and self.files.preallocates:
            if self.files.room_for(self.contents, size) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.contents.resize(size)

    def written_end(self) -> int:
        return min(self.contents.size, -(-len(self.contents.content) // SECTOR_BYTES) * SECTOR_BYTES)

    def sync(self) -> None:
        self._sync("sync")

    def sync_content(self) -> None:
        self._sync("sync_content")

    def _sync(self, call: str) -> None:
        try:
            self.files.note(call, self.path)
        except OSError:
            self.contents.forsake()
            raise
        self.contents.sync()

    def lock(self) -> bool:
        if self.contents.locked_by is None:
            self.contents.locked_by = self
        return self.contents.locked_by is self

    def close(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(self.path))
        self.closed = True
        self.files.opened -= 1
        if self.contents.locked_by is self:
            self.contents.locked_by = None


@define
class SimulatedFiles:
    """The file system.

    Attributes:
        cut_at: the changing call, counted from 1, that does not happen any more, nor any after it.
        capacity: room for all files together, in bytes; without end if None.
        failures: errors that are to come.
        calls: the changing calls so far, each with the name of the file or directory.
        opened: how many files are open.
        preallocates: whether space can be set aside; if not, files grow as they are written.
        watch: called before each changing call: what it finds is what a crash leaves that comes then.
    """

    cut_at: int | None = None
    capacity: int | None = None
    failures: list[Failure] = field(factory=list)
    calls: list[tuple[str, str]] = field(factory=list)
    opened: int = 0
    preallocates: bool = True
    watch: Callable[[], None] | None = None
    _names: dict[str, dict[str, Contents | Directory]] = field(factory=lambda: {"/": {}})
    _durable: Names = field(factory=dict)
    _changes: list[Change] = field(factory=list)

    # The port.

    def open(self, path: Path, *, write: bool = False, create: bool = False, empty: bool = False) -> File:
        self.meet("open", path)
        directory, name = os.path.split(path)
        found = self._names.get(directory, {}).get(name)
        if isinstance(found, Directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if found is None:
            if not create or directory not in self._names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            self.note("create", path)
            found = Contents()
            self._lead(directory, name, found)
        elif empty and found.size:
            self.note("truncate", path)
            found.resize(0)
        self.opened += 1
        return SimulatedFile(self, path, found)

    def names(self, directory: Path) -> list[str]:
        return sorted(self._names.get(str(directory), ()))

    def is_file(self, path: Path) -> bool:
        directory, name = os.path.split(path)
        return isinstance(self._names.get(directory, {}).get(name), Contents)

    def is_directory(self, path: Path) -> bool:
        return str(path) in self._names

    def is_private(self, path: Path) -> bool:
        return True

    def make_private(self, path: Path) -> None:
        self.note("make_private", path)

    def size(self, path: Path) -> int:
        return self._contents(path).size

    def make_directory(self, path: Path) -> None:
        if not self.is_directory(path.parent):
            self.make_directory(path.parent)
        if not self.is_directory(path):
            self.note("make_directory", path)
            self._lead(str(path.parent), path.name, DIRECTORY)
            self._names[str(path)] = {}
        self.sync_directory(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        contents = self._contents(old)
        self.note("rename", new)
        directory, name = os.path.split(old)
        if os.path.dirname(new) not in self._names:  # noqa: PTH120
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(new))
        gone = self._lead(directory, name, None)
        self._lead(*os.path.split(new), contents).moved_from = gone

    def link(self, path: Path, new: Path) -> None:
        contents = self._contents(path)
        if self.is_file(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
        self.note("link", new)
        self._lead(*os.path.split(new), contents)

    def remove(self, path: Path) -> None:
        if self.is_file(path):
            self.note("remove", path)
            self._lead(*os.path.split(path), None)

    def sync_directory(self, path: Path) -> None:
        self.note("sync_directory", path)
        synced = str(path)
        gone = {id(change) for change in self._changes if change.directory == synced}
        waiting: list[Change] = []
        for change in self._changes:
            if change.directory == synced:
                self._durable[change.directory, change.name] = change.target
            elif change.moved_from is not None and id(change.moved_from) in gone:
                # The old name is gone, so the new one is there, even if its directory was not synced.
                self._durable[change.directory, change.name] = change.target
                waiting = [other for other in waiting if (other.directory, other.name) != (change.directory, change.name)]
            else:
                waiting.append(change)
        self._changes = waiting

    def free_bytes(self, path: Path) -> int:
        return 1 << 50 if self.capacity is None else max(0, self.capacity - self.used_bytes())

    # What a test does to it.

    def fail(self, call: str, number: int = errno.EIO, *, name: str = "", after: int = 0, times: int = 1) -> Failure:
        """Let a call fail that is to come; nothing of it is done."""
        self.failures.append(Failure(call, number, name, after, times))
        return self.failures[-1]

    def content(self, path: Path) -> bytes:
        """What a file holds."""
        contents = self._contents(path)
        return contents.read(contents.size, 0)

    def put(self, path: Path, content: bytes) -> None:
        """Let a file hold this, durably, by no call of the program."""
        directory, name = os.path.split(path)
        for above in reversed(path.parents):
            if str(above) not in self._names:
                self._names[str(above)] = {}
                self._names[str(above.parent)][above.name] = DIRECTORY
                self._durable[str(above.parent), above.name] = DIRECTORY
        contents = Contents(bytearray(content), len(content))
        self._names[directory][name] = contents
        self._durable[directory, name] = contents

    def overwrite(self, path: Path, offset: int, content: bytes) -> None:
        """Change some bytes of a file on the platter: that is what damage is."""
        was = self.content(path).ljust(offset, b"\0")
        self.put(path, was[:offset] + content + was[offset + len(content) :])

    def flip_bit(self, path: Path, offset: int, bit: int = 0) -> None:
        """Change one bit."""
        self.overwrite(path, offset, bytes([self.content(path)[offset] ^ 1 << bit]))

    def lose(self, path: Path) -> None:
        """Let a file be gone, durably, by no call of the program."""
        directory, name = os.path.split(path)
        del self._names[directory][name]
        self._durable.pop((directory, name), None)

    def all_files(self) -> dict[str, bytes]:
        """What all files hold, by path."""
        return {
            f"{directory.rstrip('/')}/{name}": found.read(found.size, 0)
            for directory, names in sorted(self._names.items())
            for name, found in sorted(names.items())
            if isinstance(found, Contents)
        }

    def used_bytes(self) -> int:
        """What all files take, preallocated space counted."""
        files = {id(found): found for names in self._names.values() for found in names.values() if isinstance(found, Contents)}
        return sum(found.size for found in files.values())

    # Worlds after a crash.

    def killed(self) -> SimulatedFiles:
        """What the next process finds when this one was killed: everything; but what was not synced can still be lost."""
        twin: dict[int, Contents] = {}

        def of(target: Target) -> Target:
            if not isinstance(target, Contents):
                return target
            return twin.setdefault(id(target), target.copy())

        image = SimulatedFiles(capacity=self.capacity, preallocates=self.preallocates)
        image._names = {
            directory: {name: target for name, found in names.items() if (target := of(found)) is not None}
            for directory, names in self._names.items()
        }
        image._durable = {place: of(target) for place, target in self._durable.items()}
        changes: dict[int, Change] = {}
        for change in self._changes:
            before = changes.get(id(change.moved_from))
            changes[id(change)] = Change(change.directory, change.name, of(change.target), before)
        image._changes = list(changes.values())
        return image

    def lost(self) -> SimulatedFiles:
        """Nothing is left that was not synced."""
        return self._image(self._durable, Contents.durable)

    def sampled(self, random: Random) -> SimulatedFiles:
        """One of `images`, by lot. Sectors are lost by a chance that is itself drawn, so that all and nothing are among them."""
        chance = random.choice((0.1, 0.5, 0.9))

        def drawn(contents: Contents) -> tuple[Choice | None, ...]:
            return tuple(random.choice(options) if random.random() < chance else None for options in contents.choices())

        return self._image(self._named([random.random() >= chance for _ in self._changes]), drawn)

    def images(self) -> Iterator[SimulatedFiles]:
        """All that a power cut may leave: every choice of names, and for each every choice of sectors and lengths of its files."""
        seen: set[tuple[tuple[str, str, int], ...]] = set()
        for kept in itertools.product((True, False), repeat=len(self._changes)):
            names = self._named(list(kept))
            key = tuple(sorted((*place, id(target)) for place, target in names.items() if target is not None))
            if key in seen:
                continue
            seen.add(key)
            found = list({id(target): target for target in names.values() if isinstance(target, Contents)}.values())
            every = [itertools.product(*([None, *options] for options in contents.choices())) for contents in found]
            for chosen in itertools.product(*every):
                of = {id(contents): choice for contents, choice in zip(found, chosen, strict=True)}
                yield self._image(names, lambda contents: of[id(contents)])  # noqa: B023

    def images_count(self) -> int:
        """At least so many images there may be; cheap. Names that come to the same are counted once for each way."""
        found = {id(target): target for target in self._named([True] * len(self._changes)).values() if isinstance(target, Contents)}
        sectors = math.prod(len(options) + 1 for contents in found.values() for options in contents.choices())
        return int(sectors) << len(self._changes)

    def _named(self, kept: list[bool]) -> Names:
        """The names if these of the unsynced changes are on disk. A rename is not there by half: the old name goes with the new one."""
        names = dict(self._durable)
        keeping = {id(change): keep for change, keep in zip(self._changes, kept, strict=True)}
        for change in self._changes:
            if change.moved_from is not None and not keeping[id(change)]:
                keeping[id(change.moved_from)] = False
        for change in self._changes:
            if keeping[id(change)]:
                names[change.directory, change.name] = change.target
        return names

    def _image(self, names: Names, choose: Callable[[Contents], tuple[Choice | None, ...]]) -> SimulatedFiles:
        image = SimulatedFiles(capacity=self.capacity, preallocates=self.preallocates)
        left: dict[int, Contents] = {}
        # Short paths first: a directory whose own name is not there takes all below it along.
        for (directory, name), target in sorted(names.items(), key=lambda item: len(item[0][0])):
            if directory not in image._names or target is None:
                continue
            if isinstance(target, Directory):
                image._names[os.path.join(directory, name)] = {}  # noqa: PTH118
                there: Contents | Directory = target
            else:
                there = left.setdefault(id(target), target.left(choose(target)))
            image._names[directory][name] = there
            image._durable[directory, name] = there
        return image

    # What the calls do.

    def note(self, call: str, path: Path) -> None:
        """A changing call is about to happen."""
        if self.watch is not None:
            self.watch()
        if self.cut_at is not None and len(self.calls) + 1 >= self.cut_at:
            raise PowerCut(f"at call {self.cut_at}: {call} {path}")
        self.meet(call, path)
        self.calls.append((call, path.name))

    def meet(self, call: str, path: Path) -> None:
        """Raise the error that waits for this call, if one does."""
        for failure in self.failures:
            if failure.strike(call, path.name):
                raise OSError(failure.number, os.strerror(failure.number), str(path))

    def room_for(self, contents: Contents, size: int) -> int:
        """How long a file may become that wants to be this long."""
        if self.capacity is None or size <= contents.size:
            return size
        return min(size, contents.size + max(0, self.capacity - self.used_bytes()))

    def _contents(self, path: Path) -> Contents:
        directory, name = os.path.split(path)
        found = self._names.get(directory, {}).get(name)
        if not isinstance(found, Contents):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def _lead(self, directory: str, name: str, target: Target) -> Change:
        change = Change(directory, name, target)
        self._changes.append(change)
        if target is None:
            del self._names[directory][name]
        else:
            self._names[directory][name] = target
        return change
