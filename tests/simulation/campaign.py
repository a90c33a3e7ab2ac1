"""Many random schedules: `python -m tests.simulation.campaign --seeds 1000 --start 0`.

Shows how far it is, ends with figures, or with the failing seed and the command that plays it again.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback

from tests.simulation.schedule import Figures, Schedule


def replay_command(seed: int, seconds: float) -> str:
    """What a person types to see a failing seed again, step by step."""
    return f"python -m tests.simulation.campaign --seeds 1 --start {seed} --seconds {seconds:g} --trace"


def digest(seed: int, seconds: float) -> str:
    """A fingerprint of all that happens in a schedule: equal for equal seeds, in whatever process."""
    trace: list[str] = []
    Schedule(seed, seconds=seconds, trace=trace).run()
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()


def report(figures: Figures, took_s: float) -> str:
    """Figures for people."""
    lines = [f"{figures.simulated_s / 3600:.2f} simulated hours in {took_s:.1f} s"]
    for name in Figures.__slots__:
        if name not in ("__weakref__", "marks", "simulated_s"):
            lines.append(f"{getattr(figures, name):>12,} {name.replace('_', ' ')}")
    lines += [f"{count:>12,} x {mark}" for mark, count in sorted(figures.marks.items())]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many schedules (default 100)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated seconds of misfortune in each (default 20)")
    parser.add_argument("--trace", action="store_true", help="print every step")
    parser.add_argument("--digest", action="store_true", help="print a fingerprint of each schedule instead")
    options = parser.parse_args(arguments)
    total, began, shown = Figures(), time.monotonic(), 0.0
    for number, seed in enumerate(range(options.start, options.start + options.seeds)):
        if options.digest:
            print(seed, digest(seed, options.seconds))
            continue
        trace: list[str] | None = [] if options.trace else None
        schedule = Schedule(seed, seconds=options.seconds, trace=trace)
        try:
            total.add(schedule.run())
        except Exception:
            print("\n".join(trace or ()))
            traceback.print_exc()
            print(f"seed {seed} fails: {schedule.options}", file=sys.stderr)
            print(f"see it again: {replay_command(seed, options.seconds)}", file=sys.stderr)
            return 1
        print("\n".join(trace or ()), end="")
        if time.monotonic() - shown > 1.0:
            shown = time.monotonic()
            print(f"\r{number + 1}/{options.seeds} schedules, seed {seed}", end="", file=sys.stderr, flush=True)
    if not options.digest:
        print(f"\r{options.seeds} schedules, none failed" + " " * 20, file=sys.stderr)
        print(report(total, time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
