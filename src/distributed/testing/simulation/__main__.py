"""``python -m distributed.testing.simulation --seeds 0:200``: play many networks, tell which went wrong."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from distributed.testing.simulation import SimulationError, play
from distributed.testing.simulation.world import ACCIDENTS


def main(argv: list[str] | None = None) -> int:
    """Exit status 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m distributed.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="one seed, or first:last+1 (default: %(default)s)")
    parser.add_argument(
        "--trouble", action="append", choices=list(ACCIDENTS), help="only these accidents (may be repeated)"
    )
    parser.add_argument("--failures", type=int, default=3, help="stop after so many (default: %(default)s)")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the first line of each failure")
    options = parser.parse_args(argv)
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    trouble = tuple(options.trouble) if options.trouble else None
    accidents: Counter[str] = Counter()
    nmessages = ntasks = nfailures = 0
    for seed in seeds:
        try:
            report = play(seed, trouble)
        except SimulationError as error:
            nfailures += 1
            print(str(error).partition("\n")[0] if options.quiet else error)
            if nfailures == options.failures:
                break
            continue
        accidents.update(report.naccidents)
        nmessages += report.nmessages
        ntasks += report.ntasks
    happened = ", ".join(f"{name} {n}" for name, n in sorted(accidents.items()))
    print(
        f"{len(seeds)} networks, {ntasks} tasks, {nmessages} messages; "
        f"accidents: {happened or 'none'}; {nfailures} failed"
    )
    return 1 if nfailures else 0


if __name__ == "__main__":
    sys.exit(main())
