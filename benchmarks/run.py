#!/usr/bin/env python3
"""The same work on this package, on the existing ``distributed``, on Ray and on a process pool, in one run.

    python3 benchmarks/run.py                      # everything; about fifteen minutes on two cores
    python3 benchmarks/run.py --quick              # a small sample of everything
    python3 benchmarks/run.py --only ours,peer     # some contenders
    python3 benchmarks/run.py --parts main,memory  # some measurements
    python3 benchmarks/run.py --json figures.json  # keep the figures too; docs/chart.py draws them
    python3 benchmarks/run.py --only ours --against ../before  # this tree beside another checkout of it, in turns

Each contender lives in an environment of its own under ``benchmarks/.envs``, made when it is missing. Every
measurement starts a fresh network in processes of its own, with a time limit: a hang is reported, not waited
for. Samples are taken in turns, one of each contender a round; a figure is the median over the rounds. Ratios
compare figures of one run only: never a figure of one day, or machine, with that of another.

Parts
-----
main
    CPU microseconds per task, summed over all processes, of ``gather(map(inc, range(n)))`` with one worker of
    one thread (scheduler, worker and client in processes of their own), wall time, and the round trip of
    ``submit(inc, i).result()``. Contenders that are slow get fewer tasks: ``--tasks`` and ``--slow-tasks``.
local
    The same on ``LocalCluster``, whose scheduler lives in the client's process.
memory
    Bytes by which the scheduler grows for each pending task.
growth
    CPU per task as tasks, then workers become more.
alone
    What a task costs each part of this package without the others: the state machine of the scheduler alone,
    and the "zero worker": the real scheduler and sockets, with a worker that finishes everything at once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".envs"
PARTS = ("main", "local", "memory", "growth", "alone")


@dataclass(frozen=True)
class Contender:
    """A row of the table: a kind of ``contenders.py`` in one environment, with some configuration."""

    name: str
    title: str
    environment: str
    kind: str
    slow: bool = False
    variables: dict[str, str] = field(default_factory=dict)


REQUIREMENTS = {
    "ours": ["-e", str(HERE.parent), "psutil"],
    "peer": ["distributed==2026.8.0", "psutil"],
    "ray": ["ray", "psutil"],
    "pool": ["psutil"],
}
SATURATION = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "inf"}
CONTENDERS = [
    Contender("ours", "distributed-network", "ours", "distributed"),
    Contender("peer", "distributed, defaults", "peer", "distributed", slow=True),
    Contender(
        "peer-inf", "distributed, saturation inf", "peer", "distributed", slow=True, variables=SATURATION
    ),
    Contender("ray", "Ray", "ray", "ray", slow=True),
    Contender("pool", "ProcessPoolExecutor", "pool", "pool"),
]
AGAINST = Contender("against", "the other checkout", "against", "distributed")


class Failed(Exception):
    """A measurement that gave no figure, and why."""


# ---------------------------------------------------------------- environments and processes


def python_of(environment: str) -> str:
    """Interpreter of an environment, which is made if it is missing or made for other requirements."""
    folder = ENVIRONMENTS / environment
    python = folder / "bin" / "python"
    stamp = folder / "made-for"
    wanted = "\n".join([sys.version, *REQUIREMENTS[environment]])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"making the environment of {environment} …", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, *REQUIREMENTS[environment]], check=True)
        stamp.write_text(wanted)
    return str(python)


def run_program(command: list[str], timeout: float, variables: dict[str, str]) -> str:
    """A program's output. Raises Failed; whatever it started is ended."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"} | variables
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=HERE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end_tree(process.pid)
        process.communicate()
        raise Failed(f"no result within {timeout:.0f} s") from None
    except BaseException:
        end_tree(process.pid)
        raise
    if process.returncode:
        raise Failed((errors.strip().splitlines() or [f"ended with status {process.returncode}"])[-1])
    return output


def end_tree(root: int) -> None:
    """Kill a process and all its descendants."""
    listing = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    doomed = [root]
    for pid in doomed:
        doomed += children.get(pid, [])
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def drive(contender: Contender, timeout: float, **options: int) -> dict[str, Any]:
    """One measurement of one contender."""
    python = python_of(contender.environment)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    # The key closes our network to everybody else; the other contenders do not know the variable.
    variables = {"DISTRIBUTED_KEY": secrets.token_hex(32)} | contender.variables
    output = run_program([python, "drive.py", contender.kind, *flags], timeout, variables)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


# ---------------------------------------------------------------- measurements


