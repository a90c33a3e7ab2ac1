"""`twistd txraft`. Every twistd and trial on the machine imports this file when its plug-in cache is stale: it stays this small."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

txraft = ServiceMaker("txraft", "txraft.tap", "A replicated state machine node (Raft consensus).", "txraft")
