"""From a configuration to an open data directory, and from there to a consensus module that remembers everything."""

from __future__ import annotations

from collections.abc import Callable

from txraft.config import NodeConfig
from txraft.core.configuration import Configuration
from txraft.core.consensus import ConsensusModule
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import ServerId
from txraft.core.log import Log
from txraft.storage import Storage

__all__ = ["consensus_of", "open_storage"]


def open_storage(config: NodeConfig, progress: Callable[[float], None]) -> Storage:
    """Claim and read the data directory; on the first start, write the first configuration as entry 1. Blocking: on the disk worker.

    Raises:
        StorageError: the directory is in use, another server's, damaged or unreadable.
    """
    first = Entry(1, EntryKind.CONFIGURATION, Configuration.of(config.bootstrap).encode())
    return Storage.open(
        config.data_dir,
        cluster_id=config.cluster_id,
        server_id=config.name,
        bootstrap=[first],
        limits=config.limits,
        progress=progress,
    )


def consensus_of(config: NodeConfig, storage: Storage) -> ConsensusModule:
    """The consensus module as the disk remembers it. Source: Figure 3.1, "Persistent state on all servers"."""
    recovered = storage.recovered
    log = Log.recovered(
        cache_bytes_max=config.limits.log_cache_bytes_max,
        last_index=recovered.last_index,
        term_runs=recovered.term_runs,
        tail_first=recovered.tail_first_index,
        tail=recovered.tail,
    )
    return ConsensusModule(
        ServerId(config.name),
        metadata=recovered.metadata,
        log=log,
        configurations=[(index, Configuration.decode(payload)) for index, payload in recovered.configurations],
        limits=config.limits,
        timing=config.timing,
    )
