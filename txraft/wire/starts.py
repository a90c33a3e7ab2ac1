"""Which start of which data directory a server is, and when it cannot be the server that it was.

Whoever keeps a vote and an acknowledged entry is a directory, and not a name. A directory is known by its mark; a start of it by the
incarnation, which every opening raises; and the process that has made this start by a text drawn by lot. Each directory tells the
processes of its last starts, too. A copy has the mark and the incarnation, but from its first start on it has processes of its own: so it
contradicts what peers have seen of the directory that it is a copy of.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve, frozen

__all__ = ["COPIED", "DIRECTORY", "GUIDE", "INCARNATION", "Greeting", "Start", "contradiction"]

DIRECTORY, INCARNATION, COPIED = "directory", "incarnation", "copied"
"""Codes of refusals."""

GUIDE = "see 'Lost and copied directories' in docs/operating.md"

PROBLEMS = {
    DIRECTORY: "has another data directory than the cluster knows it by: the log and the votes in that one are missing here; "
    f"put the old directory back, {GUIDE}",
    INCARNATION: f"is an older start of its data directory than is known: a copy of it runs, or this is an older copy; {GUIDE}",
    COPIED: "has a data directory of which another process is known to have made this start, or an earlier one: it was copied and runs "
    f"twice, or an older copy was put back; {GUIDE}",
}
"""Ends of a sentence about the server that greets."""


class Greeting(Protocol):
    """What a hello and a welcome say of this; "" and no previous processes come from a server that is too old to say."""

    @property
    def incarnation(self) -> int:
        """How often the directory has been started."""

    @property
    def directory(self) -> str:
        """Its mark."""

    @property
    def process(self) -> str:
        """Drawn at this start."""

    @property
    def previous_processes(self) -> list[str]:
        """Those of the starts before, the last first."""


@frozen
class Start:
    """The newest start that is known of a server.

    Attributes:
        directory: the mark of its data directory; "" while unknown.
        incarnation: how often it had been started; 0 if none of its starts was seen.
        process: drawn at that start; "" while unknown.
    """

    directory: str = ""
    incarnation: int = 0
    process: str = ""

    def followed_by(self, greeting: Greeting) -> Start:
        """What is known after a greeting that does not contradict it."""
        process = greeting.process or (self.process if greeting.incarnation == self.incarnation else "")
        return Start(greeting.directory or self.directory, greeting.incarnation, process)

    def of_directory(self, mark: str) -> Start:
        """What is left of it when the directory is known for certain: nothing, if it was seen of another one."""
        if not mark or mark == self.directory:
            return self
        return evolve(self, directory=mark) if not self.directory else Start(mark)


def contradiction(greeting: Greeting, known: Start) -> str | None:
    """The code of the reason for which who greets so is not, or no longer, the server that is known; None if it may be it."""
    if greeting.directory and known.directory and greeting.directory != known.directory:
        return DIRECTORY
    if greeting.incarnation < known.incarnation:
        return INCARNATION
    if not known.process or not greeting.process:
        return None
    starts_since = greeting.incarnation - known.incarnation
    # Of a start that is too long ago for the directory to remember nothing can be said.
    processes = [greeting.process, *greeting.previous_processes]
    return COPIED if starts_since < len(processes) and processes[starts_since] != known.process else None
