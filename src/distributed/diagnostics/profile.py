"""Statistical profiles: where the threads of workers are, looked at many times a second.

Workers begin to look when they are first asked, so nobody pays who does not ask; the first answer covers one cycle.

A profile is a tree of dictionaries: ``count`` (how often the look fell here), ``identifier``, ``description``
(``name filename line_number line``) and ``children`` by identifier.
"""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
import time
from collections import deque
from collections.abc import Collection
from types import FrameType
from typing import Any

from distributed import config

Profile = dict[str, Any]

# ---------------------------------------------------------------- trees


def create() -> Profile:
    """An empty profile."""
    return {"count": 0, "identifier": "root", "description": _description("", "", 0), "children": {}}


def add_stack(profile: Profile, frame: FrameType | None, until: str | Collection[str] = ()) -> None:
    """Count one look at a stack; frames of the files ``until`` and what is below them are left out."""
    ends = (until,) if isinstance(until, str) else until
    frames: list[FrameType] = []
    while frame is not None and frame.f_code.co_filename not in ends:
        frames.append(frame)
        frame = frame.f_back
    profile["count"] += 1
    for each in reversed(frames):
        code = each.f_code
        identifier = f"{code.co_name};{code.co_filename};{code.co_firstlineno}"
        child = profile["children"].get(identifier)
        if child is None:
            child = profile["children"][identifier] = {
                "count": 0,
                "identifier": identifier,
                "description": _description(code.co_name, code.co_filename, each.f_lineno or 0),
                "children": {},
            }
        child["count"] += 1
        profile = child


def merge(*profiles: Profile) -> Profile:
    """The sum of several profiles."""
    merged = create()
    for profile in profiles:
        _add(merged, profile)
    return merged


def _add(target: Profile, source: Profile) -> None:
    stack = [(target, source)]
    while stack:
        into, part = stack.pop()
        into["count"] += part["count"]
        for identifier, child in part["children"].items():
            mine = into["children"].get(identifier)
            if mine is None:
                mine = into["children"][identifier] = {**child, "count": 0, "children": {}}
            stack.append((mine, child))


def _description(name: str, filename: str, line: int) -> dict[str, Any]:
    text = linecache.getline(filename, line).strip() if filename else ""
    return {"name": name, "filename": filename, "line_number": line, "line": text}


# ---------------------------------------------------------------- worker


class WorkerProfile:
    """The worker's half: a thread that looks at the stacks of running tasks."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.interval = config.seconds("distributed.worker.profile.interval", 0.01) or 0.01
        self.cycle = config.seconds("distributed.worker.profile.cycle", 1.0) or 1.0
        self.history: deque[tuple[float, dict[str, Profile]]] = deque(maxlen=1_000)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    async def profile(
        self, start: float | None = None, stop: float | None = None, key: str | None = None
    ) -> Profile:
        """What was seen between two times (seconds since the epoch), of tasks of one name or of all."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="distributed-profile", daemon=True)
            self._thread.start()
            await asyncio.sleep(self.cycle)
        seen = [
            profiles
            for when, profiles in list(self.history)
            if (start is None or when >= start) and (stop is None or when <= stop)
        ]
        parts = [
            profile for profiles in seen for name, profile in profiles.items() if key is None or name == key
        ]
        return merge(*parts)

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        self.next_cycle()
        while not self._closed.wait(self.interval):
            if time.time() - self.history[-1][0] > self.cycle:
                self.next_cycle()
            self.look()

    def next_cycle(self) -> None:
        """What is seen from now on is kept apart from what was seen before."""
        self.history.append((time.time(), {}))

    def look(self) -> None:
        """Look once at all running tasks."""
        from distributed.worker import executor

        if not self.history:
            self.next_cycle()
        profiles = self.history[-1][1]
        frames = sys._current_frames()
        for slot in self.worker.executor.running():
            task, thread = slot.task, slot.thread
            if task is None or thread is None or task.group is None:
                continue
            frame = frames.get(thread.ident)
            if frame is not None:
                name = task.group.name
                if name not in profiles:
                    profiles[name] = create()
                add_stack(profiles[name], frame, until=executor.__file__)

    def metadata(self, start: float = 0, stop: float | None = None) -> dict[str, Any]:
        """How many looks there were in each cycle, all and by name of the tasks: pairs of its time and the count."""
        counts: list[tuple[float, int]] = []
        keys: dict[str, list[tuple[float, int]]] = {}
        for when, profiles in list(self.history):
            if when < start or (stop is not None and when > stop):
                continue
            by_name = {name: profile["count"] for name, profile in list(profiles.items())}
            counts.append((when, sum(by_name.values())))
            for name, count in by_name.items():
                keys.setdefault(name, []).append((when, count))
        return {"counts": counts, "keys": keys}


# ---------------------------------------------------------------- scheduler


class SchedulerProfile:
    """The scheduler's half: asks the workers."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    async def profile(self, workers: Any = None, merge_workers: bool = True, **kwargs: Any) -> Any:
        answers = await self.scheduler.broadcast(
            msg={"op": "profile", **kwargs}, workers=workers, on_error="ignore"
        )
        return merge(*answers.values()) if merge_workers else dict(answers)

    async def metadata(self, workers: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Sums of what the workers' ``get_profile_metadata`` say, by the second."""
        answers = await self.scheduler.broadcast(
            msg={"op": "profile_metadata", **kwargs}, workers=workers, on_error="ignore"
        )
        counts: dict[float, int] = {}
        keys: dict[str, dict[float, int]] = {}
        for answer in answers.values():
            for when, count in answer["counts"]:
                counts[round(when)] = counts.get(round(when), 0) + count
            for name, pairs in answer["keys"].items():
                of_name = keys.setdefault(name, {})
                for when, count in pairs:
                    of_name[round(when)] = of_name.get(round(when), 0) + count
        return {
            "counts": sorted(counts.items()),
            "keys": {name: sorted(c.items()) for name, c in keys.items()},
        }
