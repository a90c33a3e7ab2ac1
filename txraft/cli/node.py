"""`txraft node`: what `twistd -n txraft` does, for where `twistd` is not at hand."""

from __future__ import annotations

import sys

from txraft.cli.settings import Settings

__all__ = ["run"]


def run(settings: Settings, arguments: list[str]) -> int:
    """Run a node in the foreground until it is stopped; the options are those of `twistd txraft`."""
    from twisted.scripts import twistd

    # No pid file: several nodes may be started from one directory.
    sys.argv = ["twistd", "-n", "--pidfile=", "txraft", *arguments]
    twistd.run()
    return 0
