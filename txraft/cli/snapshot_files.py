"""`txraft snapshot verify` and `restore`: what works on a snapshot that is a file here. No node is asked, and none may run there."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from txraft.cli.output import Progress, json_line, text_of_value
from txraft.cli.settings import Parser, Settings, UsageProblem
from txraft.config import NodeConfig
from txraft.core.configuration import Configuration
from txraft.core.snapshot import Snapshot
from txraft.errors import CorruptState, DamagedSnapshot, NoSnapshot, StorageError
from txraft.statemachine.state_parts import read_through
from txraft.storage.files import REAL_FILES
from txraft.storage.seeding import Seed, seed_directory
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, verify_snapshot

__all__ = ["add_restore", "add_verify"]

DAMAGED = 1


def add_verify(choices: Any) -> Parser:
    """The command line of `verify`."""
    parser: Parser = choices.add_parser("verify", help="check a file and say what it holds", description="Check a snapshot, every byte.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(act=_verify)
    return parser


def add_restore(choices: Any) -> Parser:
    """The command line of `restore`."""
    parser: Parser = choices.add_parser(
        "restore",
        help="make the data directory of a new cluster from a file",
        description="Make a data directory whose state is that of a snapshot, for a new cluster. To be done on each of its servers, from "
        "the same file, with what will be in their configurations; then start them.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--config", metavar="FILE", help="of the node that will run there, instead of the following")
    parser.add_argument("--data-dir", metavar="D", help="the directory to make")
    parser.add_argument("--cluster", metavar="NAME", help="of the new cluster")
    parser.add_argument("--name", metavar="NAME", help="of this server")
    parser.add_argument("--bootstrap", metavar="n1=H:P,...", help="all servers of the new cluster")
    parser.set_defaults(act=_restore)
    return parser


def _verify(settings: Settings, given: Any) -> int:
    try:
        head, snapshot = verify_snapshot(REAL_FILES, given.file)
        problem = _unreadable(given.file, snapshot)
    except DamagedSnapshot as damage:
        problem = _told(damage)
    except OSError as error:
        raise UsageProblem(f"{given.file}: {error.strerror or error}") from None
    if problem:
        print(json_line({"sound": False, "problem": problem}) if settings.as_json else problem)
        return DAMAGED
    told = {"sound": True, **_describe(head, snapshot)}
    print(json_line(told) if settings.as_json else text_of_value(told))
    return 0


def _unreadable(path: Path, snapshot: Snapshot) -> str:
    """What is wrong with the state in a file that is whole; "" for nothing. Decodes every part of it."""
    _, parts = open_snapshot(REAL_FILES, path, snapshot)
    try:
        with closing(parts):
            read_through(parts)
    except CorruptState as problem:
        return f"{path}: whole, but {problem}. Take another backup"
    return ""


def _told(problem: DamagedSnapshot) -> str:
    """Of a file that is a backup. What the error itself advises is for a data directory."""
    return problem.found if isinstance(problem, NoSnapshot) else f"{problem.found}. This snapshot is damaged: take another backup"


def _describe(head: SnapshotHead, snapshot: Snapshot) -> dict[str, Any]:
    members = Configuration.decode(snapshot.configurations[-1][1]) if snapshot.configurations else Configuration({})
    return {
        "cluster_id": head.cluster_id,
        "index": snapshot.index,
        "term": snapshot.term,
        "log_time_ms": head.log_time_ms,
        "bytes": snapshot.size,
        "sha256": snapshot.sha256.hex(),
        "members": [{"name": name, "address": address, "voter": name in members.voters} for name, address in members.members.items()],
        "machines": [{"name": name, "plugin": plugin, "version": version} for name, plugin, version in head.machines],
    }


def _restore(settings: Settings, given: Any) -> int:
    if given.config is None and (given.data_dir is None or given.bootstrap is None):
        raise UsageProblem("say for which server: --config FILE, or --data-dir, --cluster, --name and --bootstrap")
    flags = {key: getattr(given, key) for key in ("data_dir", "cluster", "name", "bootstrap")}
    # Where it will listen is no matter here, and cannot be derived from a host's name.
    flags["peer"] = None if given.config else "tcp:2380"
    config = NodeConfig.load(given.config, {}, {key: value for key, value in flags.items() if value is not None})
    seed = Seed(config.cluster_id, config.name, Configuration.of(config.bootstrap).encode(), config.limits.segment_bytes)
    progress = None if settings.as_json else Progress(100, sys.stderr, tenths=False)

    def show(fraction: float) -> None:
        if progress is not None:
            progress.show(int(100 * fraction), str(given.file))

    try:
        snapshot = seed_directory(REAL_FILES, given.file, config.data_dir, seed, progress=show)
    except DamagedSnapshot as problem:
        if problem.path != str(given.file):  # It was whole; what was made of it is not.
            raise
        print(f"txraft: {_told(problem)}", file=sys.stderr)
        return DAMAGED
    except OSError as error:
        raise StorageError(f"{error.filename or config.data_dir}: {error.strerror or error}; nothing can be started there") from error
    if progress is not None:
        progress.pause()
    told = {
        "data_dir": str(config.data_dir),
        "cluster_id": config.cluster_id,
        "name": config.name,
        "index": snapshot.index,
        "term": snapshot.term,
        "bytes": snapshot.size,
    }
    print(json_line(told) if settings.as_json else text_of_value(told))
    return 0
