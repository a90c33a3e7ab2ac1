"""What servers do to their disks: short scripts of everything there is, and scripts by lot."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import frozen

from tests.storage.crash_world import ROOT, World
from tests.support.disk import persist, vote
from tests.support.simulated_files import SimulatedFiles
from txraft.core.effects import Persist
from txraft.limits import Limits

__all__ = ["SCRIPTS", "SMALL", "Script", "random_script"]


def limits(segment_bytes: int, reserve_bytes: int = 0) -> Limits:
    return Limits(segment_bytes=segment_bytes, log_cache_bytes_max=700, reserve_bytes=reserve_bytes)


@frozen
class Script:
    """What a server does.

    Attributes:
        run: does it.
        limits: with these sizes.
    """

    run: Callable[[World], None]
    limits: Limits = limits(2048)


def first_opening(world: World) -> None:
    world.open()
    world.close()


def one_append(world: World) -> None:
    world.open()
    world.append(3)


def one_vote(world: World) -> None:
    world.open()
    world.write(persist(metadata=vote(2, "n2")))


def one_truncation(world: World) -> None:
    world.open()
    world.append(1, 1, 1)
    world.write(persist(3, world.entries(2), truncate=True))
    world.write(persist(2, truncate=True))


def one_roll(world: World) -> None:
    world.open()
    world.append(700)
    world.append(700)


def reopenings(world: World) -> None:
    world.open()
    world.append(20)
    world.kill()
    world.append(20)
    world.reopen()
    world.kill()
    world.append(600)


def appends(world: World) -> None:
    """Several persists in one write, entries longer than a sector, and one longer than a segment."""
    world.open()
    world.write(persist(2, world.entries(10, 20)), persist(4, world.entries(600)), persist(5, world.entries(30)))
    world.append(500, 500)
    world.append(1)
    world.append(3000)
    world.append(1)
    world.close()
    world.open()
    world.append(900)


def votes(world: World) -> None:
    """Terms and votes, alone, several at a time, and together with entries."""
    world.open()
    world.write(persist(metadata=vote(2, "n1")))
    world.write(persist(metadata=vote(3)), persist(2, world.entries(5, term=3)), persist(metadata=vote(3, "n3")))
    world.write(persist(metadata=vote(9, "n" * 64)))
    world.write(persist(3, world.entries(700, 3, term=9)), persist(metadata=vote(10)))
    world.close()
    world.open()
    world.write(persist(metadata=vote(10, "n2")))


def truncations(world: World) -> None:
    """A suffix goes: alone, replaced, twice in one write, over the end of a segment, and all of it."""
    world.open()
    world.append(300, 300, 300)
    world.write(persist(3, truncate=True))
    world.append(300, 300)
    world.write(persist(metadata=vote(2)), persist(4, world.entries(800, term=2), truncate=True), persist(5, world.entries(4, term=2)))
    world.write(persist(6, world.entries(900)), persist(6, truncate=True), persist(6, world.entries(1)), persist(7, truncate=True))
    world.append(1200)
    world.write(persist(3, truncate=True))
    world.append(10)
    world.write(persist(1, world.entries(20), truncate=True))


def local_snapshot(world: World) -> None:
    """The log is compacted over several segments; then a newer snapshot takes the place of the older one."""
    world.open()
    for _ in range(5):
        world.append(700)
    world.snapshot(5, 4)
    world.append(700)
    world.append(5)
    world.snapshot(8)
    world.append(700)
    world.write()
    world.reopen()


def truncated_then_snapshot(world: World) -> None:
    world.open()
    world.append(500, 500)
    world.append(500)
    world.write(persist(metadata=vote(2, "n3")), persist(3, world.entries(500, term=2), truncate=True))
    world.snapshot(2)
    world.append(900)
    world.snapshot(3, 2)
    world.write(persist(4, world.entries(30), truncate=True))
    world.snapshot(4)
    world.kill()


def installed_snapshot(world: World) -> None:
    """A leader sends one in the place of the whole log, and entries behind it; then another."""
    world.open()
    world.append(700)
    world.append(700)
    world.write(persist(metadata=vote(3)))
    world.receive(9, 2)
    world.write(persist(10, world.entries(100, 700, term=3)))
    world.append(900)
    world.receive(30, 3, pieces=1)
    world.close()
    world.open()
    world.append(10)


def installed_beside_the_log(world: World) -> None:
    """One that is received in two goes, with a crash between; the log has its last entry, and stays."""
    world.open()
    for _ in range(4):
        world.append(600)
    world.receive(4, 1, stop_after=1)
    world.kill()
    world.receive(4, 1, stop_after=1)
    world.reopen()
    world.receive(4, 1, keeps_log=True)
    world.append(600)
    world.snapshot(5)
    world.append(10)


def installed_over_a_local_one(world: World) -> None:
    world.open()
    world.append(400, 400, 400)
    world.snapshot(3)
    world.receive(20, 1, stop_after=2)
    world.snapshot(4)
    world.append(700)
    world.receive(20, 1)
    world.append(3)
    world.snapshot(21, 20)


def flip(path: str, offset: int) -> Callable[[SimulatedFiles], None]:
    return lambda files: files.flip_bit(ROOT / path, offset)


def name_of(sequence: int) -> str:
    return f"log/{sequence:020d}.segment"


def damaged_log(world: World) -> None:
    """A record in the middle goes bad; what is before it is kept, the rest comes back from others, and the note is removed."""
    world.open()
    for _ in range(6):
        world.append(500)
    world.close()
    world.damage(flip(name_of(1), 900))
    world.open()
    world.append(20, 20)
    world.reopen()
    world.write(persist(world.state.last_index + 1, world.entries(600)), persist(repaired=True))
    world.append(5)


def lost_segment(world: World) -> None:
    world.open()
    for _ in range(5):
        world.append(1200)
    world.close()
    world.damage(lambda files: files.lose(ROOT / name_of(4)))
    world.open()
    world.write(persist(repaired=True))
    world.close()
    world.damage(lambda files: files.lose(ROOT / name_of(1)))
    world.open()
    world.write(persist(metadata=vote(7)))


def lost_snapshot(world: World) -> None:
    """A recorded snapshot goes bad: the log begins anew, and a leader sends another."""
    world.open()
    world.append(700, 700)
    world.append(700)
    world.snapshot(3)
    world.append(700)
    world.close()
    world.damage(flip(f"snapshots/{3:020d}.snapshot", 60))
    world.open()
    world.receive(12, 1)
    world.write(persist(13, world.entries(10)), persist(repaired=True))
    world.close()
    world.damage(lambda files: files.lose(ROOT / name_of(int(files.names(ROOT / "log")[-1].removesuffix(".segment")))))
    world.open()


def lost_votes(world: World) -> None:
    world.open()
    world.write(persist(metadata=vote(4, "n1")), persist(2, world.entries(30, term=4)))
    world.close()

    def spoil(files: SimulatedFiles) -> None:
        files.flip_bit(ROOT / "metadata-0", 20)
        files.lose(ROOT / "metadata-1")

    world.damage(spoil)
    world.open()
    world.append(500)
    world.write(persist(metadata=vote(6, "n1"), repaired=True))
    world.append(5)


def full_disk(world: World) -> None:
    """There is no room for more of a segment, for a new one, for half of a write; the reserve is given up and restored."""
    world.open()
    world.append(300)
    last = world.state.last_index
    world.write_on_full_disk(0, persist(last + 1, world.entries(600, 10)))
    world.write_on_full_disk(700, persist(last + 3, world.entries(900)), persist(last + 4, world.entries(10)))
    world.write_on_full_disk(100, persist(last + 5, world.entries(1000)), instead=[persist(last + 5, world.entries(40))])
    world.write_on_full_disk(2200, persist(last + 6, world.entries(700)))
    world.write_on_full_disk(3000, persist(last + 7, world.entries(3000)), instead=[persist(last + 2, world.entries(5), truncate=True)])
    world.append(900)
    world.reopen()


def full_disk_in_pieces(world: World) -> None:
    """A write is refused when the first of its records had room; one that is as long takes their place."""
    world.files.preallocates = False
    world.open()
    last = world.state.last_index
    for first in (last + 1, last + 2):
        one, other, third = ([entry] for entry in world.entries(400, 400, 400))
        pieces = [persist(first, one), persist(first, other, truncate=True), persist(first, third, truncate=True)]
        world.write_on_full_disk(1000, *pieces, instead=[persist(first, one)])
    world.kill()
    world.append(3)


def failed_syncs(world: World) -> None:
    """A sync fails, the server stops, and what is in the kernel's memory is taken for written from then on."""
    world.open()
    world.append(500)
    world.with_failing("sync_content", 0, lambda world: world.append(700))
    world.append(30)
    world.with_failing("sync_content", 0, lambda world: world.write(persist(metadata=vote(2, "n2"))))
    world.with_failing("sync", 0, lambda world: world.append(1500))
    world.with_failing("sync_directory", 0, lambda world: world.append(1900))
    world.append(30)
    world.kill()
    for after in range(3):
        world.append(20)
        world.with_failing("sync", after, World.kill)
    world.with_failing("sync", 0, lambda world: world.snapshot(3))
    world.with_failing("sync_directory", 0, lambda world: world.snapshot(3))
    world.snapshot(4)


