"""Whether the other nodes take the server that lives here for the member it says it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from txraft.cli.examinations.findings import Finding, problem
from txraft.cli.examinations.neighbours import Neighbour
from txraft.wire.hello import NOT_READY

__all__ = ["examine_membership"]

ABOUT = "membership"

REMEDY = "Put the directory back that the others know, or keep this node down: see operating.md, lost and copied directories."


def examine_membership(neighbours: Sequence[Neighbour], cluster_id: str, name: str, *, is_claimed: bool) -> list[Finding]:
    """What nodes of this cluster say of the server.

    Args:
        neighbours: the nodes that were asked, maybe the one of this server among them.
        cluster_id: of the configuration.
        name: of this server.
        is_claimed: the data directory is some server's; else it is empty, or not there.
    """
    findings: list[Finding] = []
    for one in neighbours:
        if one.status is None or one.status.get("cluster_id") != cluster_id:
            continue
        if one.name == name:
            for peer, why in _refusals(one):
                findings.append(problem(ABOUT, f"{peer} takes nothing from {name}: {why}", "See to that on both.", peer=peer))
        elif not is_claimed and one.status.get("members", {}).get(name, {}).get("directory_known"):
            found = f"{one.name} knows {name} by its data directory, and the one that is configured here is empty: it will be refused"
            findings.append(problem(ABOUT, found, REMEDY, node=one.name))
    return findings


def _refusals(one: Neighbour) -> Iterator[tuple[str, str]]:
    """Who refuses this node, and why; but for those who only refuse everybody at the moment."""
    for peer, link in (one.status or {}).get("peers", {}).get("links", {}).items():
        if link.get("refused") and link["refused"] != NOT_READY.sentence:
            yield peer, link["refused"]
