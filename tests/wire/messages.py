"""Hypothesis strategies for everything that crosses a peer connection."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from txraft.core.configuration import Configuration
from txraft.core.entry import Entry, EntryKind
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    InstallSnapshot,
    InstallSnapshotReply,
    RequestTerm,
    RequestTermReply,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.snapshot import Snapshot
from txraft.errors import NotApplied
from txraft.limits import INDEX_MAX
from txraft.statemachine.results import answer_of_problem, answer_of_value
from txraft.wire.codec import PeerMessage
from txraft.wire.requests import (
    Ask,
    CloseSessionRequest,
    DescribeRequest,
    Forward,
    ForwardReply,
    InvokeRequest,
    KeepSessionRequest,
    OpenSessionRequest,
    Request,
    StatusRequest,
)

numbers = st.one_of(st.integers(0, 300), st.integers(0, INDEX_MAX))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
arguments = st.dictionaries(names, st.integers(-(2**40), 2**40), max_size=3).map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value)))

requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(InvokeRequest, numbers, numbers, names, names, arguments),
    st.builds(Ask, numbers, names, names, arguments, st.sampled_from(["linearizable", "local"])),
    st.builds(OpenSessionRequest, numbers, numbers),
    st.builds(KeepSessionRequest, numbers),
    st.builds(CloseSessionRequest, numbers),
    st.builds(StatusRequest, numbers, st.booleans()),
    st.builds(DescribeRequest, numbers),
)

answers = st.one_of(
    st.integers(0, 9).map(lambda value: answer_of_value(value, 5, 2)), st.just(answer_of_problem(NotApplied("no_leader", "none")))
).map(msgspec.Raw)


@st.composite
def entries(draw: st.DrawFn, first_term: int, last_term: int) -> list[Entry]:
    terms = sorted(draw(st.lists(st.integers(first_term, last_term), max_size=6)))
    kinds = st.sampled_from([EntryKind.NOOP, EntryKind.COMMAND, EntryKind.CONFIGURATION])
    drawn = []
    for term in terms:
        kind = draw(kinds)
        payload = Configuration.of({"n1": "a:1"}).encode() if kind == EntryKind.CONFIGURATION else draw(st.binary(max_size=20))
        drawn.append(Entry(term, int(kind), payload))
    return drawn


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    term = draw(numbers)
    prev_log_index = draw(st.integers(0, INDEX_MAX - 10))
    prev_log_term = draw(st.integers(0, term)) if prev_log_index else 0
    carried = draw(entries(prev_log_term, term))
    return AppendEntries(
        term, draw(names), prev_log_index, prev_log_term, draw(numbers), draw(numbers), carried, draw(numbers), draw(numbers)
    )


@st.composite
def request_votes(draw: st.DrawFn) -> RequestVote:
    term = draw(numbers)
    last_log = draw(numbers), draw(st.integers(0, term))
    return RequestVote(term, draw(names), *last_log, draw(st.booleans()), draw(st.booleans()), draw(numbers))


@st.composite
def install_snapshots(draw: st.DrawFn) -> InstallSnapshot:
    term, index = draw(numbers), draw(st.integers(1, INDEX_MAX))
    places = sorted(draw(st.sets(st.integers(1, index), min_size=1, max_size=3)))
    configurations = [(place, Configuration.of({"n1": "a:1"}).encode()) for place in places]
    content = draw(st.binary(max_size=20))
    offset = draw(st.integers(0, 300))
    size = offset + len(content) + draw(st.integers(1, 300))
    snapshot = Snapshot(index, draw(st.integers(0, term)), size, draw(st.binary(min_size=32, max_size=32)), configurations)
    return InstallSnapshot(term, draw(names), snapshot, offset, content, draw(st.integers(0, 2**32 - 1)))


peer_messages: st.SearchStrategy[PeerMessage] = st.one_of(
    install_snapshots(),
    st.builds(
        InstallSnapshotReply,
        numbers,
        names,
        st.binary(min_size=32, max_size=32),
        numbers,
        st.sampled_from(["more", "installed", "refused"]),
    ),
    st.builds(RequestTerm, numbers, names, numbers),
    st.builds(RequestTermReply, numbers, names, numbers),
    append_entries(),
    request_votes(),
    st.builds(RequestVoteReply, numbers, names, st.booleans(), st.booleans(), numbers),
    st.builds(AppendEntriesReply, numbers, names, st.booleans(), numbers, numbers, numbers, numbers, st.booleans(), numbers),
    st.builds(Forward, numbers, names, numbers, numbers, numbers, requests),
    st.builds(ForwardReply, numbers, names, numbers, answers),
)


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were valid until something happened to them: bytes changed, cut out, doubled or inserted."""
    content = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["change", "cut", "insert", "double", "end"])):
            case "change" if at < len(content):
                content[at] = draw(st.integers(0, 255))
            case "cut":
                del content[at : at + draw(st.integers(1, 8))]
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=6))
            case "double":
                content[at:at] = content[at : at + 16]
            case _:
                del content[at:]
    return bytes(content)
