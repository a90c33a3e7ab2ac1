"""Every error that txraft tells a person or a program about, by whose fault it is.

The three *outcomes* of a command (`Refused`, `NotApplied`, `Unknown`) are the whole truth a caller can be told:
an answer that is none of them is a value. The other classes stop a server or refuse to start one.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "ConfigurationError",
    "CopiedDirectory",
    "CorruptState",
    "DamagedLog",
    "DamagedSnapshot",
    "DataDirectoryInUse",
    "DamagedDirectory",
    "DiskFailed",
    "DiskFull",
    "ForeignDirectory",
    "Halted",
    "LostFiles",
    "LostVotes",
    "MachineUnavailable",
    "NoSnapshot",
    "NotApplied",
    "Outcome",
    "Refused",
    "RemoteProtocolError",
    "RestoreFailed",
    "SnapshotSuperseded",
    "StorageError",
    "TxraftError",
    "Unknown",
]


class TxraftError(Exception):
    """The root of all errors of this package.

    Attributes:
        exit_code: what a process that ends because of this error exits with (sysexits.h).
    """

    exit_code: ClassVar[int] = 70


class Outcome(TxraftError):
    """A request that did not end in a value.

    Attributes:
        outcome: `refused`, `not_applied` or `unknown`, as in the HTTP problem document.
        code: a short stable word for programs, e.g. `out_of_stock`, `no_leader`.
        message: a sentence for people.
        details: further fields for programs; plain values only.
    """

    outcome: ClassVar[str]
    exit_code: ClassVar[int] = 75

    def __init__(self, code: str, message: str = "", **details: Any) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.message or self.code} [{self.code}]"


class Refused(Outcome):
    """The machine refused the command: a deterministic result, the same on every server; nothing was changed.

    Plug-ins raise it from a command or query: `raise Refused("out_of_stock", "only 3 left")`.
    """

    outcome = "refused"
    exit_code = 1


class NotApplied(Outcome):
    """The command was certainly not applied and never will be (by this request): it may be sent again.

    Codes that a later try may cure are in `RETRYABLE`; the rest (`invalid_arguments`, `unknown_machine`, …) are the
    caller's to mend.
    """

    outcome = "not_applied"
    RETRYABLE: ClassVar[frozenset[str]] = frozenset(
        {
            "disk_full",
            "leadership_lost",
            "no_leader",
            "not_leader",
            "not_ready",
            "overloaded",
            "shutting_down",
            "stale",
            "timeout",
            "unreachable",
        }
    )

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later without being changed."""
        return self.code in self.RETRYABLE


class Unknown(Outcome):
    """Nobody can tell whether the command was or will be applied; only a retry within the same session is safe."""

    outcome = "unknown"


class ConfigurationError(TxraftError):
    """What the operator configured cannot be used. The sentence names file, key and remedy.

    Attributes:
        origin: the file, environment variable or flag at fault.
        key: the dotted key within it, or "".
        remedy: what to do.
    """

    exit_code = 78

    def __init__(self, problem: str, *, origin: str = "", key: str = "", remedy: str = "") -> None:
        self.problem, self.origin, self.key, self.remedy = problem, origin, key, remedy
        where = ", ".join(part for part in (origin, f"key {key!r}" if key else "") if part)
        sentence = f"{where}: {problem}" if where else problem
        super().__init__(f"{sentence}. {remedy}" if remedy else sentence)


class MachineUnavailable(ConfigurationError):
    """A state machine that the configuration or the log asks for is missing here or cannot be loaded; it is named."""


class RestoreFailed(ConfigurationError):
    """A machine cannot take over the state that it gave itself: as good as always a bug in it. The snapshot stays as it is.

    Attributes:
        machine: its name.
        failure_text: the traceback, if `restore` raised something.
    """

    def __init__(self, problem: str, *, machine: str, origin: str = "", failure_text: str = "") -> None:
        self.machine, self.failure_text = machine, failure_text
        remedy = (
            "Mend its `restore`, in the same version, and start again; the snapshot is whole. If there is nothing to mend, it was damaged "
            "where no checksum sees it: another server, or a backup, has a good one"
        )
        super().__init__(problem, origin=origin, remedy=remedy)

    def read_from(self, origin: str) -> RestoreFailed:
        """The same, of a state that was read from a file."""
        return RestoreFailed(self.problem, machine=self.machine, origin=origin, failure_text=self.failure_text)