def failed_syncs_while_receiving(world: World) -> None:
    """What was received before a sync failed looks whole, and is not."""
    world.open()
    world.append(100)
    world.with_failing("sync_content", 0, lambda world: world.receive(9, 1, pieces=1))
    world.receive(9, 1, pieces=2)
    world.with_failing("sync_content", 2, lambda world: world.receive(15, 1, pieces=2))
    world.receive(15, 1, pieces=2)
    world.with_failing("sync_directory", 0, lambda world: world.receive(30, 1, pieces=1))
    world.receive(30, 1)
    world.append(3)


SMALL = {script.__name__: Script(script) for script in (first_opening, one_append, one_vote, one_truncation, one_roll, reopenings)}
"""Short enough for every image of every place to be tried."""

SCRIPTS: dict[str, Script] = {
    **SMALL,
    **{
        script.__name__: Script(script)
        for script in (
            appends,
            votes,
            truncations,
            local_snapshot,
            truncated_then_snapshot,
            installed_snapshot,
            installed_beside_the_log,
            installed_over_a_local_one,
            damaged_log,
            lost_segment,
            lost_snapshot,
            lost_votes,
            failed_syncs,
            failed_syncs_while_receiving,
        )
    },
    full_disk.__name__: Script(full_disk, limits(2048, reserve_bytes=8192)),
    full_disk_in_pieces.__name__: Script(full_disk_in_pieces, limits(4096)),
}


