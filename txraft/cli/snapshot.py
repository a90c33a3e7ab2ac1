"""`txraft snapshot`: the state of a cluster as a file. `now` and `save` ask a running node, `verify` and `restore` work on files."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from txraft.cli.output import Progress, json_line, table
from txraft.cli.settings import Parser, Settings, Subparser, add_common_options, with_options
from txraft.cli.snapshot_files import add_restore, add_verify
from txraft.client.blocking_download import Download
from txraft.client.blocking_http import JsonApi, open_connection
from txraft.errors import NotApplied, StorageError, Unknown
from txraft.storage.files import REAL_FILES, FileSystem

__all__ = ["Saved", "receive", "run", "save", "take"]

T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a large snapshot may take, unless --timeout says otherwise."""

STEP_BYTES = 1_048_576


def run(settings: Settings, arguments: list[str]) -> int:
    """Do what the second word says."""
    parser = Parser(prog="txraft snapshot", description="The state of the cluster as a file: a backup.", allow_abbrev=False)
    choices = parser.add_subparsers(metavar="now | save | verify | restore", required=True, parser_class=Subparser)
    now = choices.add_parser("now", help="let the node take one, now", description="Let the first node that answers take a snapshot, now.")
    now.set_defaults(act=_now)
    saving = choices.add_parser("save", help="write the newest to a file", description="Write the newest snapshot of a node to a file.")
    saving.add_argument("file", type=Path, metavar="FILE", help="replaced if it exists, once the new one is whole")
    saving.add_argument("--now", action="store_true", help="let the node take a fresh one first")
    saving.set_defaults(act=_save)
    for subparser in (parser, now, saving, add_verify(choices), add_restore(choices)):
        add_common_options(subparser)
    given = parser.parse_args(arguments)
    status: int = given.act(with_options(settings, given), given)
    return status


def _now(settings: Settings, given: Any) -> int:
    taken = _at_first(settings, take)
    print(json_line(taken) if settings.as_json else table([[name, str(value)] for name, value in taken.items()]))
    return 0


def _save(settings: Settings, given: Any) -> int:
    progress = None if settings.as_json else _Shown()
    saved = _at_first(settings, lambda endpoint, timeout_s: save(endpoint, timeout_s, given.file, fresh=given.now, progress=progress))
    told = {"file": str(given.file), "index": saved.index, "term": saved.term, "bytes": saved.size, "sha256": saved.sha256}
    print(json_line(told) if settings.as_json else table([[name, str(value)] for name, value in told.items()]))
    return 0


class _Shown:
    """Progress whose total is known later; for who looks on, not for who reads what comes of it."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = Progress(total, sys.stderr, tenths=False)
        self._progress.show(done, f"{done} bytes")
        if done == total:
            self._progress.pause()


def _at_first(settings: Settings, ask: Callable[[str, float], T]) -> T:
    """Ask the nodes in turn, until one can: any has the state. Raises what the last one said."""
    timeout_s = settings.timeout_s if settings.timeout_given else PATIENCE_S
    for endpoint in settings.endpoints[:-1]:
        try:
            return ask(endpoint, timeout_s)
        except (NotApplied, Unknown):
            continue
    return ask(settings.endpoints[-1], timeout_s)


def take(endpoint: str, timeout_s: float) -> dict[str, Any]:
    """Let a node take a snapshot; its `index`, `term`, `bytes` and `sha256`. Raises `Outcome`."""
    with closing(JsonApi([endpoint], open_connection)) as api:
        taken: dict[str, Any] = api.exchange("POST", "/v1/snapshot", None, {}, timeout_s)
        return taken


@frozen
class Saved:
    """A snapshot that was received whole."""

    index: int
    term: int
    size: int
    sha256: str


def save(
    endpoint: str,
    timeout_s: float,
    path: Path,
    *,
    fresh: bool,
    progress: Callable[[int, int], None] | None = None,
    files: FileSystem = REAL_FILES,
) -> Saved:
    """Write the snapshot of a node to a file, durably; what was there before stays until the new one is whole.

    Raises:
        Outcome: the node has none, or did not send it whole.
        StorageError: it could not be written.
    """
    if files.is_directory(path):
        raise StorageError(f"{path} is a directory; name a file in it")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        files.open(part, create=True, empty=True).close()  # If that cannot be, no node is asked for anything.
        if fresh:
            take(endpoint, timeout_s)
        with closing(_open(endpoint, timeout_s)) as source:
            saved = receive(source, part, progress or (lambda done, total: None), files)
        files.rename(part, path)
        files.sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}; the snapshot was not saved") from error
    finally:
        with suppress(OSError):  # What is wrong with its directory has been told.
            files.remove(part)
    return saved


def _open(endpoint: str, timeout_s: float) -> Download:
    try:
        return Download(endpoint, "/v1/snapshot", timeout_s)
    except NotApplied as problem:
        if problem.code != "no_snapshot":
            raise
        raise NotApplied(problem.code, f"{endpoint}: {problem.message}. With --now it takes one first", **problem.details) from None


def receive(source: Download, part: Path, progress: Callable[[int, int], None], files: FileSystem) -> Saved:
    """Write what comes to `part`, durably, and see that it is what was announced. Raises `Unknown` if it is not."""
    announced = Saved(_number(source, "Index"), _number(source, "Term"), source.length, _header(source, "Sha256"))
    digest, done = hashlib.sha256(), 0
    with closing(files.open(part, create=True, empty=True)) as file:
        for piece in source.pieces(STEP_BYTES):
            file.write(piece, done)
            digest.update(piece)
            done += len(piece)
            progress(done, source.length)
        file.sync()
    if digest.hexdigest() != announced.sha256:
        raise Unknown("damaged", f"the snapshot came with another SHA-256 ({digest.hexdigest()}) than announced: it was damaged on its way")
    return announced


def _header(source: Download, name: str) -> str:
    value = source.header(f"Txraft-Snapshot-{name}")
    if value is None:
        raise Unknown("unexpected_answer", f"the answer has no header Txraft-Snapshot-{name}: is it a txraft node?")
    return value


def _number(source: Download, name: str) -> int:
    value = _header(source, name)
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise Unknown("unexpected_answer", f"Txraft-Snapshot-{name} is {value[:40]!r}, no number")
    return int(value)
