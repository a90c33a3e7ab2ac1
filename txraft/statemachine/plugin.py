"""From the name in a configuration to a machine: plug-ins of `twisted.plugins`, or a dotted path to a class.

`twisted.plugin.getPlugins` logs and skips what it cannot load. Here nothing is skipped: what is missing or broken is named, with the cause.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from attrs import frozen
from twisted.plugin import IPlugin, getPlugins
from zope.interface import implementer

from txraft.errors import MachineUnavailable
from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX
from txraft.statemachine.interfaces import IStateMachine, IStateMachinePlugin
from txraft.statemachine.operations import Declaration
from txraft.statemachine.plain import require_plain_sample
from txraft.statemachine.state_parts import SNAPSHOT_IS_A_GENERATOR, is_stream
from txraft.statemachine.values import decode_value, encode_value

__all__ = ["LoadedMachine", "PluginListing", "StateMachinePlugin", "available_plugins", "load_as_logged", "load_machine"]

_REASON_MAX = 300


@implementer(IPlugin, IStateMachinePlugin)
class StateMachinePlugin:
    """Offers a machine under a name; stands in a module of `twisted/plugins/`, and imports the machine only when it is used.

    Args:
        name: what configurations call it: letters, digits, `_` and `-`, beginning with a letter.
        path: where it is: `package.module.Class`.
    """

    def __init__(self, name: str, path: str) -> None:
        if not _is_name(name):
            raise ValueError(f"{name!r} cannot be a plug-in's name: letters, digits, _ and -, beginning with a letter")
        self.name, self.path = name, path

    def load(self) -> Callable[[], IStateMachine]:
        """Import the machine; raises whatever its import raises."""
        make: Callable[[], IStateMachine] = _import_object(self.path)
        return make

    def __repr__(self) -> str:
        return f"StateMachinePlugin({self.name!r}, {self.path!r})"


@frozen
class LoadedMachine:
    """A kind of machine, ready to be hosted.

    Attributes:
        plugin: as it was asked for.
        make: gives an empty machine.
        version: of its commands.
        declaration: its commands and queries.
        origin: the file or module it came from.
    """

    plugin: str
    make: Callable[[], IStateMachine]
    version: int
    declaration: Declaration
    origin: str


@frozen
class PluginListing:
    """A plug-in for people to look at. `error` says why it cannot be used; version and doc are then unknown."""

    name: str
    origin: str
    version: int | None = None
    doc: str = ""
    error: str = ""


def load_machine(plugin: str, *, machine: str = "", origin: str = "") -> LoadedMachine:
    """The machine that `plugin` names: a plug-in of that name, or `package.module.Class` or `package.module:Class`.

    Args:
        plugin: which.
        machine: the name it is to be hosted under, for the error.
        origin: who asks for it (a file, "the log"), for the error.

    Raises:
        MachineUnavailable: it is missing, broken, or offered twice.
    """
    try:
        if len(plugin) > NAME_LENGTH_MAX:
            raise _Problem(f"its name is longer than {NAME_LENGTH_MAX} characters", "Choose a shorter one")
        if "." in plugin or ":" in plugin:
            return _loaded(plugin, lambda: _import_object(plugin), plugin)
        found = _find(plugin)
        return _loaded(plugin, found.load, _origin_of(found))
    except _Problem as problem:
        wanted = f"machine {machine!r} needs plug-in {plugin!r}" if machine else f"plug-in {plugin!r}"
        raise MachineUnavailable(
            f"{wanted}: {problem.what}", origin=origin, key=f"machines.{machine}" if machine else "", remedy=problem.remedy
        ) from problem.__cause__


def load_as_logged(loaded: LoadedMachine | None, plugin: str, version: int, *, machine: str) -> LoadedMachine:
    """The kind of machine that the log, or a snapshot, asks for; `loaded` is what runs under that name here, if anything does.

    Raises:
        MachineUnavailable: what is installed is another one.
    """
    if loaded is None or loaded.plugin != plugin:
        wanted = load_machine(plugin, machine=machine, origin="the log")
        if loaded is not None and loaded.make is not wanted.make:
            raise MachineUnavailable(
                f"in this cluster, {machine!r} is run by plug-in {plugin!r}, not by {loaded.plugin!r}",
                key=f"machines.{machine}",
                remedy="Configure the one that the log names, or host the other under another name",
            )
        loaded = wanted
    if loaded.version != version:
        raise MachineUnavailable(
            f"the log has version {version} of plug-in {plugin!r}; installed is version {loaded.version} ({loaded.origin})",
            key=f"machines.{machine}",
            remedy=f"Install the distribution with version {version}",
        )
    return loaded


def available_plugins() -> list[PluginListing]:
    """All state-machine plug-ins that can be seen from here, by name; and the files in `twisted/plugins/` that cannot be imported."""
    listings = []
    for one in _plugins():
        try:
            loaded = _loaded(one.name, one.load, _origin_of(one))
        except _Problem as problem:
            listings.append(PluginListing(one.name, _origin_of(one), error=problem.what))
        else:
            listings.append(PluginListing(one.name, loaded.origin, loaded.version, loaded.declaration.doc))
    listings += [PluginListing(file.rpartition("/")[2], file, error=why) for file, why in _broken_files()]
    return sorted(listings, key=lambda listing: (listing.name, listing.origin))


class _Problem(Exception):
    """Why a plug-in cannot be used, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def _is_name(text: str) -> bool:
    return text.isascii() and text[:1].isalpha() and text.replace("-", "").replace("_", "").isalnum() and len(text) <= NAME_LENGTH_MAX


