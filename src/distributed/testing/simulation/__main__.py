"""``python -m distributed.testing.simulation --seeds 0:200``: play many networks, tell which went wrong.

A failing network is made smaller as far as that goes, and printed with the command that plays it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from distributed.testing.simulation.campaign import Tally, play_all
from distributed.testing.simulation.shrinking import shrink
from distributed.testing.simulation.world import ACCIDENTS, Size

#: Seconds between two lines of progress.
PROGRESS = 15.0


def main(argv: list[str] | None = None) -> int:
    """Exit status 1 when a seed failed."""
    parser = argparse.ArgumentParser(
        prog="python -m distributed.testing.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", default="0:100", help="one seed, or first:last+1 (default: %(default)s)")
    parser.add_argument(
        "--new", type=int, metavar="N", help="instead: N seeds that nobody has chosen, printed"
    )
    parser.add_argument(
        "--trouble",
        action="append",
        choices=[*ACCIDENTS, "none"],
        help="only these accidents (may be repeated)",
    )
    parser.add_argument(
        "--size",
        type=Size.parse,
        default=Size(),
        help="tasks,faults,most faults,workers,clients,acts (default: %(default)s)",
    )
    parser.add_argument("--processes", type=int, default=1, help="how many play (default: %(default)s)")
    parser.add_argument("--failures", type=int, default=3, help="stop after so many (default: %(default)s)")
    parser.add_argument(
        "--no-shrink", action="store_true", help="leave failing networks as large as they are"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="only the first line of each failure")
    options = parser.parse_args(argv)
    if options.new is not None:
        start = random.SystemRandom().randrange(1 << 32)
        seeds = range(start, start + options.new)
    else:
        first, _, last = options.seeds.partition(":")
        seeds = range(int(first), int(last) if last else int(first) + 1)
    print(f"seeds {seeds.start}:{seeds.stop}", flush=True)
    trouble = tuple(name for name in options.trouble if name != "none") if options.trouble else None
    begin = told = time.monotonic()
    shown = 0

    def progress(tally: Tally) -> None:
        nonlocal told, shown
        for _, text in tally.failures[shown:]:
            print(f"failed: {text.partition(chr(10))[0]}", flush=True)
        shown = len(tally.failures)
        if time.monotonic() - told > PROGRESS:
            told = time.monotonic()
            print(
                f"{told - begin:6.0f} s: {tally.nnetworks} networks, {len(tally.failures)} failed", flush=True
            )

    tally = play_all(
        seeds,
        trouble,
        options.size,
        processes=options.processes,
        failures=options.failures,
        progress=progress,
    )
    print(f"{tally}\n{time.monotonic() - begin:.1f} s, {options.processes} processes\n{tally.coverage}")
    for seed, text in sorted(tally.failures):
        print(text.partition("\n")[0] if options.quiet else text)
        smallest = None if options.no_shrink else shrink(seed, trouble, options.size)
        if smallest is not None:
            print(f"as small as it gets, {smallest.ntasks} tasks and {smallest.naccidents} accidents:")
            print(str(smallest.error).partition("\n")[0] if options.quiet else smallest.error)
            print(f"again: {smallest.replay}", flush=True)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
