"""Backups: taken from a node, checked, restored."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from tests.cli.cli_case import CliTestCase, Terminal, Told
from tests.statemachine.streamed_machines import parts_of, used
from tests.statemachine.values_given import Spot
from tests.support.fake_gate import FakeGate
from txraft.cli import snapshot, snapshot_files
from txraft.cli.main import main
from txraft.config import NodeConfig
from txraft.core.configuration import Configuration
from txraft.errors import DamagedSnapshot, NotApplied, Outcome, Unknown
from txraft.limits import Limits
from txraft.statemachine import Host
from txraft.statemachine.state_parts import EndPart, MachinePart, StatePart
from txraft.statemachine.values import encode_value
from txraft.storage import Storage
from txraft.storage.files import REAL_FILES
from txraft.storage.layout import Layout
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, write_snapshot
from txraft.wire.requests import InvokeRequest

CONTENT = bytes(range(256)) * 20_000


class FakeDownload:
    """What a node sends.

    Attributes:
        content: of the file.
        cut: send only so much of it.
    """

    def __init__(self, content: bytes = CONTENT, cut: int | None = None, **headers: str) -> None:
        self.content, self.cut, self.length, self.closed = content, cut, len(content), False
        self.headers = {"Index": "17", "Term": "3", "Sha256": sha256(content).hexdigest()} | headers

    def header(self, name: str) -> str | None:
        return self.headers.get(name.removeprefix("Txraft-Snapshot-"))

    def pieces(self, bytes_max: int) -> Iterator[bytes]:
        for at in range(0, self.length if self.cut is None else self.cut, bytes_max):
            yield self.content[at : at + bytes_max]
        if self.cut is not None:
            raise Unknown("connection_lost", "then no more")

    def close(self) -> None:
        self.closed = True


class SnapshotCase(CliTestCase):
    """Nodes at a:1 and b:2."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "backup"
        self.taken: list[tuple[str, float]] = []
        self.downloads: dict[str, FakeDownload | Outcome] = {"a:1": FakeDownload(), "b:2": FakeDownload()}
        self.patch(snapshot, "take", self.take)
        self.patch(snapshot, "Download", self.download)
        self.dead: set[str] = set()

    def take(self, endpoint: str, timeout_s: float) -> dict[str, Any]:
        if endpoint in self.dead:
            raise NotApplied("unreachable", f"{endpoint}: refused")
        self.taken.append((endpoint, timeout_s))
        return {"index": 18, "term": 3, "bytes": 5, "sha256": "ab" * 32}

    def download(self, endpoint: str, path: str, timeout_s: float) -> FakeDownload:
        self.assertEqual(path, "/v1/snapshot")
        found = self.downloads[endpoint]
        if isinstance(found, Outcome):
            raise found
        return found

    def snapshot(self, *arguments: str) -> Told:
        return self.run_command("--endpoints=a:1,b:2", "snapshot", *arguments)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class Now(SnapshotCase):
    """`now`."""

    def test_taken_by_the_first_that_answers(self) -> None:
        self.dead.add("a:1")
        told = self.snapshot("now")
        self.assertEqual((told.exit_code, told.stdout.splitlines()[0], self.taken), (0, "index   18", [("b:2", 600.0)]))
        self.assertEqual(json.loads(self.snapshot("now", "-o", "json").stdout)["sha256"], "ab" * 32)

    def test_nobody_answers(self) -> None:
        self.dead |= {"a:1", "b:2"}
        told = self.snapshot("now")
        self.assertEqual((told.exit_code, "b:2: refused" in told.stderr), (75, True))

    def test_patience(self) -> None:
        self.snapshot("now", "--timeout", "3")
        self.snapshot("--timeout", "4", "now", "--endpoints", "b:2")
        self.assertEqual(self.taken, [("a:1", 3.0), ("b:2", 4.0)])

    def test_wrong_usage(self) -> None:
        for arguments in ([], ["nonsense"], ["save"], ["verify"], ["restore", "f"], ["restore", "f", "--data-dir", "d"]):
            self.assertEqual(self.snapshot(*arguments).exit_code, 64, arguments)
        told = self.snapshot("restore", "f", "--machine", "x")
        self.assertEqual((told.exit_code, told.stderr.endswith("--machine x. Try: txraft snapshot restore --help\n")), (64, True))