def random_script(seed: int) -> Script:
    """A script by lot."""
    random = Random(seed)
    sizes = limits(random.choice((1024, 2048, 4096)), random.choice((0, 0, 12288)))

    def run(world: World) -> None:
        world.open()
        for _ in range(random.randint(5, 12)):
            _step(random)(world)

    return Script(run, sizes)


Step = Callable[[World], None]


def _step(random: Random) -> Step:
    if random.random() < 0.15:
        calls, step = random.randint(1, 8), _step(random)
        return lambda world: world.crash_within(calls, step, random)
    steps: list[tuple[int, Step]] = [
        (6, lambda world: world.write(*_persists(world, random))),
        (3, lambda world: _snapshot(world, random)),
        (2, lambda world: _receive(world, random)),
        (1, World.reopen),
        (1, World.kill),
        (1, lambda world: _full(world, random)),
        (1, lambda world: _spoil(world, random)),
        (1, lambda world: world.write(persist(repaired=True))),
        (1, lambda world: _fail(world, random)),
    ]
    return random.choices([step for _, step in steps], [weight for weight, _ in steps])[0]


def _size(random: Random) -> int:
    return random.choice((0, random.randrange(40), random.randrange(700), random.randrange(1800)))


def _persists(world: World, random: Random, *, metadata: bool = True) -> list[Persist]:
    """One to three, each with any of term, vote, truncation and entries."""
    persists = []
    state = world.state
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        term, changed = state.metadata.term, None
        if metadata and random.random() < 0.3:
            changed = vote(term + random.randint(1, 3), random.choice((None, "n1", "n2")))
            term = changed.term
        elif metadata and random.random() < 0.1 and state.metadata.voted_for is None:
            changed = vote(term, "n3")
        first, last = state.last_index + 1, state.last_index
        truncate = random.random() < 0.3 and last > state.snapshot_index
        if truncate:
            first = random.randint(max(state.snapshot_index + 1, last - 3), last)
        entries = world.entries(*(_size(random) for _ in range(random.choice((0, 1, 1, 2, 3)))), term=term)
        persists.append(persist(first, entries, truncate=truncate, metadata=changed))
        state = state.passing(persists[-1:])[-1]
    return persists


def _snapshot(world: World, random: Random) -> None:
    state = world.state
    lowest = max(state.snapshot_index + 1, state.base_index + 1)
    if state.last_index >= lowest:
        index = random.randint(lowest, state.last_index)
        world.snapshot(index, random.randint(state.base_index, index))


def _receive(world: World, random: Random) -> None:
    """A snapshot that the log does not reach; sometimes only a part of it comes."""
    state = world.state
    index = state.last_index + random.randint(1, 5)
    term = max(state.term_at(state.last_index), random.randint(max(1, state.metadata.term - 1), max(1, state.metadata.term)))
    if term <= state.metadata.term:
        world.receive(index, term, pieces=random.randint(1, 3), stop_after=random.choice((None, None, 1)))


def _full(world: World, random: Random) -> None:
    instead = None if random.random() < 0.5 else _persists(world, random, metadata=False)
    world.write_on_full_disk(random.randrange(3000), *_persists(world, random, metadata=instead is None), instead=instead)


def _fail(world: World, random: Random) -> None:
    step = random.choice((lambda world: world.write(*_persists(world, random)), World.kill, lambda world: _receive(world, random)))
    world.with_failing(random.choice(("sync", "sync_content", "sync_directory")), random.randrange(3), step)


def _spoil(world: World, random: Random) -> None:
    """A segment that is not the newest goes bad or is lost, or the snapshot does."""
    files = world.files
    log = [ROOT / "log" / name for name in files.names(ROOT / "log")]
    snapshot = [
        ROOT / "snapshots" / name for name in files.names(ROOT / "snapshots") if name == f"{world.state.snapshot_index:020d}.snapshot"
    ]
    paths = [*log[:-1], *snapshot]
    if not paths:
        return
    path = random.choice(paths)
    world.close()
    if random.random() < 0.5:
        world.damage(lambda files: files.lose(path))
    else:
        offset = random.randrange(8, 56)
        world.damage(lambda files: files.flip_bit(path, offset))
    world.open()
