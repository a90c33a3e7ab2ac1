"""`txraft doctor`: is this computer fit for a node, and the directory, and the other nodes? Changes nothing."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from txraft import __version__
from txraft.cli.examinations.clocks import examine_neighbours_clock, examine_own_clock
from txraft.cli.examinations.disk_speed import examine_disk_speed
from txraft.cli.examinations.file_system import examine_file_system
from txraft.cli.examinations.findings import Finding, Verdict, problem
from txraft.cli.examinations.free_space import examine_free_space
from txraft.cli.examinations.listeners import listener_on
from txraft.cli.examinations.membership import examine_membership
from txraft.cli.examinations.neighbours import Neighbour, ask_neighbours, examine_reach, is_own
from txraft.cli.examinations.occupation import examine_holder, examine_identity
from txraft.cli.examinations.open_files import examine_open_files
from txraft.cli.examinations.ownership import examine_ownership, existing_ancestor
from txraft.cli.examinations.ports import examine_ports, places_of, try_to_bind
from txraft.cli.examinations.versions import examine_neighbours_version, examine_versions
from txraft.cli.examinations.wholeness import examine_log
from txraft.cli.output import json_line, table
from txraft.cli.settings import Parser, Settings, add_common_options, with_options
from txraft.cli.status import ask_status
from txraft.config import NodeConfig
from txraft.config.layers import default_file
from txraft.errors import StorageError
from txraft.storage.inspection import holder_of, identity_of
from txraft.storage.layout import Layout

__all__ = ["Patient", "examine", "run"]

STATUS_S = 3.0


@frozen
class Patient:
    """What is examined.

    Attributes:
        config: of the node.
        layout: of its directory.
        above: the directory itself, or what exists of its path.
        neighbours: the nodes at the endpoints that were named.
        configured: there is a configuration; else only the directory is known, and where the node will listen is not.
    """

    config: NodeConfig
    layout: Layout
    above: Path
    neighbours: Sequence[Neighbour] = ()
    configured: bool = True


def run(settings: Settings, arguments: list[str]) -> int:
    """Examine everything and tell. 1 when there is a problem."""
    parser = Parser(prog="txraft doctor", description="Whether a node can run here, and run well. Changes nothing.", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="the node's; else as twistd txraft finds it")
    parser.add_argument("--data-dir", metavar="D", help="its data directory, if not that of the configuration")
    add_common_options(parser)
    given = parser.parse_args(arguments)
    settings = with_options(settings, given)
    file = given.config or (None if given.data_dir else default_file(settings.environ))
    ours = {name: value for name, value in settings.environ.items() if name.startswith("TXRAFT_")}
    config = NodeConfig.load(file, ours, {"data_dir": given.data_dir})
    asked = settings.endpoints if settings.endpoints_given else ()
    neighbours = ask_neighbours(asked, lambda endpoint: ask_status(endpoint, min(settings.timeout_s, STATUS_S)), time.time)
    configured = file is not None or given.data_dir is None
    findings = examine(Patient(config, Layout(config.data_dir), existing_ancestor(config.data_dir), neighbours, configured))
    print(json_line([finding.as_json() for finding in findings]) if settings.as_json else _text(findings))
    return 1 if any(finding.verdict is Verdict.PROBLEM for finding in findings) else 0


def examine(patient: Patient) -> list[Finding]:
    """All findings, in an order to be read."""
    findings: list[Finding] = []
    for family in (_versions, _directory, _log, _disk, _clocks, _ports, _open_files, _nodes):
        findings += _survive(family, patient)
    return findings


def _survive(family: Callable[[Patient], list[Finding]], patient: Patient) -> list[Finding]:
    """What the system does not let us see is a finding, too."""
    try:
        return family(patient)
    except OSError as error:
        about = family.__name__.strip("_").replace("_", " ")
        return [problem(about, f"cannot be examined: {error}", "Run this on the node's computer, as the user who runs the node.")]


def _versions(patient: Patient) -> list[Finding]:
    return [examine_versions(__version__, platform.python_version())]


def _directory(patient: Patient) -> list[Finding]:
    config, layout = patient.config, patient.layout
    findings = [examine_ownership(layout.root, os.getuid())]
    if findings[0].verdict is not Verdict.PROBLEM:
        server = (config.cluster_id, config.name) if patient.configured else None
        findings += [examine_identity(layout, server), examine_holder(layout, holder_of(layout))]
    return findings


def _log(patient: Patient) -> list[Finding]:
    config, layout = patient.config, patient.layout
    try:
        identity = identity_of(layout)
    except StorageError:
        return []  # That was told.
    if identity is None or (patient.configured and (identity.cluster_id, identity.server_id) != (config.cluster_id, config.name)):
        return []
    has_peers = bool(config.bootstrap.keys() - {config.name}) if patient.configured else None
    return [examine_log(layout, holder_of(layout), has_peers=has_peers)]


def _disk(patient: Patient) -> list[Finding]:
    layout, config, above = patient.layout, patient.config, patient.above
    return [
        examine_file_system(above, Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")),
        examine_free_space(layout.files, layout.root, layout.snapshots, above, config.limits),
        examine_disk_speed(layout.files, above, time.perf_counter, config.timing.election_s),
    ]


def _clocks(patient: Patient) -> list[Finding]:
    return [examine_own_clock(time.time, time.monotonic, time.sleep), *examine_neighbours_clock(patient.neighbours)]


def _ports(patient: Patient) -> list[Finding]:
    if not patient.configured:
        return []
    holder = holder_of(patient.layout)
    places = places_of(patient.config.peer, patient.config.client)
    return examine_ports(places, try_to_bind, listener_on, None if holder is None else holder.pid)


def _open_files(patient: Patient) -> list[Finding]:
    return [examine_open_files(patient.config.limits.client_connections_max, resource.getrlimit(resource.RLIMIT_NOFILE))]


def _nodes(patient: Patient) -> list[Finding]:
    config, neighbours = patient.config, patient.neighbours
    findings = []
    if patient.configured:
        if holder_of(patient.layout) is None:  # Then nobody wonders that it does not answer.
            neighbours = [one for one in neighbours if one.status or not is_own(one.endpoint, config.advertise_client, config.client)]
        is_claimed = patient.layout.files.is_file(patient.layout.identity)
        findings = examine_membership(neighbours, config.cluster_id, config.name, is_claimed=is_claimed)
    return [*examine_reach(neighbours), *findings, *examine_neighbours_version(__version__, neighbours)]


def _text(findings: Sequence[Finding]) -> str:
    """A line for each finding, and below it what to do."""
    heads = table([[finding.verdict.value, finding.about] for finding in findings]).splitlines()
    width, lines = max(map(len, heads)), []
    for finding, head in zip(findings, heads, strict=True):
        lines.append(f"{head:<{width}}  {finding.found}")
        if finding.advice:
            lines.append(f"{'':<{width}}  -> {finding.advice}")
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    problems, advised = counts[Verdict.PROBLEM], counts[Verdict.ADVICE]
    lines.append(f"{problems} {'problem' if problems == 1 else 'problems'}, {advised} {'piece' if advised == 1 else 'pieces'} of advice")
    return "\n".join(lines)
