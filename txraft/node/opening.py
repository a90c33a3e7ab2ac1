"""From a configuration to an open data directory, and from there to a consensus module and machines that remember everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrs import frozen

from txraft.config import NodeConfig
from txraft.core.configuration import Configuration
from txraft.core.consensus import ConsensusModule
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import ServerId
from txraft.core.log import Log
from txraft.core.roles import Repair
from txraft.errors import CorruptState, RestoreFailed, StorageError
from txraft.statemachine import Host
from txraft.statemachine.host_snapshot import Restored
from txraft.storage import REAL_FILES, FileSystem, Storage
from txraft.storage.snapshot_file import open_snapshot

__all__ = ["OpenDirectory", "OpenStorage", "consensus_of", "open_directory", "open_storage"]

READING_SHARE = 0.5
"""The part of the progress that stands for reading log and snapshot; the rest stands for restoring the machines."""

OpenStorage = Callable[[NodeConfig, Callable[[float], None]], Storage]


@frozen
class OpenDirectory:
    """A data directory that is open, and the machines as of its snapshot, if it has one."""

    storage: Storage
    restored: Restored | None

    def warnings(self) -> list[str]:
        """What its operator should know."""
        recovered = self.storage.recovered
        told = [recovered.torn_tail] if recovered.torn_tail else []
        if recovered.repair is not None:
            told += [*recovered.repair.reasons, *(f"moved aside: {path}" for path in recovered.repair.moved)]
            told.append(
                "this server has lost something that it may have acknowledged: it neither votes nor acknowledges anything until the others "
                "have given it all that again. If it stays so, too few of them are there: see operating.md"
            )
        return told


def open_directory(open_storage: OpenStorage, config: NodeConfig, host: Host, progress: Callable[[float], None]) -> OpenDirectory:
    """Open the data directory and restore the machines from its snapshot. Blocking: on the disk worker.

    Raises:
        StorageError: the directory is in use, another server's, damaged beyond repair or unreadable.
        MachineUnavailable: the snapshot needs a plug-in that is not installed here.
        RestoreFailed: a machine cannot take over what is in the snapshot.
    """
    storage = open_storage(config, lambda fraction: progress(fraction * READING_SHARE))
    snapshot = storage.recovered.snapshot
    if snapshot is None:
        return OpenDirectory(storage, None)
    path = storage.snapshot_path(snapshot.index)
    try:
        _, parts = open_snapshot(storage.files, path, snapshot)
        return OpenDirectory(storage, host.restored(_told(parts, snapshot.size, progress)))
    except CorruptState as error:
        storage.close()
        raise StorageError(f"{path}: whole, but no state of this version of txraft: {error}") from error
    except RestoreFailed as error:
        storage.close()
        raise error.read_from(str(path)) from error.__cause__
    except BaseException:
        storage.close()
        raise


def _told(parts: Iterable[bytes], size: int, progress: Callable[[float], None]) -> Iterator[bytes]:
    done = 0
    for part in parts:
        yield part
        done += len(part)
        progress(READING_SHARE + (1 - READING_SHARE) * min(1.0, done / max(1, size)))


def open_storage(config: NodeConfig, progress: Callable[[float], None], files: FileSystem = REAL_FILES) -> Storage:
    """Claim and read the data directory; on the first start, write the first configuration as entry 1. Blocking: on the disk worker.

    What is damaged is moved aside if there are other voters, who can give it back.

    Raises:
        StorageError: the directory is in use, another server's, damaged beyond repair or unreadable.
    """
    first = Entry(1, EntryKind.CONFIGURATION, Configuration.of(config.bootstrap).encode())
    return Storage.open(
        config.data_dir,
        cluster_id=config.cluster_id,
        server_id=config.name,
        bootstrap=[first],
        limits=config.limits,
        progress=progress,
        files=files,
        repairable=bool(config.bootstrap.keys() - {config.name}),
    )


def consensus_of(config: NodeConfig, storage: Storage) -> ConsensusModule:
    """The consensus module as the disk remembers it. Source: Figure 3.1, "Persistent state on all servers"; §5.1."""
    recovered = storage.recovered
    log = Log.recovered(
        cache_bytes_max=config.limits.log_cache_bytes_max,
        last_index=recovered.last_index,
        term_runs=recovered.term_runs,
        tail_first=recovered.tail_first_index,
        tail=recovered.tail,
        base=(recovered.base_index, recovered.base_term),
    )
    return ConsensusModule(
        ServerId(config.name),
        metadata=recovered.metadata,
        log=log,
        configurations=[(index, Configuration.decode(payload)) for index, payload in recovered.configurations],
        limits=config.limits,
        timing=config.timing,
        incarnation=storage.identity.incarnation,
        snapshot=recovered.snapshot,
        repair=Repair(votes_lost=recovered.repair.votes_lost) if recovered.repair is not None else None,
    )
