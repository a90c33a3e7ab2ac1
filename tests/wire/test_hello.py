from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.messages import mutated
from txraft.errors import RemoteProtocolError
from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX, PROTOCOL_VERSION
from txraft.storage.identity import STARTS_REMEMBERED
from txraft.wire.hello import (
    HELLO_BYTES_MAX,
    ClientHello,
    ClientWelcome,
    HelloRefused,
    PeerHello,
    PeerWelcome,
    agreed_version,
    decode_client_hello,
    decode_client_hello_reply,
    decode_peer_hello,
    decode_peer_hello_reply,
    encode_greeting,
    problem_of_welcome,
    refusal_of_hello,
)
from txraft.wire.starts import Start

OLD, NEW = "0d" * 16, "ae" * 16
HELLO = PeerHello(1, 1, "c" * 32, "n2", "n1", 5, "10.0.0.2:2379", OLD, "p5", ["p4", "p3"])
WELCOME = PeerWelcome(1, "c" * 32, "n1", 7, "10.0.0.1:2379", OLD, "q7", ["q6"])


def refusal(**changes: Any) -> str | None:
    """The code with which n1 refuses a hello of n2, changed so."""
    is_member, known = changes.pop("is_member", True), changes.pop("known", Start(OLD, 5, "p5"))
    hello = msgspec.structs.replace(HELLO, **changes)
    refused = refusal_of_hello(hello, cluster_id="c" * 32, server_id="n1", is_member=is_member, known=known)
    return refused.code if refused is not None else None


class RefusalTests(SynchronousTestCase):
    def test_a_member_of_the_cluster_who_means_this_server_is_welcome(self) -> None:
        self.assertIsNone(refusal())
        self.assertIsNone(refusal(incarnation=6, process="p6", previous_processes=["p5", "p4"]))

    def test_every_reason(self) -> None:
        self.assertEqual(refusal(version_min=2, version_max=3), "version")
        self.assertEqual(refusal(cluster_id="d" * 32), "cluster")
        self.assertEqual(refusal(receiver="n3"), "receiver")
        self.assertEqual(refusal(is_member=False), "member")
        self.assertEqual(refusal(sender="n1"), "member")
        self.assertEqual(refusal(directory=NEW), "directory")
        self.assertEqual(refusal(incarnation=4), "incarnation")
        self.assertEqual(refusal(process="other"), "copied")

    def test_a_wiped_directory_is_told_by_its_mark_whatever_its_incarnation(self) -> None:
        for incarnation in (1, 5, 6):
            self.assertEqual(refusal(directory=NEW, incarnation=incarnation), "directory")

    def test_the_first_reason_in_order_is_given(self) -> None:
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("version", {"version_min": 2, "version_max": 2}),
            ("cluster", {"cluster_id": "d"}),
            ("receiver", {"receiver": "n3"}),
            ("member", {"is_member": False}),
            ("directory", {"directory": NEW}),
            ("incarnation", {"incarnation": 1}),
            ("copied", {"incarnation": 5, "process": "other"}),
        ]
        for place, (code, _) in enumerate(wrong):
            self.assertEqual(refusal(**{key: value for _, changes in reversed(wrong[place:]) for key, value in changes.items()}), code)

    def test_a_refusal_tells_nothing_of_this_server(self) -> None:
        for wrong in ({"cluster_id": "x"}, {"directory": NEW}, {"process": "p7"}, {"incarnation": 4}):
            hello = msgspec.structs.replace(HELLO, **wrong)
            known = Start(OLD, 5, "p5")
            refused = refusal_of_hello(hello, cluster_id="c" * 32, server_id="n1", is_member=True, known=known)
            assert refused is not None
            for secret in ("ccc", "n1", OLD, "p5"):
                self.assertNotIn(secret, refused.sentence)


class WelcomeTests(SynchronousTestCase):
    def problem(self, **changes: Any) -> str:
        welcome = msgspec.structs.replace(WELCOME, **changes)
        return problem_of_welcome(welcome, cluster_id="c" * 32, peer="n1", known=Start(OLD, 7, "q7")) or ""

    def test_the_one_that_was_dialled(self) -> None:
        self.assertEqual(self.problem(), "")
        self.assertEqual(self.problem(incarnation=8, process="q8", previous_processes=["q7", "q6"]), "")
        self.assertEqual(self.problem(directory="", process="", previous_processes=[]), "")

    def test_row_07_and_08_others_are_not_taken_for_it(self) -> None:
        self.assertIn("another cluster", self.problem(cluster_id="d"))
        self.assertIn("'n3'", self.problem(server_id="n3"))
        self.assertIn("older copy", self.problem(incarnation=6))
        self.assertIn("was copied and runs twice", self.problem(process="other"))
        self.assertIn("version 9", self.problem(version=9))
        for incarnation in (1, 7, 8):
            self.assertIn("another data directory", self.problem(directory=NEW, incarnation=incarnation))


