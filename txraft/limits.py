"""Every bound of txraft in one place: sizes in bytes, times in seconds, counts. Whatever is received, queued or kept has one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "EVENTS_BYTES_MAX",
    "EVENTS_KEPT_BYTES_MAX",
    "EVENTS_KEPT_MAX",
    "INDEX_MAX",
    "NAME_LENGTH_MAX",
    "PROTOCOL_VERSION",
    "SAME_ON_ALL_SERVERS",
    "TOPIC_BYTES_MAX",
    "WAIT_MS_MAX",
    "Limits",
    "Timing",
]

PROTOCOL_VERSION = 1
"""Version of both the peer and the client protocol, exchanged in the hello."""

INDEX_MAX = 2**63 - 1
"""Terms, indexes and serial numbers fit a signed 64-bit field on wire and disk."""

NAME_LENGTH_MAX = 128
"""Longest server, machine, command or query name, in characters."""

TOPIC_BYTES_MAX = 65_536
"""Longest topic of an event, encoded; a key of the config store is one."""

WAIT_MS_MAX = 60_000
"""Longest wait of a command with `wait_s`, and of a poll for events."""

EVENTS_KEPT_MAX = 65_536
"""Events kept for one machine; the oldest are dropped beyond it. They are part of the state, so the same on all servers."""

EVENTS_KEPT_BYTES_MAX = 33_554_432
"""The same in bytes."""

EVENTS_BYTES_MAX = 524_288
"""Events in one answer to a poll, beyond the first."""

SAME_ON_ALL_SERVERS = frozenset({"sessions_max", "session_results_max"})
"""Fields of `Limits` that decide what commands in the log come to. Servers that differed in them would come to differ in their state, so
they belong to the version of the log and cannot be configured.
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes and counts. Units stand last in each name."""

    command_bytes_max: int = 1_572_864
    """One command with its arguments: 1.5 MiB, as etcd's users know it."""

    append_bytes_max: int = 1_048_576
    """Entries in one AppendEntries; a single larger entry still goes, alone."""

    append_entries_max: int = 8_192
    """Entries in one AppendEntries: keeps one step of the core short even when entries are tiny."""

    batches_in_flight_max: int = 2
    """Batches of commands proposed and not yet applied. While one is on its way to the disks, the answers of the other are given and its
    successor gathers: with more of them the same commands make more and smaller writes, with one the disks wait.
    """

    in_flight_messages_max: int = 4
    """Unanswered AppendEntries with entries per follower. Few and large: short pipelines make batches form by themselves."""

    in_flight_bytes_max: int = 4_194_304
    """Unanswered entry bytes per follower."""

    uncommitted_bytes_max: int = 67_108_864
    """Entries proposed here but not committed; beyond it proposals are answered `overloaded`."""

    log_cache_bytes_max: int = 16_777_216
    """Newest entries kept in memory; older ones are read from disk."""

    peer_frame_bytes_max: int = 4_194_304
    """One frame between servers."""

    client_frame_bytes_max: int = 4_194_304
    """One frame from or to a client: it may carry many requests."""

    http_body_bytes_max: int = 2_097_152
    """One HTTP request body (JSON is longer than the command it becomes)."""

    outbox_bytes_max: int = 16_777_216
    """Unsent bytes kept for one peer; the oldest message is dropped beyond it."""

    client_unsent_bytes_max: int = 16_777_216
    """Answers a client has not read yet; beyond it that client is disconnected."""

    requests_pending_max: int = 20_000
    """Requests taken but not answered on one node, of all clients together; beyond it `overloaded`."""

    requests_per_connection_max: int = 4_096
    """Requests taken but not answered on one client connection; beyond it `overloaded`."""

    client_connections_max: int = 10_000
    """Client connections of all dialects on one node."""

    greeting_connections_max: int = 256
    """Connections that have not finished their hello."""

    sessions_max: int = 100_000
    """Open client sessions in the cluster."""

    session_results_max: int = 8_192
    """Results kept for one session: the span from its first outstanding serial number to its newest."""

    waits_max: int = 100_000
    """Polls for events and commands with `wait_s` that wait on one node."""

    waits_per_connection_max: int = 2_048
    """The same of one client connection."""

    waits_bytes_max: int = 67_108_864
    """What these keep of topics and arguments, on one node."""

    waits_per_connection_bytes_max: int = 8_388_608
    """The same of one client connection."""

    segment_bytes: int = 67_108_864
    """Size of a log segment file, preallocated."""

    snapshot_log_bytes: int = 67_108_864
    """A snapshot is taken once the log behind the last one has at least this size ..."""

    snapshot_log_factor: int = 4
    """... and this many times the size of the last snapshot: so that writing snapshots costs a fraction of writing the log."""

    snapshot_part_bytes: int = 262_144
    """About how much of the machines' state becomes one part of a snapshot: a thread works at it for a fraction of a millisecond, then it
    rests. Each time it comes back, others wait; smaller parts make that happen more often.
    """

    snapshot_chunk_bytes: int = 1_048_576
    """How much of a snapshot goes to a follower in one message."""

    snapshot_bytes_per_s: int = 268_435_456
    """How fast a snapshot is written to disk, or sent, at most: the log goes first."""

    trailing_entries: int = 10_000
    """Entries kept before a snapshot's last one, for followers that lag a little: they need no snapshot then."""

    trailing_bytes: int = 16_777_216
    """The same in bytes: whichever is less."""

    pinned_log_bytes_max: int = 4_294_967_296
    """Log kept because a follower that is being sent a snapshot will need it; beyond it that follower begins again with a newer one."""

    reserve_bytes: int = 67_108_864
    """Disk space held back, to be given up when the disk is full: so that a server can still write what lets it shrink."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Times in seconds, on the monotonic clock."""

    heartbeat_s: float = 0.1
    """Between heartbeats of a leader."""

    election_s: float = 1.0
    """Shortest election timeout; each is drawn anew from [1, 2) times this."""

    hello_s: float = 10.0
    """A new connection must have said its hello by then."""

    frame_s: float = 30.0
    """A frame once begun must have arrived whole by then."""

    request_s: float = 10.0
    """A request not answered by then is answered `unknown` (command) or `not_applied` (query)."""

    session_s: float = 3600.0
    """A session unused for this long, in log time, expires."""

    apply_slice_s: float = 0.005
    """The applier yields to the reactor after this long."""
