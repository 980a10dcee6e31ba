"""Golden interaction scripts: commands at the margin, what the scheduler's machine did with them indented underneath.

::

    # a comment
    worker a threads=2
    client c
    submit c x y z(x,y) fn=add
        a < functions add
        a < run add: x y
        x y: released -> queued -> processing
        z: released -> waiting
    a finishes x y

``a < …`` is a message that worker (or client) ``a`` gets, ``x: … -> …`` the transitions of a task. Commands joined by
``;`` happen in one turn. After every turn all invariants are checked, and nothing may be said that the script does not
list. ``pytest --rewrite`` writes what happened into the scripts. ``COMMANDS`` and ``SUBJECT_COMMANDS`` list the words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from distributed.protocol import messages as m
from distributed.scheduler.state import SchedulerState, Settings, orders, partings
from distributed.scheduler.state.partings import HANG_UP

INDENT = "    "

PARTINGS = {
    parting.word: parting
    for parting in (*(HANG_UP, partings.DISMISS, partings.RENEW), partings.REPLACE, partings.REPLACE_BY_FORCE)
}


class ScriptError(Exception):
    """The script says something that cannot be understood."""


class Words:
    """One command taken apart: plain words and ``name=value`` options, each to be used up."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.plain: list[str] = []
        self.named: dict[str, str] = {}
        for word in line.split():
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                self.named[name] = value
            else:
                self.plain.append(word)

    def next(self) -> str:
        if not self.plain:
            raise ScriptError(f"{self.line!r}: a word is missing")
        return self.plain.pop(0)

    def rest(self) -> list[str]:
        rest, self.plain = self.plain, []
        return rest

    def flag(self, word: str) -> bool:
        if word in self.plain:
            self.plain.remove(word)
            return True
        return False

    def get(self, name: str, default: Any, convert: Callable[[str], Any] = str) -> Any:
        return convert(self.named.pop(name)) if name in self.named else default

    def end(self) -> None:
        if self.plain or self.named:
            raise ScriptError(f"{self.line!r}: do not know {self.plain or list(self.named)}")


