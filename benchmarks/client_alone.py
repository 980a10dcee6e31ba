"""The client alone: microseconds of CPU a task, without sockets.

Packs, hashes and encodes ``map(f, range(n))``, decodes the scheduler's answer, and unpickles the results, as the real
client does; only the loop's thread and the connection are left out.

    python benchmarks/client_alone.py [number of tasks]
"""

from __future__ import annotations

import gc
import sys
import time
from operator import neg
from types import SimpleNamespace
from typing import Any

from distributed.client.gather import assemble, tasks_of, unpack_all
from distributed.client.state import ClientState
from distributed.client.submit import SubmitMixin
from distributed.protocol.codec import decode, encode
from distributed.protocol.messages import SubmitTasks, TasksInMemory
from distributed.protocol.payload import pack


class ClientAlone(SubmitMixin):
    """``map`` with a session that takes the events at once."""

    def __init__(self) -> None:
        self._calls = {}
        self.state = state = ClientState()
        self.released: list[Any] = []
        released = self.released
        self._session: Any = SimpleNamespace(
            state=state,
            submit=state.handle_submit,
            check_open=lambda: None,
            release=released.append,
        )


def run(n: int) -> dict[str, float]:
    """Microseconds a task of each step."""
    client = ClientAlone()
    clock = time.process_time
    marks: dict[str, float] = {}

    def step(name: str, begin: float) -> None:
        marks[name] = (clock() - begin) / n * 1e6

    begin = clock()
    futures = client.map(neg, range(n))
    step("pack, hash, futures, state", begin)
    begin = clock()
    messages = client.state.drain()
    frames = [encode([message]) for message in messages]
    step("encode", begin)
    keys = [key for message in messages if isinstance(message, SubmitTasks) for key in message.keys]
    answers = [
        encode(
            [
                TasksInMemory(
                    part, [pack(-1)] * len(part), ["int"] * len(part), ["tcp://10.0.0.1:40000"] * len(part)
                )
            ]
        )
        for part in (keys[i : i + 5_000] for i in range(0, n, 5_000))
    ]
    begin = clock()
    for answer in answers:
        for message in decode(*split(answer)):
            client.state.handle_message(message)
    step("decode, state", begin)
    begin = clock()
    tasks = tasks_of(futures, client)
    payloads = {key: task.value for key, task in tasks.items()}
    values = assemble(futures, unpack_all(payloads), "raise")
    step("gather", begin)
    assert values == [-1] * n
    assert frames
    begin = clock()
    del futures, tasks, payloads, values
    client.state.handle_release(client.released)
    client.state.drain()
    step("release", begin)
    assert client.state.tasks == {}
    return marks


def split(buffers: list[Any]) -> tuple[Any, list[Any]]:
    """Body and out-of-band buffers of an encoded frame, as a reader of frames gives them."""
    from distributed.protocol.frames import FrameReader

    reader = FrameReader()
    found: list[Any] = []
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        while view:
            target = reader.get_buffer(len(view))
            count = min(len(target), len(view))
            target[:count] = view[:count]
            found += reader.buffer_updated(count)
            view = view[count:]
    (frame,) = found
    return frame


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    run(1_000)
    gc.collect()
    marks = run(n)
    for name, cost in marks.items():
        print(f"{name:30} {cost:6.2f} µs a task")
    print(f"{'all':30} {sum(marks.values()):6.2f} µs a task")


if __name__ == "__main__":
    main()
