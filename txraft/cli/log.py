"""`txraft log`: what a data directory holds, and whether it is whole. Reads only; a node may have it open meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from txraft.cli.log_entries import line_of_entry, plain_entry
from txraft.cli.log_figures import figures_of
from txraft.cli.output import Progress, json_line, text_of_value
from txraft.cli.settings import Parser, Settings, Subparser, UsageProblem, add_common_options, positive, with_options
from txraft.core.snapshot import Snapshot
from txraft.errors import StorageError
from txraft.http.json_text import encode_json
from txraft.storage.identity import Claim
from txraft.storage.inspected_log import InspectedLog, verify_directory
from txraft.storage.inspection import Holder, holder_of, patiently
from txraft.storage.layout import Layout
from txraft.storage.repair_note import RepairNote

__all__ = ["run"]

DAMAGED = 1


def run(settings: Settings, arguments: list[str]) -> int:
    """Do what the second word says."""
    parser = Parser(prog="txraft log", description="What a data directory holds. Changes nothing.", allow_abbrev=False)
    choices = parser.add_subparsers(metavar="show | verify | stat", required=True, parser_class=Subparser)
    show = choices.add_parser("show", help="the entries", description="The entries of the log, a line each.")
    show.add_argument("--from", dest="first_index", type=positive, default=1, metavar="INDEX", help="begin with this one")
    show.add_argument("--count", type=positive, metavar="N", help="end after N entries")
    show.add_argument("--json", action="store_true", help="whole, as JSON, a line each; so does -o json")
    show.set_defaults(act=_show)
    verify = choices.add_parser("verify", help="check everything", description="Check every byte, as at a start. 1 when it is damaged.")
    verify.set_defaults(act=_verify)
    stat = choices.add_parser("stat", help="figures", description="How much of what is in it.")
    stat.set_defaults(act=_stat)
    add_common_options(parser)
    for subparser in (show, verify, stat):
        subparser.add_argument("directory", type=Path, metavar="DIRECTORY", help="data directory of a node")
        add_common_options(subparser)
    given = parser.parse_args(arguments)
    layout = Layout(given.directory.absolute())
    status: int = given.act(with_options(settings, given), given, layout, _holder(layout))
    return status


def _holder(layout: Layout) -> Holder | None:
    try:
        holder = holder_of(layout)
    except OSError as error:
        raise UsageProblem(f"{layout.root}: {error.strerror or error}; run this as the user who runs the node") from None
    if holder is not None:
        print(f"txraft: {layout.root} is in use by {holder}: its end may be moving", file=sys.stderr)
    return holder


@contextmanager
def _progress(*, wanted: bool) -> Iterator[Callable[[float], None]]:
    """On a terminal only: who reads the output of another command does not want it."""
    if not (wanted and sys.stdout.isatty()):
        yield lambda fraction: None
        return
    progress = Progress(100)
    yield lambda fraction: progress.show(int(100 * fraction), "read")
    progress.pause()


def _read(layout: Layout, settings: Settings) -> InspectedLog:
    """Read it all; what is damaged is noted, unless it only looked so."""
    with _progress(wanted=not settings.as_json) as progress:
        try:
            return patiently(layout, lambda: InspectedLog.read(layout, progress, strict=True))
        except OSError as error:
            raise StorageError(f"{error.filename or layout.root}: {error.strerror or error}") from error
        except StorageError:
            return InspectedLog.read(layout, progress, strict=False)


def _show(settings: Settings, given: Any, layout: Layout, holder: Holder | None) -> int:
    log, as_json = _read(layout, settings), settings.as_json or given.json
    snapshot = log.recovery.replay.snapshot
    if snapshot is not None and given.first_index < log.first_index:
        print(json_line(_plain_base(log, snapshot)) if as_json else _line_of_base(log, snapshot))
    left = given.count
    for index, entry in log.entries(given.first_index):
        print(encode_json(plain_entry(index, entry)).decode() if as_json else line_of_entry(index, entry))
        left = None if left is None else left - 1
        if left == 0:
            return 0
    if log.problem is not None:
        print(f"txraft: {log.problem}", file=sys.stderr)
        return DAMAGED
    return 0


def _plain_base(log: InspectedLog, snapshot: Snapshot) -> dict[str, Any]:
    replay = log.recovery.replay
    return {
        "kind": "base",
        "index": replay.base_index,
        "term": replay.base_term,
        "snapshot": {"index": snapshot.index, "term": snapshot.term, "bytes": snapshot.size, "sha256": snapshot.sha256.hex()},
    }


def _line_of_base(log: InspectedLog, snapshot: Snapshot) -> str:
    replay = log.recovery.replay
    told = f"a snapshot up to entry {snapshot.index} (term {snapshot.term}, {snapshot.size} bytes) stands for all up to here"
    return f"{replay.base_index:>10}  {replay.base_term:>5}  {'base':<14}  {told}"


def _verify(settings: Settings, given: Any, layout: Layout, holder: Holder | None) -> int:
    try:
        with _progress(wanted=not settings.as_json) as progress:
            recovery = patiently(layout, lambda: verify_directory(layout, progress))
    except StorageError as problem:
        print(json_line({"sound": False, "problem": str(problem)}) if settings.as_json else problem)
        return DAMAGED
    except OSError as error:
        raise UsageProblem(f"{error.filename or layout.root}: {error.strerror or error}") from None
    notes = []
    if recovery is None:
        notes.append("no log was begun here yet")
    elif recovery.torn_tail is not None and holder is None:
        notes.append(f"{recovery.torn_tail} (at the next start; nothing durable is lost by it)")
    note = _repair_note(layout)
    notes += [f"to be repaired: {reason}" for reason in note.reasons] if note is not None else []
    last_index = recovery.replay.last_index if recovery is not None else 0
    if settings.as_json:
        print(json_line({"sound": True, "last_index": last_index, "notes": notes}))
    else:
        print("\n".join([f"{layout.root} is sound; the log ends with entry {last_index}", *notes]))
    return 0


def _stat(settings: Settings, given: Any, layout: Layout, holder: Holder | None) -> int:
    log = _read(layout, settings)
    figures = figures_of(log, holder, _repair_note(layout))
    print(
        json_line(figures) if settings.as_json else text_of_value({name: value if value != [] else None for name, value in figures.items()})
    )
    return 0 if log.problem is None else DAMAGED


def _repair_note(layout: Layout) -> RepairNote | None:
    claim = Claim.read(layout)
    return None if claim is None else RepairNote.read(layout, claim.origin.seed)
