"""What was durable is spoiled: bits flip, files are cut, emptied and lost. It must be named, never cut off as a crash's leavings are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from attrs import define, field

from tests.storage.crash_model import State
from tests.storage.crash_world import ROOT, World, require, state_of
from tests.support.disk import open_storage
from tests.support.simulated_files import SECTOR_BYTES, PowerCut, SimulatedFiles
from txraft.errors import DamagedDirectory, DamagedSnapshot, StorageError

__all__ = ["Spoiling"]

WORTHLESS = ("lock", "reserve", "identity.new", "repair.new")


@define
class Spoiling:
    """Spoils directories, and counts what they say.

    Attributes:
        random: decides what is spoiled.
        each: so many are spoiled after each step.
        counts: cases, by kind.
    """

    random: Random
    each: int
    counts: Counter[str] = field(factory=Counter)

    def spoil(self, world: World) -> None:
        """Everything that is written now is durable; spoil one thing of it, several times."""
        for _ in range(self.each):
            image = next(world.files.images())  # Nothing is lost.
            image.capacity = None
            what, path = self._spoil(image)
            self._judge(world, image, what, path)

    def _spoil(self, image: SimulatedFiles) -> tuple[str, str]:
        """Do one thing to one file. What was done, and the file's name."""
        files = image.all_files()
        worthless = (*WORTHLESS, *(["identity"] if self.random.randrange(8) else []))
        name = self.random.choice(sorted(name for name in files if not name.endswith(worthless)))
        path, content = Path(name), files[name]
        used = len(content.rstrip(b"\0")) or 1
        what = self.random.choice(("flip", "flip", "flip", "flip", "cut", "lose", "zeros"))
        if what == "flip" and content:
            image.flip_bit(path, self.random.randrange(used), self.random.randrange(8))
        elif what == "zeros" and content:
            image.overwrite(path, self.random.randrange(used) // SECTOR_BYTES * SECTOR_BYTES, bytes(SECTOR_BYTES))
        elif what == "cut" and content:
            image.put(path, content[: self.random.randrange(used)])
        else:
            what = "lose"
            image.lose(path)
        return what, name.removeprefix(f"{ROOT}/")

    def _judge(self, world: World, image: SimulatedFiles, what: str, name: str) -> None:
        again, third = image.killed(), image.killed()
        case = f"after {world.files.calls[-2:]}, {what} of {name}"
        try:
            storage = open_storage(ROOT, limits=world.limits, files=image)
        except (DamagedDirectory, DamagedSnapshot) as damage:
            self.counts[f"damage, named by {type(damage).__name__}, and repaired"] += 1
            state, calls = self._repaired(world, again, case)
            self._repaired_in_spite_of_a_crash(world, third, state, calls, case)
            return
        except StorageError as refusal:
            # Of another version, or nobody's: that is not for a program to mend.
            require(name == "identity", f"{case}: refused by no name", refusal)
            self.counts["damage, refused for people to look at"] += 1
            return
        found = state_of(storage)
        storage.close()
        require(image.opened == 0, f"{case}: files are left open")
        self.counts[self._unseen(world, found, what, name, case)] += 1

    def _unseen(self, world: World, found: State, what: str, name: str, case: str) -> str:
        """Nothing was noticed: then nothing may be lost, or what the format cannot know."""
        if found == world.state:
            return "damage without a loss"
        newest = name == f"log/{world.files.names(ROOT / 'log')[-1]}"
        if name == "repair":
            require(found.repair in ("votes", ""), f"{case}: the note is taken for a better one", found)
            return "damage to the note of repair"
        require(newest and what != "lose", f"{case}: something was lost and nobody noticed", found, world.state)
        if what == "flip":
            require(found in world.unproven, f"{case}: something durable was lost and nobody noticed", found, world.state)
            return "damage to the last write, for which there is no proof yet"
        require(found in world.unnoted, f"{case}: something durable was lost and nobody noticed", found, world.state)
        return "damage to the whole end of the log, for which there is no proof yet"

    def _repaired(self, world: World, image: SimulatedFiles, case: str) -> tuple[State, int]:
        """Peers could help: the directory is repaired. What it holds then, and how many calls that took."""
        try:
            storage = open_storage(ROOT, limits=world.limits, files=image, repairable=True)
        except StorageError as error:
            raise AssertionError(f"{case}: not repaired") from error
        calls, found = len(image.calls), state_of(storage)
        storage.close()
        require(not (wrong := world.wrong_with(found)), f"{case}: {wrong}", found, world.state)
        require(image.opened == 0, f"{case}: files are left open")
        storage = open_storage(ROOT, limits=world.limits, files=image)
        require(state_of(storage) == found, f"{case}: repaired and opened it holds something else", found)
        storage.close()
        return found, calls

    def _repaired_in_spite_of_a_crash(self, world: World, image: SimulatedFiles, state: State, calls: int, case: str) -> None:
        """The power goes while it is repaired: the next start comes to the same."""
        self.counts["second crash, while it was repaired"] += 1
        image.cut_at = self.random.randint(1, calls)
        try:
            open_storage(ROOT, limits=world.limits, files=image, repairable=True)
        except PowerCut:
            left = self.random.choice((image.killed, image.lost, lambda: image.sampled(self.random)))()
            storage = open_storage(ROOT, limits=world.limits, files=left, repairable=True)
            found = state_of(storage)
            storage.close()
            require(not (wrong := world.wrong_with(found)), f"{case}, a crash after {image.calls[-3:]}: {wrong}", found, state)
            self.counts["(of these: repaired to another state that once was)"] += found != state
        else:
            require(False, f"{case}: no crash", calls)
