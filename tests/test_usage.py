from __future__ import annotations

import mmap
import os

import psutil

from distributed.usage import ProcessorMeter, open_files, process_memory


def test_memory_of_processes() -> None:
    mine = process_memory(os.getpid())
    ballast = mmap.mmap(-1, 50_000_000)  # the allocator may have as much to spare, and would ask for none
    for _ in range(50):
        ballast.write(b"x" * 1_000_000)
    assert 45_000_000 < process_memory(os.getpid()) - mine < 100_000_000
    assert abs(process_memory(os.getpid()) - psutil.Process().memory_info().rss) < 10_000_000
    assert process_memory(2**22 + 1) == 0
    ballast.close()


def test_open_files() -> None:
    before = open_files()
    with open(os.devnull), open(os.devnull):
        assert open_files() == before + 2
    assert open_files() == before
    assert psutil.Process().num_fds() - before in (0, 1)  # it may count the one it looks with


def test_the_processor_meter_counts_from_one_look_to_the_next() -> None:
    meter = ProcessorMeter()
    begin = os.times()
    while (now := os.times()).user + now.system < begin.user + begin.system + 0.1:
        pass
    busy = meter.percent()
    assert 5 < busy < 150  # of a processor that others use, too
    assert 0 <= meter.percent() < 1_000
