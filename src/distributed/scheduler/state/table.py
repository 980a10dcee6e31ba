"""The scheduler's transition table: which state of a task may follow which, and why.

The machine looks every change of state up here; validation, the diagram in the documentation and the coverage
figure of the tests come from the same table.
"""

from __future__ import annotations

STATES: dict[str, str] = {
    "released": "known, not in memory, and nobody waits for it now",
    "waiting": "somebody needs it; not all of its dependencies are in memory",
    "no-worker": "could run, but no worker may take it",
    "queued": "could run; waits in the common queue or a worker's backlog",
    "processing": "was given to a worker",
    "memory": "its result is in the memory of at least one worker",
    "erred": "it, or a task it depends on, raised",
    "forgotten": "nobody can ask for it any more; its record is gone",
}

TRANSITIONS: dict[tuple[str, str], str] = {
    ("released", "waiting"): "somebody needs it and a dependency is not in memory",
    ("released", "queued"): "somebody needs it and all dependencies are in memory",
    ("released", "no-worker"): "somebody needs it, it could run, but no worker may take it",
    ("released", "processing"): "a worker that came back from another scheduler was already running it",
    ("released", "memory"): "a worker that came back holds it, or data was scattered",
    (
        "released",
        "erred",
    ): "somebody needs it and a dependency has erred, or lost data cannot be computed again",
    ("released", "forgotten"): "no client wants it and no task depends on it",
    ("waiting", "queued"): "the last dependency came into memory",
    ("waiting", "no-worker"): "the last dependency came into memory, but no worker may take it",
    ("waiting", "processing"): "a worker that came back was already running it",
    ("waiting", "memory"): "a worker that was given up turned out to hold the result",
    ("waiting", "erred"): "a dependency erred",
    ("waiting", "released"): "nobody needs it any more",
    ("no-worker", "queued"): "a worker joined that may take it",
    ("no-worker", "waiting"): "a dependency was lost",
    ("no-worker", "memory"): "a worker that came back holds the result",
    ("no-worker", "processing"): "a worker that came back was already running it",
    ("no-worker", "released"): "nobody needs it any more",
    (
        "no-worker",
        "erred",
    ): "results that it needs cannot leave different workers, or one that may not run it; or it waited for too long",
    ("queued", "processing"): "a worker has room for it",
    ("queued", "no-worker"): "the last worker that may take it left, or what it needs cannot leave another",
    ("queued", "waiting"): "a dependency was lost",
    ("queued", "memory"): "a worker that was given up finished it all the same",
    ("queued", "erred"): "no worker has memory and nobody lets go of any, or there are none for too long",
    ("queued", "released"): "nobody needs it any more",
    ("processing", "memory"): "a worker finished it",
    ("processing", "erred"): "it raised and has no retries left, or killed too many workers",
    ("processing", "queued"): "it was stolen, returned, retried, or its worker left",
    ("processing", "no-worker"): "its worker left and no other may take it",
    ("processing", "waiting"): "its worker could not get a dependency, or it left after one was lost",
    ("processing", "released"): "nobody needs it any more",
    ("memory", "released"): "nobody needs it any more, or the last copy was lost",
    ("erred", "released"): "somebody asked for a retry, or nobody wants it any more",
}

PENDING = ("waiting", "no-worker", "queued", "processing")


class InvalidTransition(Exception):
    """The machine tried a change of state that the table does not know: a bug of ours."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    lines += [
        f"    {a.replace('-', '_')} --> {b.replace('-', '_')}: {why}" for (a, b), why in TRANSITIONS.items()
    ]
    return "\n".join(lines) + "\n"