class StorageError(TxraftError):
    """The data directory cannot be used or trusted; the message names the file."""

    exit_code = 74


class DataDirectoryInUse(StorageError):
    """Another process holds the lock of this data directory."""

    exit_code = 73


class ForeignDirectory(StorageError):
    """The data directory belongs to another server or another cluster."""

    exit_code = 78


class CopiedDirectory(StorageError):
    """The data directory was copied and runs twice, or an older copy was put in its place: peers have met the other one."""

    exit_code = 78


_REPAIRED = "A server with other voters repairs itself when it is started"
"""What most operators need to know of damage, and the first of it."""


class DamagedDirectory(StorageError):
    """Something in the data directory that was durable is unreadable or gone. Nothing was changed.

    A server whose peers have what it lost moves the rest aside and gets it back from them; one that is alone refuses to run.

    Attributes:
        found: what it is, without advice.
        needed: what a server needs that has no peers to get it from.
    """

    def __init__(self, found: str, needed: str) -> None:
        self.found = found
        self.needed = (
            f"{needed}, or a new cluster made from a backup: an older copy or an empty directory has forgotten what it acknowledged"
        )
        super().__init__(f"{found}. {_REPAIRED}. One that is alone needs {self.needed}")


class LostFiles(DamagedDirectory):
    """A file that had been made durable is missing, or its content is not enough."""

    def __init__(self, found: str) -> None:
        super().__init__(found, "the very file back")


class LostVotes(DamagedDirectory):
    """Nobody knows in which terms this server has voted: it could vote twice in one."""

    def __init__(self, found: str) -> None:
        super().__init__(found, "its very files back, all from one moment")


class DamagedLog(DamagedDirectory):
    """Records that had been made durable are unreadable: damage, not a torn tail. Nothing was changed or cut.

    Attributes:
        path: the file.
        offset: first byte of the damaged range.
        end: first readable byte after it, or the end of the file.
    """

    def __init__(self, path: str, offset: int, end: int, why: str) -> None:
        self.path, self.offset, self.end = path, offset, end
        super().__init__(
            f"{path}: bytes {offset} to {end} are damaged ({why}). They had been made durable, so they are not cut off",
            "the very bytes back, from a copy of this state",
        )


class DamagedSnapshot(StorageError):
    """A snapshot file is not whole, or is none. The sentence is on one in a data directory.

    Attributes:
        path: the file.
        offset: where the first bytes are that cannot be right.
        why: what is wrong with them.
        found: all of that, without advice.
        needed: see `DamagedDirectory`.
    """

    needed: ClassVar[str] = "a new cluster made from a backup"

    def __init__(self, path: str, offset: int, why: str) -> None:
        self.path, self.offset, self.why = path, offset, why
        self.found = f"{path}: byte {offset}: {why}"
        super().__init__(f"{self.found}. This snapshot is damaged. {_REPAIRED}. One that is alone needs {self.needed}")


class NoSnapshot(DamagedSnapshot):
    """A file that was never a snapshot, or is one of another version; or its very beginning is damaged."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, 0, why)
        self.found = f"{path} {why}"
        self.args = (self.found,)


class CorruptState(TxraftError):
    """What was to be restored is not the state of these machines: damaged, or not written by this program."""

    exit_code = 74

    def __init__(self, why: str) -> None:
        super().__init__(f"this is no state that can be restored: {why}")


class SnapshotSuperseded(StorageError):
    """There is a snapshot of the same entry, or a newer state, already: this one is not needed, and nothing was changed."""


class DiskFailed(StorageError):
    """A write or fsync failed. It is never retried: what the kernel dropped cannot be known. The server stops."""


class DiskFull(StorageError):
    """There was no room for a write, and nothing of it was made durable: the same write may be tried again once there is room.

    Until then the server takes no commands. What it has is safe, and it can be read.
    """


class RemoteProtocolError(TxraftError):
    """A peer or client sent something that is not the protocol: their fault; their connection is closed."""


class Halted(TxraftError):
    """This server found something that must never happen and has stopped rather than go on wrongly."""
