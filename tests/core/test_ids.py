"""Numbers count from where the dissertation counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.one_server import OneServer
from txraft.core.configuration import Configuration
from txraft.core.consensus import ConsensusModule
from txraft.core.effects import Metadata
from txraft.core.ids import Index, ServerId, Term
from txraft.core.log import Log
from txraft.limits import Limits, Timing


class Counting(SynchronousTestCase):
    def test_before_the_log_and_before_any_election_is_zero(self) -> None:
        module = ConsensusModule(
            ServerId("a"),
            metadata=Metadata(Term(0), None),
            log=Log(cache_bytes_max=1_000),
            configurations=[],
            limits=Limits(),
            timing=Timing(),
        )

        self.assertEqual((module.server.log.last_index, module.server.log.last_term, module.server.current_term), (0, 0, 0))
        self.assertEqual(module.server.configuration, Configuration({}))

    def test_the_first_entry_has_index_one(self) -> None:
        server = OneServer(log=(1,))

        self.assertEqual((server.record.log.last_index, server.record.log.term_at(1)), (Index(1), Term(1)))
