"""Orders that come again over another connection: carried out once, answered twice."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.core.answers import Answers, Callers, Orders
from distributed.protocol.messages import Reply, Request
from distributed.utils_test import gen_test


def order(number: int, settled: int = 0) -> Request:
    return Request(7, "op", {}, number, settled)


def test_numbers_say_what_is_settled() -> None:
    orders = Orders()
    assert orders.settled == 1
    first, second = orders.begin(), orders.begin()
    assert (first, second, orders.settled) == (1, 2, 1)
    orders.end(first)
    assert orders.settled == 2
    orders.end(second)
    assert orders.settled == 3


@gen_test()
async def test_the_second_time_gets_the_answer_of_the_first() -> None:
    answers = Answers()
    assert answers.begin(order(1)) is None
    waiting: Any = answers.begin(order(1))
    assert not waiting.done()
    answers.end(order(1), Reply(7, "value"))
    assert (await waiting).result == "value"
    assert answers.begin(order(1)) is waiting


@gen_test()
async def test_what_is_settled_is_forgotten() -> None:
    answers = Answers()
    for number in (1, 2, 3):
        answers.begin(order(number))
        answers.end(order(number), Reply(7))
    assert len(answers) == 3
    answers.begin(order(4, settled=3))
    assert len(answers) == 2


@gen_test()
async def test_what_was_broken_off_may_begin_again() -> None:
    answers = Answers()
    answers.begin(order(1))
    answers.end(order(1), None)
    before: Any = answers.begin(order(1))
    assert before.result() is None
    answers.begin_again(order(1))
    assert isinstance(answers.begin(order(1)), asyncio.Future)
    assert not answers.begin(order(1)).done()  # type: ignore[union-attr]


@gen_test()
async def test_a_caller_that_is_gone_is_forgotten() -> None:
    callers = Callers()
    name = callers.of("alice").name
    assert callers.of("alice").name == name
    callers.client_gone("alice")
    assert callers.of("alice").name != name
    assert list(callers.answers) == ["alice"]
