"""What people read: aligned tables, and values in plain words. What programs read: one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

__all__ = ["Progress", "cell", "json_line", "table", "text_of_value"]


def json_line(value: Any) -> str:
    """One line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows (the first may be a heading) with aligned columns, two blanks apart."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows)
    return "\n".join(indent + line for line in lines)


def text_of_value(value: Any) -> str:
    """A result for people: a scalar as itself, a mapping as names and values, a list of mappings as a table."""
    if isinstance(value, str):
        return value
    if _is_table(value):
        columns = list(dict.fromkeys(name for item in value for name in item))
        heading = [str(column).upper() for column in columns]
        return table([heading, *([cell(item.get(column)) for column in columns] for item in value)])
    if isinstance(value, Mapping) and value:
        plain = table([[str(name), cell(item)] for name, item in value.items() if not _is_table(item)])
        tables = [f"{name}\n{text_of_value(item)}" for name, item in value.items() if _is_table(item)]
        return "\n".join([*([plain] if plain else []), *tables])
    if isinstance(value, list) and value:
        return "\n".join(map(cell, value))
    return json_line(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def cell(value: Any) -> str:
    """A value within a line."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json_line(value)


class Progress:
    """A line that says how far something is: drawn anew on a terminal, one line for each tenth elsewhere.

    Args:
        total: how much there is to do.
        stream: where it is shown; else stdout.
        tenths: say something where no terminal is, too.
    """

    WIDTH = 30

    def __init__(self, total: int, stream: TextIO | None = None, *, tenths: bool = True) -> None:
        self._total, self._tenths = max(total, 1), tenths
        self._stream = sys.stdout if stream is None else stream
        self._terminal = self._stream.isatty()
        self._shown = -1

    def show(self, done: int, note: str = "") -> None:
        """Say that `done` of the total are done."""
        percent = 100 * done // self._total
        if self._terminal:
            filled = self.WIDTH * done // self._total
            print(f"\r  [{'#' * filled}{'.' * (self.WIDTH - filled)}] {percent:3d}%  {note}\x1b[K", end="", flush=True, file=self._stream)
            self._shown = 0
        elif self._tenths and percent // 10 > self._shown:
            self._shown = percent // 10
            print(f"  {percent:3d}%  {note}".rstrip(), flush=True, file=self._stream)

    def pause(self) -> None:
        """Leave the line, for something else to be said."""
        if self._terminal and self._shown >= 0:
            print(flush=True, file=self._stream)
            self._shown = -1
