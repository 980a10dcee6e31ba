"""What ``dcluster`` shows."""

from __future__ import annotations

import asyncio
import io

from distributed.deploy.ssh_board import Board, LiveBoard, make_board, text_table
from distributed.deploy.ssh_hosts import Host
from distributed.deploy.ssh_places import Place, State


def places() -> list[Place]:
    return [
        Place("scheduler", "alpha:8786", Host("alpha"), State.RUNNING, "10.0.0.1:8786"),
        Place("worker", "alpha", Host("alpha"), State.RUNNING, nworkers=2, nthreads=8, memory=2**33),
        Place("worker", "beta", Host("beta"), State.FAILED, "no answer at port 22 within 15 s"),
        Place("worker", "gamma", Host("gamma")),
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_table_of_plain_text() -> None:
    assert text_table(places()).splitlines() == [
        "host        role       state       workers  threads    memory",
        "alpha:8786  scheduler  running                                 10.0.0.1:8786",
        "alpha       worker     running           2        8  8.00 GiB",
        "beta        worker     failed                                  no answer at port 22 within 15 s",
        "gamma       worker     connecting",
    ]


def test_plain_lines() -> None:
    out = io.StringIO()
    scheduler, first, second, _ = places()
    board = make_board([scheduler, first, second], lambda: None, out)
    assert type(board) is Board
    board.line(scheduler, "Start scheduler at 10.0.0.1:8786")
    board.changed(first)
    board.changed(second)
    assert out.getvalue().splitlines() == [
        "[ scheduler alpha:8786 ] : Start scheduler at 10.0.0.1:8786",
        "[ worker beta ] : FAILED: no answer at port 22 within 15 s",
    ]


def test_nobody_sees_it_any_more() -> None:
    broken: list[int] = []
    board = Board(places(), lambda: broken.append(1), Broken())
    board.say("one")
    board.say("two")
    assert broken == [1]


def test_live_table_on_a_terminal() -> None:
    async def main() -> str:
        out = Terminal()
        board = make_board(places(), lambda: None, out)
        assert isinstance(board, LiveBoard)
        with board:
            board.line(board.places[1], "a line with [brackets]")
            board.places[3].state = State.STARTING
            board.changed(board.places[3])
            await asyncio.sleep(0.2)  # it draws at most ten times a second
        return out.getvalue()

    text = asyncio.run(main())
    assert "a line with [brackets]" in text
    assert "starting" in text.rpartition("alpha:8786")[2]
    assert "no answer" in text


def test_more_hosts_than_lines() -> None:
    many = [Place("worker", f"h{i}", Host(f"h{i}"), State.RUNNING) for i in range(200)]
    many[150].state = State.FAILED
    out = Terminal()
    with make_board(many, lambda: None, out):
        pass
    text = out.getvalue()
    assert "h150" in text
    assert "running" in text.rpartition("and ")[2]
    assert text.count("\n") < 80
