"""What is installed here, against what txraft needs, and against what the other nodes run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

from txraft.cli.examinations.findings import Finding, advice, ok, problem
from txraft.cli.examinations.neighbours import Neighbour

__all__ = ["NEEDED", "examine_neighbours_version", "examine_versions", "installed_version"]

ABOUT = "versions"

NEEDED = {"Twisted": "24.10", "attrs": "23.1", "PyYAML": "6", "msgspec": "0.21", "sortedcontainers": "2.4"}
"""The lowest version of each distribution that txraft runs on, as it says when it is installed."""

PYTHON_NEEDED = "3.10"


def installed_version(distribution: str) -> str | None:
    """Its version; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def examine_versions(
    txraft: str, python: str, version_of: Callable[[str], str | None] = installed_version, needed: Mapping[str, str] = NEEDED
) -> Finding:
    """Compare what is here with what is needed."""
    found = {"txraft": txraft, "python": python} | {name: version_of(name) or "not installed" for name in needed}
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    lacking = [f"{name} {least}" for name, least in [("python", PYTHON_NEEDED), *needed.items()] if _key(found[name]) < _key(least)]
    if lacking:
        return problem(ABOUT, told, f"Too old, or missing: install {', '.join(lacking)} or later.", **found)
    return ok(ABOUT, told, **found)


def _key(version: str) -> tuple[int, ...]:
    """The numbers it begins with: enough to compare, and less than any version when there are none."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def examine_neighbours_version(txraft: str, neighbours: Sequence[Neighbour]) -> list[Finding]:
    """Whether all nodes that answered run the version that is here."""
    found = {one.name: str(one.status.get("version", "?")) for one in neighbours if one.status is not None}
    if not found:
        return []
    others = {name: version for name, version in found.items() if version != txraft}
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    if others:
        remedy = f"Here it is {txraft}: bring all nodes to one version, one after the other."
        return [advice("nodes' versions", told, remedy, nodes=found)]
    return [ok("nodes' versions", told, nodes=found)]