class Run:
    """One run of the program: its options, and what was found."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.contenders = [contender for contender in CONTENDERS if contender.name in args.only]
        if args.against:
            REQUIREMENTS["against"] = ["-e", str(args.against.resolve()), "psutil"]
            self.contenders.insert(1, AGAINST)
        self.failures: list[str] = []
        self.figures: dict[str, Any] = {
            "machine": {
                "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "processor": processor(),
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.release()}",
            },
            "day": time.strftime("%Y-%m-%d", time.gmtime()),
            "rounds": args.rounds,
        }

    def sample(self, where: str, contender: Contender, **options: int) -> dict[str, Any] | None:
        """One measurement, or None with the failure noted."""
        print(f"  {where}: {contender.title} …", file=sys.stderr)
        try:
            return drive(contender, self.args.timeout, **options)
        except (Failed, subprocess.CalledProcessError) as error:
            self.failures.append(f"{where}, {contender.title}: {error}")
            return None

    def rounds(
        self, where: str, contenders: list[Contender], **options: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Samples in turns. Options ending in ``_slow`` replace theirs for slow contenders."""
        samples: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
        for _ in range(self.args.rounds):
            for contender in contenders:
                chosen = {name: value for name, value in options.items() if not name.endswith("_slow")}
                if contender.slow:
                    chosen |= {k.removesuffix("_slow"): v for k, v in options.items() if k.endswith("_slow")}
                if found := self.sample(where, contender, **chosen):
                    samples[contender.name].append(found)
        return {name: found for name, found in samples.items() if found}

    def part_main(self, where: str = "main", contenders: list[Contender] | None = None) -> None:
        """CPU and wall time per task and the round trip."""
        args = self.args
        samples = self.rounds(
            where,
            self.contenders if contenders is None else contenders,
            tasks=args.tasks,
            tasks_slow=args.slow_tasks,
            round_trips=args.round_trips,
        )
        self.figures[where] = rows = {name: summary(found) for name, found in samples.items()}
        roles = ["client", "scheduler", "worker", "rest"]
        header = [
            "",
            "tasks",
            "CPU µs/task",
            "ratio",
            *roles,
            "+release",
            "wall µs",
            "trip ms",
            "ratio",
            "p90 ms",
        ]
        base = rows.get("ours")
        table = []
        for name, row in rows.items():
            cpu, trip = row["throughput"]["cpu_us"], row["round_trip"]
            table.append(
                [
                    title(name),
                    f"{row['throughput']['tasks']:,}",
                    f"{cpu['total']:.1f}",
                    ratio(cpu["total"], base and base["throughput"]["cpu_us"]["total"]),
                    *(f"{cpu[role]:.1f}" if role in cpu else "" for role in roles),
                    f"{row['throughput']['cpu_us_with_release']:.1f}",
                    f"{row['throughput']['wall_us']:.1f}",
                    f"{trip['median_ms']:.2f}",
                    ratio(trip["median_ms"], base and base["round_trip"]["median_ms"]),
                    f"{trip['p90_ms']:.2f}",
                ]
            )
        setting = "LocalCluster" if where == "local" else "processes apart"
        print_table(f"gather(map(inc, range(tasks))), one worker of one thread, {setting}", header, table)

    def part_local(self) -> None:
        """The main figures on LocalCluster."""
        both = [contender for contender in self.contenders if contender.kind == "distributed"]
        local = [Contender(**(vars(contender) | {"kind": "distributed-local"})) for contender in both]
        self.part_main("local", local)

    def part_memory(self) -> None:
        """Bytes per pending task."""
        both = [contender for contender in self.contenders if contender.kind == "distributed"]
        options = {"pending": self.args.pending, "pending_slow": self.args.slow_pending}
        rows = {name: summary(found) for name, found in self.rounds("memory", both, **options).items()}
        self.figures["memory"] = rows
        base = rows.get("ours")
        table = [
            [
                title(name),
                f"{row['memory']['pending']:,}",
                f"{row['memory']['scheduler_nbytes']:,.0f}",
                ratio(row["memory"]["scheduler_nbytes"], base and base["memory"]["scheduler_nbytes"]),
                f"{row['memory']['client_nbytes']:,.0f}",
            ]
            for name, row in rows.items()
        ]
        header = ["", "pending", "scheduler B/task", "ratio", "client B/task"]
        print_table("Memory per pending task", header, table)

    def part_growth(self) -> None:
        """CPU per task as the tasks and the workers become more; one sample each."""
        scale = self.args.tasks / 50_000
        steps = [(round(tasks * scale), 1) for tasks in (10_000, 50_000, 200_000)]
        steps += [(round(50_000 * scale), workers) for workers in (2, 4, 8)]
        table, found_all = [], []
        for contender in self.contenders:
            for tasks, workers in steps:
                number = max(500, tasks // 10) if contender.slow else tasks
                if found := self.sample("growth", contender, tasks=number, workers=workers):
                    row = found["throughput"]
                    found_all.append({"name": contender.name, "workers": workers, **row})
                    cpu = f"{row['cpu_us']['total']:.1f}"
                    table.append([contender.title, f"{number:,}", str(workers), cpu, f"{row['wall_us']:.1f}"])
        self.figures["growth"] = found_all
        print_table("Growth", ["", "tasks", "workers", "CPU µs/task", "wall µs"], table)

    def part_alone(self) -> None:
        """What each program for one part alone says, in our environment."""
        self.figures["alone"] = found = {}
        for program in sorted([*HERE.glob("*_alone.py"), *HERE.glob("zero_worker.py")]):
            print(f"  alone: {program.stem} …", file=sys.stderr)
            try:
                output = run_program(
                    [python_of("ours"), str(program)],
                    self.args.timeout,
                    {"DISTRIBUTED_KEY": secrets.token_hex(32)},
                )
            except Failed as error:
                self.failures.append(f"alone, {program.stem}: {error}")
                continue
            found[program.stem] = output.splitlines()
            print(f"\n{program.stem}\n{indent(dedent(output), '  ').rstrip()}")


def summary(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, field by field."""
    first = samples[0]
    return {
        key: summary([sample[key] for sample in samples])
        if isinstance(value, dict)
        else statistics.median(sample[key] for sample in samples)
        for key, value in first.items()
    }


def title(name: str) -> str:
    """A contender's name for people."""
    return next(contender.title for contender in [*CONTENDERS, AGAINST] if contender.name == name)


def ratio(value: float, base: float | None) -> str:
    """How many times ours; of what is close to ours, to the percent."""
    if not base:
        return "–"
    times = value / base
    return f"{times:.2f}×" if 0.5 < times < 2 else f"{times:.1f}×"


def processor() -> str:
    """The processor's model name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def print_table(caption: str, header: list[str], rows: list[list[str]]) -> None:
    """A plain table, first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(f"\n{caption}")
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    if not rows:
        print("  (nothing could be measured)")


def names(allowed: list[str] | tuple[str, ...]) -> Any:
    """An argparse type: a comma-separated choice of names."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(allowed):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: choose from {', '.join(allowed)}"
            )
        return chosen

    return parse


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    everyone = [contender.name for contender in CONTENDERS]
    option(
        "--only", type=names(everyone), default=everyone, metavar="NAMES", help=f"of {', '.join(everyone)}"
    )
    option("--parts", type=names(PARTS), default=list(PARTS), metavar="PARTS", help=f"of {', '.join(PARTS)}")
    option("--quick", action="store_true", help="few tasks, one round")
    option("--rounds", type=int, help="samples of each figure (default: 3)")
    option("--tasks", type=int, help="tasks of a sample (default: 50,000)")
    option(
        "--slow-tasks", type=int, help="for the contenders that take milliseconds a task (default: a tenth)"
    )
    option("--round-trips", type=int, help="single tasks of a sample (default: 500)")
    option("--pending", type=int, help="pending tasks (default: 200,000; a tenth for slow contenders)")
    option("--timeout", type=float, default=300.0, help="seconds that one sample may take (default: 300)")
    option(
        "--against", type=Path, metavar="CHECKOUT", help="another checkout of this package, measured in turns"
    )
    option("--json", type=Path, metavar="FILE", help="write the figures here too")
    args = parser.parse_args(argv)
    defaults = (1, 5_000, 50, 20_000) if args.quick else (3, 50_000, 500, 200_000)
    for name, default in zip(("rounds", "tasks", "round_trips", "pending"), defaults, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, default)
    args.slow_tasks = args.slow_tasks or max(500, args.tasks // 10)
    args.slow_pending = max(10_000, args.pending // 10)  # fewer would drown in the allocator's slack
    return args


def main(argv: list[str] | None = None) -> int:
    """The command. Exit status 1 if any measurement failed."""
    run = Run(parse(argv))
    for part in run.args.parts:
        getattr(run, f"part_{part}")()
    run.figures["failures"] = run.failures
    box = run.figures["machine"]
    print(f"\n{box['cores']} cores of {box['processor']}, Python {box['python']}, {run.figures['day']}")
    for failure in run.failures:
        print(f"FAILED  {failure}")
    if run.args.json:
        run.args.json.write_text(json.dumps(run.figures, indent=1) + "\n")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