class Save(SnapshotCase):
    """`save`."""

    def test_saved(self) -> None:
        told = self.snapshot("save", str(self.file))
        self.assertEqual((told.exit_code, self.file.read_bytes(), self.left()), (0, CONTENT, ["backup"]))
        self.assertIn(f"sha256  {sha256(CONTENT).hexdigest()}\n", told.stdout)
        self.assertEqual((told.stderr, "%" in told.stdout), ("", False))
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.taken, [])

    def test_for_programs(self) -> None:
        told = json.loads(self.snapshot("save", str(self.file), "-o", "json").stdout)
        self.assertEqual((told["index"], told["term"], told["bytes"]), (17, 3, len(CONTENT)))

    def test_a_fresh_one_of_the_same_node(self) -> None:
        self.downloads["a:1"] = NotApplied("not_ready", "replaying")
        self.snapshot("save", str(self.file), "--now")
        self.assertEqual([endpoint for endpoint, _ in self.taken], ["a:1", "b:2"])
        self.assertEqual(self.left(), ["backup"])

    def test_none_yet(self) -> None:
        self.downloads = dict.fromkeys(self.downloads, NotApplied("no_snapshot", "no snapshot has been taken yet"))
        told = self.snapshot("save", str(self.file))
        self.assertEqual((told.exit_code, "With --now" in told.stderr, self.left()), (75, True, []))

    def test_what_is_not_whole_leaves_the_one_before(self) -> None:
        self.file.write_bytes(b"before")
        for spoilt in (FakeDownload(cut=3_000_000), FakeDownload(Sha256="0" * 64), FakeDownload(Index="-1"), FakeDownload(Term="")):
            self.downloads = dict.fromkeys(self.downloads, spoilt)
            self.assertEqual(self.snapshot("save", str(self.file)).exit_code, 75)
            self.assertEqual((self.left(), self.file.read_bytes(), spoilt.closed), (["backup"], b"before", True))

    def test_another_node_is_asked_when_one_fails(self) -> None:
        self.downloads["a:1"] = FakeDownload(cut=10)
        self.assertEqual(self.snapshot("save", str(self.file)).exit_code, 0)
        self.assertEqual(self.file.read_bytes(), CONTENT)

    def test_where_nothing_can_be_written_no_node_is_asked(self) -> None:
        self.file.write_bytes(b"a file")
        (self.folder / "folder").mkdir()
        self.downloads.clear()
        for path, why in (
            (self.folder / "missing" / "backup", "No such file or directory"),
            (self.file / "backup", "Not a directory"),
            (self.folder / "folder", "is a directory; name a file"),
            (Path(), "is a directory; name a file"),
        ):
            told = self.snapshot("save", "--now", str(path))
            self.assertEqual((told.exit_code, told.stderr.startswith(f"txraft: {path}")), (74, True), told)
            self.assertIn(why, told.stderr)
        self.assertEqual((self.taken, self.left()), ([], ["backup", "folder"]))

    def test_on_a_terminal_it_is_said_how_far_it_is(self) -> None:
        stderr = Terminal()
        with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(stderr):
            self.assertEqual(main(["--endpoints=a:1", "snapshot", "save", str(self.file)], {}), 0)
        self.assertIn("] 100%  5120000 bytes", stderr.getvalue())
        self.assertNotIn("%", stdout.getvalue())


