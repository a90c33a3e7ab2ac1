"""The front of the core: terms in messages, total dispatch, receipts of the disk."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from, snapshot_at
from tests.support.one_server import OneServer, accepted, all_of, append, rejected, said, vote, vote_request
from txraft.core.configuration import Configuration
from txraft.core.consensus import IGNORED, RECEIVE
from txraft.core.effects import Apply, ConfigurationChanged, Persist, ReadChunk, ResetElectionTimer, RoleChanged
from txraft.core.ids import Index, Term
from txraft.core.messages import (
    AppendEntriesReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    RequestTerm,
    RequestTermReply,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.roles import Candidate, Follower, Leader, Repair, Role
from txraft.core.snapshot import Snapshot
from txraft.errors import Halted


class Dispatch(SynchronousTestCase):
    PAIRS = {(role, message) for role in get_args(Role) for message in get_args(Message)}

    def test_every_role_takes_or_leaves_every_message(self) -> None:
        self.assertEqual(set(RECEIVE) | set(IGNORED), self.PAIRS)

    def test_none_does_both(self) -> None:
        self.assertEqual(set(RECEIVE) & set(IGNORED), set())

    def test_what_is_left_alone_has_a_reason(self) -> None:
        self.assertTrue(all(IGNORED.values()))

    def test_what_is_left_alone_changes_nothing(self) -> None:
        servers = {Follower: OneServer(term=2).as_follower_of("b"), Leader: OneServer().as_leader(), Candidate: OneServer().as_candidate()}
        messages: dict[type, Message] = {
            RequestVoteReply: vote(2, "c"),
            AppendEntriesReply: accepted(2, "c", 1),
            InstallSnapshot: InstallSnapshot(2, "c", snapshot_at(3, 2), 0),
            InstallSnapshotReply: InstallSnapshotReply(2, "c", bytes(32), 0, "more"),
            RequestTerm: RequestTerm(2, "c", 1),
            RequestTermReply: RequestTermReply(2, "c", 1),
        }

        for role, message in IGNORED:
            self.assertEqual(servers[role].hears(messages[message]), [], (role, message))


class Starting(SynchronousTestCase):
    def test_a_server_begins_as_a_follower_with_what_it_knew(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5, voted_for="b")

        self.assertEqual(
            server.effects,
            [
                RoleChanged("follower", Term(5), None, "start"),
                ConfigurationChanged(Configuration.of({"a": "a", "b": "b", "c": "c"})),
                ResetElectionTimer(),
            ],
        )
        self.assertEqual((server.record.commit_index, server.record.last_applied, server.record.log.durable_index), (0, 0, 3))

    def test_the_only_voter_has_nobody_to_wait_for(self) -> None:
        self.assertEqual(OneServer("a").record.role, Candidate(pre_vote=False))

    def test_the_only_voter_may_be_another(self) -> None:
        self.assertEqual(OneServer("b", learners="a").record.role, Follower())


class StartingFromASnapshot(SynchronousTestCase):
    """A server whose log of (1, 1, 2, 2, 2) begins behind entry 3, with a snapshot at entry 4."""

    def start(self, snapshot: Snapshot, base: int = 3) -> OneServer:
        return OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=snapshot, base=base)

    def test_what_is_in_it_is_committed_and_applied(self) -> None:
        record = self.start(snapshot_at(4, 2)).record

        self.assertEqual((record.commit_index, record.last_applied, record.log.base_index, record.log.last_index), (4, 4, 3, 5))

    def test_it_is_not_applied_again(self) -> None:
        server = self.start(snapshot_at(4, 2)).as_follower_of("b")

        self.assertEqual(all_of(server.hears(append(5, "b", (4, 2), commit=4)), Apply), [])
        self.assertEqual(all_of(server.hears(append(5, "b", (5, 2), commit=5)), Apply), [Apply(Index(5))])

    def test_row_81_its_configuration_holds_and_then_those_of_the_log(self) -> None:
        configuration = Configuration.of({name: name for name in "abcde"})
        record = self.start(snapshot_at(4, 2, configurations={2: configuration})).record
        self.assertEqual((record.configuration, record.configurations.latest_index), (configuration, 2))

        whole = OneServer(log=(1, 1, 2, 2, 2), term=5, snapshot=snapshot_at(4, 2, configurations={1: configuration})).record
        self.assertEqual((whole.configuration, whole.configurations.latest_index), (configuration, 1))

    def test_a_log_that_does_not_reach_it_is_none(self) -> None:
        self.assertRaises(Halted, self.start, snapshot_at(2, 1))
        self.assertRaises(Halted, self.start, snapshot_at(6, 2))


class TermsInMessages(SynchronousTestCase):
    def servers(self) -> list[OneServer]:
        """One in each role, in term 5."""
        servers = [
            OneServer(term=5).as_follower_of("b"),
            OneServer(term=5).as_pre_candidate(),
            OneServer(term=4).as_candidate(),
            OneServer(term=4).as_leader(),
        ]
        self.assertEqual({server.record.current_term for server in servers}, {5})
        return servers

    def test_a_later_term_makes_a_follower_of_everybody(self) -> None:
        for message in (append(9, "c", (0, 0)), accepted(9, "c", 0), rejected(9, "c", 0), vote(9, "c"), vote(9, "c", granted=False)):
            for server in self.servers():
                server.hears(message)

                self.assertIsInstance(server.record.role, Follower)
                self.assertEqual((server.record.current_term, server.record.voted_for), (9, None))

    def test_it_is_written_down_in_the_same_step(self) -> None:
        for server in self.servers():
            server.hears(accepted(9, "c", 0))

            (persist,) = all_of(server.effects, Persist)
            assert persist.metadata is not None
            self.assertEqual((persist.metadata.term, persist.metadata.voted_for), (9, None))

    def test_a_rehearsed_election_raises_nobodys_term(self) -> None:
        for message in (vote_request(9, "c", (0, 0), pre_vote=True), vote(9, "c", pre_vote=True)):
            for server in self.servers():
                role = type(server.record.role)

                server.hears(message)

                self.assertEqual((server.record.current_term, type(server.record.role)), (5, role))

    def test_requests_of_an_older_term_are_refused_with_the_newer_one(self) -> None:
        for message, kind in (
            (append(3, "c", (0, 0)), AppendEntriesReply),
            (vote_request(3, "c", (9, 3)), RequestVoteReply),
            (vote_request(3, "c", (9, 3), pre_vote=True), RequestVoteReply),
        ):
            for server in self.servers():
                before = (type(server.record.role), server.record.voted_for, server.record.leader)
                ((to, answer),) = said(server.hears(message), kind)

                self.assertEqual((to, answer.term), ("c", 5))
                self.assertFalse(getattr(answer, "granted", False) or getattr(answer, "success", False))
                self.assertEqual((type(server.record.role), server.record.voted_for, server.record.leader), before)

    def test_answers_of_an_older_term_are_dropped(self) -> None:
        for message in (accepted(3, "c", 1), rejected(3, "c", 1), vote(3, "c"), vote(3, "c", pre_vote=True)):
            for server in self.servers():
                self.assertEqual(server.hears(message), [])

    def test_the_only_term_there_is_decides_for_votes_and_entries_alike(self) -> None:
        server = OneServer(log=(1, 1), term=5)
        server.hears(vote_request(9, "c", (1, 1)))

        effects = server.hears(append(7, "b", (2, 1), commands_from(3, 7)))

        self.assertEqual(said(effects, AppendEntriesReply), [("b", rejected(9, "a", 2))])
        self.assertEqual(server.log_terms(), [1, 1])


class Receipts(SynchronousTestCase):
    """What the disk has done counts only for what is still so."""

    def follower(self) -> OneServer:
        return OneServer(log=(1, 1), term=3).as_follower_of("b")

    def test_it_makes_durable_what_was_written(self) -> None:
        server = self.follower()
        server.hears(append(3, "b", (2, 1), commands_from(3, 3), commit=3))
        self.assertEqual(server.record.log.durable_index, 2)

        effects = server.disk_answers()

        self.assertEqual(server.record.log.durable_index, 3)
        self.assertEqual(all_of(effects, Apply), [Apply(Index(3))])

    def test_one_for_entries_that_were_replaced_since_proves_nothing(self) -> None:
        server = self.follower()
        server.hears(append(3, "b", (2, 1), commands_from(3, 3)))
        server.hears(append(4, "c", (2, 1), commands_from(3, 4)))

        server.disk_answers(1)
        self.assertEqual(server.record.log.durable_index, 2)

        server.disk_answers()
        self.assertEqual(server.record.log.durable_index, 3)

    def test_one_for_the_same_entry_written_before_it_was_overwritten_and_written_again_proves_nothing(self) -> None:
        server = self.follower()
        first = append(3, "b", (2, 1), commands_from(3, 3))
        server.hears(first)
        server.hears(append(4, "c", (2, 1), commands_from(3, 4)))
        server.hears(append(5, "b", (2, 1), commands_from(3, 3), commit=3))

        effects = server.disk_answers(2)
        self.assertEqual(server.record.log.durable_index, 2)
        self.assertEqual(all_of(effects, Apply), [])

        server.disk_answers()
        self.assertEqual(server.record.log.durable_index, 3)

    def test_a_leader_deposed_meanwhile_does_not_commit_by_it(self) -> None:
        server = OneServer("a", learners="x", log=(1, 1), term=3)
        server.disk_answers()
        server.proposes(b"x")
        server.hears(accepted(9, "x", 0))

        effects = server.disk_answers(2)

        self.assertEqual((all_of(effects, Apply), server.record.commit_index), ([], 0))

    def test_a_late_receipt_does_not_make_a_longer_log_durable_or_a_durable_one_shorter(self) -> None:
        server = self.follower()
        for index in (3, 4):
            server.hears(append(3, "b", (index - 1, 3 if index > 3 else 1), commands_from(index, 3)))
        first, second = server.writes

        server.step(lambda module: module.persisted(server.now, second.receipt))
        self.assertEqual(server.record.log.durable_index, 4)
        server.step(lambda module: module.persisted(server.now, first.receipt))
        self.assertEqual(server.record.log.durable_index, 4)

    def test_entering_a_term_confirms_what_was_written_in_the_one_before(self) -> None:
        server = self.follower()
        server.hears(append(3, "b", (2, 1), commands_from(3, 3)))
        server.now += 10.0
        server.hears(vote_request(4, "c", (3, 3)))

        server.disk_answers()

        self.assertEqual(server.record.log.durable_index, 3)


class Applying(SynchronousTestCase):
    def test_what_was_applied_is_noted(self) -> None:
        server = OneServer(log=(1, 1, 1), term=1).as_follower_of("b")
        server.hears(append(1, "b", (3, 1), commit=3))

        server.applies(2)

        self.assertEqual(server.record.last_applied, 2)

    def test_neither_beyond_what_is_committed_nor_back(self) -> None:
        server = OneServer(log=(1, 1, 1), term=1).as_follower_of("b")
        server.hears(append(1, "b", (2, 1), commit=2))
        server.applies(2)

        self.assertRaises(Halted, server.applies, 3)
        self.assertRaises(Halted, server.applies, 1)


TERMS, INDEXES, PEERS = st.integers(0, 4), st.integers(0, 5), st.sampled_from("bcx")
MESSAGES = st.one_of(
    st.builds(RequestVote, TERMS, PEERS, INDEXES, TERMS, st.booleans(), st.booleans()),
    st.builds(RequestVoteReply, TERMS, PEERS, st.booleans(), st.booleans()),
    st.builds(AppendEntriesReply, TERMS, PEERS, st.booleans(), INDEXES, INDEXES, INDEXES, TERMS),
)
SNAPSHOTS = st.sampled_from([snapshot_at(index, term, size=30) for index, term in ((1, 1), (2, 1), (2, 2), (4, 2), (6, 3))])
TRANSFERS = st.one_of(
    st.builds(
        lambda term, peer, held, offset, state: InstallSnapshotReply(term, peer, held.sha256, offset, state),
        TERMS,
        PEERS,
        SNAPSHOTS,
        st.integers(0, 30),
        st.sampled_from(("more", "installed", "refused")),
    ),
    st.builds(RequestTerm, TERMS, PEERS, st.just(1)),
    st.builds(RequestTermReply, TERMS, PEERS, st.just(1)),
)
WORDS = (
    "times out",
    "beats",
    "disk answers",
    "proposes",
    "reads",
    "steps down",
    "takes a snapshot",
    "receives a snapshot",
    "reads a chunk",
)
INPUTS = st.one_of(MESSAGES, TRANSFERS, st.sampled_from(WORDS))


class AnyInputs(SynchronousTestCase):
    """Whatever votes and answers arrive, in whatever order: no exception, no broken invariant (checked after each step)."""

    @given(st.lists(INPUTS, max_size=30), st.booleans(), st.booleans())
    @settings(deadline=None, max_examples=150)
    def test_no_input_breaks_a_server(self, inputs: list[Message | str], leading: bool, repairing: bool) -> None:
        repair = Repair(votes_lost=leading) if repairing else None
        server = OneServer("abc", learners="x", log=(1, 1, 2), incarnation=1, repair=repair)
        if leading and not repairing:
            server.as_leader()
        for number, each in enumerate(inputs, 1):
            match each:
                case "times out":
                    server.times_out()
                case "beats":
                    server.beats()
                case "disk answers":
                    server.disk_answers(1)
                case "proposes":
                    server.proposes(b"x")
                case "reads":
                    server.reads(number)
                case "steps down":
                    server.step(lambda module: module.step_down("asked to"))
                case "takes a snapshot" if server.record.last_applied < server.record.log.durable_index:
                    applied = min(server.record.commit_index, server.record.log.durable_index)
                    server.applies(applied)
                    if applied:
                        server.takes_snapshot(snapshot_at(applied, server.record.log.term_at(applied) or 0), applied - 1)
                case "receives a snapshot":
                    server.has_received(snapshot_at(6, server.record.current_term))
                case "reads a chunk":
                    for read in all_of(server.effects, ReadChunk):
                        server.has_read_chunk(read.to, read.snapshot, read.offset, b"content")
                case str():
                    pass
                case message:
                    server.hears(message)
            server.now += 0.3
