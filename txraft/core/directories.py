"""Which data directory is whose, for good: the marks of the members' directories in the configuration.

A server whose directory was lost has forgotten its votes and what it acknowledged. Under its old name it would count for the voter it was,
so what the others know it by must outlast them: it is in the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from txraft.core import append_entries
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import ServerId
from txraft.core.roles import Leader
from txraft.core.server import Server

__all__ = ["seen"]


def seen(server: Server, marks: Mapping[ServerId, str]) -> None:
    """A leader adds the marks that the configuration lacks, all of them with one entry. It never changes one that is there.

    The entry is a configuration, but it needs no joint consensus: majorities of the old and of the new one are the same, so any two of them
    have a server in common, whoever knows of which. It waits all the same, as any change does, until an entry of this leader's own term and
    the configuration before it are committed: so at most one configuration at a time is undecided, and whoever truncates it goes back to
    one that is not.

    Alone in its cluster a server has nobody who would have to know it again.

    Source: §4.1 (what is unsafe are majorities that do not overlap), §4.3; the leader's own term first: Ongaro, "bug in single-server
    membership changes", raft-dev, 2015.
    """
    role, configuration = server.role, server.configuration
    if not isinstance(role, Leader) or server.commit_index < max(role.first_index, server.configurations.latest_index):
        return
    new = configuration.with_directories(dict(marks.items()))
    if len(configuration.members) < 2 or new.directories == configuration.directories:
        return
    server.append([Entry(server.current_term, EntryKind.CONFIGURATION, new.encode())])
    for peer in role.progress:
        append_entries.send_to(server, peer)
