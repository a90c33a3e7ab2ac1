"""Messages as bytes: between servers, and between a client and a server. The frames around them are `net.framing`.

What a decoder lets through also keeps the promises that the types cannot express, so nobody above looks again. Anything else is a
`RemoteProtocolError`: the sender is broken or hostile, and its connection is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec

from txraft.core.configuration import Configuration
from txraft.core.entry import Entry, EntryKind
from txraft.core.messages import AppendEntries, InstallSnapshot, Message, RequestVote
from txraft.errors import RemoteProtocolError
from txraft.limits import INDEX_MAX
from txraft.statemachine.results import OK, decode_answer
from txraft.wire.requests import Forward, ForwardReply, Replies, Reply, Requests, Withdraw

__all__ = [
    "LastEncoded",
    "PeerMessage",
    "decode_as",
    "decode_peer_message",
    "decode_replies",
    "decode_requests",
    "encode_peer_message",
    "encode_replies",
    "encode_requests",
]

PeerMessage = Message | Forward | ForwardReply | Withdraw
T = TypeVar("T")
SHA256_BYTES = 32

_UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoders raise: text that is not UTF-8 is a ValueError, and too many nested levels are too deep a recursion."""

_ENCODE = msgspec.msgpack.Encoder().encode
_PEER_MESSAGE: msgspec.msgpack.Decoder[PeerMessage] = msgspec.msgpack.Decoder(PeerMessage)
_REQUESTS = msgspec.msgpack.Decoder(Requests)
_REPLIES = msgspec.msgpack.Decoder(Replies)
_KINDS = frozenset(int(kind) for kind in EntryKind)


def decode_as(decoder: msgspec.msgpack.Decoder[T], frame: bytes) -> T:
    """Decode what came from outside.

    Raises:
        RemoteProtocolError: it is not msgpack, not of the type, or nested too deeply. The sentence may quote the sender: escape it.
    """
    try:
        return decoder.decode(frame)
    except _UNDECODABLE as error:
        raise RemoteProtocolError(f"a frame of {len(frame)} bytes does not decode: {error}") from None


# Between servers


def encode_peer_message(message: PeerMessage) -> bytes:
    """The frame content for `message`."""
    return _ENCODE(message)


class LastEncoded:
    """Encodes messages for several peers, and the same one in a row only once: a leader tells its followers the same.

    Messages are compared field by field, and entries by identity first, which costs a small part of encoding them. Messages are
    values: nobody changes the list of entries of one that was sent.
    """

    def __init__(self) -> None:
        self._message: PeerMessage | None = None
        self._encoded = b""

    def encode(self, message: PeerMessage) -> bytes:
        """As `encode_peer_message`."""
        if message != self._message:
            self._encoded = _ENCODE(message)
            self._message = message
        return self._encoded


def decode_peer_message(frame: bytes) -> PeerMessage:
    """A message of another server, whole and sound: its terms and indexes do not contradict each other.

    Raises:
        RemoteProtocolError: anything else.
    """
    message = decode_as(_PEER_MESSAGE, frame)
    if isinstance(message, AppendEntries):
        _check_append_entries(message)
    elif isinstance(message, RequestVote):
        if message.last_log_term > message.term:
            raise RemoteProtocolError(f"a candidate of term {message.term} has an entry of the later term {message.last_log_term}")
    elif isinstance(message, InstallSnapshot):
        _check_snapshot(message)
    elif isinstance(message, ForwardReply):
        _check_answer(message.answer)
    return message


def _check_append_entries(message: AppendEntries) -> None:
    prev_index, prev_term, entries = message.prev_log_index, message.prev_log_term, message.entries
    if prev_term > message.term:
        raise RemoteProtocolError(f"the previous entry's term {prev_term} is beyond the leader's term {message.term}")
    if prev_index == 0 and prev_term != 0:
        raise RemoteProtocolError(f"the place before the log has term 0, not {prev_term}")
    if not entries:
        return
    if prev_index + len(entries) > INDEX_MAX:
        raise RemoteProtocolError(f"{len(entries)} entries behind index {prev_index} pass the greatest index")
    _check_terms(entries, prev_term, message.term)
    kinds = {entry.kind for entry in entries}
    if not kinds <= _KINDS:
        raise RemoteProtocolError(f"entries of unknown kinds {sorted(kinds - _KINDS)}: the sender is of a later version")
    if EntryKind.CONFIGURATION in kinds:
        _check_configurations(entries)


def _check_terms(entries: Sequence[Entry], prev_term: int, leader_term: int) -> None:
    """Terms never decrease along a log, and none is beyond its leader's. Source: §3.5, §3.6."""
    terms = [entry.term for entry in entries]
    if prev_term == terms[0] and terms.count(prev_term) == len(terms):
        return
    if terms[0] < prev_term or sorted(terms) != terms:
        raise RemoteProtocolError(f"the terms of the {len(terms)} entries behind one of term {prev_term} decrease")
    if terms[-1] > leader_term:
        raise RemoteProtocolError(f"an entry of term {terms[-1]} from a leader of term {leader_term}")


def _check_configurations(entries: Sequence[Entry]) -> None:
    """The one payload that the core reads itself, as soon as the entry is in its log."""
    for entry in entries:
        if entry.kind == EntryKind.CONFIGURATION:
            _check_configuration(entry.payload)


def _check_configuration(payload: bytes) -> None:
    try:
        Configuration.decode(payload)
    except _UNDECODABLE as error:
        raise RemoteProtocolError(f"a configuration of {len(payload)} bytes does not decode: {error}") from None


def _check_snapshot(message: InstallSnapshot) -> None:
    snapshot = message.snapshot
    if not 1 <= snapshot.index <= INDEX_MAX or not 0 <= snapshot.term <= message.term:
        raise RemoteProtocolError(f"a snapshot at index {snapshot.index}, term {snapshot.term}, from a leader of term {message.term}")
    if len(snapshot.sha256) != SHA256_BYTES:
        raise RemoteProtocolError(f"a SHA-256 of {len(snapshot.sha256)} bytes")
    if not 1 <= snapshot.size <= INDEX_MAX or message.offset + len(message.content) > snapshot.size:
        raise RemoteProtocolError(f"{len(message.content)} bytes at offset {message.offset} of a snapshot of {snapshot.size}")
    indexes = [index for index, _ in snapshot.configurations]
    if not indexes or indexes[0] < 1 or indexes[-1] > snapshot.index or any(later <= index for index, later in pairwise(indexes)):
        raise RemoteProtocolError(f"configurations of indexes {indexes[:10]} in a snapshot at index {snapshot.index}")
    for _, payload in snapshot.configurations:
        _check_configuration(payload)


def _check_answer(encoded: bytes | msgspec.Raw) -> None:
    try:
        answer = decode_answer(bytes(encoded))
        if answer.outcome != OK:
            answer.problem()
    except _UNDECODABLE as error:
        raise RemoteProtocolError(f"a forwarded request came back with what is no answer: {error}") from None


# Between a client and a server


def encode_requests(requests: Requests) -> bytes:
    """The frame content a client sends."""
    return _ENCODE(requests)


def decode_requests(frame: bytes) -> Requests:
    """What a client asks; raises `RemoteProtocolError`. Arguments are well-formed msgpack; whether they fit is the machine's to say."""
    return decode_as(_REQUESTS, frame)


def encode_replies(replies: Sequence[Reply]) -> bytes:
    """The frame content a server answers with."""
    return _ENCODE(Replies(list(replies)))


def decode_replies(frame: bytes) -> Replies:
    """What a server answers; raises `RemoteProtocolError`."""
    return decode_as(_REPLIES, frame)
