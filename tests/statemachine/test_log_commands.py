"""What stands in command entries."""

from __future__ import annotations

import contextlib

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.limits import INDEX_MAX
from txraft.statemachine.log_commands import (
    Clock,
    CloseSession,
    HostMachine,
    Invoke,
    KeepSession,
    LogCommand,
    OpenSession,
    decode_log_command,
    encode_log_command,
)
from txraft.statemachine.values import encode_value

numbers = st.integers(0, INDEX_MAX)
names = st.text(min_size=1, max_size=128)
arguments = st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3).map(lambda value: msgspec.Raw(encode_value(value)))
commands: st.SearchStrategy[LogCommand] = st.one_of(
    st.builds(Invoke, numbers, numbers, numbers, numbers, names, names, arguments),
    st.builds(OpenSession, numbers, numbers),
    st.builds(KeepSession, numbers, numbers),
    st.builds(CloseSession, numbers, numbers),
    st.builds(Clock, numbers),
    st.builds(HostMachine, numbers, names, names, numbers),
)


class LogCommands(SynchronousTestCase):
    @settings(deadline=None, max_examples=100)
    @given(commands)
    def test_every_command_comes_back(self, command: LogCommand) -> None:
        encoded = encode_log_command(command)
        back = decode_log_command(encoded)
        self.assertIs(type(back), type(command))
        self.assertEqual(encode_log_command(back), encoded)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=40))
    def test_other_bytes_are_an_error(self, junk: bytes) -> None:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            decode_log_command(junk)

    def test_numbers_and_names_are_bounded(self) -> None:
        raw = msgspec.Raw(b"\x80")
        for wrong in (
            Clock(-1),
            Clock(INDEX_MAX + 1),
            OpenSession(1, INDEX_MAX + 1),
            Invoke(1, 1, -1, 1, "m", "c", raw),
            Invoke(1, 1, 1, 1, "", "c", raw),
            Invoke(1, 1, 1, 1, "m", "c" * 129, raw),
            HostMachine(1, "m" * 129, "p", 1),
        ):
            self.assertRaises(msgspec.ValidationError, decode_log_command, encode_log_command(wrong))

    def test_the_layout_on_disk_does_not_change(self) -> None:
        laid_out = [
            (
                Invoke(5, 2, 3, 1, "counter", "add", msgspec.Raw(encode_value({"name": "a"}))),
                ["i", 5, 2, 3, 1, "counter", "add", {"name": "a"}],
            ),
            (OpenSession(5, 60), ["o", 5, 60]),
            (KeepSession(5, 2), ["k", 5, 2]),
            (CloseSession(5, 2), ["x", 5, 2]),
            (Clock(5), ["c", 5]),
            (HostMachine(5, "a", "b", 1), ["m", 5, "a", "b", 1]),
        ]
        for command, layout in laid_out:
            self.assertEqual(msgspec.msgpack.decode(encode_log_command(command)), layout)