class Files(SnapshotCase):
    """`verify` and `restore`."""

    def setUp(self) -> None:
        super().setUp()
        members = Configuration.of({"n1": "a:1"}, {"n4": "d:1"}).encode()
        head = SnapshotHead("txraft 9", "c" * 32, 4_711, 17, [(3, members)], 99, [("jobs", "queue", 2)])
        self.write(head, parts_of(used()))

    def write(self, head: SnapshotHead, parts: list[bytes]) -> None:
        self.head, self.written = head, write_snapshot(REAL_FILES, self.file, head, parts)

    def restore(self, *arguments: str) -> Told:
        return self.run_command("snapshot", "restore", str(self.file), *arguments)

    def test_sound(self) -> None:
        told = json.loads(self.snapshot("verify", str(self.file), "-o", "json").stdout)
        members = [{"name": "n1", "address": "a:1", "voter": True}, {"name": "n4", "address": "d:1", "voter": False}]
        self.assertEqual((told["sound"], told["cluster_id"], told["index"], told["members"]), (True, "c" * 32, 4_711, members))
        self.assertEqual((told["bytes"], told["sha256"]), (self.file.stat().st_size, sha256(self.file.read_bytes()).hexdigest()))
        self.assertEqual(told["machines"], [{"name": "jobs", "plugin": "queue", "version": 2}])
        self.assertRegex(self.snapshot("verify", str(self.file)).stdout, r"(?m)^jobs +queue +2$")

    def test_damaged(self) -> None:
        content = bytearray(self.file.read_bytes())
        content[-200] ^= 1
        self.file.write_bytes(content)
        told = self.snapshot("verify", str(self.file))
        self.assertEqual((told.exit_code, told.stdout.startswith(f"{self.file}: byte ")), (1, True))
        self.assertTrue(told.stdout.endswith(". This snapshot is damaged: take another backup\n"))
        self.assertFalse(json.loads(self.snapshot("verify", str(self.file), "-o", "json").stdout)["sound"])
        again = self.restore("--data-dir", str(self.folder / "n1"), "--bootstrap", "n1=a:1")
        self.assertEqual((again.exit_code, again.stdout, again.stderr), (1, "", f"txraft: {told.stdout}"))
        self.assertEqual(self.left(), ["backup"])

    def test_a_backup_that_could_be_restored_by_nobody_was_called_sound(self) -> None:
        unreadable = encode_value({Spot(1): "a record as a key"})
        for bad in (["plain", unreadable], ["items", [msgspec.msgpack.Ext(5, b"x")]], None):
            machine = MachinePart("one", "one", 1, 0, 0, 0, 1, bad is not None and bad[0] == "plain")
            parts = [encode_value(part) for part in (StatePart(1, 0, 9), machine, bad, EndPart(3)) if part]
            self.write(self.head, parts)
            told = self.snapshot("verify", str(self.file))
            self.assertEqual((told.exit_code, told.stdout.startswith(f"{self.file}: whole, but")), (1, True), told)
            self.assertFalse(json.loads(self.snapshot("verify", str(self.file), "-o", "json").stdout)["sound"])

    def test_no_snapshot_at_all(self) -> None:
        for content in (b"", b"name: n1\n"):
            self.file.write_bytes(content)
            told = self.snapshot("verify", str(self.file))
            self.assertEqual((told.exit_code, told.stdout), (1, f"{self.file} is no snapshot of txraft\n"))

    def test_what_is_damaged_behind_its_back_is_no_damaged_backup(self) -> None:
        def spoil(*arguments: Any, **named: Any) -> None:
            raise DamagedSnapshot(str(self.folder / "n1" / "snapshots" / "new"), 0, "what was read back is not what was written")

        self.patch(snapshot_files, "seed_directory", spoil)
        self.assertEqual(self.restore("--data-dir", str(self.folder / "n1"), "--bootstrap", "n1=a:1").exit_code, 74)

    def test_missing(self) -> None:
        self.assertEqual(self.snapshot("verify", str(self.folder / "x")).exit_code, 64)

    def test_restored_for_a_new_cluster(self) -> None:
        bootstrap = "n1=127.0.0.1:7001,n2=127.0.0.1:7002"
        told = self.restore("--data-dir", str(self.folder / "n2"), "--cluster", "again", "--name", "n2", "--bootstrap", bootstrap)
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        config = NodeConfig.of(
            name="n2", cluster="again", data_dir=str(self.folder / "n2"), bootstrap={"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"}
        )
        self.assertIn(config.cluster_id, told.stdout)
        storage = Storage.open(config.data_dir, cluster_id=config.cluster_id, server_id="n2", bootstrap=[], limits=Limits(reserve_bytes=1))
        recovered = storage.recovered
        storage.close()
        self.assertEqual((recovered.base_index, recovered.metadata.term), (4_711, 17))
        self.assertEqual(Configuration.decode(recovered.configurations[-1][1]).voters, dict(config.bootstrap))

    def test_the_state_is_that_of_the_backup(self) -> None:
        gate = FakeGate({"counter": "counter"})
        add = InvokeRequest(0, 0, "counter", "add", msgspec.Raw(encode_value({"name": "a", "amount": 7})))
        self.assertEqual(self.successResultOf(gate.call(add)).value(), 7)
        capture = gate.host.capture()
        head = SnapshotHead("txraft 9", "c" * 32, capture.index, 3, [], capture.log_time_ms, capture.machines)
        write_snapshot(REAL_FILES, self.file, head, capture.parts())
        self.assertEqual(self.restore("--data-dir", str(self.folder / "n1"), "--bootstrap", "n1=a:1").exit_code, 0)
        _, parts = open_snapshot(REAL_FILES, Layout(self.folder / "n1").snapshot(capture.index))
        again = Host({"counter": "counter"}, limits=Limits())
        again.adopt(again.restored(parts))
        self.assertEqual((again.applied_index, again.digest()), (gate.host.applied_index, gate.host.digest()))

    def test_restored_by_a_configuration(self) -> None:
        config = self.folder / "n1.yaml"
        config.write_text(f"name: n1\ncluster: again\ndata_dir: {self.folder}/n1\nbootstrap: {{n1: '127.0.0.1:7001'}}\n")
        told = json.loads(self.restore("--config", str(config), "-o", "json").stdout)
        expected = NodeConfig.load(config)
        self.assertEqual((told["data_dir"], told["cluster_id"], told["index"]), (str(self.folder / "n1"), expected.cluster_id, 4_711))
        again = self.restore("--config", str(config))
        self.assertEqual((again.exit_code, "is not empty" in again.stderr), (74, True))

    def test_a_configuration_that_cannot_be(self) -> None:
        told = self.restore("--data-dir", str(self.folder / "n1"), "--name", "n9", "--bootstrap", "n1=127.0.0.1:7001")
        self.assertEqual((told.exit_code, "n9" in told.stderr, self.left()), (64, True, ["backup"]))
