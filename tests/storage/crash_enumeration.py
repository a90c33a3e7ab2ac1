"""Every crash of a server's disk that there is room to try.

Scripts act on a real storage over a disk in memory. Before every call that changes something the power is cut, with every subset of
unsynced 512-byte sectors, lengths and names (all of them where they are few, by lot where they are many), or the process is killed. What
is left is read offline, opened, compared with a model, crashed again while it is opened, and lived in. Beside that what was durable is
spoiled: that must be named, never cut off.

    python -m tests.storage.crash_enumeration --cases 300000 --seed 1
    python -m tests.storage.crash_enumeration --script local_snapshot --exhaustive
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from random import Random
from unittest import mock

from attrs import define, field

from tests.storage.crash_cases import Budget, Cases
from tests.storage.crash_damage import Spoiling
from tests.storage.crash_scripts import SCRIPTS, SMALL, Script, random_script
from tests.storage.crash_world import Violation, World
from tests.support.simulated_files import SimulatedFiles

__all__ = ["EXHAUSTIVE", "Figures", "enumerate_crashes", "main"]

EXHAUSTIVE = Budget(images_max=20_000, samples=500)
PROGRESS_CASES = 10_000


@define
class Figures:
    """What was tried.

    Attributes:
        counts: cases, by kind.
        places: at how many calls there was a crash.
        sampled: at how many of them not all images were tried.
        scripts: how many scripts were run.
    """

    counts: Counter[str] = field(factory=Counter)
    places: int = 0
    sampled: int = 0
    scripts: int = 0

    @property
    def cases(self) -> int:
        """All of them."""
        return sum(number for kind, number in self.counts.items() if not kind.startswith("("))

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{number:>9,}  {kind}" for kind, number in sorted(self.counts.items())]
        by_lot = f"at {self.places - self.sampled:,} of them every image was tried"
        return [*lines, f"{self.cases:>9,}  cases; {self.scripts:,} scripts, {self.places:,} places of crashes; {by_lot}"]


def enumerate_crashes(name: str, script: Script, seed: int, budget: Budget, figures: Figures) -> None:
    """Run one script, and try every crash of it.

    Raises:
        Violation: a directory was not what it had to be.
    """
    random = Random(seed)
    cases = Cases(random, budget)
    spoiling = Spoiling(random, budget.spoiled)
    world = World(SimulatedFiles(), script.limits, cases.crash, spoiling.spoil)
    figures.scripts += 1
    try:
        # The mark of a directory is drawn by lot; so that a case can come again, it is the same in each run.
        with mock.patch.object(os, "urandom", random.randbytes):
            script.run(world)
            cases.crash(world)
    except Violation as violation:
        again = f"python -m tests.storage.crash_enumeration --script {name} --seed {seed}"
        raise Violation(f"{violation}\n  again: {again}{' --exhaustive' if budget == EXHAUSTIVE else ''}") from violation
    figures.counts += cases.counts + spoiling.counts
    figures.places += cases.places
    figures.sampled += cases.sampled


def _scripts(names: list[str], seed: int) -> Iterator[tuple[str, Script, int]]:
    """Those that are named, or all, once; without names then scripts by lot, without end."""
    for name in names or SCRIPTS:
        if name.startswith("random-"):
            yield name, random_script(int(name.removeprefix("random-"))), seed
        else:
            yield name, SCRIPTS[name], seed
    number = seed * 1_000_000
    while not names:
        yield f"random-{number}", random_script(number), seed
        number += 1


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.storage.crash_enumeration", description="Crashes of a disk, one after the other."
    )
    parser.add_argument("--cases", type=int, default=100_000, help="stop when there were so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--script", action="append", default=[], help=f"only these: {', '.join(SCRIPTS)}, random-NUMBER")
    parser.add_argument("--exhaustive", action="store_true", help="every image of every place; of the larger scripts nearly")
    options = parser.parse_args(arguments)
    figures, told = Figures(), 0
    for name, script, seed in _scripts(options.script, options.seed):
        budget = EXHAUSTIVE if options.exhaustive or name in SMALL else Budget()
        try:
            enumerate_crashes(name, script, seed, budget, figures)
        except Violation as violation:
            print(f"{name}: {violation}", file=sys.stderr)
            return 1
        if figures.cases - told >= PROGRESS_CASES:
            told = figures.cases
            print(f"{told:>9,}  cases, {figures.scripts:,} scripts", file=sys.stderr)
        if figures.cases >= options.cases:
            break
    print("\n".join(figures.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
