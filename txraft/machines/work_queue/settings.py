"""Settings of a queue: how they are changed, checked and shown, and where its dead letters go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict, replace

from txraft.errors import Refused
from txraft.limits import NAME_LENGTH_MAX
from txraft.machines.work_queue.bounds import CHAIN_MAX
from txraft.machines.work_queue.named_queue import NamedQueue
from txraft.machines.work_queue.records import Settings

__all__ = ["changed_settings", "dead_letter_queue", "milliseconds", "shown_settings"]

DEAD_SUFFIX = ".dead"

_SECONDS = "_s"
_MILLISECONDS = "_ms"


def milliseconds(seconds: float) -> int:
    """A duration as the machine reckons it."""
    return round(seconds * 1000)


def dead_letter_queue(name: str, settings: Settings) -> str:
    """Where the dead letters of a queue go, if there are any."""
    return settings.dead_letter or name + DEAD_SUFFIX


def changed_settings(name: str, settings: Settings, changes: Mapping[str, Any], queues: Mapping[str, NamedQueue]) -> Settings:
    """Settings with what is not None of `changes`, by the parameters' names.

    Raises:
        Refused: `bad_setting`, `dead_letter_circle`.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    in_ms = {key[: -len(_SECONDS)] + _MILLISECONDS: milliseconds(given.pop(key)) for key in list(given) if key.endswith(_SECONDS)}
    new = replace(settings, **given, **in_ms)
    if new.backoff_min_ms > new.backoff_max_ms:
        shortest, longest = new.backoff_min_ms / 1000, new.backoff_max_ms / 1000
        raise Refused("bad_setting", f"backoff_min_s would be {shortest:g}, which is more than backoff_max_s, {longest:g}")
    if new.max_deliveries:
        _check_dead_letters(name, new, queues)
    return new


def _check_dead_letters(name: str, settings: Settings, queues: Mapping[str, NamedQueue]) -> None:
    """Dead letters must come to rest: they would else go around for ever."""
    target = dead_letter_queue(name, settings)
    if len(target) > NAME_LENGTH_MAX:
        raise Refused(
            "bad_setting", f"a queue {target!r} for dead letters would have a name of more than {NAME_LENGTH_MAX} characters: give one"
        )
    chain = [name]
    while True:
        if target == name:
            raise Refused("dead_letter_circle", f"dead letters of {name!r} would come back to it: {' -> '.join([*chain, target])}")
        chain.append(target)
        if len(chain) > CHAIN_MAX:
            raise Refused("bad_setting", f"dead letters of {name!r} could pass through more than {CHAIN_MAX} queues")
        following = queues.get(target)
        if following is None or not following.settings.max_deliveries:
            return
        target = dead_letter_queue(target, following.settings)


def shown_settings(name: str, settings: Settings) -> dict[str, Any]:
    """Settings by the names of their parameters, times in seconds; and the queue that dead letters go to, if there can be any."""
    shown: dict[str, Any] = {
        key.removesuffix(_MILLISECONDS) + _SECONDS if key.endswith(_MILLISECONDS) else key: value / 1000
        if key.endswith(_MILLISECONDS)
        else value
        for key, value in asdict(settings).items()
    }
    shown["dead_letter"] = dead_letter_queue(name, settings) if settings.max_deliveries else settings.dead_letter or None
    return shown
