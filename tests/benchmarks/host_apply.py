"""What a command costs in the host, in microseconds: `python -m tests.benchmarks.host_apply [--rounds N]`.

Each figure is the best of several rounds, so that other work on the machine disturbs little. The machine's own method is part of `apply`.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from txraft.limits import Limits
from txraft.statemachine.context import Context
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import HostMachine, Invoke, OpenSession, decode_log_command, encode_log_command
from txraft.statemachine.values import encode_value

CALLS = 20_000
NAMES = 1_000
MACHINE = "counter"
PLUGIN = "txraft.machines.counter.Counter"


def hosted() -> tuple[Host, int]:
    """A host with one counter machine and one session."""
    host = Host({MACHINE: PLUGIN}, limits=Limits())
    host.apply(1, 1, HostMachine(0, MACHINE, PLUGIN, 1))
    host.apply(2, 1, OpenSession(0, 60_000))
    return host, 2


def configured(**settings: Any) -> Host:
    """A host whose counters have settings."""
    host, _ = hosted()
    for number in range(NAMES):
        arguments = msgspec.Raw(encode_value({"name": f"counter-{number}", **settings}))
        host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, MACHINE, "configure", arguments))
    return host


def microseconds(run: Callable[[], None], rounds: int) -> float:
    """The best time of one call among `CALLS`."""
    best = float("inf")
    gc.disable()
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begun)
    gc.enable()
    return best / CALLS * 1e6


def measures() -> dict[str, Callable[[], None]]:
    """What is measured, by its name."""
    host, session = hosted()
    arguments = [msgspec.Raw(encode_value({"name": f"counter-{number % NAMES}", "amount": 1})) for number in range(CALLS)]
    serial = 0

    def method() -> None:
        machine: Any = host._hosted[MACHINE].machine
        ctx = Context()
        for number in range(CALLS):
            machine.add(ctx, f"counter-{number % NAMES}", 1)

    def prepare() -> None:
        for one in arguments:
            host.prepare(MACHINE, "add", one)

    def apply(host: Host = host) -> None:
        for one in arguments:
            host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, MACHINE, "add", one))

    def apply_in_session() -> None:
        nonlocal serial
        for one in arguments:
            serial += 1
            host.apply(host.applied_index + 1, 1, Invoke(0, session, serial, max(0, serial - 256), MACHINE, "add", one))

    def encode_and_decode() -> None:
        for one in arguments:
            decode_log_command(encode_log_command(Invoke(0, session, 1, 1, MACHINE, "add", one)))

    def ask() -> None:
        one = encode_value({"name": "counter-1"})
        for _ in range(CALLS):
            host.query(MACHINE, "get", one, 1)

    return {
        "the machine's own method": method,
        "prepare": prepare,
        "apply, no session": apply,
        "apply, in a session": apply_in_session,
        "apply, no session, the counter has bounds": partial(apply, configured(minimum=0, maximum=10**9)),
        "apply, no session, the counter is watched": partial(apply, configured(watched=True)),
        "encode and decode the entry's command": encode_and_decode,
        "query": ask,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for name, run in measures().items():
        print(f"{microseconds(run, rounds):7.2f} us  {name}")


if __name__ == "__main__":
    main()
