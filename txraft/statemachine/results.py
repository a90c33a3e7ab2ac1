"""The answer to a request, as it is cached in sessions, sent to clients and forwarded between servers: encoded once, passed on as bytes.

An answer is one of a value, *refused*, *not applied* or *unknown*; see `txraft.errors` for what these promise.
"""

from __future__ import annotations

from typing import Any

import msgspec

from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.statemachine.values import decode_value, decode_value_as, encode_canonical, typed_decoder

__all__ = ["OK", "Answer", "Problem", "answer_of_problem", "answer_of_value", "decode_answer"]

OK, REFUSED, NOT_APPLIED, UNKNOWN = range(4)
_OUTCOMES: dict[int, type[Outcome]] = {REFUSED: Refused, NOT_APPLIED: NotApplied, UNKNOWN: Unknown}
_NUMBERS = {outcome: number for number, outcome in _OUTCOMES.items()}


class Answer(msgspec.Struct, array_like=True, gc=False):
    """What a request came to.

    Attributes:
        outcome: 0 a value, 1 refused, 2 not applied, 3 unknown.
        index: of the entry (command) or the applied index it was read at (query); 0 where there is none.
        term: of that entry, or the current one.
        body: msgpack of the value, or of a `Problem`.
    """

    outcome: int
    index: int
    term: int
    body: msgspec.Raw

    def value(self) -> Any:
        """The value; raises `Refused`, `NotApplied` or `Unknown` when the answer is one of these."""
        if self.outcome == OK:
            return decode_value(bytes(self.body))
        raise self.problem()

    def problem(self) -> Outcome:
        """The error this answer stands for; an outcome number of a later version is `unknown` to us, and so is its outcome."""
        problem = decode_value_as(self.body, _DECODE_PROBLEM)
        return _OUTCOMES.get(self.outcome, Unknown)(problem.code, problem.message, **problem.details)


class Problem(msgspec.Struct, array_like=True):
    """Body of an answer that is no value."""

    code: str
    message: str = ""
    details: dict[str, Any] = {}


_DECODE_PROBLEM = typed_decoder(Problem)
_DECODE_ANSWER = msgspec.msgpack.Decoder(Answer)


def answer_of_value(value: Any, index: int, term: int) -> bytes:
    """An encoded answer holding a value, the same bytes on every server.

    Raises what `encode_canonical` raises when the value is not plain.
    """
    return encode_canonical((OK, index, term, value))  # an `Answer` is laid out as an array, its body embedded


def answer_of_problem(problem: Outcome, index: int = 0, term: int = 0) -> bytes:
    """An encoded answer saying why there is no value. Raises like `answer_of_value` when its details are not plain."""
    number = next(_NUMBERS[kind] for kind in type(problem).__mro__ if kind in _NUMBERS)
    return encode_canonical((number, index, term, (problem.code, problem.message, problem.details)))


def decode_answer(encoded: bytes) -> Answer:
    """Read an encoded answer; raises `msgspec.MsgspecError` on other bytes."""
    return _DECODE_ANSWER.decode(encoded)
