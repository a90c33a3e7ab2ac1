"""A `Caller` that keeps what it is told."""

from __future__ import annotations

from txraft.errors import Outcome
from txraft.statemachine.results import decode_answer


class RecordingCaller:
    """Remembers answers and counts flushes; an answer is only seen once it is flushed."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.flushed: list[tuple[int, bytes]] = []
        self.flushes = 0

    def answer(self, request_id: int, answer: bytes) -> None:
        self.answers.append((request_id, answer))

    def flush(self) -> None:
        self.flushes += 1
        self.flushed = list(self.answers)

    def ids(self) -> list[int]:
        return [request_id for request_id, _ in self.flushed]

    def problems(self) -> list[tuple[int, str, str]]:
        found: list[tuple[int, Outcome]] = [(request_id, decode_answer(answer).problem()) for request_id, answer in self.flushed]
        return [(request_id, problem.outcome, problem.code) for request_id, problem in found]
