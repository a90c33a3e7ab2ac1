"""Figure 3.3, with the pre-vote before each election: every transition, legal or not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.core.ids import Index, ServerId
from txraft.core.roles import Candidate, Follower, Leader, Role, is_legal_transition

ROLES: dict[str, Role] = {
    "follower": Follower(ServerId("b")),
    "pre-candidate": Candidate(pre_vote=True),
    "candidate": Candidate(pre_vote=False),
    "leader": Leader(Index(1), {}),
}

LEGAL = {
    ("follower", "follower", "same term"),
    ("follower", "follower", "later term"),
    ("follower", "pre-candidate", "same term"),
    ("pre-candidate", "follower", "same term"),
    ("pre-candidate", "follower", "later term"),
    ("pre-candidate", "pre-candidate", "same term"),
    ("pre-candidate", "candidate", "later term"),
    ("candidate", "follower", "same term"),
    ("candidate", "follower", "later term"),
    ("candidate", "pre-candidate", "same term"),
    ("candidate", "leader", "same term"),
    ("leader", "follower", "same term"),
    ("leader", "follower", "later term"),
}


class Transitions(SynchronousTestCase):
    def test_these_and_no_others(self) -> None:
        found = {
            (old, new, when)
            for old in ROLES
            for new in ROLES
            for when in ("same term", "later term")
            if is_legal_transition(ROLES[old], ROLES[new], term_raised=when == "later term")
        }

        self.assertEqual(found, LEGAL)

    def test_a_vote_set_exists_on_candidates_only_and_progress_on_leaders_only(self) -> None:
        having = {
            attribute: {name for name, role in ROLES.items() if hasattr(role, attribute)} for attribute in ("votes", "progress", "reads")
        }

        self.assertEqual(having, {"votes": {"pre-candidate", "candidate"}, "progress": {"leader"}, "reads": {"leader"}})
