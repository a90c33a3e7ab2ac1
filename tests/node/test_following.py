"""Queries on followers: linearizable ones after a word of the leader, local ones as fresh as the caller asks for."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred

from tests.node.following_case import FollowingCase
from tests.support.node_cluster import NodeCluster
from txraft.errors import Unknown
from txraft.node.node import Node
from txraft.node.queries import BEHIND_S
from txraft.statemachine.results import Answer, answer_of_value
from txraft.statemachine.values import encode_value
from txraft.wire.codec import decode_peer_message
from txraft.wire.requests import Ask, ForwardReply, InvokeRequest


class LinearizableTests(FollowingCase):
    def test_the_follower_answers_itself(self) -> None:
        ran: list[Any] = []
        self.patch(self.leader.host, "query", lambda *asked: ran.append(asked))
        answer = self.ask(self.follower)
        self.cluster.advance(0.1)
        self.assertEqual((self.successResultOf(answer).value(), ran), (1, []))

    def test_one_that_is_behind_answers_once_it_has_caught_up(self) -> None:
        """The leader's word comes through, its entries do not: the answer waits for them."""
        deliver = self.cluster.deliver
        held: list[tuple[str, str, bytes]] = []

        def holding(sender: str, to: str, frame: bytes) -> None:
            if to == self.follower.config.name and b"append" in frame[:16]:
                held.append((sender, to, frame))
            else:
                deliver(sender, to, frame)

        self.patch(self.cluster, "deliver", holding)
        self.add(1)
        answer = self.ask(self.follower)
        self.cluster.advance(0.3)
        self.assertNoResult(answer)
        self.assertEqual(self.successResultOf(self.local(self.follower)).value(), 1)
        for frame in held:
            deliver(*frame)
        self.cluster.advance(0.01)
        self.assertEqual(self.successResultOf(answer).value(), 2)

    def local(self, node: Node) -> Deferred[Answer]:
        answer = self.ask(node, "local")
        self.cluster.advance(0.01)
        return answer

    def test_a_leader_that_others_have_replaced_confirms_nothing(self) -> None:
        """The follower is on the side of the old leader: what the others acknowledge is not in what they have."""
        names = {node.config.name for node in (self.leader, self.follower)}
        answer = self.ask(self.follower)
        self.cluster.advance(0.1)
        self.assertEqual(self.successResultOf(answer).value(), 1)
        for name in names:
            self.cluster.cut |= {(name, self.other.config.name), (self.other.config.name, name)}
        self.cluster.cut |= {(self.follower.config.name, self.leader.config.name)}
        answer = self.ask(self.follower)
        self.cluster.advance(4)
        self.assertIn(self.code(answer), ("leadership_lost", "no_leader", "timeout"))

    def test_without_arguments_that_fit_nobody_is_asked(self) -> None:
        answer = self.follower.gate.call(Ask(0, "counter", "get", Raw(encode_value({"nme": "a"}))))
        self.assertEqual(self.successResultOf(answer).problem().code, "invalid_arguments")
        self.assertEqual(self.follower.gate.forwarding.count, 0)

    def test_a_cancelled_one_leaves_nothing_behind(self) -> None:
        answer = self.ask(self.follower)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.cluster.advance(1)
        self.assertEqual((self.follower.gate.forwarding.count, self.follower.queries.count), (0, 0))

    def test_a_word_from_before_a_restart_is_not_taken_for_one_asked_since(self) -> None:
        """Found by review: requests were numbered from 1 again, so a late answer made a read that was older than it may be."""
        name = self.follower.config.name
        held = self.hold_messages_to(self.follower)
        self.ask(self.follower)
        self.cluster.advance(0.1)
        [old] = [message for _, _, frame in held if isinstance(message := decode_peer_message(frame), ForwardReply)]
        self.let_pass()
        self.cluster.crash(name)
        self.cluster.start(name)
        self.cluster.advance(0.5)
        self.add(1)
        restarted = self.cluster.nodes[name]
        self.cluster.cut.add((self.leader.config.name, name))
        answer = self.ask(restarted)
        self.cluster.advance(0.05)
        restarted.message_received(self.leader.server_id, ForwardReply(old.term, old.sender, old.id, Raw(answer_of_value(None, 1, 1))))
        self.cluster.advance(0.05)
        self.assertNoResult(answer)
        self.cluster.cut.clear()
        answer.addErrback(lambda _: None)

    def test_never_older_than_what_was_acknowledged_before(self) -> None:
        for seed in range(3):
            self.run_at_random(seed)

    def run_at_random(self, seed: int) -> None:
        random = Random(seed)
        cluster = NodeCluster(self.mktemp(), 3)
        cluster.start()
        cluster.leader()
        names = sorted(cluster.configs)
        acknowledged: list[Answer] = []
        asked = 0
        answered: list[tuple[int, Answer]] = []

        def note_acknowledged(answer: Answer) -> None:
            if answer.outcome == 0:
                acknowledged.append(answer)

        def note_answered(answer: Answer, least: int) -> None:
            answered.append((least, answer))

        for _ in range(250):
            match random.randrange(12):
                case 0:
                    pair = random.sample(names, 2)
                    cluster.cut ^= {(pair[0], pair[1])}
                case 1:
                    cluster.isolate(random.choice(names))
                case 2 | 3:
                    cluster.cut.clear()
                case 4:
                    cluster.hung = set(random.sample(names, random.randrange(2)))
                case 5 | 6 | 7:
                    node = cluster.nodes[random.choice(names)]
                    cluster.invoke(node, "add", name="a", amount=1).addCallback(note_acknowledged)
                case _:
                    asked += 1
                    node = cluster.nodes[random.choice(names)]
                    cluster.ask(node, "get", name="a").addCallback(note_answered, len(acknowledged))
            cluster.advance(random.choice([0.01, 0.05, 0.3]))
        cluster.cut.clear()
        cluster.hung.clear()
        cluster.advance(15)
        self.assertEqual(len(answered), asked, f"seed {seed}")
        values = [(least, answer.value() or 0) for least, answer in answered if answer.outcome == 0]
        self.assertEqual([(least, value) for least, value in values if value < least], [], f"seed {seed}")
        self.assertGreater(len(values), 20, f"seed {seed}")
        cluster.stop_all()


