"""What can happen to a cluster, each by its name."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.cluster import Cluster
from txraft.core.ids import ServerId

Misfortune = Callable[[Cluster, Random], None]


def _one(cluster: Cluster, random: Random) -> ServerId:
    """Any server; the leader more often than the others."""
    leaders = [server.id for server in cluster.up if cluster.leads(server.id)]
    return random.choice(leaders if leaders and random.random() < 0.5 else list(cluster.servers))


def _some(cluster: Cluster, random: Random) -> list[ServerId]:
    return random.sample(list(cluster.servers), random.randint(1, len(cluster.servers)))


def _isolate_one(cluster: Cluster, random: Random) -> None:
    cluster.isolate(_one(cluster, random))


def _deafen_one(cluster: Cluster, random: Random) -> None:
    deaf = _one(cluster, random)
    for other in cluster.servers:
        cluster.network.cut(other, deaf)


def _mute_one(cluster: Cluster, random: Random) -> None:
    mute = _one(cluster, random)
    for other in cluster.servers:
        cluster.network.cut(mute, other)


def _cut_some_links(cluster: Cluster, random: Random) -> None:
    for one in cluster.servers:
        for other in cluster.servers:
            if one != other and random.random() < 0.3:
                cluster.network.cut(one, other)


def _divide(cluster: Cluster, random: Random) -> None:
    some = _some(cluster, random)
    cluster.network.separate(some, [name for name in cluster.servers if name not in some])


def _leave_a_bridge(cluster: Cluster, random: Random) -> None:
    """Two halves that see each other only through one server."""
    _, *others = random.sample(list(cluster.servers), len(cluster.servers))
    half = len(others) // 2
    cluster.network.separate(others[:half], others[half:])


def _leave_a_ring(cluster: Cluster, random: Random) -> None:
    """Each server sees only its neighbours on a ring: a majority of three or five, but another for each."""
    ring = random.sample(list(cluster.servers), len(cluster.servers))
    reach = len(ring) // 4 or 1
    for place, one in enumerate(ring):
        for other_place, other in enumerate(ring):
            distance = abs(place - other_place)
            if min(distance, len(ring) - distance) > reach:
                cluster.network.cut(one, other)


def _crash_one(cluster: Cluster, random: Random) -> None:
    cluster.crash(_one(cluster, random))


def _crash_some(cluster: Cluster, random: Random) -> None:
    cluster.crash(*_some(cluster, random))


def _restart_all(cluster: Cluster, random: Random) -> None:
    cluster.crash(*cluster.servers)
    cluster.restart(*cluster.servers)


def _hang_a_disk(cluster: Cluster, random: Random) -> None:
    cluster[_one(cluster, random)].disk.hang()


def _hang_and_step_down(cluster: Cluster, random: Random) -> None:
    """The disk hangs and the node notices."""
    server = cluster[_one(cluster, random)]
    server.disk.hang()
    server.step_down("its disk hangs")


def _pause_one(cluster: Cluster, random: Random) -> None:
    """The process stops for some seconds, then goes on as if nothing had been; a client asks it at once."""
    server = cluster[_one(cluster, random)]
    server.pause()
    cluster.time.call_later(random.uniform(0.1, 4.0), lambda: server.resume(first=server.read))


def _oversleep(cluster: Cluster, random: Random) -> None:
    """The leader stops for so long that another is elected, then goes on as if it still led."""
    for name in [server.id for server in cluster.up if cluster.leads(server.id)]:
        server = cluster[name]
        server.pause()
        cluster.time.call_later(random.uniform(2.0, 6.0), lambda server=server: server.resume(first=server.read))  # type: ignore[misc]


def _hurry_elections(cluster: Cluster, random: Random) -> None:
    """Election timers of several servers run out at once."""
    for name in _some(cluster, random):
        cluster.campaign(name)


def _may_lose_something(cluster: Cluster, random: Random, *, votes: bool) -> ServerId | None:
    """A server whose loss the others can make good: what a majority has lost nobody has, and who has lost its vote needs to hear from
    each of the others.
    """
    damaged = {name for name, server in cluster.servers.items() if server.disk.note is not None}
    voters = cluster.configuration.voters
    server = _one(cluster, random)
    too_many = server in voters and (len({*damaged, server} & voters.keys()) * 2 >= len(voters) or len(voters) < 3)
    others_without_vote = [name for name in damaged - {server} if (note := cluster.servers[name].disk.note) and note.votes_lost]
    return None if too_many or (votes and others_without_vote) else server


def _lose(cluster: Cluster, random: Random, *, votes: bool, log: bool, snapshot: bool) -> None:
    name = _may_lose_something(cluster, random, votes=votes)
    if name is not None:
        first, last = cluster.servers[name].disk.base[0] + 1, cluster.servers[name].disk.last_index
        cluster.witness.marks["something durable is lost"] += 1
        cluster.lose(name, log_from=random.randint(first, last + 1) if log else None, snapshot=snapshot, votes=votes)
        if random.random() < 0.7:
            cluster.restart(name)


def _lose_entries(cluster: Cluster, random: Random) -> None:
    _lose(cluster, random, votes=False, log=True, snapshot=False)


def _lose_nearly_everything(cluster: Cluster, random: Random) -> None:
    _lose(cluster, random, votes=random.random() < 0.5, log=True, snapshot=random.random() < 0.7)


def _lose_the_vote(cluster: Cluster, random: Random) -> None:
    _lose(cluster, random, votes=True, log=random.random() < 0.5, snapshot=False)


def _interrupt_a_transfer(cluster: Cluster, random: Random) -> None:
    """The sender or the receiver of a snapshot crashes in the middle and is started again."""
    for server in list(cluster.servers.values()):
        if server.snapshots.incoming or (server.module is not None and server.module.snapshots_being_sent()):
            cluster.witness.marks["transfer interrupted"] += 1
            cluster.crash(server.id)
            if random.random() < 0.8:
                cluster.restart(server.id)


MISFORTUNES: dict[str, Misfortune] = {
    "one is isolated": _isolate_one,
    "one is deaf": _deafen_one,
    "one is mute": _mute_one,
    "some links are cut": _cut_some_links,
    "the cluster is divided": _divide,
    "only a bridge is left": _leave_a_bridge,
    "only a ring is left": _leave_a_ring,
    "one crashes": _crash_one,
    "some crash": _crash_some,
    "all restart": _restart_all,
    "a disk hangs": _hang_a_disk,
    "a disk hangs and its server steps down": _hang_and_step_down,
    "one is paused": _pause_one,
    "the leader oversleeps": _oversleep,
    "elections are hurried": _hurry_elections,
    "entries are lost": _lose_entries,
    "nearly everything is lost": _lose_nearly_everything,
    "a vote is lost": _lose_the_vote,
    "transfers are interrupted": _interrupt_a_transfer,
}
