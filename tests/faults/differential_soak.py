"""Random programs on a network under a fault every second, compared with plain Python.

    python tests/faults/differential_soak.py --minutes 15 [--seed N] [--programs N] [--no-faults]
                                             [--without OP,...] [--steps I,J,...] [--show]

Programs (``random_programs.py``) run one after another in a client's process; each has a seed, the first ``--seed``,
the next one more. Faults: ``kill -9`` and SIGSTOP of workers, nannies, the scheduler and the client's process. Ends
with status 1 and says why when a program gave something else than ``serial_reference.py``, stood still, or memory grew.
A found one again, and alone: ``--seed N --programs 1``, then smaller by ``--steps``; ``--show`` only prints it.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak_network import MIB, WORKERS, SoakNetwork  # first: it finds the modules beside it

import psutil  # isort: skip
from live_programs import PATIENCE, Live, compare  # isort: skip
from random_programs import Program, generate  # isort: skip
from system_bench import wait_until  # isort: skip

BOUND = PATIENCE + 60.0
#: Seconds for which a fault is felt: a worker that stood still is counted dead later.
AFTERMATH = 15.0


# ---------------------------------------------------------------- the client's process


def play(options: argparse.Namespace) -> int:
    """Programs on the network at an address; what happens is told line by line."""
    seeds = range(options.seed, options.seed + options.programs)
    for seed in seeds:
        program = generate(seed, options.left_out)
        if options.steps:
            wanted = [int(i) for i in options.steps.split(",")]
            program = program._replace(steps=[program.steps[i] for i in wanted])
        print(f"begin {seed}", flush=True)
        complaint = play_one(options, program)
        if complaint:
            print(f"complaint {seed} {complaint}", flush=True)
            return 1
        print(f"done {seed}", flush=True)
    return 0


def play_one(options: argparse.Namespace, program: Program) -> str:
    """One program; the complaint about it."""
    began = time.monotonic()
    log = Path(options.accidents)

    def accidents() -> set[str]:
        felt = (line.split() for line in log.read_text().splitlines())
        return {kind for when, kind in felt if float(when) > began - AFTERMATH}

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        live = Live(options.play, program, Path(folder))
        last: list[str] = []
        watchdog = threading.Timer(BOUND, stands_still, [live, program, last])
        watchdog.daemon = True
        watchdog.start()
        try:
            complaint = compare(live, program, accidents, last.append)
            if complaint and live.clients[0].status == "running":
                complaint += "\n" + states(live)
            return complaint
        finally:
            watchdog.cancel()
            live.end()


def stands_still(live: Live, program: Program, last: list[str]) -> None:
    """A program took too long: all that is known, then the end."""
    print(f"complaint {program.seed} stands still for {BOUND:g} s at {last[-1:]}", flush=True)
    faulthandler.dump_traceback(sys.stdout)
    print(states(live), flush=True)
    os._exit(3)


def states(live: Live) -> str:
    """What the parties say of the futures that are not done."""
    lines = []
    for client in live.clients:
        tasks = list(client._session.state.tasks.values())
        lines.append(f"{client.id}, {client.status}: {[(task.key, task.status) for task in tasks][:50]}")
        keys = [task.key for task in tasks if task.status == "pending"][:10]
        told: list[str] = []

        def ask(client: object = client, keys: object = keys, told: list[str] = told) -> None:
            told += [f"  {entry}" for entry in client.story(*keys, on_error="ignore")]  # type: ignore[attr-defined,misc]

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(10)
        lines += told
    return "\n".join(lines)


# ---------------------------------------------------------------- the network and its faults


class Plagued(SoakNetwork):
    """A network whose clients are killed and stopped, too; accidents are written down for the programs."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed, nthreads=2)
        self.accidents = folder / "accidents"
        self.accidents.touch()
        self.player: subprocess.Popen[str] | None = None

    def kinds(self) -> list[Callable[[], bool]]:
        often = [*super().kinds(), self.freeze_nanny, self.kill_only_nanny, self.kill_scheduler]
        return [*often, *often, self.freeze_client, self.freeze_client, self.kill_client]

    def note(self, kind: str) -> None:
        with self.accidents.open("a") as file:
            file.write(f"{time.monotonic()} {kind}\n")

    def fault(self) -> None:
        kind = self.random.choice(self.kinds())
        if kind == self.kill_scheduler:
            self.note("scheduler")
        elif kind in (
            self.kill_worker,
            self.kill_nanny,
            self.kill_only_nanny,
            self.freeze_worker,
            self.freeze_nanny,
        ):
            self.note("worker")
        if kind():
            self.faults[kind.__name__.replace("_", " ")] += 1

    def freeze_nanny(self) -> bool:
        pid = self.workers[self.random.randrange(WORKERS)].process.pid
        return self.freeze(pid, self.random.choice([0.2, 1.0, 5.0]))

    def kill_only_nanny(self) -> bool:
        """Its worker finds out and ends; :meth:`revive` starts another."""
        self.workers[self.random.randrange(WORKERS)].process.kill()
        return True

    def kill_client(self) -> bool:
        if self.player is None or self.player.poll() is not None:
            return False
        self.player.kill()
        return True

    def freeze_client(self) -> bool:
        if self.player is None or self.player.poll() is not None:
            return False
        return self.freeze(self.player.pid, self.random.choice([0.2, 1.0, 5.0]))