class AtLeastTests(FollowingCase):
    def test_it_waits_until_so_much_is_applied(self) -> None:
        self.cluster.isolate(self.follower.config.name)
        index = self.add(1).index
        answer = self.ask(self.follower, "local", at_least=index)
        self.cluster.advance(1)
        self.assertNoResult(answer)
        self.cluster.cut.clear()
        self.cluster.advance(4)
        outcome = self.successResultOf(answer)
        self.assertEqual((outcome.value(), outcome.index >= index), (2, True))

    def test_what_is_applied_already_is_answered_at_once_by_a_node_alone(self) -> None:
        index = self.add(1).index
        self.cluster.isolate(self.follower.config.name)
        answer = self.ask(self.follower, "local", at_least=index)
        self.cluster.advance(0.01)
        self.assertEqual(self.successResultOf(answer).value(), 2)

    def test_it_does_not_wait_for_ever(self) -> None:
        answer = self.ask(self.follower, "local", at_least=1 << 60)
        self.cluster.advance(BEHIND_S - 0.1)
        self.assertNoResult(answer)
        self.cluster.advance(0.4)
        self.assertEqual((self.code(answer), self.follower.queries.count), ("stale", 0))

    def test_a_node_that_stops_answers_it(self) -> None:
        answer = self.ask(self.follower, "local", at_least=1 << 60)
        self.follower.stopService()
        self.cluster.advance(1)
        self.assertEqual(self.code(answer), "shutting_down")
        del self.cluster.nodes[self.follower.config.name]


class CallTests(FollowingCase):
    def test_what_is_no_request_is_answered_and_not_raised(self) -> None:
        wrong: Any = ["counter"]
        answer = self.follower.gate.call(InvokeRequest(0, 0, wrong, "add", Raw(encode_value({}))))
        self.assertEqual(self.successResultOf(answer).problem().code, "invalid_arguments")

    def test_many_that_give_up_at_once_are_withdrawn_one_by_one(self) -> None:
        self.cluster.cut.add((self.leader.config.name, self.follower.config.name))
        add = InvokeRequest(0, 0, "counter", "add", Raw(encode_value({"name": "b"})))
        answers = [self.follower.gate.call(add, timeout_s=0.05) for _ in range(50)]
        sent: list[Any] = []
        self.patch(self.follower.network, "send", lambda to, message: sent.append(message.id))
        self.cluster.advance(0.06)
        self.assertEqual(len(set(sent)), 50)
        self.assertEqual(self.follower.gate.forwarding.count, 0)
        for answer in answers:
            self.assertIsInstance(self.successResultOf(answer).problem(), Unknown)
