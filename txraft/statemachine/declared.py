"""State machines declared as classes: methods marked `@command` and `@query`, checked and described from their type hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, ClassVar, TypeVar, get_type_hints

import msgspec
from msgspec.structs import asdict, astuple
from zope.interface import implementer

from txraft.limits import NAME_LENGTH_MAX
from txraft.statemachine.context import Context
from txraft.statemachine.events import History
from txraft.statemachine.interfaces import ISupplier, IWatched
from txraft.statemachine.operations import WAIT_PARAMETER, Declaration, Operation
from txraft.statemachine.state_parts import SNAPSHOT_IS_A_GENERATOR

__all__ = ["StateMachine", "command", "patient_command", "query"]

Method = TypeVar("Method", bound=Callable[..., Any])

_MARK = "__txraft_operation__"
_POSSIBLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def command(method: Method) -> Method:
    """Mark a method as a command: it goes through the log, may change the state, and takes `ctx` before its parameters."""
    return _marked(method, "command")


def patient_command(method: Method) -> Method:
    """Mark a method as a command whose callers are in no hurry, such as one that keeps something alive.

    The leader keeps it for some milliseconds, so that many of them, or others, go into the log together: alone, each costs as much as they
    all would.
    """
    return _marked(method, "patient command")


def query(method: Method) -> Method:
    """Mark a method as a query: it runs on one server, outside the log, and changes nothing."""
    return _marked(method, "query")


def _marked(method: Method, kind: str) -> Method:
    if not isinstance(method, FunctionType):
        mark = kind.replace(" ", "_")
        raise TypeError(f"@{mark} marks a plain method, not {method!r}; write it without parentheses and under no other decorator")
    setattr(method, _MARK, kind)
    return method


@implementer(IWatched, ISupplier)
class StateMachine:
    """Inherit from it, and mark methods with `@command` and `@query`; define `snapshot` and `restore`.

    Mistakes in a declaration raise `TypeError` when the class is created, naming class, method and parameter.
    """

    version: ClassVar[int] = 1
    """Raise it when the same commands would lead to another state or another result than before."""

    _declared: ClassVar[Declaration] = Declaration("", {}, {})
    _by_name: ClassVar[frozenset[str]] = frozenset()  # operations that take some parameters by name only; by position is quicker

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declared = _declaration_of(cls)
        operations = (*cls._declared.commands, *cls._declared.queries)
        cls._by_name = frozenset(name for name in operations if _takes_some_by_name_only(getattr(cls, name)))

    def declaration(self) -> Declaration:
        """See `IStateMachine`."""
        hidden = sorted({*self._declared.commands, *self._declared.queries} & vars(self).keys())
        if hidden:
            raise TypeError(f"{type(self).__name__}: the attribute {hidden[0]!r} hides the command or query of that name")
        return self._declared

    def apply_command(self, ctx: Context, name: str, arguments: msgspec.Struct) -> Any:
        """See `IStateMachine`."""
        if name in self._by_name:
            return getattr(self, name)(ctx, **asdict(arguments))
        return getattr(self, name)(ctx, *astuple(arguments))

    def run_query(self, name: str, arguments: msgspec.Struct) -> Any:
        """See `IStateMachine`."""
        if name in self._by_name:
            return getattr(self, name)(**asdict(arguments))
        return getattr(self, name)(*astuple(arguments))

    def snapshot(self) -> Any:
        """The whole state: plain data, which is encoded at once and so may be the live state itself; or, when there is much of it, an
        iterator of items over frozen views, such as `SnapshotDict.frozen()`: it is read later, in another thread, while the state changes.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define snapshot()")

    def restore(self, state: Any) -> None:
        """Become the state that `snapshot` gave: plain data, or an iterator of items, to be read to its end. Called on a fresh machine that
        nobody uses yet, in any thread; tuples come back as lists.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define restore(state)")

    def deadline(self) -> float | None:
        """When `expire` is next to be called, in seconds of log time as in `ctx.time`; None for never. It may depend on the state only."""
        return None

    def expire(self, ctx: Context) -> None:
        """Do all that is due at `ctx.time`; called once log time has reached `deadline()`, before the command that showed it."""

    def events(self) -> History | None:
        """A history of the machine's own for those who watch it; None: the host keeps what commands emit."""
        return None

    def waits_on(self, name: str, arguments: msgspec.Struct) -> str | bytes | None:
        """The topic from whose supply a command with a parameter `wait_s` takes; None: it never waits. See `ISupplier`."""
        return None

    def demand(self, name: str, arguments: msgspec.Struct) -> int:
        """How much of the supply of its topic a command with a parameter `wait_s` takes at the most."""
        return 1

    def supply(self, topic: bytes) -> int:
        """How much there is on `topic` for the commands that wait on it."""
        return 0


RESERVED = frozenset({"watch", *(name for name in vars(StateMachine) if not name.startswith("_"))})
"""Names that no command or query may have; `watch` is that of the routes where events are read."""