# ---------------------------------------------------------------- the run


class Run:
    """Programs and faults until the time is up, and the report."""

    def __init__(self, options: argparse.Namespace, network: Plagued, folder: Path) -> None:
        self.options = options
        self.network = network
        self.folder = folder
        self.next_seed = options.seed
        self.began: int | None = None
        self.counts: collections.Counter[str] = collections.Counter()
        self.complaints: list[str] = []
        self.lines: collections.deque[str] = collections.deque()

    def start_player(self, programs: int) -> None:
        """A process for programs from the next seed on."""
        options = self.options
        command = [sys.executable, __file__, "--play", self.network.address, "--folder", str(self.folder)]
        command += ["--seed", str(self.next_seed), "--programs", str(programs)]
        command += ["--accidents", str(self.network.accidents), "--without", options.without]
        command += ["--steps", options.steps]
        player = subprocess.Popen(
            command, env=self.network.bench.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.network.player = player
        self.reader = threading.Thread(target=self.read, args=[player], daemon=True)
        self.reader.start()

    def read(self, player: subprocess.Popen[str]) -> None:
        assert player.stdout is not None
        for line in player.stdout:
            word, _, rest = line.partition(" ")
            if word == "begin":
                self.began = int(rest)
            elif word == "done":
                self.counts["right"] += 1
                self.began, self.next_seed = None, int(rest) + 1
                self.lines.clear()
            else:
                self.lines.append(line)
                if word == "slow":
                    print(line, end="", flush=True)

    def player_ended(self) -> None:
        """By a fault, a complaint, or because it is through."""
        player, self.network.player = self.network.player, None
        assert player is not None
        self.reader.join(10)
        if player.returncode == -9:
            self.counts["killed"] += 1
        elif player.returncode:
            self.counts["wrong"] += 1
            self.report()
        if self.began is not None:
            self.next_seed, self.began = self.began + 1, None
        self.lines.clear()

    def report(self) -> None:
        seed = self.began if self.began is not None else self.next_seed
        text = "".join(self.lines)
        self.complaints.append(f"seed {seed}: {text[:400]}")
        print(f"---- seed {seed}\n{text}\n{self.network.story()}\n---- program {seed}", flush=True)
        show(generate(seed, self.options.left_out))

    def limit(self) -> int:
        return int(self.options.seed + self.options.programs)

    def run(self) -> None:
        network, options = self.network, self.options
        end = time.monotonic() + options.minutes * 60
        next_fault = next_line = time.monotonic() + 1.0
        self.start_player(options.programs)
        while time.monotonic() < end and self.next_seed < self.limit():
            now = time.monotonic()
            network.mend()
            network.revive()
            if now >= next_fault and not options.no_faults:
                next_fault = now + 1.0
                network.fault()
            if network.player is not None and network.player.poll() is not None:
                self.player_ended()
                if self.complaints and not options.keep_going:
                    break
                if self.next_seed < self.limit():
                    self.start_player(self.limit() - self.next_seed)
            if now >= next_line:
                next_line = now + 10.0
                self.progress(end - now)
            time.sleep(0.02)
        self.rest()

    def progress(self, left: float) -> None:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items())
        print(f"{left:5.0f} s left, programs: {counts}", flush=True)

    def rest(self) -> None:
        """Let what runs come to its end."""
        self.network.mend(everything=True)
        player = self.network.player
        deadline = time.monotonic() + BOUND
        running = self.began
        while player is not None and player.poll() is None and self.began == running is not None:
            assert time.monotonic() < deadline, "the last program does not end"
            self.network.revive()
            time.sleep(0.05)
        if player is not None and player.poll() is None:
            player.kill()
            player.wait()
        elif player is not None:
            self.player_ended()
        faults = self.network.faults
        told = ", ".join(f"{n} × {name}" for name, n in sorted(faults.items()))
        print(
            f"seed {self.options.seed}: programs {dict(self.counts)}; {sum(faults.values())} faults: {told}"
        )

    def account(self) -> None:
        """Without faults: more programs take no more memory, and nothing is left of them."""
        from distributed import Client

        network = self.network

        def some(n: int) -> dict[str, float]:
            first = self.options.seed + 500_000
            options = argparse.Namespace(**vars(self.options))
            options.seed, options.programs = first, n
            options.play, options.folder = network.address, str(self.folder)
            options.accidents = str(network.accidents)
            assert play(options) == 0, "a program went wrong without faults"
            with Client(network.address) as client:
                try:
                    wait_until(lambda: not client.run_on_scheduler(_left), "no task is left", 60)
                except AssertionError as error:
                    raise AssertionError(f"{error}: {client.run_on_scheduler(_left)}") from None
            return {"client": psutil.Process().memory_info().rss / MIB} | network.resident()

        os.environ["PYTHONPATH"] = network.bench.env["PYTHONPATH"]
        with Client(network.address) as client:
            wait_until(
                lambda: (network.revive(), client.wait_for_workers(WORKERS, timeout=60)), "workers are back"
            )
        n = 15 if self.options.minutes > 1 else 5
        some(n)
        before, after = some(n), some(2 * n)
        for name, old in before.items():
            print(f"  {name}: {old:.0f} MiB, after {2 * n} programs more {after[name]:.0f} MiB")
        grown = [name for name, old in before.items() if after[name] > old * 1.15 + 10]
        assert not grown, f"the memory of {', '.join(grown)} grows"


