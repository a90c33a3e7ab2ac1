"""Whose the data directory is, and who has it open."""

from __future__ import annotations

from txraft.cli.examinations.findings import Finding, ok, problem
from txraft.errors import StorageError
from txraft.storage.inspection import Holder, identity_of
from txraft.storage.layout import Layout

__all__ = ["examine_holder", "examine_identity"]


def examine_holder(layout: Layout, holder: Holder | None) -> Finding:
    """Who has it open."""
    if holder is None:
        return ok("in use", f"nobody has {layout.root} open")
    return ok("in use", f"{layout.root} is open in {holder}", pid=holder.pid)


def examine_identity(layout: Layout, server: tuple[str, str] | None) -> Finding:
    """Whether it is that of `server`: cluster id and name; None if nobody told which it should be."""
    try:
        identity = identity_of(layout)
    except (StorageError, OSError) as error:
        return problem("identity", str(error), "Until that is mended, no node will start here.")
    if identity is None:
        return ok("identity", f"{layout.root} belongs to nobody yet")
    figures = {"name": identity.server_id, "cluster_id": identity.cluster_id, "incarnation": identity.incarnation}
    told = f"server {identity.server_id!r} of cluster {identity.cluster_id}"
    if server is not None and server != (identity.cluster_id, identity.server_id):
        remedy = "Check name, cluster, bootstrap and data_dir of the configuration; another server's directory is refused."
        return problem("identity", f"{layout.root} is that of {told}, not of {server[1]!r} of {server[0]}", remedy, **figures)
    return ok("identity", f"{told}, started {identity.incarnation} times", **figures)
