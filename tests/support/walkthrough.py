"""Follows a page of documentation to the letter: its commands are run, what they print is compared, its files are written.

What is understood, in fenced blocks:

* ``console``: a line that begins with ``$ `` is a command (``> `` goes on with it), and the lines after it are all that it prints. A line
  of dots (``...``) stands for any lines (the last one for all that follow), dots within a line for any text. ``^C`` interrupts what runs.
  A block that begins with output goes on with what the terminal's last command prints. ``console terminal=NAME`` is another terminal, where
  a command may still run when the block ends; otherwise each must have ended. A command that shows no output must print nothing and exit
  with 0.
* ``python``: a file. The first line is a comment that says which: ``# PATH``, or ``# at the end of PATH``; the path counts from the folder
  of the first terminal. At the end of a file the block is appended without that line.

Any other fence is an error, so that nothing on the page goes unchecked.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

__all__ = ["Block", "Walk", "WentAstray", "blocks_of", "pattern_of"]

LOOK_S = 0.02
_FENCE = re.compile(r"^```(?P<words>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class WentAstray(AssertionError):
    """Something on the page is not so; the sentence says where."""


@frozen
class Block:
    """A fenced block: where it stands, what its fence says, and its lines."""

    place: str
    language: str
    terminal: str
    lines: tuple[str, ...]


def blocks_of(page: str, name: str) -> Iterator[Block]:
    """All fenced blocks of a page."""
    for found in _FENCE.finditer(page):
        language, *options = found["words"].split() or [""]
        terminal = next((option.partition("=")[2] for option in options if option.startswith("terminal=")), "")
        place = f"{name}:{page.count(chr(10), 0, found.start()) + 1}"
        yield Block(place, language, terminal, tuple(found["text"].splitlines()))


def pattern_of(lines: list[str]) -> re.Pattern[str]:
    """Matches what these lines show."""
    parts = [r"(?:.*\n)*?" if line == "..." else "[^\n]*".join(map(re.escape, line.split("..."))) + "\n" for line in lines]
    return re.compile("".join(parts))


@define
class Terminal:
    """A shell: what one command exports, and the folder it changes to, hold for the next.

    Attributes:
        folder: for its own files.
        environment: that it begins with.
        where: the folder it is in.
    """

    folder: Path
    environment: dict[str, str]
    where: Path
    _process: subprocess.Popen[bytes] | None = None
    _command: str = ""
    _read: int = 0
    _more_may_come: bool = False

    def begin(self, command: str) -> None:
        """Start a command; the one before must have ended."""
        exports, where = self.folder / "exports", self.folder / "where"
        if where.exists():
            self.where = Path(where.read_text().rstrip("\n"))
        script = f"{command}\nstatus=$?\nexport -p > {exports}\npwd > {where}\nexit $status\n"
        if exports.exists():
            script = f". {exports}\n{script}"
        self._command, self._read = command, 0
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.where,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether a command has not ended."""
        return self._process is not None and self._process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C."""
        if not self.running:
            raise WentAstray(f"nothing runs that ^C could interrupt; the last was: {self._command}")
        os.killpg(self._process.pid, signal.SIGINT)  # type: ignore[union-attr]

    def expect(self, lines: list[str], timeout_s: float) -> None:
        """Wait for this output. The command may go on after it."""
        pattern, give_up_at = pattern_of(lines), time.monotonic() + timeout_s
        self._more_may_come = lines[-1:] == ["..."]
        while True:
            running = self.running
            output = self._unread()
            if found := pattern.match(output):
                self._read += found.end()
                return
            if not running or time.monotonic() > give_up_at:
                state = f"goes on after {timeout_s:g} s" if running else "has ended"
                raise WentAstray(f"$ {self._command}\nshould print\n{chr(10).join(lines)}\nbut {state} and printed\n{output}")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_S)  # type: ignore[union-attr]

    def end(self, timeout_s: float, *, judged_by_output: bool = True) -> None:
        """Wait for the end of the command; it must not have printed more than was expected."""
        if self._process is None:
            return
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise WentAstray(f"$ {self._command}\ndoes not end within {timeout_s:g} s; it printed\n{self._unread()}") from None
        if (rest := self._unread()) and not self._more_may_come:
            raise WentAstray(f"$ {self._command}\nprinted more than it should:\n{rest}")
        if status and not judged_by_output:
            raise WentAstray(f"$ {self._command}\nexited with {status}, and should have printed nothing")

    def kill(self) -> None:
        """End whatever runs."""
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _unread(self) -> str:
        text = (self.folder / "output").read_text("utf-8", "replace")
        # What does not end its last line is shown on a line of its own all the same.
        return (text if text.endswith("\n") or not text or self.running else text + "\n")[self._read :]


@define
class Walk:
    """One walk through a page.

    Attributes:
        folder: where it begins; must be empty but for what the page takes for granted.
        environment: of its terminals.
        timeout_s: for each command.
    """

    folder: Path
    environment: Mapping[str, str]
    timeout_s: float = 120.0
    _terminals: dict[str, Terminal] = field(factory=dict)

    def follow(self, page: Path) -> int:
        """All blocks, in order; how many there are.

        Raises:
            WentAstray: the page is wrong.
        """
        count = 0
        for block in blocks_of(page.read_text("utf-8"), page.name):
            try:
                self._follow(block)
            except WentAstray as problem:
                raise WentAstray(f"{block.place}: {problem}") from None
            count += 1
        for terminal in self._terminals.values():
            terminal.end(self.timeout_s)
        return count

    def close(self) -> None:
        """End whatever runs."""
        for terminal in self._terminals.values():
            terminal.kill()

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            own = self.folder / f".terminal-{name or 'first'}"
            own.mkdir()
            self._terminals[name] = Terminal(own, dict(self.environment), self.folder)
        return self._terminals[name]

    def _follow(self, block: Block) -> None:
        if block.language == "console":
            self._console(block)
        elif block.language == "python":
            self._file(block)
        else:
            raise WentAstray(f"nobody checks a block of {block.language or 'no language'}")

    def _console(self, block: Block) -> None:
        terminal = self._terminal(block.terminal)
        for command, lines in _steps(block.lines):
            if command == "^C":
                terminal.interrupt()
            elif command is not None:
                terminal.end(self.timeout_s)
                terminal.begin(command)
            terminal.expect(lines, self.timeout_s)
            if not block.terminal:
                terminal.end(self.timeout_s, judged_by_output=bool(lines))

    def _file(self, block: Block) -> None:
        first, *lines = block.lines
        found = re.fullmatch(r"# (?P<end>at the end of )?(?P<path>[\w./-]+\.\w+)", first)
        if found is None:
            raise WentAstray(f"{first!r} does not say which file this is: # PATH, or # at the end of PATH")
        where = self._terminal("").folder / "where"
        file = Path(where.read_text().rstrip("\n") if where.exists() else self.folder) / found["path"]
        before = file.read_text("utf-8") if found["end"] else ""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(before + "\n".join(lines if found["end"] else block.lines) + "\n", "utf-8")


def _steps(lines: tuple[str, ...]) -> list[tuple[str | None, list[str]]]:
    """Commands, with the output that each shows."""
    steps: list[tuple[str | None, list[str]]] = []
    for line in lines:
        if line.startswith("$ ") or line == "^C":
            steps.append((line.removeprefix("$ "), []))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1] = (f"{steps[-1][0]}\n{line.removeprefix('> ')}", [])
        elif steps:
            steps[-1][1].append(line)
        else:
            steps.append((None, [line]))
    return steps
