"""Whether the wall clock runs evenly, and whether the nodes' clocks agree: sessions, leases and delays live by that of the leader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from txraft.cli.examinations.findings import Finding, advice, ok, problem
from txraft.cli.examinations.neighbours import Neighbour

__all__ = ["examine_neighbours_clock", "examine_own_clock"]

ABOUT = "clock"

MOMENT_S = 0.25
UNEVEN_S = 0.005
APART_S = 0.5
FAR_APART_S = 60.0
LONG_AGO_S = 1_704_067_200.0
"""The beginning of 2024: whatever shows an earlier time was never set."""

SET_IT = "Let a time service (chrony, systemd-timesyncd) set it."


def examine_own_clock(wall: Callable[[], float], monotonic: Callable[[], float], sleep: Callable[[float], None]) -> Finding:
    """Look at both clocks twice, a moment apart."""
    wall_before, before = wall(), monotonic()
    sleep(MOMENT_S)
    wall_after, after = wall(), monotonic()
    gained = (wall_after - wall_before) - (after - before)
    figures = {"gained_s": round(gained, 6), "within_s": round(after - before, 6)}
    if wall_after < LONG_AGO_S:
        return problem(ABOUT, "the wall clock was never set: it shows a time before 2024", SET_IT, **figures)
    if abs(gained) > UNEVEN_S:
        found = f"the wall clock moved by {gained * 1000:+.1f} ms against the monotonic one within {after - before:.2f} s: it is being set"
        return advice(ABOUT, found, "Wait until it is right before the node is started; " + SET_IT[0].lower() + SET_IT[1:], **figures)
    return ok(ABOUT, f"wall clock and monotonic clock run alike (within {abs(gained) * 1000:.1f} ms in {after - before:.2f} s)", **figures)


def examine_neighbours_clock(neighbours: Iterable[Neighbour]) -> list[Finding]:
    """Compare with each node that tells its time. What the answer took on its way is allowed for."""
    findings = []
    for one in neighbours:
        offset = one.clock_offset_s()
        if offset is None:
            continue
        ahead, uncertain = offset
        surely = max(abs(ahead) - uncertain, 0.0)
        which = "ahead of" if ahead > 0 else "behind"
        found = f"the clock of {one.name} is {abs(ahead):.3f} s {which} ours (to {uncertain:.3f} s)"
        figures = {"node": one.name, "ahead_s": round(ahead, 6), "uncertain_s": round(uncertain, 6)}
        if surely > FAR_APART_S:
            findings.append(problem(ABOUT, found, f"When another node leads, sessions and leases end early or late. {SET_IT}", **figures))
        elif surely > APART_S:
            findings.append(advice(ABOUT, found, SET_IT, **figures))
        else:
            findings.append(ok(ABOUT, found, **figures))
    return findings