class VersionTests(SynchronousTestCase):
    def test_the_newest_of_both(self) -> None:
        self.assertEqual(agreed_version(1, 9), PROTOCOL_VERSION)
        self.assertEqual(agreed_version(0, 1), 1)

    def test_none_in_common(self) -> None:
        self.assertIsNone(agreed_version(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2))
        self.assertIsNone(agreed_version(0, 0))
        self.assertIsNone(agreed_version(1, 0))


class GreetingFormTests(SynchronousTestCase):
    def test_all_greetings_survive(self) -> None:
        refused = HelloRefused("member", "not known")
        self.assertEqual(decode_peer_hello(encode_greeting(HELLO)), HELLO)
        self.assertEqual(decode_peer_hello_reply(encode_greeting(WELCOME)), WELCOME)
        self.assertEqual(decode_peer_hello_reply(encode_greeting(refused)), refused)
        self.assertEqual(decode_client_hello(encode_greeting(ClientHello(1, 2, "a client"))), ClientHello(1, 2, "a client"))
        welcome = ClientWelcome(1, "c", "n1", 4096, 10)
        self.assertEqual(decode_client_hello_reply(encode_greeting(welcome)), welcome)
        self.assertEqual(decode_client_hello_reply(encode_greeting(refused)), refused)

    def test_the_longest_hello_fits(self) -> None:
        name, text = "\U0001f600" * NAME_LENGTH_MAX, "c" * 256
        drawn = ["d" * 16] * (1 + STARTS_REMEMBERED)
        hello = PeerHello(65535, 65535, text, name, name, INDEX_MAX, text, text, drawn[0], drawn[1:])
        self.assertLess(len(encode_greeting(hello)), HELLO_BYTES_MAX)
        self.assertEqual(decode_peer_hello(encode_greeting(hello)), hello)

    def test_a_hello_of_a_later_version_is_understood_so_far(self) -> None:
        fields = msgspec.msgpack.decode(encode_greeting(HELLO))
        self.assertEqual(decode_peer_hello(msgspec.msgpack.encode([*fields, "certificate", 5])), HELLO)

    def test_greetings_of_servers_that_do_not_tell_their_directory_are_understood(self) -> None:
        for greeting, decode in ((HELLO, decode_peer_hello), (WELCOME, decode_peer_hello_reply)):
            fields = msgspec.msgpack.decode(encode_greeting(greeting))
            unsaid: dict[str, Any] = {}
            for name, default in (("previous_processes", []), ("process", ""), ("directory", "")):
                fields.pop()
                unsaid[name] = default
                self.assertEqual(decode(msgspec.msgpack.encode(fields)), msgspec.structs.replace(greeting, **unsaid))

    def test_row_13_no_more_processes_than_a_directory_remembers_are_taken(self) -> None:
        for wrong in ({"process": "d" * 33}, {"previous_processes": ["d"] * 65}, {"previous_processes": ["d" * 33]}):
            self.assertRaises(RemoteProtocolError, decode_peer_hello, encode_greeting(msgspec.structs.replace(HELLO, **wrong)))

    def test_row_13_numbers_out_of_range_are_refused(self) -> None:
        for wrong in (msgspec.structs.replace(HELLO, incarnation=2**63), msgspec.structs.replace(HELLO, version_max=65536)):
            with self.assertRaises(RemoteProtocolError):
                decode_peer_hello(encode_greeting(wrong))

    @settings(deadline=None, max_examples=150)
    @given(mutated(st.sampled_from([encode_greeting(HELLO), encode_greeting(WELCOME), encode_greeting(ClientHello(1, 1, "x"))])))
    def test_mutated_greetings_decode_or_are_refused_and_nothing_else(self, frame: bytes) -> None:
        for decode in (decode_peer_hello, decode_peer_hello_reply, decode_client_hello, decode_client_hello_reply):
            try:
                decode(frame)
            except RemoteProtocolError:
                continue
