"""Some operations of `beside_etcd`, which has the whole story."""

from __future__ import annotations

import os
import random

from twisted.trial.unittest import SkipTest

from tests.end_to_end.beside_etcd import Comparison
from tests.end_to_end.etcd_server import EtcdServer, etcd_is_installed
from tests.support.processes import ProcessTestCase

OPERATIONS = int(os.environ.get("TXRAFT_ETCD_OPERATIONS", "4000"))


class BesideEtcd(ProcessTestCase):
    """More of them: TXRAFT_ETCD_OPERATIONS=20000."""

    def test_every_answer_is_the_same(self) -> None:
        if not etcd_is_installed():
            raise SkipTest("there is no etcd here: Debian has it as etcd-server")
        server = EtcdServer()
        self.addCleanup(server.stop)
        comparison = Comparison(server, random.SystemRandom().randrange(2**32))
        comparison.run(OPERATIONS)
        # What was asked was worth asking: mistakes of many kinds were among it.
        self.assertGreater(len(comparison.refused), 5)
