"""`txraft watch MACHINE …`, also as `txraft MACHINE watch …`: the events of a machine, a line each, as they happen."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from typing import Any

from txraft.cli.output import cell, json_line
from txraft.cli.settings import Parser, Settings, UsageProblem, add_common_options, with_options
from txraft.client import BlockingClient
from txraft.client.events import Event, Place

__all__ = ["line_of", "run"]

_PLACE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,19}))?")


def run(settings: Settings, arguments: list[str]) -> int:
    """Print events until there were enough, or for ever."""
    parser = Parser(prog="txraft watch", description="The events of a machine, a line each, until Ctrl-C.", allow_abbrev=False)
    parser.add_argument("machine", metavar="MACHINE", help="whose events")
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="of this topic (of the config store: a key); all without")
    parser.add_argument("--prefix", nargs="?", const="", metavar="P", help="of all topics that begin with P, or with TOPIC")
    parser.add_argument(
        "--from", dest="place", metavar="INDEX", help="first those from this index, or place, on; else only what happens from now"
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after N events")
    add_common_options(parser)
    given = parser.parse_intermixed_args(arguments)
    settings = with_options(settings, given)
    if given.count is not None and given.count < 1:
        parser.error("--count must be 1 or more")
    if given.topic is not None and given.prefix:
        parser.error("TOPIC and --prefix P do not go together; TOPIC --prefix makes a prefix of TOPIC")
    topic, prefix = given.topic, given.prefix
    if topic is not None and prefix is not None:
        topic, prefix = None, topic
    left = given.count
    with (
        BlockingClient(settings.endpoints, settings.timeout_s, text_bytes=True) as client,
        client.watch(given.machine, _topic(topic), prefix=_topic(prefix), from_index=_place(given.place)) as watch,
    ):
        for event in watch:
            print(_json_of(event) if settings.as_json else line_of(event), flush=True)
            left = None if left is None else left - 1
            if left == 0:
                return 0
    return 0


def line_of(event: Event) -> str:
    """For people. Changes of the config store are told as such; other events by their fields."""
    fields = event.fields
    kv = fields.get("kv")
    if fields.get("type") in ("put", "delete") and isinstance(kv, Mapping) and "key" in kv:
        change = f"{fields['type']:<6}  {_cell(kv['key'])}"
        return f"{event.index}  {change} = {_cell(kv.get('value'))}" if fields["type"] == "put" else f"{event.index}  {change}"
    told = "  ".join(f"{name}={_cell(value)}" for name, value in fields.items())
    return f"{event.index}  {_cell(event.topic)}  {told}".rstrip()


def _cell(value: Any) -> str:
    """On one line, whatever it is."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else cell(value)
    return text if text.isprintable() else json_line(text)


def _json_of(event: Event) -> str:
    """For programs. Bytes are text, and `{"base64": …}` where they are not UTF-8."""
    topic: Any = event.topic
    if isinstance(topic, bytes):
        topic = {"base64": base64.b64encode(topic).decode()}
    return json_line({"index": event.index, "topic": topic, "fields": event.fields, "place": f"{event.place[0]}.{event.place[1]}"})


def _topic(text: str | None) -> str | bytes | None:
    """As it was typed, be it UTF-8 or not."""
    if text is None:
        return None
    typed = os.fsencode(text)
    try:
        return typed.decode()
    except UnicodeDecodeError:
        return typed


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    match = _PLACE.fullmatch(text)
    if match is None or int(match[1]) < 1:
        raise UsageProblem("--from is an index, from 1, or the place of an event, as -o json shows it. Try: txraft watch --help")
    return int(match[1]), int(match[2] or 0)
