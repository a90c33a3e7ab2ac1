"""Clusters of real nodes on bad disks, and what must be true of them all the while."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define

from tests.support.processes import ProcessTestCase, post_json
from tests.support.small_disk import SmallDisk
from tests.support.spoiled_disk import SpoiledDisk
from txraft.cli.local_cluster import LocalCluster, LocalNode

__all__ = ["ELECTION_S", "Additions", "FaultTestCase"]

ELECTION_S = 0.5
READY_S = 20.0
SMALL = {"segment_bytes": 1_048_576, "reserve_bytes": 65_536}
"""A test leaves no more than a few megabytes behind."""


@define
class Additions:
    """Additions to one counter. What was acknowledged must be in it for ever; what ended as unknown may be, once.

    Attributes:
        counter: its name.
        acknowledged: how many.
        unknown: how many.
        code: why the last one was not acknowledged; "" if it was.
    """

    counter: str = "a"
    acknowledged: int = 0
    unknown: int = 0
    code: str = ""

    def add(self, node: LocalNode, *, timeout_s: float = 2.0) -> bool:
        """Add one; whether it was acknowledged."""
        try:
            status, answer = post_json(node.endpoint, f"/v1/counter/add?timeout={timeout_s:g}", {"name": self.counter}, timeout_s + 2)
        except OSError as error:
            # The node ended with our request in its hands.
            self.unknown, self.code = self.unknown + 1, str(error)
            return False
        if status == 200:
            self.acknowledged, self.code = self.acknowledged + 1, ""
            return True
        self.unknown, self.code = self.unknown + (answer["outcome"] == "unknown"), answer["code"]
        return False

    def add_until_it_fails(self, node: LocalNode, *, timeout_s: float = 2.0, at_most: int = 1000) -> None:
        """Add until one is not acknowledged."""
        for _ in range(at_most):
            if not self.add(node, timeout_s=timeout_s):
                return
        raise AssertionError(f"{at_most} additions were acknowledged, and the fault never came")

    @property
    def possible(self) -> range:
        """The values that the counter may have."""
        return range(self.acknowledged, self.acknowledged + self.unknown + 1)


class FaultTestCase(ProcessTestCase):
    """Nodes, and ways to spoil their disks. All ends with the test."""

    def started(self, count: int = 3, *, limits: Mapping[str, int] | None = None) -> tuple[LocalCluster, LocalNode]:
        """A cluster and its leader."""
        cluster = self.quick_cluster(count, limits=limits)
        cluster.start()
        return cluster, cluster.leader(READY_S)

    def quick_cluster(self, count: int = 3, *, limits: Mapping[str, int] | None = None) -> LocalCluster:
        """A cluster that elects fast; not yet started."""
        return self.cluster(count, settings={"timing": {"election_s": ELECTION_S}, "limits": {**SMALL, **(limits or {})}})

    def spoil(self, node: LocalNode, fault: str, *paths: Path) -> SpoiledDisk:
        """From now on calls of this node on these files (all if none are named) have the fault."""
        record = self.folder / f"{node.name}-{len(list(self.folder.glob('*.calls')))}.calls"
        disk = SpoiledDisk.of([node.pid], fault, record, paths=paths)
        self.addCleanup(disk.end)
        return disk

    def small_disk(self, node: LocalNode, bytes_max: int) -> SmallDisk:
        """Put the directory of a node that was never started on a small disk."""
        at = self.folder / f"{node.name}-disk"
        at.mkdir()
        disk = SmallDisk.mount(bytes_max, at)
        # Cleanups run last first.
        self.addCleanup(disk.end)
        self.addCleanup(node.kill)
        settings = node.file.read_text()
        here = str(self.folder / node.name)
        assert here in settings, settings
        node.file.write_text(settings.replace(here, str(disk.root / node.name)))
        return disk

    def metadata(self, node: LocalNode) -> tuple[Path, Path]:
        """Where a node keeps its term and vote."""
        return self.folder / node.name / "metadata-0", self.folder / node.name / "metadata-1"

    def status(self, node: LocalNode) -> dict[str, Any]:
        """What a node says of itself; the test fails if it does not answer."""
        status = node.status()
        assert status is not None, f"{node.name} does not answer; see {node.log}"
        return status

    def said(self, node: LocalNode) -> str:
        """All that a node has logged."""
        return node.log.read_text("utf-8", "replace")

    def readyz(self, node: LocalNode) -> tuple[int, str]:
        """What a load balancer is told: status code and sentence."""
        try:
            with urllib.request.urlopen(f"http://{node.endpoint}/readyz", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def value(self, node: LocalNode, counter: str = "a", consistency: str = "linearizable") -> int:
        """A counter as this node answers it."""
        status, answer = post_json(node.endpoint, f"/v1/counter/get?consistency={consistency}", {"name": counter})
        self.assertEqual(status, 200, answer)
        return int(answer["result"] or 0)

    def ended_with(self, node: LocalNode, code: int) -> str:
        """Wait until a node has ended by itself with this exit code; what it had logged."""
        assert node.process is not None
        self.assertEqual(node.process.wait(READY_S), code, self.said(node)[-2000:])
        return self.said(node)

    def back(self, cluster: LocalCluster, *nodes: LocalNode) -> None:
        """Start nodes again and wait until each takes part."""
        for node in nodes:
            node.start()
        for node in nodes:
            cluster.wait_until(partial(self.takes_part, node), READY_S, f"{node.name} does not take part")

    def takes_part(self, node: LocalNode) -> bool:
        """Whether it is ready and votes."""
        status = node.status()
        return bool(status and status["ready"] and status["role"] in ("leader", "follower"))

    def agree(self, cluster: LocalCluster, additions: Additions) -> None:
        """One more addition goes through; then all nodes are level and alike, and nothing is lost or doubled."""
        cluster.wait_until(lambda: additions.add(cluster.leader(READY_S)), READY_S, "no addition is acknowledged")
        statuses = cluster.level(READY_S)
        self.assertEqual(len({status["digest"] for status in statuses}), 1, statuses)
        values = [self.value(node, additions.counter, "local") for node in cluster.nodes]
        self.assertEqual(len(set(values)), 1, values)
        self.assertIn(values[0], additions.possible)
