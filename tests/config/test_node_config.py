"""The configuration of a node: layers, origins, what is derived, and the sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txraft.config import NodeConfig
from txraft.errors import ConfigurationError
from txraft.limits import Limits, Timing

THREE = {"n1": "127.0.0.1:2380", "n2": "127.0.0.1:2381", "n3": "127.0.0.1:2382"}


class ConfigTestCase(SynchronousTestCase):
    def file(self, text: str | bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def refused(self, text: str | bytes, *parts: str, key: str | None = None) -> ConfigurationError:
        """Load a file that must be refused; its error names the file, the key, and holds `parts`."""
        path = self.file(text)
        error: ConfigurationError = self.assertRaises(ConfigurationError, NodeConfig.load, path)
        self.assertEqual(error.origin, str(path))
        if key is not None:
            self.assertEqual(error.key, key)
        for part in (*parts, str(path)):
            self.assertIn(part, str(error))
        self.assertTrue(error.remedy, "a remedy")
        return error


class DefaultsTests(ConfigTestCase):
    def test_nothing_configured_is_one_server_on_loopback(self) -> None:
        config = NodeConfig.load()
        self.assertEqual(config.name, "n1")
        self.assertEqual(config.data_dir, Path.cwd() / "txraft-data" / "n1")
        self.assertEqual(config.peer, "tcp:2380:interface=127.0.0.1")
        self.assertEqual(config.client, ("tcp:2379:interface=127.0.0.1",))
        self.assertEqual(config.advertise_peer, "127.0.0.1:2380")
        self.assertEqual(config.advertise_client, "127.0.0.1:2379")
        self.assertEqual(config.bootstrap, {"n1": "127.0.0.1:2380"})
        self.assertEqual(config.machines, {"counter": "counter", "queue": "queue", "config": "config"})
        self.assertEqual((config.timing, config.limits), (Timing(), Limits()))
        self.assertEqual(config.origins["name"], "default")
        self.assertEqual(config.origins["bootstrap"], "derived")

    def test_an_empty_file_is_no_configuration(self) -> None:
        for text in ("", "# only words\n", "name:\ntiming:\n", "---\n"):
            config = NodeConfig.load(self.file(text))
            self.assertEqual(config, NodeConfig.load())

    def test_the_peer_port_follows_from_the_bootstrap_address(self) -> None:
        config = NodeConfig.load(flags={"name": "n2", "bootstrap": THREE})
        self.assertEqual(config.peer, "tcp:2381:interface=127.0.0.1")
        self.assertEqual(config.advertise_peer, "127.0.0.1:2381")
        self.assertEqual(config.origins["peer"], "derived")

    def test_ipv6_in_brackets(self) -> None:
        config = NodeConfig.load(environ={"TXRAFT_BOOTSTRAP": "n1=[::1]:2380,n2=[::1]:2381"})
        self.assertEqual(config.advertise_peer, "[::1]:2380")
        reactor = MemoryReactorClock()
        serverFromString(reactor, config.peer).listen(object())
        port, _, _, interface = reactor.tcpServers[0]
        self.assertEqual((port, interface), (2380, "::1"))

    def test_listening_on_all_interfaces_advertises_the_host_that_peers_use(self) -> None:
        config = NodeConfig.load(flags={"bootstrap": "n1=a.example:1,n2=b.example:1", "peer": "tcp:1", "client": "tcp:2"})
        self.assertEqual((config.advertise_peer, config.advertise_client), ("a.example:1", "a.example:2"))

    def test_a_lone_server_need_not_say_where_it_is_reached(self) -> None:
        config = NodeConfig.load(flags={"peer": "tcp:0", "client": "unix:/run/x"})
        self.assertEqual((config.advertise_peer, config.advertise_client), ("", ""))
        self.assertEqual(config.bootstrap, {"n1": ""})

    def test_the_listening_address_may_differ_from_the_public_one(self) -> None:
        config = NodeConfig.load(
            flags={"bootstrap": THREE, "peer": "tcp:9000", "advertise_peer": "public.example:1", "advertise_client": "public.example:2"}
        )
        self.assertEqual((config.advertise_peer, config.advertise_client), ("public.example:1", "public.example:2"))


class LayersTests(ConfigTestCase):
    def test_flags_win_over_environment_over_file_and_origins_tell(self) -> None:
        path = self.file("name: a\ncluster: a\ndata_dir: /a\ntiming: {election_s: 3}\n")
        config = NodeConfig.load(
            path, {"TXRAFT_CLUSTER": "b", "TXRAFT_DATA_DIR": "/b", "TXRAFT_TIMING__HEARTBEAT_S": "0.2", "HOME": "/"}, {"data_dir": "/c"}
        )
        self.assertEqual((config.name, config.cluster, config.data_dir), ("a", "b", Path("/c")))
        self.assertEqual((config.timing.election_s, config.timing.heartbeat_s), (3.0, 0.2))
        origins = {key: config.origins[key] for key in ("name", "cluster", "data_dir", "timing.election_s", "timing.heartbeat_s")}
        self.assertEqual(
            origins,
            {
                "name": str(path),
                "cluster": "TXRAFT_CLUSTER",
                "data_dir": "--data-dir",
                "timing.election_s": str(path),
                "timing.heartbeat_s": "TXRAFT_TIMING__HEARTBEAT_S",
            },
        )

    def test_a_flag_that_is_none_was_not_given(self) -> None:
        config = NodeConfig.load(self.file("name: a"), {}, {"name": None})
        self.assertEqual(config.name, "a")

    def test_lists_and_pairs_in_environment_and_flags(self) -> None:
        config = NodeConfig.load(
            None,
            {"TXRAFT_MACHINES": "counter,jobs=queue", "TXRAFT_CLIENT": "tcp:1, unix:/run/x", "TXRAFT_ENDPOINTS": "x", "TXRAFT_CONFIG": "y"},
        )
        self.assertEqual(config.machines, {"counter": "counter", "jobs": "queue"})
        self.assertEqual(config.client, ("tcp:1", "unix:/run/x"))
        config = NodeConfig.load(flags={"machines": ["a", "b=pkg.mod.Class"], "client": ["tcp:1", "tcp:3"]})
        self.assertEqual(config.machines, {"a": "a", "b": "pkg.mod.Class"})
        self.assertEqual(config.client, ("tcp:1", "tcp:3"))

    def test_the_file_takes_lists_and_mappings(self) -> None:
        config = NodeConfig.load(self.file("client: [tcp:1, unix:/x]\nmachines: {jobs: queue, counter: }\n"))
        self.assertEqual(config.client, ("tcp:1", "unix:/x"))
        self.assertEqual(config.machines, {"jobs": "queue", "counter": "counter"})
        self.assertEqual(NodeConfig.load(self.file("machines: [a, b]")).machines, {"a": "a", "b": "b"})

    def test_an_embedding_program_gives_keywords(self) -> None:
        timing = Timing(heartbeat_s=0.01, election_s=0.1)
        config = NodeConfig.of(name="n3", bootstrap=THREE, data_dir=Path("/x"), timing=timing, limits={"requests_pending_max": 5})
        self.assertEqual((config.name, config.timing, config.limits.requests_pending_max), ("n3", timing, 5))
        error = self.assertRaises(ConfigurationError, NodeConfig.of, nam="x")
        self.assertIn("argument nam", str(error))

    def test_a_node_may_do_without_a_client_port(self) -> None:
        config = NodeConfig.of(bootstrap=THREE, client=())
        self.assertEqual((config.client, config.advertise_client), ((), ""))

    def test_describe_gives_key_value_and_origin(self) -> None:
        lines = NodeConfig.load(environ={"TXRAFT_BOOTSTRAP": "n1=127.0.0.1:1,n2=127.0.0.1:2"}).describe()
        self.assertIn("bootstrap = n1=127.0.0.1:1, n2=127.0.0.1:2 (TXRAFT_BOOTSTRAP)", lines)
        self.assertIn("timing.election_s = 1.0 (default)", lines)
        self.assertIn("peer = tcp:1:interface=127.0.0.1 (derived)", lines)
        self.assertEqual(lines[0], "name = n1 (default)")


class ClusterIdTests(ConfigTestCase):
    def test_the_same_on_all_servers_whatever_the_order(self) -> None:
        ids = {
            NodeConfig.load(flags={"name": "n1", "bootstrap": THREE}).cluster_id,
            NodeConfig.load(flags={"name": "n3", "bootstrap": dict(reversed(THREE.items()))}).cluster_id,
        }
        self.assertEqual(len(ids), 1)
        self.assertRegex(ids.pop(), "^[0-9a-f]{32}$")

    def test_another_cluster_has_another(self) -> None:
        first = NodeConfig.load(flags={"bootstrap": THREE})
        renamed = NodeConfig.load(flags={"bootstrap": THREE, "cluster": "other"})
        elsewhere = NodeConfig.load(flags={"bootstrap": {**THREE, "n2": "127.0.0.1:9999"}})
        self.assertEqual(len({first.cluster_id, renamed.cluster_id, elsewhere.cluster_id}), 3)

    def test_a_server_alone_may_move_to_another_port(self) -> None:
        self.assertEqual(NodeConfig.load().cluster_id, NodeConfig.load(flags={"peer": "tcp:9999:interface=127.0.0.1"}).cluster_id)


class MistakesTests(ConfigTestCase):
    def test_unknown_keys_with_a_close_one_named(self) -> None:
        self.refused("nmae: x", "Did you mean name?", key="nmae")
        self.refused("timing: {elction_s: 1}", "Did you mean timing.election_s?", key="timing.elction_s")
        self.refused("timing: {zzz: 1}", "Known are timing.heartbeat_s", key="timing.zzz")
        self.refused("zzzzzzz: 1", "Known are name", key="zzzzzzz")
        self.refused("1: x", key="1")

    def test_unknown_environment_variables(self) -> None:
        error = self.assertRaises(ConfigurationError, NodeConfig.load, None, {"TXRAFT_DATADIR": "x"})
        self.assertEqual(error.origin, "TXRAFT_DATADIR")
        self.assertIn("Did you mean TXRAFT_DATA_DIR?", str(error))

    def test_duplicate_keys(self) -> None:
        self.refused("name: a\nname: b", "again at line 2", key="name")
        self.refused("timing:\n  election_s: 1\n  election_s: 2", "again at line 3", key="timing.election_s")
        self.refused("bootstrap:\n  n1: a:1\n  n1: b:1", key="bootstrap.n1")

    def test_wrong_types(self) -> None:
        self.refused("name: 1", 'in quotes: "1"', key="name")
        self.refused("name: [a]", "a list, not text", key="name")
        self.refused("name: yes", "true or false", key="name")
        self.refused("data_dir: {}", key="data_dir")
        self.refused("timing: 5", "not a mapping", key="timing")
        self.refused("timing: {election_s: '5'}", "text, not a number", key="timing.election_s")
        self.refused("timing: {election_s: true}", key="timing.election_s")
        self.refused("limits: {segment_bytes: 1.5}", "not a whole number", key="limits.segment_bytes")
        self.refused("bootstrap: n1=a:1", "not a mapping", key="bootstrap")
        self.refused("bootstrap: {}", key="bootstrap")
        self.refused("bootstrap: {n1: }", "has no address", key="bootstrap")
        self.refused("machines: []", "names no machine", key="machines")
        self.refused("machines: {a: 1}", "not a plug-in", key="machines")
        self.refused("- a", "a list, not a mapping")
        self.refused("just text")

    def test_values_out_of_range(self) -> None:
        for value in ("0", "-1", ".nan", ".inf", "1.0e+30"):
            self.refused(f"timing: {{election_s: {value}}}", "out of range", key="timing.election_s")
        for value in ("0", "-1", "9999999999999999999999"):
            self.refused(f"limits: {{segment_bytes: {value}}}", "out of range", key="limits.segment_bytes")
        self.refused("peer: tcp:65536", "not a port", key="peer")
        self.refused("peer: tcp:http", "not a port", key="peer")
        self.refused("bootstrap: {n1: 'a:65536'}", "1 to 65535", key="bootstrap")

    def test_what_decides_results_is_the_same_on_all_servers_and_cannot_be_configured(self) -> None:
        for name in ("sessions_max", "session_results_max"):
            self.refused(f"limits: {{{name}: 5}}", key=f"limits.{name}")

    def test_names(self) -> None:
        for name in ("", "a b", "a/b", "é", "..", "x" * 129, "a\\n"):
            self.refused(f'name: "{name}"', key="name")
            self.refused(f'machines: {{"{name}": counter}}', key="machines")
            self.refused(f'bootstrap: {{"{name}": "a:1"}}', key="bootstrap")
        self.refused("machines: {status: counter}", "/v1/status is taken", key="machines")

    def test_text_with_control_characters_is_shown_escaped(self) -> None:
        error = self.refused('cluster: "a\\n\\e[31mb"', key="cluster")
        self.assertTrue(error.problem.isprintable())

    def test_the_heartbeat_must_fit_twice_into_the_election_timeout(self) -> None:
        self.refused("timing: {heartbeat_s: 0.6}", "election timeout of 1 s", key="timing.heartbeat_s")
        self.refused("timing: {election_s: 0.19}", key="timing.election_s")
        self.assertEqual(NodeConfig.load(self.file("timing: {election_s: 0.2}")).timing.election_s, 0.2)

    def test_frames_must_hold_what_travels_in_them(self) -> None:
        self.refused("limits: {command_bytes_max: 5000000}", "Write limits.peer_frame_bytes_max: 5065536", key="limits.command_bytes_max")
        self.refused("limits: {client_frame_bytes_max: 1000}", key="limits.client_frame_bytes_max")

    def test_bootstrap_without_oneself(self) -> None:
        error = self.refused("name: n9\nbootstrap: {n1: 'a:1', n2: 'b:1'}", "'n9' is not among", key="bootstrap")
        self.assertIn("n9=HOST:PORT", error.remedy)

    def test_one_address_for_two_servers(self) -> None:
        self.refused("bootstrap: {n1: '127.0.0.1:1', n2: '127.0.0.1:1'}", "'n1' and 'n2' have the same", key="bootstrap")
        self.refused("bootstrap: {n1: 'a:1', n2: 'tcp:host=A:port=1'}", "same address", key="bootstrap")
        self.refused("peer: tcp:1\nbootstrap: {n1: 'a:1', n2: 'b:1'}\nadvertise_peer: b:1", "address of 'n2'", key="advertise_peer")

    def test_ports_used_twice(self) -> None:
        self.refused("client: tcp:2380:interface=127.0.0.1", "listens already", key="client")
        self.refused("client: [tcp:1, tcp:1]", "listens already", key="client")
        NodeConfig.load(self.file("client: [tcp:0]\npeer: tcp:0"))

    def test_an_address_where_an_endpoint_is_due(self) -> None:
        self.refused("peer: 127.0.0.1:2380", "Write tcp:2380:interface=127.0.0.1", key="peer")
        self.refused("client: 2379", "Write tcp:2379:interface=127.0.0.1", key="client")
        self.refused("peer: localhost", key="peer")

    def test_where_the_server_is_reached_must_be_known_to_several(self) -> None:
        several = "bootstrap: {n1: '10.0.0.1:1', n2: '10.0.0.2:1'}\n"
        error = self.assertRaises(ConfigurationError, NodeConfig.load, self.file(several + "client: unix:/x"))
        self.assertEqual(error.key, "advertise_client")
        self.assertIn("HOST:PORT", error.remedy)
        error = self.assertRaises(ConfigurationError, NodeConfig.load, self.file("bootstrap: {n1: 'a:1', n2: 'b:1'}"))
        self.assertEqual(error.key, "peer")
        self.assertIn("peer: tcp:1", error.remedy)

    def test_unreadable_files(self) -> None:
        for path in ("/nonexistent/x.yaml", "/", "a\0b"):
            error = self.assertRaises(ConfigurationError, NodeConfig.load, path)
            self.assertIn("cannot be read", str(error))
        self.refused("a: [", "not YAML at line 1")
        self.refused(b"name: \xff\xfe", "not YAML")
        self.refused("name: 2001-99-99", "cannot read")
        self.refused("[" * 3000, "cannot read")
        self.refused("a: &x\n  b: *x", "no such key")
        self.refused("#" * 1_100_000, "longer")
        self.refused("name: !!python/object/apply:os.system [true]", "not YAML")

    def test_numbers_and_pairs_in_variables(self) -> None:
        for variable, value in [
            ("TXRAFT_TIMING__ELECTION_S", "soon"),
            ("TXRAFT_LIMITS__SESSIONS_MAX", "1.5"),
            ("TXRAFT_LIMITS__SESSIONS_MAX", "1" * 5000),
            ("TXRAFT_BOOTSTRAP", "n1"),
            ("TXRAFT_BOOTSTRAP", "n1=a:1,n1=b:1"),
            ("TXRAFT_MACHINES", "a="),
            ("TXRAFT_NAME", ""),
        ]:
            error = self.assertRaises(ConfigurationError, NodeConfig.load, None, {variable: value})
            self.assertEqual(error.origin, variable)
            self.assertTrue(error.remedy)

    @settings(deadline=None, max_examples=150)
    @given(
        st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), st.from_regex(rb"(name|peer|timing|bootstrap): .{0,30}"))
    )
    def test_any_file_is_a_configuration_or_a_clear_error(self, content: bytes) -> None:
        path = self.file(content)
        try:
            NodeConfig.load(path)
        except ConfigurationError as error:
            self.assertIn(str(path), str(error))
