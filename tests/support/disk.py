"""Disks for tests: one that notes and cuts the power at any call, small directories, and ways to spoil them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.effects import Base, Metadata, Persist, Receipt
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, ServerId, Term
from txraft.core.snapshot import Snapshot
from txraft.limits import Limits
from txraft.storage import Storage

SECTOR_BYTES = 512
CLUSTER_ID = "c1" * 16
SERVER_ID = "n1"


def command(payload: bytes, term: int = 1) -> Entry:
    return Entry(term, int(EntryKind.COMMAND), payload)


def commands(*payloads: str, term: int = 1) -> list[Entry]:
    return [command(payload.encode(), term) for payload in payloads]


def configuration(payload: bytes, term: int = 1) -> Entry:
    return Entry(term, int(EntryKind.CONFIGURATION), payload)


BOOTSTRAP = [configuration(b"first configuration")]


def persist(
    first_index: int = 0,
    entries: Sequence[Entry] = (),
    *,
    truncate: bool = False,
    metadata: Metadata | None = None,
    base: Base | None = None,
    repaired: bool = False,
) -> Persist:
    """A `Persist`; with `truncate`, `first_index` is where the log is cut."""
    receipt = Receipt(Term(0), Index(0), Term(0))
    truncate_from = Index(first_index) if truncate else None
    return Persist(metadata, truncate_from, Index(first_index), list(entries), receipt, (), base=base, repaired=repaired)


def make_snapshot(storage: Storage, index: int, term: int = 1, content: bytes = b"state", path: Path | None = None) -> Snapshot:
    """A file that passes for a snapshot as far as the log is concerned, durable under its final name."""
    path = path or storage.new_snapshot_path()
    file = storage.files.open(path, create=True, empty=True)
    file.write(content, 0)
    file.sync()
    file.close()
    snapshot = Snapshot(index, term, len(content), sha256(content).digest(), [(1, BOOTSTRAP[0].payload)])
    storage.keep_snapshot(snapshot, path)
    return snapshot


def base(snapshot: Snapshot, index: int | None = None, term: int | None = None, *, keeps_log: bool = True) -> Base:
    """A base with this snapshot, at its own end if nothing else is said."""
    at = snapshot.index if index is None else index
    return Base(Index(at), Term(snapshot.term if term is None else term), snapshot, keeps_log)


def vote(term: int, voted_for: str | None = None) -> Metadata:
    return Metadata(Term(term), None if voted_for is None else ServerId(voted_for))


def small(segment_bytes: int = 4096, log_cache_bytes_max: int = 1 << 20) -> Limits:
    return Limits(segment_bytes=segment_bytes, log_cache_bytes_max=log_cache_bytes_max, reserve_bytes=0)


def open_storage(root: Path, *, limits: Limits | None = None, bootstrap: list[Entry] | None = None, **others: Any) -> Storage:
    arguments: dict[str, Any] = {"cluster_id": CLUSTER_ID, "server_id": SERVER_ID, "limits": limits or small()}
    arguments |= {"bootstrap": BOOTSTRAP if bootstrap is None else bootstrap} | others
    return Storage.open(root, **arguments)


def whole_log(storage: Storage) -> list[Entry]:
    """All entries, from disk."""
    return storage.read(Index(1), 1 << 40)


def contents(root: Path) -> dict[str, bytes]:
    """What every file below `root` holds, but for the lock."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file() and path.name != "lock"}


def restore(root: Path, files: dict[str, bytes]) -> None:
    """Make the files below `root` what `contents` found."""
    for path in root.rglob("*"):
        if path.is_file() and path.name != "lock" and str(path.relative_to(root)) not in files:
            path.unlink()
    for name, content in files.items():
        (root / name).write_bytes(content)


def kill(storage: Storage, root: Path) -> dict[str, bytes]:
    """End a storage as kill -9 does: nothing more is written. Returns what is left."""
    left = contents(root)
    storage.close()
    restore(root, left)
    return left


def segments(root: Path) -> list[Path]:
    return sorted((root / "log").glob("*.segment"))


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def flip_bit(path: Path, offset: int, bit: int = 0) -> None:
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ (1 << bit)]))