def comma(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def pairs(text: str) -> list[tuple[str, str]]:
    """``GPU:1,MEM:2`` as pairs; the second is empty where there is no colon."""
    return [(part.partition(":")[0], part.partition(":")[2]) for part in comma(text)]


class Scenario:
    """A scheduler's machine played by script commands."""

    def __init__(self) -> None:
        self.now = 0.0
        self.state = SchedulerState()
        self.known: dict[str, set[str]] = {}
        self.seqs: dict[tuple[str, str], int] = {}

    def play(self, line: str) -> list[str]:
        """Play the commands of one line as one turn; returns what happened, in words."""
        said: list[str] = []
        for command in line.split(";"):
            said += self.command(Words(command.strip()))
        said += self.partings()
        self.state.validate()
        for peer, messages in self.state.drain(self.now):
            for message in messages:
                self.note(peer, message)
                said.append(f"{peer} < {describe(message)}")
        self.state.validate(drained=True)
        said += self.transitions()
        return said

    def command(self, words: Words) -> list[str]:
        first = words.next()
        if first in COMMANDS:
            said = COMMANDS[first](self, words)
        else:
            verb = words.next()
            if verb not in SUBJECT_COMMANDS:
                raise ScriptError(f"{words.line!r}: do not know {first!r} or {verb!r}")
            said = SUBJECT_COMMANDS[verb](self, first, words)
        words.end()
        return said or []

    def note(self, peer: str, message: m.Message) -> None:
        if isinstance(message, m.RunTasks):
            for key, seq in zip(message.keys, message.seqs, strict=True):
                self.seqs[peer, key] = seq

    def partings(self) -> list[str]:
        """What is to be done about workers that left the books; not of those who left by themselves."""
        parted = [
            (ws.address, parting.word) for ws, parting, _ in self.state.parted if parting is not HANG_UP
        ]
        self.state.parted.clear()
        return [f"{address} < {word}" for address, word in parted]

    def transitions(self) -> list[str]:
        """What changed state in this turn: keys that went the same way stand together."""
        ways: dict[str, list[str]] = {}
        for key, start, finish, _, _ in self.state.log:
            ways.setdefault(str(key), [start]).append(finish)
        self.state.log.clear()
        together: dict[tuple[str, ...], list[str]] = {}
        for key, way in ways.items():
            together.setdefault(tuple(way), []).append(key)
        return [f"{' '.join(keys)}: {' -> '.join(way)}" for way, keys in together.items()]

    # ------------------------------------------------------------ commands

    def settings(self, words: Words) -> None:
        first_seq = words.get("first_seq", 0, int)
        values = {name: type(getattr(Settings(), name))(value) for name, value in words.named.items()}
        words.named.clear()
        self.state = SchedulerState(Settings(**values), first_seq=first_seq)

    def restart(self, words: Words) -> None:
        """Another scheduler, which knows nothing."""
        self.state = SchedulerState(self.state.settings, first_seq=self.state.next_seq + 1000)
        self.known.clear()

    def worker(self, words: Words) -> None:
        address = words.next()
        self.state.add_worker(
            address,
            now=self.now,
            name=words.get("name", None),
            nthreads=words.get("threads", 1, int),
            host=words.get("host", ""),
            resources={name: float(amount) for name, amount in words.get("resources", [], pairs)},
            holding=[(key, int(nbytes or 8), "int") for key, nbytes in words.get("holds", [], pairs)],
            running=[
                (key, int(seq) if seq else self.seqs[address, key])
                for key, seq in words.get("runs", [], pairs)
            ],
        )

    def client(self, words: Words) -> None:
        """``knows``: it comes back from another scheduler, and names the workers that there were."""
        self.state.add_client(words.next(), self.now)
        if "knows" in words.named:
            self.state.expect_workers(words.get("knows", [], comma), self.now)

    def submit(self, words: Words) -> None:
        client = words.next()
        fn = words.get("fn", "f")
        options = m.TaskOptions(
            priority=words.get("priority", 0, int),
            retries=words.get("retries", 0, int),
            workers=tuple(words.get("workers", [], comma)),
            allow_other_workers=words.flag("others"),
            resources=tuple((name, float(amount)) for name, amount in words.get("resources", [], pairs)),
        )
        wanted = not words.flag("inner")
        keys, deps = [], []
        for word in words.rest():
            key, _, inside = word.partition("(")
            keys.append(key)
            deps.append(comma(inside.rstrip(")")))
        if fn not in self.known.setdefault(client, set()):
            self.known[client].add(fn)
            self.state.handle_client(client, m.PutFunctions([fn.encode()], [b"blob"]), self.now)
        args = [key.encode() for key in keys]
        message = m.SubmitTasks(fn.encode(), fn, keys, args, deps if any(deps) else None, options, wanted)
        self.state.handle_client(client, message, self.now)

    def drop(self, words: Words) -> None:
        client, fn = words.next(), words.next()
        self.known[client].discard(fn)
        self.state.handle_client(client, m.DropFunctions([fn.encode()]), self.now)

    def want(self, words: Words) -> None:
        self.state.handle_client(words.next(), m.WantKeys(words.rest()), self.now)

    def release(self, words: Words) -> None:
        self.state.handle_client(words.next(), m.ReleaseKeys(words.rest()), self.now)

    def retry(self, words: Words) -> None:
        self.state.handle_client(words.next(), m.RetryKeys(words.rest()), self.now)

    def fire(self, words: Words) -> None:
        self.state.handle_client(words.next(), m.FireAndForget(words.rest()), self.now)

    def cancel(self, words: Words) -> None:
        client, force = words.next(), words.flag("force")
        self.state.handle_client(client, m.CancelKeys(words.rest(), force), self.now)

    def scatter(self, words: Words) -> None:
        client, worker, nbytes = words.next(), words.next(), words.get("nbytes", 8, int)
        self.state.add_data(worker, client, [(key, nbytes, "int") for key in words.rest()], self.now)

    def retire(self, words: Words) -> None:
        self.state.retire_workers(words.rest(), self.now)

    def nanny(self, words: Words) -> None:
        """``nanny n``: it is there; ``nanny n gives up``."""
        address = words.next()
        if words.flag("gives"):
            words.flag("up")
            self.state.nanny_gave_up(address, "no such module", self.now)
        else:
            self.state.note_nanny(address)

    def wish(self, words: Words) -> None:
        """``wish a b``: their lifetimes are over; they leave when somebody can take over."""
        self.state.wish_to_leave(words.rest(), self.now)

    def keep(self, words: Words) -> None:
        self.state.keep_workers(words.rest(), self.now)

    def part(self, words: Words) -> None:
        """``part a renew``: the scheduler lets go of a worker; ``expected``: nobody is to blame."""
        address, expected = words.next(), words.flag("expected")
        parting = PARTINGS[" ".join(words.rest())]
        self.state.remove_worker(address, self.now, reason="let go", expected=expected, parting=parting)

    def close(self, words: Words) -> None:
        """The network ends because somebody wants it to."""
        self.state.close(" ".join(words.rest()), self.now)

    def order(self, words: Words) -> list[str] | None:
        """``order released x``: what a plugin may have done to a task; says why when it is refused."""
        finish, key, worker = words.next(), words.next(), words.get("worker", None)
        ts, ws = self.state.tasks[key], self.state.workers[worker] if worker else None
        self.state.begin("plugin", "order", self.now)
        try:
            if finish == "released":
                orders.drop_result(self.state, ts)
            elif finish == "waiting":
                orders.compute(self.state, ts)
            elif finish == "forgotten":
                orders.give_up(self.state, ts, "by order")
            elif finish == "erred":
                orders.fail(self.state, ts, m.TaskError(b"", exception_text="Ordered", blamed_key=key))
            elif ws is not None:
                if finish == "memory":
                    orders.hold(self.state, ts, ws, 8, "int")
                elif finish == "processing":
                    orders.send(self.state, ts, ws)
                else:
                    raise ScriptError(f"{words.line!r}: do not know {finish!r}")
        except ValueError as error:
            return [f"refused: {error}"]
        return None

    def restrict(self, words: Words) -> None:
        """``restrict x workers=a,b``; without workers: all may run it."""
        self.state.begin("plugin", "restrict", self.now)
        workers = words.get("workers", None, comma)
        for key in words.rest():
            orders.restrict(self.state, self.state.tasks[key], workers)

    def define(self, words: Words) -> None:
        """``define x fn=f``: a record that nobody has asked for."""
        self.state.begin("plugin", "define", self.now)
        fn = words.get("fn", None)
        orders.define(self.state, words.next(), (fn, fn.encode(), b"blob") if fn else None, b"")

    def tick(self, words: Words) -> list[str]:
        self.now += float(words.next())
        silent = self.state.tick(self.now)
        return [f"silent: {' '.join(silent)}"] if silent else []

    def wait(self, words: Words) -> None:
        self.now += float(words.next())

    def show(self, words: Words) -> list[str]:
        """Where everything is."""
        said = []
        for ts in self.state.tasks.values():
            where = [ws.address for ws in ts.who_has] + (
                [ts.processing_on.address] if ts.processing_on else []
            )
            if ts.queue is not None:
                where += [ws.address for ws in self.state.workers.values() if ws.backlog is ts.queue] or [
                    "common"
                ]
            wants = [cs.name for cs in ts.who_wants]
            said.append(
                f"{ts.key}: {ts.state}"
                + (f" {','.join(where)}" if where else "")
                + (f", wanted by {','.join(wants)}" if wants else "")
                + (", careful" if ts.careful else "")
                + (f", suspicious {ts.suspicious}" if ts.suspicious else "")
            )
        said += [f"{key}: unclaimed" for key in self.state.unclaimed]
        said += [f"retired: {' '.join(self.state.retired)}"] if self.state.retired else []
        return said or ["nothing"]

    def empty(self, words: Words) -> None:
        assert_empty(self.state)

    # ------------------------------------------------------------ workers' and clients' own words

    def seq(self, worker: str, key: str, words: Words) -> int:
        """What the worker was told; ``seq=`` in the script says an older one. An order is answered once."""
        if "seq" in words.named:
            return int(words.named["seq"])
        if (worker, key) not in self.seqs:
            raise ScriptError(f"{words.line!r}: {worker} has no order to run {key} that it has not answered")
        return self.seqs[worker, key] if words.line.split()[1] == "secedes" else self.seqs.pop((worker, key))

    def say(self, worker: str, message: m.Message) -> None:
        self.state.handle_worker(worker, message, self.now)

    def finishes(self, worker: str, words: Words) -> None:
        keys = words.rest()
        seqs = [self.seq(worker, key, words) for key in keys]
        words.get("seq", None)
        nbytes, seconds = words.get("nbytes", 8, int), words.get("seconds", 0.01, float)
        value = words.get("value", None, str.encode)
        n = len(keys)
        self.say(worker, m.TasksFinished(keys, seqs, [nbytes] * n, [seconds] * n, ["int"] * n, [value] * n))

    def errs(self, worker: str, words: Words) -> None:
        text = words.get("text", "ValueError")
        keys = words.rest()
        seqs = [self.seq(worker, key, words) for key in keys]
        words.get("seq", None)
        errors = [m.TaskError(b"exception", exception_text=text) for _ in keys]
        self.say(worker, m.TasksErred(keys, seqs, errors))

    def returns(self, name: str, words: Words) -> None:
        if name in self.state.clients:
            self.state.add_client(name, self.now)
            self.known.pop(name, None)
            return
        reason = next((word for word in ("stolen", "missing", "closing") if words.flag(word)), "missing")
        refused = words.get("refused", [], comma)
        missing = [(key, comma(where.replace("+", ","))) for key, where in words.get("lacking", [], pairs)]
        keys = words.rest()
        seqs = [self.seq(name, key, words) for key in keys]
        words.get("seq", None)
        self.say(name, m.TasksReturned(keys, seqs, reason, refused, missing))

    def secedes(self, worker: str, words: Words) -> None:
        keys = words.rest()
        seqs = [self.seq(worker, key, words) for key in keys]
        words.get("seq", None)
        self.say(worker, m.LongRunning(keys, seqs))

    def copies(self, worker: str, words: Words) -> None:
        nbytes = words.get("nbytes", 8, int)
        keys = words.rest()
        self.say(worker, m.ReplicasAdded(keys, [nbytes] * len(keys)))

    def misses(self, worker: str, words: Words) -> None:
        self.say(worker, m.ReplicasMissing([(key, where.split("+")) for key, where in pairs(words.next())]))

    def holds(self, worker: str, words: Words) -> None:
        """``b holds x:lock``: it was asked for x and cannot pickle it. ``by=`` names who asked and tells."""
        immovable = pairs(words.next())
        keys, reasons = [key for key, _ in immovable], [reason for _, reason in immovable]
        self.say(words.get("by", worker), m.ResultsImmovable(keys, [worker] * len(keys), reasons))

    def becomes(self, worker: str, words: Words) -> None:
        self.say(worker, m.WorkerStatusChanged(words.next()))

    def heartbeat(self, name: str, words: Words) -> None:
        if name in self.state.clients:
            self.state.handle_client(name, m.ClientHeartbeat(), self.now)
        else:
            self.say(name, m.WorkerHeartbeat({}))

    def leaves(self, name: str, words: Words) -> None:
        if name in self.state.clients:
            self.state.handle_client(name, m.CloseClient(), self.now)
            self.known.pop(name, None)
        else:
            self.say(name, m.WorkerClosing("told to"))

    def dies(self, worker: str, words: Words) -> None:
        """``a dies``; ``a dies overfull``: its nanny ended it for its memory."""
        overfull = words.flag("overfull")
        self.state.remove_worker(worker, self.now, reason="connection lost", over_limit=overfull)

    def disconnects(self, client: str, words: Words) -> None:
        self.state.client_disconnected(client, self.now)


COMMANDS: dict[str, Callable[[Scenario, Words], list[str] | None]] = {
    name: getattr(Scenario, name)
    for name in (
        *("settings", "restart", "worker", "client", "submit", "drop", "want", "release", "retry", "fire"),
        *("cancel", "wish", "nanny"),
        *("scatter", "retire", "keep", "order", "restrict", "define", "tick", "wait", "show", "empty"),
        *("part", "close"),
    )
}

SUBJECT_COMMANDS: dict[str, Callable[[Scenario, str, Words], list[str] | None]] = {
    name: getattr(Scenario, name)
    for name in (
        *(
            "finishes",
            "errs",
            "returns",
            "secedes",
            "copies",
            "misses",
            "holds",
            "becomes",
            "heartbeat",
            "leaves",
        ),
        *("dies", "disconnects"),
    )
}


def assert_empty(s: SchedulerState) -> None:
    """Nothing is left of any task: what release of everything must lead to."""
    assert not s.tasks, list(s.tasks.values())
    assert not s.specs, s.specs
    assert not s.unclaimed, s.unclaimed
    assert not s.unrunnable
    assert not s.ordered, s.ordered
    assert not len(s.queue)
    assert not s.queue.seconds
    for function in s.functions.values():
        assert function.clients, function.fn
        assert not function.ntasks
    for ws in s.workers.values():
        assert not ws.has_what
        assert not ws.processing
        assert not ws.long_running
        assert not len(ws.backlog)
        assert ws.nbytes == ws.ncareful == 0
        assert ws.occupancy == 0
        assert ws.backlog.seconds == 0
    for cs in s.clients.values():
        assert not cs.wants_what


def describe(message: m.Message) -> str:
    """A message in the words of the scripts."""
    return DESCRIBE[type(message)](message)


def _run(msg: m.RunTasks) -> str:
    tasks = [f"{key}({','.join(deps)})" if deps else key for key, deps in _zip_deps(msg)]
    text = f"run {msg.name}: {' '.join(tasks)}"
    if msg.holders:
        text += f" with {_holders(msg.holders)}"
    options = msg.options
    if options.priority:
        text += f" priority={options.priority}"
    for name, amount in options.resources:
        text += f" {name}={amount:g}"
    return text if options.inline else text + " (keep)"


def _zip_deps(msg: m.RunTasks) -> Iterable[tuple[str, list[str]]]:
    return zip(msg.keys, msg.deps or [[] for _ in msg.keys], strict=True)


def _holders(holders: Iterable[tuple[Any, int, list[str]]]) -> str:
    return " ".join(f"{key}@{'+'.join(addresses)}" for key, _, addresses in holders)


def _memory(msg: m.TasksInMemory) -> str:
    columns = zip(msg.keys, msg.values, msg.workers, strict=True)
    return "memory " + " ".join(
        f"{key}@{worker}" + (f"={value.decode()}" if value is not None else "")
        for key, value, worker in columns
    )


def _erred(msg: m.TasksErredForClient) -> str:
    words = []
    for key, error in zip(msg.keys, msg.errors, strict=True):
        blamed = f"{error.blamed_key} " if error.blamed_key != key else ""
        where = f" on {','.join(error.erred_on)}" if error.erred_on else ""
        words.append(f"{key} ({blamed}{error.exception_text.partition(':')[0]}{where})")
    return "erred " + " ".join(words)


DESCRIBE: dict[type[m.Message], Callable[[Any], str]] = {
    m.PutFunctions: lambda msg: f"functions {' '.join(fn.decode() for fn in msg.ids)}",
    m.DropFunctions: lambda msg: f"drop {' '.join(fn.decode() for fn in msg.ids)}",
    m.RunTasks: _run,
    m.FreeKeys: lambda msg: f"free {' '.join(msg.keys)}",
    m.StealTasks: lambda msg: f"steal {' '.join(msg.keys)}",
    m.AcquireReplicas: lambda msg: f"acquire {_holders(msg.holders)}",
    m.SetWorkerStatus: lambda msg: f"be {msg.status}",
    m.TasksInMemory: _memory,
    m.TasksErredForClient: _erred,
    m.TasksCancelled: lambda msg: f"cancelled {' '.join(msg.keys)}: {msg.reason}",
    m.TasksRefused: lambda msg: (
        "refused " + " ".join(f"{key}({dep})" for key, dep in zip(msg.keys, msg.missing, strict=True))
    ),
    m.CancelAnswered: lambda msg: f"heard cancel {' '.join(msg.keys)}",
    m.CloseWorker: lambda msg: f"close{' for good' if msg.nanny else ''}: {msg.reason}",
    m.ClientEvent: lambda msg: f"event {msg.topic} {msg.data}",
    m.TasksLost: lambda msg: f"lost {' '.join(msg.keys)}",
}


def replay(text: str) -> str:
    """The script with what really happens under each command."""
    scenario = Scenario()
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(INDENT):
            continue
        lines.append(line)
        if line.strip() and not line.startswith("#"):
            try:
                lines += [INDENT + said for said in scenario.play(line)]
            except Exception as error:
                error.add_note(f"in line {number}: {line}")
                raise
    return "\n".join(lines) + "\n"


def scripts() -> list[Path]:
    return sorted((Path(__file__).parent.parent / "scenarios" / "scheduler").glob("*.txt"))
