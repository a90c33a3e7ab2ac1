"""A real etcd of one member, by its JSON gateway: what the config store is compared with."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.processes import free_ports

__all__ = ["EtcdServer", "etcd_is_installed"]

START_S = 20.0
IN_MEMORY = Path("/dev/shm")
QUICK = "--unsafe-no-fsync"


def etcd_is_installed() -> bool:
    """Whether there is a program `etcd`."""
    return shutil.which("etcd") is not None


class EtcdServer:
    """Started at once, ready when this returns; ended by `stop`."""

    def __init__(self) -> None:
        client, peer = free_ports(2)
        # In memory where there is such a folder: older versions sync each write, and nothing here is to survive.
        self._folder = tempfile.mkdtemp(prefix="etcd-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        known = subprocess.run(["etcd", "--help"], capture_output=True, text=True, check=False)
        options = {
            "data-dir": self._folder,
            "listen-client-urls": f"http://127.0.0.1:{client}",
            "advertise-client-urls": f"http://127.0.0.1:{client}",
            "listen-peer-urls": f"http://127.0.0.1:{peer}",
            "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
            "initial-cluster": f"default=http://127.0.0.1:{peer}",
            "log-level": "error",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        command += [QUICK] if QUICK in known.stdout + known.stderr else []
        with (Path(self._folder) / "output").open("w") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        self._port = client
        self._connection: http.client.HTTPConnection | None = None
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        give_up_at = time.monotonic() + START_S
        while True:
            try:
                if self.call("/v3/kv/range", {"key": "YQ=="})[0] == 200:
                    return
            except OSError:
                self._connection = None
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                raise RuntimeError(f"etcd does not answer: {(Path(self._folder) / 'output').read_text()[-2_000:]}")
            time.sleep(0.05)

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_S)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def call(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def watched(self, first: int, last: int) -> list[dict[str, Any]]:
        """The events of all keys from one revision to another, which must have some."""
        everything = base64.b64encode(b"\0").decode()
        create = {"key": everything, "range_end": everything, "start_revision": first}
        connection = self._connect()
        try:
            connection.request("POST", "/v3/watch", json.dumps({"create_request": create}))
            response = connection.getresponse()
            events: list[dict[str, Any]] = []
            while not events or int(events[-1]["kv"]["mod_revision"]) < last:
                events += json.loads(response.readline())["result"].get("events", [])
            return events
        finally:
            connection.close()

    def stop(self) -> None:
        """End it and remove its folder."""
        if self._connection is not None:
            self._connection.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