def changed_sectors(before: bytes, after: bytes) -> list[int]:
    """The numbers of the sectors that differ."""
    length = max(len(before), len(after))
    before, after = before.ljust(length, b"\0"), after.ljust(length, b"\0")
    return [at // SECTOR_BYTES for at in range(0, length, SECTOR_BYTES) if before[at : at + SECTOR_BYTES] != after[at : at + SECTOR_BYTES]]


def with_sectors(before: bytes, after: bytes, taken: Sequence[int]) -> bytes:
    """`before`, with these sectors of `after`."""
    image = bytearray(before.ljust(len(after), b"\0"))
    for sector in taken:
        at = sector * SECTOR_BYTES
        image[at : at + SECTOR_BYTES] = after[at : at + SECTOR_BYTES]
    return bytes(image)


@contextmanager
def no_sync() -> Iterator[None]:
    """Spare the test the wait for a real disk."""
    with mock.patch.object(os, "fsync", lambda fd: None), mock.patch.object(os, "fdatasync", lambda fd: None):
        yield


def quick_directory(case: SynchronousTestCase) -> Path:
    """A directory for a test that opens hundreds of logs, in memory where that is possible."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="txraft-test-", dir=memory if os.access(memory, os.W_OK) else None))
    case.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


class PowerCut(BaseException):
    """The power went: no code of the program runs any more."""


@define
class WatchedDisk:
    """Everything below `root`, with a memory of what is durable. While `watching()` the calls that change something are noted in `calls`,
    and the one numbered `cut_at` (from 1 on) does not happen any more.

    A file's bytes are durable once it was fsynced, a name once its directory was. Real syncs are left out: they take time and prove
    nothing here.
    """

    root: Path
    cut_at: int | None = None
    calls: list[tuple[str, str]] = field(factory=list)
    _durable_bytes: dict[int, bytes] = field(factory=dict)
    _durable_names: dict[Path, dict[str, int]] = field(factory=dict)
    _inodes_of_directories: set[int] = field(factory=set)
    _open: dict[int, Path] = field(factory=dict)
    _held: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.root = self.root.absolute()
        if self.root.exists():
            self._sync_all(self.root)

    def _sync_all(self, path: Path) -> None:
        if path.is_dir():
            self._sync_names(path)
            for child in path.iterdir():
                self._sync_all(child)
        else:
            self._durable_bytes[path.stat().st_ino] = path.read_bytes()

    def _sync_names(self, path: Path) -> None:
        self._durable_names[path] = {child.name: child.stat().st_ino for child in path.iterdir()}
        self._inodes_of_directories |= {child.stat().st_ino for child in path.iterdir() if child.is_dir()}

    def _note(self, call: str, path: Path) -> None:
        if self.cut_at is not None and len(self.calls) + 1 >= self.cut_at:
            raise PowerCut(f"at call {self.cut_at}: {call} {path}")
        self.calls.append((call, path.name))

    def _sync(self, call: str, fd: int) -> None:
        path = self._open[fd]
        self._note(call, path)
        if path.is_dir():
            self._sync_names(path)
        else:
            self._durable_bytes[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    @contextmanager
    def watching(self, *, already_open: bool = False) -> Iterator[WatchedDisk]:
        """Stand in front of the calls that storage makes. A power cut closes all files, as the end of a process does.

        With `already_open` the files of a storage that was opened before are known, too.
        """
        if already_open:
            links = {int(link.name): link.resolve() for link in Path("/proc/self/fd").iterdir()}
            self._open |= {fd: path for fd, path in links.items() if path.is_relative_to(self.root.resolve())}
        real_open, real_close, real_pwrite, real_truncate, real_allocate = os.open, os.close, os.pwrite, os.ftruncate, os.posix_fallocate

        def open_(path: Any, flags: int, mode: int = 0o777, **others: Any) -> int:
            created = flags & os.O_CREAT and not Path(path).exists()
            if created:
                self._note("create", Path(path))
            fd = real_open(path, flags, mode, **others)
            self._open[fd] = Path(path)
            if created:
                # Held open, so that its number is not given to another file once it is replaced.
                self._held.append(real_open(path, os.O_RDONLY))
            return fd

        def close(fd: int) -> None:
            self._open.pop(fd, None)
            real_close(fd)

        def on_fd(call: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def noted(fd: int, *arguments: Any) -> Any:
                self._note(call, self._open[fd])
                return real(fd, *arguments)

            return noted

        def on_path(call: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def noted(path: Path, *arguments: Any, **others: Any) -> Any:
                self._note(call, path)
                return real(path, *arguments, **others)

            return noted

        replaced: dict[str, Callable[..., Any]] = {
            "open": open_,
            "close": close,
            "pwrite": on_fd("pwrite", real_pwrite),
            "ftruncate": on_fd("ftruncate", real_truncate),
            "posix_fallocate": on_fd("fallocate", real_allocate),
            "fsync": lambda fd: self._sync("fsync", fd),
            "fdatasync": lambda fd: self._sync("fdatasync", fd),
        }
        with ExitStack() as patches:
            for name, replacement in replaced.items():
                patches.enter_context(mock.patch.object(os, name, replacement))
            for name in ("rename", "replace", "mkdir", "unlink", "chmod"):
                patches.enter_context(mock.patch.object(Path, name, on_path(name, getattr(Path, name))))
            try:
                yield self
            except PowerCut:
                for fd in list(self._open):
                    close(fd)
                raise
            finally:
                for fd in self._held:
                    real_close(fd)
                self._held.clear()

    def after_power_cut(self, target: Path, kept: Callable[[], bool]) -> None:
        """Make at `target` what is left of `root`: what is durable, and of the rest the sectors and names for which `kept()` says so."""
        shutil.rmtree(target, ignore_errors=True)
        self._restore(self.root, target, kept)

    def _restore(self, source: Path, target: Path, kept: Callable[[], bool]) -> None:
        target.mkdir(mode=0o700)
        durable = self._durable_names.get(source, {})
        present = {child.name: child.stat().st_ino for child in source.iterdir()} if source.exists() else {}
        for name in sorted(durable.keys() | present.keys()):
            inode = durable.get(name)
            if present.get(name) != inode and kept():
                inode = present.get(name)
            if inode is None:
                continue
            if inode in self._inodes_of_directories or (source / name).is_dir():
                self._restore(source / name, target / name, kept)
            else:
                (target / name).write_bytes(self._bytes_left(inode, source, kept))

    def _bytes_left(self, inode: int, directory: Path, kept: Callable[[], bool]) -> bytes:
        durable = self._durable_bytes.get(inode, b"")
        now = next((path.read_bytes() for path in directory.iterdir() if path.stat().st_ino == inode), durable)
        taken = [sector for sector in changed_sectors(durable, now) if kept()]
        image = with_sectors(durable, now, taken) if taken else durable
        if len(now) < len(durable) and kept():
            image = image[: len(now)]
        return image
