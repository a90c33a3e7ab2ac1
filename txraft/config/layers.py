"""The layers of the configuration: a YAML file, the environment, flags. Each becomes checked values by dotted key, with origins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from txraft import addresses
from txraft.config.values import KEYS, Invalid, kind_of
from txraft.errors import ConfigurationError

__all__ = ["Given", "default_file", "read_environment", "read_file", "read_flags"]

DEFAULT_FILES = (Path("txraft.yaml"), Path("/etc/txraft/txraft.yaml"))
"""The first of these that exists is read when no file is named."""

_FILE_BYTES_MAX = 1_048_576
_CLIENT_SIDE = frozenset({"TXRAFT_CONFIG", "TXRAFT_ENDPOINTS"})


@frozen
class Given:
    """A value that was configured, checked, with the place it was configured in."""

    value: Any
    origin: str


def default_file(environ: Mapping[str, str]) -> Path | None:
    """The configuration file that is used when no flag names one."""
    named = environ.get("TXRAFT_CONFIG")
    return Path(named) if named else next((path for path in DEFAULT_FILES if path.is_file()), None)


def read_file(path: Path) -> dict[str, Given]:
    """The keys of a YAML file. An empty file has none; a key without a value was not given. Raises `ConfigurationError`."""
    origin = str(path)
    given: dict[str, Given] = {}
    for key, value in _mapping_of(path).items():
        if key in ("timing", "limits"):
            if value is not None and not isinstance(value, dict):
                remedy = f"Write {key}: and under it, indented, lines such as {_example(key)}"
                raise ConfigurationError(f"is {kind_of(value)}, not a mapping", origin=origin, key=key, remedy=remedy)
            items = {f"{key}.{inner}": item for inner, item in (value or {}).items()}
        else:
            items = {str(key): value}
        for dotted, item in items.items():
            _take(given, dotted, item, origin)
    return given


def read_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The keys in `TXRAFT_*`: capitals, two underscores for the dot (`TXRAFT_TIMING__ELECTION_S`).

    Raises:
        ConfigurationError: for a variable that is none of ours, or its value.
    """
    names = {"TXRAFT_" + key.upper().replace(".", "__"): key for key in KEYS}
    given: dict[str, Given] = {}
    for variable in sorted(environ):
        if not variable.startswith("TXRAFT_") or variable in _CLIENT_SIDE:
            continue
        if variable not in names:
            raise ConfigurationError(
                "no such environment variable", origin=variable, remedy=_did_you_mean(variable, names) + "Unset it otherwise"
            )
        _take(given, names[variable], _from_text(names[variable], environ[variable], variable), variable)
    return given


def read_flags(flags: Mapping[str, Any], origin_of: Callable[[str], str]) -> dict[str, Given]:
    """The keys given as flags or arguments; texts are read as in the environment, lists of texts joined.

    Raises:
        ConfigurationError: for a key that is none of ours, or its value.
    """
    given: dict[str, Given] = {}
    for key, value in flags.items():
        origin = origin_of("machine" if key == "machines" else key)
        if key in ("bootstrap", "machines") and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            value = ",".join(value)
        if isinstance(value, Path):
            value = str(value)
        _take(given, key, _from_text(key, value, origin) if isinstance(value, str) else value, origin)
    return given


def _take(given: dict[str, Given], key: str, value: Any, origin: str) -> None:
    if key not in KEYS:
        raise ConfigurationError("no such key", origin=origin, key=key, remedy=_did_you_mean(key, KEYS) + "Remove it otherwise")
    if value is None:
        return
    try:
        given[key] = Given(KEYS[key](value), origin)
    except Invalid as invalid:
        raise ConfigurationError(invalid.problem, origin=origin, key=key, remedy=invalid.remedy) from None


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if close:
        return f"Did you mean {close[0]}? "
    group = word.partition(".")[0]
    near = [name for name in names if name.startswith(group + ".")] or [name for name in names if "." not in name and "__" not in name]
    return f"Known are {', '.join(near)}. "


def _mapping_of(path: Path) -> dict[Any, Any]:
    """The YAML mapping in a file, with no key twice."""
    origin = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot be read ({why})", origin=origin, remedy="Name a readable YAML file") from None
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigurationError(f"is longer than {_FILE_BYTES_MAX} bytes", origin=origin, remedy="Name a configuration file")
    try:
        loader = yaml.SafeLoader(content)
        root = loader.get_single_node()
        _refuse_duplicates(root, "", origin)
        value = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = f"is not YAML{where}: {getattr(error, 'problem', None) or 'unreadable'}"
        raise ConfigurationError(problem, origin=origin, remedy="Write lines such as name: n1") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"holds a value that YAML cannot read ({error})", origin=origin, remedy="Quote texts") from None
    if value is not None and not isinstance(value, dict):
        raise ConfigurationError(f"holds {kind_of(value)}, not a mapping", origin=origin, remedy="Write lines such as name: n1")
    return value or {}


def _refuse_duplicates(node: yaml.Node | None, key: str, origin: str) -> None:
    """YAML takes the last of equal keys in silence; here none is taken. Two levels deep, as the configuration is."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for name, inner in node.value:
        if not isinstance(name, yaml.ScalarNode):
            continue
        dotted = f"{key}.{name.value}" if key else name.value
        if name.value in seen:
            line = name.start_mark.line + 1
            raise ConfigurationError(f"is given twice (again at line {line})", origin=origin, key=dotted, remedy="Remove one of them")
        seen.add(name.value)
        if not key:
            _refuse_duplicates(inner, dotted, origin)


def _example(group: str) -> str:
    return "election_s: 1.0" if group == "timing" else "command_bytes_max: 1572864"


def _from_text(key: str, text: str, origin: str) -> Any:
    """The value that `text` stands for, in the environment or a flag, as the file would give it."""
    try:
        if key in ("bootstrap", "machines"):
            return {name: value or None for name, value in addresses.split_pairs(text).items()}
        if key == "client":
            return [part.strip() for part in text.split(",")]
        if key.startswith("timing."):
            return float(text)
        if key.startswith("limits."):
            return int(text)
    except ValueError as error:
        problem = str(error) if key in ("bootstrap", "machines") else f"{text[:200]!r} is not a number"
        remedy = {"bootstrap": "Write n1=HOST:PORT,n2=HOST:PORT", "machines": "Write NAME or NAME=PLUGIN, separated by commas"}
        raise ConfigurationError(problem, origin=origin, key=key, remedy=remedy.get(key, "Write a number")) from None
    return text
