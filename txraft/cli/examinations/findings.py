"""What an examination comes to: one sentence on what was found, and one on what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

__all__ = ["Finding", "Verdict", "advice", "ok", "problem", "size_text"]


class Verdict(Enum):
    """How bad it is."""

    OK = "ok"
    ADVICE = "advice"
    """It works, but not as well or as safely as it could."""

    PROBLEM = "problem"
    """A node will not start here, or will not keep what it promised."""


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what was looked at, in a word or two.
        verdict: how bad it is.
        found: what there is.
        advice: what to do; "" when all is well.
        figures: the same for programs.
    """

    about: str
    verdict: Verdict
    found: str
    advice: str = ""
    figures: Mapping[str, Any] = field(factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "about": self.about,
            "verdict": self.verdict.value,
            "found": self.found,
            "advice": self.advice,
            "figures": dict(self.figures),
        }


def ok(about: str, found: str, **figures: Any) -> Finding:
    """All is well."""
    return Finding(about, Verdict.OK, found, "", figures)


def advice(about: str, found: str, remedy: str, **figures: Any) -> Finding:
    """It could be better."""
    return Finding(about, Verdict.ADVICE, found, remedy, figures)


def problem(about: str, found: str, remedy: str, **figures: Any) -> Finding:
    """It must be better."""
    return Finding(about, Verdict.PROBLEM, found, remedy, figures)


def size_text(size: int) -> str:
    """Bytes as people say them: `64 MiB`."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB" if amount < 100 else f"{amount:.0f} TiB"
