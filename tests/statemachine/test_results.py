"""Answers: encoded once, read anywhere."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.statemachine.results import Answer, answer_of_problem, answer_of_value, decode_answer


class OutOfStock(Refused):
    """A refusal of a plug-in's own class."""


class Answers(SynchronousTestCase):
    def test_a_value_comes_back_with_index_and_term(self) -> None:
        for value in (None, 5, 1 << 900, "x", [1, {"a": b"b"}]):
            answer = decode_answer(answer_of_value(value, 7, 3))
            self.assertEqual((answer.outcome, answer.index, answer.term, answer.value()), (0, 7, 3, value))

    def test_every_kind_of_problem_comes_back_as_itself(self) -> None:
        for number, problem in enumerate((Refused("a", "b", left=1 << 70), NotApplied("c", "d"), Unknown("e")), 1):
            answer = decode_answer(answer_of_problem(problem, 7, 3))
            self.assertEqual((answer.outcome, answer.index, answer.term), (number, 7, 3))
            raised = self.assertRaises(type(problem), answer.value)
            self.assertEqual((raised.code, raised.message, raised.details), (problem.code, problem.message, problem.details))

    def test_a_subclass_is_told_by_its_outcome(self) -> None:
        self.assertIs(type(decode_answer(answer_of_problem(OutOfStock("none"))).problem()), Refused)

    def test_an_outcome_of_a_later_version_is_unknown(self) -> None:
        answer = decode_answer(answer_of_problem(Refused("x")))
        self.assertIsInstance(Answer(9, 1, 1, answer.body).problem(), Unknown)

    def test_sets_are_answered_in_order(self) -> None:
        self.assertEqual(decode_answer(answer_of_value({"c", "a", "b"}, 1, 1)).value(), ["a", "b", "c"])

    def test_other_bytes_are_an_error(self) -> None:
        for wrong in (b"", b"\xc0", b"\x91\x00", answer_of_value(1, 1, 1) + b"\x00"):
            self.assertRaises(msgspec.MsgspecError, decode_answer, wrong)

    def test_an_unplain_value_or_detail_is_an_error(self) -> None:
        self.assertRaises(TypeError, answer_of_value, object(), 1, 1)
        problem: Outcome = Refused("a", what=object())
        self.assertRaises(TypeError, answer_of_problem, problem)
