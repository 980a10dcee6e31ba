"""Count the words of a tree of text files on a network.

The corpus is there on any machine: the sources of Python's own standard library, about 30 MB. The files are
cut into chunks of about equal size, one task counts each chunk, and a tree of further tasks adds them up.

On an embedded network, made for this run and gone after it::

    python examples/wordcount.py

On a network that runs already (its workers must see the same files)::

    dscheduler                                              # in one terminal
    dworker 127.0.0.1:8786                                  # in as many others as you like
    python examples/wordcount.py --scheduler 127.0.0.1:8786
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from distributed import Client, LocalCluster
from distributed.exceptions import SecurityError

WORD = re.compile(r"[^\W\d_]\w*")
FOREIGN = {
    "site-packages",
    "dist-packages",
    "__pycache__",
}  # not the standard library, though they lie inside it
FAN_IN = 8


class Count(NamedTuple):
    """What some files hold: how often each word stands in them, their bytes, and which could not be read."""

    words: Counter[str]
    nbytes: int
    unreadable: list[str]


# ---------------------------------------------------------------- what the workers do


def count(paths: list[str]) -> Count:
    """Count the words of some files."""
    words: Counter[str] = Counter()
    nbytes = 0
    unreadable = []
    for path in paths:
        try:
            data = Path(path).read_bytes()
        except OSError:
            unreadable.append(path)
            continue
        nbytes += len(data)
        words.update(WORD.findall(data.decode("utf-8", "replace")))
    return Count(words, nbytes, unreadable)


def total(part: Count) -> int:
    """Number of words in a part."""
    return sum(part.words.values())


def merge(parts: list[Count]) -> Count:
    """Add counts up."""
    words: Counter[str] = Counter()
    for part in parts:
        words.update(part.words)
    return Count(
        words, sum(part.nbytes for part in parts), [path for part in parts for path in part.unreadable]
    )


# ---------------------------------------------------------------- what the client does


def find_files(root: Path, pattern: str) -> list[tuple[int, str]]:
    """Size in bytes and path of every readable file under ``root`` whose name matches ``pattern``."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in FOREIGN)
        for name in sorted(names):
            path = Path(folder, name)
            if path.match(pattern) and path.is_file() and os.access(path, os.R_OK):
                found.append((path.stat().st_size, str(path)))
    return found


def cut(files: list[tuple[int, str]], chunk_nbytes: int) -> list[list[str]]:
    """Chunks of about equal size: the largest file first, each into the chunk that is smallest so far."""
    number = max(1, min(len(files), round(sum(size for size, _ in files) / chunk_nbytes)))
    chunks: list[list[str]] = [[] for _ in range(number)]
    sizes = [0] * number
    for size, path in sorted(files, reverse=True):
        smallest = sizes.index(min(sizes))
        chunks[smallest].append(path)
        sizes[smallest] += size
    return chunks


def wordcount(client: Client, chunks: list[list[str]]) -> tuple[Count, int, int]:
    """Count on the network. Returns the sum, the words that its parts hold, and the number of tasks."""
    parts = client.map(count, chunks)
    totals = client.map(total, parts)
    tasks = len(parts) + len(totals)
    while len(parts) > 1:
        parts = [client.submit(merge, parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
        tasks += len(parts)
    return parts[0].result(), sum(client.gather(totals)), tasks


def connect(stack: ExitStack, scheduler: str | None, workers: int | None) -> Client:
    """A client of the network at ``scheduler``, or of one that is made for this run."""
    if scheduler is not None:
        return stack.enter_context(Client(scheduler, timeout=5))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cluster = LocalCluster(n_workers=workers or cores, threads_per_worker=1, dashboard_address=None)
    return stack.enter_context(Client(stack.enter_context(cluster)))


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0 right, 1 wrong result, 2 cannot start."""
    args = parse(argv)
    files = find_files(args.root, args.pattern)
    if not files:
        return complain(
            f"there is no readable file {args.pattern} in {args.root}: name another place by --root"
        )
    chunks = cut(files, args.chunk_size)
    size = sum(nbytes for nbytes, _ in files)
    print(f"corpus   {args.root}: {len(files):,} files, {size / 1e6:.1f} MB, in {len(chunks):,} chunks")
    with ExitStack() as stack:
        try:
            client = connect(stack, args.scheduler, args.workers)
        except (OSError, ValueError, SecurityError) as error:  # TimeoutError is an OSError
            where = f"no network at {args.scheduler}" if args.scheduler else "could not make a network"
            return complain(f"{where}: {error}")
        if not client.ncores():
            print(f"waiting  for a worker: start one by  dworker {client.scheduler.address}")
            client.wait_for_workers(1)
        threads = client.ncores()
        print(f"network  {client.scheduler.address}: {len(threads)} workers, {sum(threads.values())} threads")
        start = perf_counter()
        result, words, tasks = wordcount(client, chunks)
        seconds = perf_counter() - start
    report(result, args.top, tasks, seconds)
    return check(result, words, size, args.verify and chunks)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description="Count the words of a tree of text files on a network of Python processes."
    )
    option = parser.add_argument
    option("--scheduler", metavar="ADDRESS", help="network to use (default: make one for this run)")
    option("--workers", type=positive, metavar="N", help="workers of the network made (default: one a core)")
    library = Path(sysconfig.get_path("stdlib"))
    option("--root", type=Path, default=library, help="folder (default: the standard library)")
    option("--pattern", default="*.py", help="names of the files (default: %(default)s)")
    option(
        "--chunk-size",
        type=positive,
        default=250_000,
        metavar="BYTES",
        help="of a task (default: %(default)s)",
    )
    option("--top", type=positive, default=10, metavar="N", help="words to print (default: %(default)s)")
    option("--verify", action="store_true", help="count again in this process and compare")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """An integer above zero, for argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above zero")
    return number


def report(result: Count, top: int, tasks: int, seconds: float) -> None:
    """Print the words and the figures."""
    print(f"words    {total(result):,}, {len(result.words):,} different; the most frequent:")
    for word, times in sorted(result.words.items(), key=lambda item: (-item[1], item[0]))[:top]:
        print(f"         {times:>9,}  {word}")
    print(
        f"time     {seconds:.2f} s for {tasks:,} tasks and {result.nbytes / 1e6:.1f} MB: "
        f"{tasks / seconds:,.0f} tasks/s, {result.nbytes / 1e6 / seconds:.1f} MB/s"
    )


def check(result: Count, words: int, size: int, chunks: list[list[str]] | bool) -> int:
    """Hold the result against what is known otherwise. Returns the exit status."""
    if result.unreadable:
        print(
            f"skipped  {len(result.unreadable)} files that workers could not read: {result.unreadable[0]} …"
        )
    if total(result) != words:
        return complain(f"wrong: {total(result):,} words in the sum, {words:,} in its parts", 1)
    if not result.unreadable and result.nbytes != size:
        return complain(f"wrong: the workers read {result.nbytes:,} bytes, the files have {size:,}", 1)
    if chunks:
        if merge([count(chunk) for chunk in chunks]).words != result.words:
            return complain("wrong: counting in this process gives another result", 1)
        print("check    right: the same as counted in this process")
    else:
        print("check    right: the sum has as many words as its parts")
    return 0 if result.nbytes or not size else complain("the workers could read none of the files", 1)


def complain(text: str, status: int = 2) -> int:
    """Print one line for a person to standard error."""
    print(f"wordcount: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
