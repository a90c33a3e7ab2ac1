"""When sources change: try the new code on the whole log, and let it serve only if it can; else say why, and leave the old code."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from txraft.cli.rehearsal import TRACEBACK_LINES, Failed, Rehearsal, last_lines, rehearse
from txraft.cli.source_files import SourceFiles
from txraft.core.entry import Entry
from txraft.errors import MachineUnavailable, TxraftError

__all__ = ["Nodes", "Reloading"]

LOOK_S = 0.5


class Nodes(Protocol):
    """What a reload needs of the nodes; see `DevNodes`."""

    async def start(self) -> None:
        """Start all, with the machines as they can be imported now."""

    async def stop(self) -> None:
        """Stop all."""

    def state(self) -> tuple[int, str]:
        """The applied index, and the digest of the state there; "" if there is none to be had."""

    def read_log(self, first_index: int) -> Deferred[list[Entry]]:
        """Some entries from an index on."""


class Reloading:
    """Looks at the sources twice a second.

    Args:
        machines: plug-in by name.
        nodes: that host them.
        sources: of the machines.
        clock: for the pauses between looks.
        say: to the author.
        pause: lets others work, in a long rehearsal.
    """

    def __init__(
        self,
        machines: Mapping[str, str],
        nodes: Nodes,
        sources: SourceFiles,
        clock: IReactorTime,
        say: Callable[[str], None],
        pause: Callable[[], Awaitable[object]],
    ) -> None:
        self._machines, self._nodes, self._sources, self._say, self._pause = machines, nodes, sources, say, pause
        self._loaded = self._seen = sources.stamps()
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._loop.clock = clock

    def watch(self) -> Deferred[LoopingCall]:
        """Begin. Fires when `end` was called; fails when the nodes cannot be started any more."""
        return self._loop.start(LOOK_S, now=False)

    async def end(self) -> None:
        """Look no more, and stop the nodes. What is being rehearsed is left."""
        if self._loop.running:
            self._loop.stop()
        await self._nodes.stop()

    async def look(self) -> None:
        """Reload if files have changed since they were loaded, and not since the last look: editors write several, one by one."""
        stamps = self._sources.stamps()
        if stamps != self._loaded and stamps == self._seen:
            changed = [path for path in {**stamps, **self._loaded} if stamps.get(path) != self._loaded.get(path)]
            self._say(f"Changed: {_names(changed)}")
            self._loaded = stamps
            await self.reload()
        self._seen = stamps

    async def reload(self) -> None:
        """Rehearse the log with the new code. If that goes well, start the nodes anew with it."""
        through, digest = self._nodes.state()
        old = await self._rehearse_old(through)
        unloaded = self._sources.forget()
        try:
            new = await self._rehearse(through)
            broken = next((index for index in sorted(new.broken) if old is None or index not in old.broken), None)
            if broken is not None:
                lines = new.broken[broken].rstrip().splitlines()[-TRACEBACK_LINES:]
                raise Failed(f"entry {broken} of the log, {new.commands[broken]}, fails in it, which it did not before", lines)
            if new.state_problem is not None:
                raise new.state_problem
        except (Failed, MachineUnavailable) as problem:
            self._sources.put_back(unloaded)
            why, lines = (str(problem), problem.lines) if isinstance(problem, Failed) else ("it cannot be loaded", last_lines(problem))
            self._say("\n    ".join([f"The new code cannot serve: {why}", *lines]))
            self._say("The old code goes on serving.")
            return
        self._say(f"Replayed {through} entries into the new code in {new.seconds * 1000:.0f} ms: {_verdict(digest, old, new)}")
        for machine in new.restored_otherwise:
            self._say(
                f"But a SNAPSHOT loses it: of what `snapshot` of machine {machine} gives, its `restore` makes another state. A server that "
                "starts from a snapshot would differ from the others: mend one of the two."
            )
        await self._nodes.stop()
        await self._nodes.start()
        self._say("The new code serves.")

    async def _rehearse(self, through: int) -> Rehearsal:
        return await rehearse(self._machines, self._nodes.read_log, through, self._pause)

    async def _rehearse_old(self, through: int) -> Rehearsal | None:
        """What the code that serves makes of the log; None if it cannot (a node has halted over it)."""
        try:
            return await self._rehearse(through)
        except TxraftError:
            return None


def _verdict(served: str, old: Rehearsal | None, new: Rehearsal) -> str:
    """What has become of state and answers. Both are compared: the state may hide what was answered otherwise."""
    index = None if old is None else new.first_difference(old)
    where = f"the first other answer is that of entry {index}, {new.commands.get(index, '')}" if index else "all answers are the same"
    version = "Servers that have a log need another `version` for that."
    if not served or (old is not None and not old.digest):
        return f"`snapshot` of the OLD code fails, so its state cannot be compared; {where}."
    if old is not None and old.digest != served:
        return (
            "the OLD code comes to another state than it serves: it rests on what is not in the log (a clock, chance, a set's order, …), "
            f"or its `restore` has made another state of what `snapshot` gave ({where})."
        )
    if new.digest != served:
        return f"the state is ANOTHER: the change alters history ({where}). {version}"
    if index:
        return f"the state is the same, but ANSWERS are others: the change alters history ({where}). {version}"
    return "the state is the same."


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(sorted(os.path.relpath(path) for path in paths))