def _left(dask_scheduler: Any) -> list[str]:
    """The first tasks that the scheduler still knows, and who wants them."""
    # What is published, or lies in a queue or variable, outlives its client: that of programs that were killed stays.
    kept = {"published", "queues", "variables"}
    tasks = [ts for ts in dask_scheduler.state.tasks.values() if not kept & {cs.name for cs in ts.who_wants}]
    return [f"{ts.key!r} {ts.state}, wanted by {[cs.name for cs in ts.who_wants]}" for ts in tasks[:10]]


def show(program: Program) -> None:
    for i, step in enumerate(program.steps):
        print(f"  {i}: {step}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--no-account", action="store_true")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--show", action="store_true")
    for name in ("without", "steps", "play", "folder", "accidents"):
        parser.add_argument(f"--{name}", default="")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(10**6)
    options.left_out = tuple(filter(None, options.without.split(",")))
    return options


def main() -> None:
    options = parse()
    if options.show:
        return show(generate(options.seed, options.left_out))
    if options.play:
        sys.exit(play(options))
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        network = Plagued(Path(folder), options.seed)
        run = Run(options, network, Path(folder))
        try:
            run.run()
            if not run.complaints and not options.no_account:
                run.account()
        except AssertionError as error:
            run.complaints.append(f"{error}")
        finally:
            network.end()
    for complaint in run.complaints:
        print(f"seed {options.seed}: {complaint}", flush=True)
    sys.exit(1 if run.complaints else 0)


if __name__ == "__main__":
    main()
