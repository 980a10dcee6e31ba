"""Works: what a key stands for, and what happens when other work comes under a key that is known.

A key is a name. Where it is a hash of function and arguments it says all; where somebody chose it, or where what it
stands on was chosen, the *work* does: a hash of the function, the arguments and the works of the dependencies. It
travels with the task to the worker, stays with the result there, and comes back with whatever a worker says that it
holds or runs, so that after a restart, or after a worker was given up and came back, nothing is taken for something
else. Copies are asked for by key and work.

A key stands for one work at a time: as long as anybody wants it, or something that was or will be computed from it.
Other work that comes meanwhile gets that one's result, and who submitted it is told (``KeysTaken``); after that it
takes the key, and whatever is left of the old work is freed. Who comes back with what it had told before, and finds its
key in use for other work, is refused: a future never changes its work.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload, Serialized
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState


def work_of(fn: bytes, args: Payload, dependencies: Iterable[TaskState], named: bool) -> bytes:
    """The hash of all that makes a result; empty where its key says it already."""
    works = b""
    for dep in dependencies:
        if dep.work:
            works += dep.work
    if not named and not works:
        return b""
    if type(args) is bytes:
        return blake2b(fn + works + args, digest_size=16).digest()
    hasher = blake2b(fn + works, digest_size=16)
    for frame in args.frames if isinstance(args, Serialized) else (args,):
        hasher.update(frame)
    return hasher.digest()


def is_same(
    s: Index,
    ts: TaskState,
    fn: bytes,
    args: Payload,
    dep_keys: list[Key],
    named: bool,
) -> bool:
    """Whether a task that comes is the work that its key stands for."""
    if ts.spec is not None:
        return (
            ts.spec.fn == fn
            and ts.args == args
            and len(ts.dependencies) == len(dep_keys)
            and all(s.tasks.get(key) is dep for key, dep in zip(dep_keys, ts.dependencies, strict=True))
        )
    if not ts.work:  # known by name alone
        return True
    dependencies = [s.tasks[key] for key in dep_keys if key in s.tasks]
    return work_of(fn, args, dependencies, named) == ts.work


def descendants(ts: TaskState) -> list[TaskState]:
    """A task and all that stands on it, each behind one that it stands on."""
    found = {ts: None}
    stack = [ts]
    while stack:
        new = [dependent for dependent in stack.pop().dependents if dependent not in found]
        found.update(dict.fromkeys(new))
        stack += new
    return list(found)


def may_be(s: Index, ts: TaskState, work: bytes) -> bool:
    """Whether what a worker has under the key of a task is what the task is."""
    if ts.spec is None and not ts.work and ts.state != "memory":
        learn(s, ts, work)
    return ts.work == work


def learn(s: Index, ts: TaskState, work: bytes) -> None:
    """What was known by name alone turns out to be this; so does what stands on it."""
    if ts.work == work:
        return
    ts.work = work
    stack = list(ts.dependents)
    while stack:
        dependent = stack.pop()
        spec = dependent.spec
        if spec is not None and dependent.state in ("released", "waiting"):
            found = work_of(spec.fn, dependent.args, dependent.dependencies, bool(dependent.work))
            if found != dependent.work:
                dependent.work = found
                stack += dependent.dependents


__all__ = ["descendants", "is_same", "learn", "may_be", "work_of"]