def _declaration_of(cls: type[StateMachine]) -> Declaration:
    marks: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # so that a command overridden without a decorator stays one
        marks.update((name, kind) for name, value in vars(base).items() if (kind := _mark_of(value)) is not None)
    found: dict[str, dict[str, Operation]] = {"command": {}, "query": {}}
    for name, kind in sorted(marks.items()):
        patience, _, kind = kind.rpartition(" ")
        method = inspect.getattr_static(cls, name)
        found[kind][name] = _operation_of(f"{cls.__qualname__}.{name}", name, method, kind, patient=bool(patience))
    if cls.deadline is not StateMachine.deadline and cls.expire is StateMachine.expire:
        raise TypeError(f"{cls.__qualname__}: deadline() without expire(ctx): nothing would happen at the deadline")
    if inspect.isgeneratorfunction(cls.snapshot):
        raise TypeError(f"{cls.__qualname__}: {SNAPSHOT_IS_A_GENERATOR}")
    waiting = sorted(name for name, operation in found["command"].items() if WAIT_PARAMETER in operation.parameters)
    if waiting and (cls.waits_on is StateMachine.waits_on or cls.supply is StateMachine.supply):
        raise TypeError(f"{cls.__qualname__}.{waiting[0]}: a command with {WAIT_PARAMETER} needs waits_on() and supply() in its class")
    return Declaration(inspect.cleandoc(cls.__doc__ or ""), found["command"], found["query"])


def _takes_some_by_name_only(method: Callable[..., Any]) -> bool:
    return any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in inspect.signature(method).parameters.values())


def _mark_of(value: Any) -> str | None:
    mark: str | None = vars(method).get(_MARK) if isinstance(method := getattr(value, "__func__", value), FunctionType) else None
    return mark


def _operation_of(place: str, name: str, method: Any, kind: str, *, patient: bool) -> Operation:
    if not isinstance(method, FunctionType):
        raise TypeError(f"{place}: a {kind} is a plain method, not {method!r}")
    if name.startswith("_") or name in RESERVED:
        taken = ", ".join(sorted(RESERVED))
        raise TypeError(f"{place}: a {kind} cannot have this name: names with _ in front are private, and taken are {taken}")
    if not name.isascii() or len(name) > NAME_LENGTH_MAX:
        raise TypeError(f"{place}: a {kind}'s name is ASCII and at most {NAME_LENGTH_MAX} characters long")
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise TypeError(f"{place}: a {kind} returns its result at once; it cannot be async or yield")
    parameters = list(inspect.signature(method).parameters.values())[1:]
    if kind == "command":
        if not parameters or parameters[0].name != "ctx" or parameters[0].kind not in _POSSIBLE[:1]:
            raise TypeError(f"{place}: the first parameter of a command after self is ctx")
        parameters = parameters[1:]
    elif any(parameter.name == "ctx" for parameter in parameters):
        raise TypeError(f"{place}: a query has no ctx: it runs outside the log")
    fields = [_field_of(f"{place}: parameter {parameter.name!r}", parameter, method) for parameter in parameters]
    try:
        arguments = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, omit_defaults=True)
        return Operation(name, arguments, inspect.cleandoc(method.__doc__ or ""), _returned_by(method), patient)
    except TypeError as error:
        raise TypeError(f"{place.rpartition('.')[0]}.{error}") from None


def _field_of(place: str, parameter: inspect.Parameter, method: FunctionType) -> tuple[str, Any] | tuple[str, Any, Any]:
    name, default = parameter.name, parameter.default
    if parameter.kind not in _POSSIBLE:
        raise TypeError(f"{place}: {parameter} has no name that a caller could give: no *, ** and / here")
    if parameter.annotation is parameter.empty:
        raise TypeError(f"{place} has no type hint: arguments are checked against it before they reach the log")
    if name.startswith("_"):
        raise TypeError(f"{place}: a parameter's name cannot begin with _")
    kind = _resolved(place, parameter.annotation, method)
    if default is parameter.empty:
        return name, kind
    if isinstance(default, (list, dict)) and default:
        raise TypeError(f"{place}: its default {default!r} could be changed by a call, and so for the next one: make it None, or empty")
    try:
        msgspec.convert(msgspec.to_builtins(default), kind)
        msgspec.defstruct("Default", [(name, kind, default)])
    except (TypeError, ValueError) as error:
        raise TypeError(f"{place}: its default {default!r} is not possible: {error}") from None
    return name, kind, default


def _resolved(place: str, annotation: Any, method: FunctionType) -> Any:
    """A type hint as an object: with `from __future__ import annotations` it is text. The hint of `ctx` is never asked for."""
    holder = type("Holder", (), {"__annotations__": {"hint": annotation}})
    try:
        return get_type_hints(holder, method.__globals__, include_extras=True)["hint"]
    except Exception as error:
        raise TypeError(f"{place}: its type hint {annotation!r} cannot be read: {error}") from None


def _returned_by(method: FunctionType) -> Any:
    annotation = inspect.signature(method).return_annotation
    return Any if annotation is inspect.Signature.empty else _resolved(f"{method.__qualname__}: the result", annotation, method)