def _plugins() -> list[IStateMachinePlugin]:
    """All plug-ins that can be asked for; one object once, even under two names in its module."""
    return list({id(one): one for one in getPlugins(IStateMachinePlugin) if isinstance(getattr(one, "name", None), str)}.values())


def _find(name: str) -> IStateMachinePlugin:
    plugins = _plugins()
    found = [one for one in plugins if one.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        origins = " and ".join(sorted(_origin_of(one) for one in found))
        raise _Problem(f"it is offered {len(found)} times, by {origins}", "Uninstall all but one, or name the class: package.module.Class")
    names = ", ".join(sorted({one.name for one in plugins})) or "none"
    broken = "".join(f"; {file} cannot be imported: {why}" for file, why in _broken_files())
    raise _Problem(
        f"there is no such plug-in. Found: {names}{broken}",
        "Install the distribution that has it (twisted/plugins/ must be in its package list), or name the class: package.module.Class",
    )


def _origin_of(plugin: IStateMachinePlugin) -> str:
    """The file that offers a plug-in: the module in which it stands."""
    for name, module in list(sys.modules.items()):
        if name.startswith("twisted.plugins.") and any(value is plugin for value in vars(module).values()):
            return str(getattr(module, "__file__", None) or name)
    return str(type(plugin).__module__)


def _broken_files() -> Iterator[tuple[str, str]]:
    """The files in `twisted/plugins/` that `getPlugins` passes over in silence, with the reason."""
    folders = importlib.import_module("twisted.plugins").__path__
    for found in pkgutil.iter_modules(folders, "twisted.plugins."):
        try:
            importlib.import_module(found.name)
        except (Exception, SystemExit) as error:
            yield f"{getattr(found.module_finder, 'path', '')}/{found.name.rpartition('.')[2]}.py", _reason(error)


def _import_object(path: str) -> Any:
    """The object at `package.module.Name` or `package.module:Name.Inner`."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module or not name:
        raise ValueError(f"{path!r} is not of the form package.module.Class")
    return reduce(getattr, name.split("."), importlib.import_module(module))


def _loaded(plugin: str, load: Callable[[], Callable[[], IStateMachine]], origin: str) -> LoadedMachine:
    """Load and try out a machine: whatever is wrong with it is to be known now, not at its first command."""
    try:
        make = load()
    except (Exception, SystemExit) as error:
        remedy = "Install it, or correct the name" if isinstance(error, ModuleNotFoundError) else "Mend it, or remove it from the machines"
        raise _Problem(f"it cannot be loaded from {origin}: {_reason(error)}", remedy) from error
    try:
        return _tried_out(plugin, make, origin)
    except _Problem:
        raise
    except Exception as error:
        raise _Problem(f"{make!r} cannot be used: {_reason(error)}", "Mend the machine") from error


def _tried_out(plugin: str, make: Callable[[], IStateMachine], origin: str) -> LoadedMachine:
    fresh = make()
    if not IStateMachine.providedBy(fresh):
        raise _Problem(f"{make!r} is no state machine: it does not provide IStateMachine", "Inherit from txraft.statemachine.StateMachine")
    if type(fresh.version) is not int or not 0 <= fresh.version <= INDEX_MAX:
        raise ValueError(f"its version is {fresh.version!r}, not a whole number")
    if inspect.isgeneratorfunction(getattr(type(fresh), "snapshot", None)):
        raise ValueError(SNAPSHOT_IS_A_GENERATOR)
    declaration = fresh.declaration()
    if not declaration.commands and not declaration.queries:
        raise ValueError("it declares no command and no query; mark methods with @command and @query")
    _try_restoring(fresh, make())
    return LoadedMachine(plugin, make, fresh.version, declaration, origin)


def _try_restoring(fresh: IStateMachine, other: IStateMachine) -> None:
    """Let `other` have the state that a fresh machine gives, encoded and decoded."""
    try:
        state = fresh.snapshot()
        streamed = is_stream(state)
        if streamed:
            state = list(state)
    except Exception as error:
        raise ValueError(f"snapshot() of a fresh one failed: {_reason(error)}") from error
    gave = f"snapshot() of a fresh one gave {'the items ' if streamed else ''}{state!r:.100}"
    try:
        require_plain_sample(state)
        decoded = decode_value(encode_value(state))
    except Exception as error:
        raise ValueError(f"{gave}, which is not plain data: {_reason(error)}") from error
    try:
        items = iter(decoded) if streamed else iter(())
        other.restore(items if streamed else decoded)
    except Exception as error:
        raise ValueError(f"{gave}, and restore() failed with it: {_reason(error)}") from error
    left = sum(1 for _ in items)
    if left:
        raise ValueError(f"{gave}, and restore() does not take over all of it: {left} are left")


def _reason(error: BaseException) -> str:
    """One line on what went wrong."""
    text = " ".join(traceback.format_exception_only(error)[-1].split())
    return text if len(text) <= _REASON_MAX else f"{text[:_REASON_MAX]}…"
