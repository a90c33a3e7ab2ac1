"""Several named machines behind one log: checks commands before they are proposed, applies them after, and answers queries.

Everything that decides a state or a result follows from the log alone. Reactor thread only; nothing here waits.

Source: Figure 10.1 (state machine); §6.3 (sessions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from txraft.errors import Halted, MachineUnavailable, NotApplied, Outcome
from txraft.limits import Limits
from txraft.statemachine.context import Context
from txraft.statemachine.host_snapshot import Capture, CapturedMachine, Restored, read_state
from txraft.statemachine.hosted import HALTING, Hosted, Wait
from txraft.statemachine.log_commands import Clock, CloseSession, HostMachine, Invoke, KeepSession, LogCommand, OpenSession
from txraft.statemachine.operations import WAIT_PARAMETER, Declaration, Operation
from txraft.statemachine.plugin import LoadedMachine, load_as_logged, load_machine
from txraft.statemachine.results import answer_of_problem, answer_of_value
from txraft.statemachine.sessions import NEVER_MS, Sessions
from txraft.statemachine.values import decode_value_as, encode_canonical, encode_value

__all__ = ["Host"]

Table = dict[tuple[str, str], tuple[Hosted, Operation]]


class Host:
    """The machines of one server.

    Args:
        configured: plug-in by machine name; a plug-in's name or `package.module.Class`. All are loaded at once.
        limits: of these, `sessions_max` and `session_results_max` decide results: they must be the same on all servers.

    Attributes:
        log_time_ms: of the newest entry; never goes back.
        applied_index: of the newest entry.
        on_machine_error: told of bugs in machines, to log them: machine, operation, traceback.
        on_signal: told what something happened to, for those who wait: machine, topic. In the midst of an entry: only to be noted.
        waiting_commands: names of commands that may wait, or are patient; most others are told from them by their names alone.

    Raises:
        MachineUnavailable: a plug-in is missing or broken.
    """

    def __init__(self, configured: Mapping[str, str], *, limits: Limits) -> None:
        self.log_time_ms = 0
        self.applied_index = 0
        self.on_machine_error: Callable[[str, str, str], None] | None = None
        self.on_signal: Callable[[str, bytes], None] | None = None
        self.waiting_commands: frozenset[str] = frozenset()
        self._limits = limits
        self._sessions = Sessions(sessions_max=limits.sessions_max, results_max=limits.session_results_max)
        self._loaded = {name: load_machine(plugin, machine=name) for name, plugin in sorted(configured.items())}
        self._hosted: dict[str, Hosted] = {}
        self._commands: Table = {}
        self._queries: Table = {}
        self._context = Context(0, 0)
        self._wake_ms = NEVER_MS

    # Before the log.

    def prepare(self, machine: str, command: str, arguments: bytes | msgspec.Raw) -> msgspec.Raw:
        """Check a command; its arguments as they are to stand in the log.

        Raises:
            NotApplied: `unknown_machine`, `unknown_command`, `invalid_arguments`, `too_large`; `not_ready` for a machine that the log
                is about to be told of.
        """
        found = self._commands.get((machine, command))
        if found is None:
            raise self._absent(machine, command)
        return found[1].prepare(arguments, self._limits.command_bytes_max)

    def prepare_query(self, machine: str, query: str, arguments: bytes | msgspec.Raw) -> msgspec.Raw:
        """The same for a query."""
        found = self._queries.get((machine, query))
        if found is None:
            raise self._absent(machine, query)
        return found[1].prepare(arguments, self._limits.command_bytes_max)

    def arguments_of_json(self, machine: str, operation: str, body: bytes, *, text: bool = False) -> bytes:
        """A JSON object as arguments of a command or query, see `Operation.from_json`; raises `NotApplied` like `prepare`."""
        loaded = self._loaded.get(machine)
        declaration = None if loaded is None else loaded.declaration
        found = declaration and (declaration.commands.get(operation) or declaration.queries.get(operation))
        if not found:
            raise self._absent(machine, operation)
        return found.from_json(body, text=text)

    def _absent(self, machine: str, operation: str) -> NotApplied:
        loaded = self._loaded.get(machine)
        if loaded is None:
            known = ", ".join(sorted(self._loaded)) or "none"
            return NotApplied("unknown_machine", f"no machine is called {machine!r}; there are: {known}")
        if machine not in self._hosted:
            return NotApplied("not_ready", f"machine {machine!r} is about to be hosted; try again")
        commands, queries = sorted(loaded.declaration.commands), sorted(loaded.declaration.queries)
        problem = f"has no {operation!r}"
        if operation in commands or operation in queries:
            problem = f"has {operation!r} as a {'command' if operation in commands else 'query'} only"
        return NotApplied(
            "unknown_command", f"{machine!r} {problem}. Its commands: {', '.join(commands)}; its queries: {', '.join(queries)}"
        )

    # Out of the log.

    def apply(self, index: int, term: int, command: LogCommand) -> bytes:
        """Apply the command of the next entry; the encoded answer.

        Log time moves first; what is due by then runs before the command: sessions expire, then machines in the order of their names.

        Raises:
            MachineUnavailable: the entry needs a plug-in, a version or a command that is not installed here. Never passed over.
            MemoryError, OSError, RecursionError: out of a machine. After any exception the entry does not count as applied, and the
                state is not to be used any more: this server must halt.
        """
        if index != self.applied_index + 1:
            raise Halted(f"entry {index} was to be applied after entry {self.applied_index}")
        if command.time_ms > self.log_time_ms:
            self.log_time_ms = command.time_ms
        context = self._context
        context.move_to(index, term, self.log_time_ms)
        if self.log_time_ms >= self._wake_ms:
            self._expire(context)
        try:
            answer = self._invoke(context, command) if type(command) is Invoke else self._own_command(context, command)
        except Outcome as problem:
            answer = answer_of_problem(problem, index, term)
        self.applied_index = index
        return answer

    def skip(self, index: int) -> None:
        """Pass over an entry that is no command."""
        if index != self.applied_index + 1:
            raise Halted(f"entry {index} was to be applied after entry {self.applied_index}")
        self.applied_index = index

    def _invoke(self, context: Context, command: Invoke) -> bytes:
        if not command.session:
            return self._run(context, command)
        session = self._sessions.admit(command, context.time_ms)
        if isinstance(session, bytes):
            return session
        context.session = command.session
        answer = session.results[command.serial] = self._run(context, command)
        return answer

    def _run(self, context: Context, command: Invoke) -> bytes:
        found = self._commands.get((command.machine, command.command))
        if found is None:
            raise self._beyond_us(command, "no such command is installed here")
        hosted, operation = found
        try:
            arguments = decode_value_as(command.arguments, operation.decoder)
        except HALTING:
            raise
        except Exception as error:
            raise self._beyond_us(command, f"its arguments are not those of the command installed here ({error})") from error
        answer = hosted.run(context, operation, arguments)
        if hosted.has_deadlines and hosted.note_deadline():
            self._set_wake()
        return answer

    def _own_command(self, context: Context, command: LogCommand) -> bytes:
        value = None
        if type(command) is OpenSession:
            value = self._sessions.open(context.index, command.timeout_ms, context.time_ms)
            self._set_wake()
        elif type(command) is KeepSession:
            self._sessions.keep(command.session, context.time_ms)
        elif type(command) is CloseSession:
            self._sessions.close(command.session)
        elif type(command) is HostMachine:
            self._host(command)
        elif type(command) is not Clock:
            raise Halted(f"entry {context.index} holds a {type(command).__name__}, which this version does not know")
        return answer_of_value(value, context.index, context.term)

    def _expire(self, context: Context) -> None:
        self._sessions.expire(context.time_ms)
        for hosted in self._hosted.values():
            if hosted.deadline_ms <= context.time_ms:
                hosted.expire(context)
        self._set_wake()

    def _set_wake(self) -> None:
        self._wake_ms = min((hosted.deadline_ms for hosted in self._hosted.values()), default=NEVER_MS)
        self._wake_ms = min(self._wake_ms, self._sessions.wake_ms)

    def deadline_ms(self) -> int | None:
        """The log time at which something next wants to run: a machine, or the expiry of a session. None: nothing."""
        self._sessions.next_expiry_ms()
        self._set_wake()
        return None if self._wake_ms == NEVER_MS else self._wake_ms

    def query(self, machine: str, query: str, arguments: bytes | msgspec.Raw, term: int) -> bytes:
        """Answer a query, with arguments of `prepare_query`, from the state as it is; the encoded answer."""
        found = self._queries.get((machine, query))
        if found is None:
            return answer_of_problem(self._absent(machine, query), self.applied_index, term)
        hosted, operation = found
        return hosted.ask(operation, arguments, self.applied_index, term)

    # For those who wait.

    def hosted(self, machine: str) -> Hosted:
        """A machine, to read its events. Raises `NotApplied`: `unknown_machine` or `not_ready`."""
        found = self._hosted.get(machine)
        if found is None:
            raise self._absent(machine, "")
        return found

    def wait_of(self, machine: str, command: str, arguments: msgspec.Raw) -> Wait | None:
        """What a command with arguments of `prepare` waits for; None if it does not wait."""
        found = self._commands.get((machine, command))
        if found is None:
            return None
        hosted, operation = found
        return hosted.wait_of(operation, arguments)

    def is_patient(self, machine: str, command: str) -> bool:
        """Whether a command may be kept for a moment before it is proposed."""
        return self._commands[machine, command][1].patient

    def is_answered(self, session: int, serial: int) -> bool:
        """Whether a command of a session needs no wait: it has an answer, or its session is gone."""
        return self._sessions.is_answered(session, serial)

    # Which machines there are.

    def unhosted(self) -> list[tuple[str, str, int]]:
        """Configured machines that the log does not know yet: name, plug-in, version. A leader proposes a `HostMachine` for each."""
        return [(name, one.plugin, one.version) for name, one in self._loaded.items() if name not in self._hosted]

    def _host(self, command: HostMachine) -> None:
        if command.name not in self._hosted:
            self._put(self._make(command.name, command.plugin, command.version))

    def _make(self, name: str, plugin: str, version: int) -> Hosted:
        """An empty machine as the log wants it. Raises `MachineUnavailable` when what is installed is another one."""
        loaded = load_as_logged(self._loaded.get(name), plugin, version, machine=name)
        return Hosted(name, loaded, loaded.make(), self._report, on_signal=self._signal)

    def _put(self, hosted: Hosted) -> None:
        self._hosted = dict(sorted({**self._hosted, hosted.name: hosted}.items()))
        self._loaded[hosted.name] = hosted.loaded
        declaration = hosted.loaded.declaration
        self._commands.update({(hosted.name, name): (hosted, operation) for name, operation in declaration.commands.items()})
        self._queries.update({(hosted.name, name): (hosted, operation) for name, operation in declaration.queries.items()})
        self.waiting_commands |= {name for name, one in declaration.commands.items() if one.patient or WAIT_PARAMETER in one.parameters}
        hosted.note_deadline()
        self._set_wake()

    def _signal(self, machine: str, topic: bytes) -> None:
        if self.on_signal is not None:
            self.on_signal(machine, topic)

    def _report(self, machine: str, operation: str, failure_text: str) -> None:
        if self.on_machine_error is not None:
            self.on_machine_error(machine, operation, failure_text)

    # The whole state.

    def capture(self) -> Capture:
        """The whole state as it is now, for another thread to write. Quick, but for plain states: they are encoded here.

        Raises:
            NotApplied: `machine_error`: a machine cannot give its state.
        """
        return self._capture(encode_value)

    def capture_digest(self) -> Callable[[], str]:
        """The same, to be called, in any thread, for the SHA-256 of the state in hexadecimal: the same on all servers that have applied the
        same entries. It does not depend on the order of the items of a machine.
        """
        return self._capture(encode_canonical).digest

    def digest(self) -> str:
        """That SHA-256, at once. Raises like `capture`."""
        return self.capture_digest()()

    def machine_digests(self) -> dict[str, bytes]:
        """The same of each machine alone, in a form to be compared only."""
        return {name: encode_canonical(CapturedMachine.of(one, encode_canonical).digest()) for name, one in self._hosted.items()}

    def _capture(self, encode: Callable[[Any], bytes]) -> Capture:
        machines = [CapturedMachine.of(one, encode) for one in self._hosted.values()]
        return Capture(self.log_time_ms, self.applied_index, self._sessions.capture(), machines, self._limits.snapshot_part_bytes)

    def note_snapshot_failure(self, problem: NotApplied) -> None:
        """The parts of a capture raised this, in some thread: the machine at fault is reported and shows it in its status."""
        hosted = self._hosted.get(problem.details.get("machine", ""))
        if hosted is not None:
            hosted.note_snapshot_failure(problem)

    def restored(self, parts: Iterable[bytes]) -> Restored:
        """New machines and sessions out of the parts of a `Capture`; in any thread, for nobody uses them yet and nothing here changes.

        Raises:
            MachineUnavailable: a machine in it is not installed here, or in another version.
            CorruptState: it is no such stream.
            RestoreFailed: it is, but a machine cannot take over what it once gave.
            Exception: what `parts` raises.
        """
        return read_state(parts, self._sessions.fresh(), self._make)

    def adopt(self, restored: Restored) -> None:
        """Have these machines and sessions in place of everything there was. Those who wait are not told."""
        self.log_time_ms, self.applied_index, self._sessions = restored.log_time_ms, restored.applied_index, restored.sessions
        self._hosted, self._commands, self._queries = {}, {}, {}
        for hosted in restored.machines:
            errors = hosted.errors
            self._put(hosted)
            hosted.errors = errors
        self._set_wake()

    # For people.

    def describe(self) -> dict[str, Any]:
        """All machines that this server can run, by name, with their commands and queries: see `Declaration.describe`."""
        return {
            name: {"plugin": one.plugin, "version": one.version, **one.declaration.describe()} for name, one in sorted(self._loaded.items())
        }

    def declarations(self) -> dict[str, Declaration]:
        """What can be asked of each of them, by the name of the machine."""
        return {name: one.declaration for name, one in sorted(self._loaded.items())}

    def status(self) -> dict[str, Any]:
        """The hosted machines and what ails them, as plain data."""
        machines = {
            name: {"plugin": one.loaded.plugin, "version": one.loaded.version, "degraded": one.errors > 0, "last_error": one.last_error}
            for name, one in self._hosted.items()
        }
        return {"machines": machines, "sessions": len(self._sessions), "log_time_ms": self.log_time_ms}

    def _beyond_us(self, command: Invoke, why: str) -> MachineUnavailable:
        loaded: LoadedMachine | None = self._loaded.get(command.machine)
        installed = f"plug-in {loaded.plugin!r} version {loaded.version} ({loaded.origin})" if loaded else "no plug-in"
        return MachineUnavailable(
            f"the log holds {command.machine}.{command.command}: {why}; installed is {installed}",
            key=f"machines.{command.machine}",
            remedy="Install the distribution that the other servers run",
        )
