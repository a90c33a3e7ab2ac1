"""Scenario 52: servers whose interpreters order their sets differently still agree on every byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import hashlib
from tests.statemachine.driver import Driver

driver = Driver(buggy="Buggy", recorder="Recorder", counter="txraft.machines.counter.Counter", leases="Leases")
session = driver.open_session()
for step in range(60):
    driver.time_ms += 500
    name = f"name {step * 7 % 11}"
    driver.call("counter", "add", session=session, serial=step + 1, first=step // 2, name=name, amount=step)
    driver.call("recorder", "anything", value={name: [step], "other": {"x": 1 << 70, "a": 1}})
    driver.call("leases", "take", name=name, seconds=step % 5)
    driver.call("recorder", "context")
    for bug in ("set", "object", "tuple_keys"):
        try:
            driver.call("buggy", "give", session=session, serial=1000 + 3 * step + len(bug), name=bug)
        except Exception:
            pass
print(hashlib.sha256(b"".join(driver.answers)).hexdigest(), driver.host.digest())
print(hash("a text"))
"""


class HashSeeds(SynchronousTestCase):
    def test_answers_and_state_do_not_depend_on_the_hash_seed(self) -> None:
        printed = []
        for seed in ("1", "2"):
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
            ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            printed.append(ran.stdout.splitlines())
        self.assertEqual(printed[0][0], printed[1][0])
        self.assertNotEqual(printed[0][1], printed[1][1])
