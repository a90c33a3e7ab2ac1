"""Whether the other servers take this one for the member it says it is, and what follows if not.

Two processes on copies of one directory might both vote in one term, each by way of other peers. Which of the two is the right one no peer
can know, so whoever is told of another one stops: maybe both.
"""

from __future__ import annotations

from twisted.logger import Logger

from txraft.config import NodeConfig
from txraft.core.ids import ServerId
from txraft.errors import CopiedDirectory
from txraft.node.ports import Identity, PeerNetwork
from txraft.storage.identity import DirectoryIdentity
from txraft.wire.hello import HelloRefused
from txraft.wire.starts import COPIED, DIRECTORY, GUIDE, INCARNATION

__all__ = ["Standing", "identity_of"]

FOUND = {
    COPIED: "another process has made this start of the directory, or an earlier one",
    INCARNATION: "the directory has been started more often than this one has",
}


def identity_of(directory: DirectoryIdentity, client_address: str) -> Identity:
    """What this server says of itself once its directory is open."""
    return Identity(
        directory.cluster_id,
        ServerId(directory.server_id),
        directory.incarnation,
        client_address,
        directory.mark,
        directory.process,
        directory.previous_processes,
    )


class Standing:
    """What refusals come to for one node. Reactor thread only."""

    _log = Logger()

    def __init__(self, config: NodeConfig, network: PeerNetwork) -> None:
        self._config, self._network = config, network
        self._told = False

    def refused(self, peer: ServerId, refusal: HelloRefused) -> None:
        """The member `peer` takes nothing from this server.

        Raises:
            CopiedDirectory: it has met another process with this directory: this one must end.
        """
        name = self._config.name
        if refusal.code in FOUND:
            raise CopiedDirectory(
                f"{peer} does not take this process for {name}: {FOUND[refusal.code]}. Either {self._config.data_dir} was copied and runs "
                "twice: see that only one of the two is ever started again. Or it is an older copy that was put back: it has forgotten "
                f"votes and entries, so put the newest one back, or keep {name} down; {GUIDE}"
            )
        if refusal.code == DIRECTORY and not self._told:
            self._told = True
            self._log.critical("{node} is shut out: {trouble}", node=name, trouble=_trouble([peer], self._config))

    def trouble(self) -> str:
        """Why others do not talk to this server; "" if they have not said so."""
        peers = sorted(peer for peer, refusal in self._network.refusals().items() if refusal.code == DIRECTORY)
        return _trouble(peers, self._config) if peers else ""


def _trouble(peers: list[ServerId], config: NodeConfig) -> str:
    know = "know" if len(peers) > 1 else "knows"
    return (
        f"{' and '.join(peers)} {know} {config.name} by another data directory than {config.data_dir}; the log and the votes in that one "
        f"are missing here. Stop this node and put the old directory back, or keep {config.name} down; {GUIDE}"
    )
