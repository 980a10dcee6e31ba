"""What users say about tasks (priority, workers, resources...) as :class:`TaskOptions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distributed.protocol.messages import TaskOptions
from distributed.threadstate import current_slot

DEFAULT = TaskOptions()


def task_options(
    *,
    workers: Any = None,
    resources: Mapping[str, float] | None = None,
    retries: int | None = None,
    priority: int | float = 0,
    allow_other_workers: bool = False,
    actor: bool = False,
) -> TaskOptions:
    """Check the options of a call.

    Raises
    ------
    TypeError, ValueError
        In one sentence that names the option.
    """
    if not priority and (slot := current_slot()) is not None:
        priority = _before(slot)
    if (
        workers is None
        and resources is None
        and not retries
        and not priority
        and not allow_other_workers
        and not actor
    ):
        return DEFAULT
    if allow_other_workers not in (True, False, None):
        raise TypeError("allow_other_workers= must be True or False")
    names = worker_names(workers)
    if allow_other_workers and not names:
        raise ValueError("allow_other_workers=True only makes sense together with workers=")
    if resources is not None and not isinstance(resources, Mapping):
        raise TypeError(f"resources= must map names to amounts, as in {{'GPU': 1}}, not {resources!r}")
    try:
        amounts = tuple(sorted((str(name), float(amount)) for name, amount in (resources or {}).items()))
        number = int(priority)
        again = int(retries or 0)
    except (TypeError, ValueError):
        raise TypeError(
            f"priority=, retries= and the amounts of resources= must be numbers, "
            f"not {priority!r}, {retries!r}, {resources!r}"
        ) from None
    if again < 0:
        raise ValueError(f"retries= must not be negative, not {again}")
    return TaskOptions(number, again, names, bool(allow_other_workers), amounts, bool(actor))


def _before(slot: Any) -> int:
    """The priority of what a task submits without saying one: it comes before its like.

    So the tasks that wait for others are those few that have begun, and not all of them.
    """
    group = getattr(slot.task, "group", None)
    return 0 if group is None else int(group.options.priority) + 1


def check_key(key: Any) -> Any:
    """``key`` if it can name a task: str, number, bytes, or a tuple of such. Raises ``TypeError``."""
    kind = type(key)
    if kind is str or kind is bytes or kind is float:
        return key
    if kind is int and -(2**63) <= key < 2**64:
        return key
    if kind is tuple:
        for part in key:
            check_key(part)
        return key
    if isinstance(key, int):
        raise TypeError(
            f"a key must be a str, a number of at most 64 bits, bytes, or a tuple of such, not {key!r}"
        )
    raise TypeError(
        f"a key must be a str, number, bytes, or a tuple of such, not {key!r} ({kind.__qualname__})"
    )


def worker_names(workers: Any) -> tuple[str, ...]:
    """Addresses, names or host names: one or several, or worker objects with an ``address``."""
    if workers is None:
        return ()
    if isinstance(workers, str | int) or not isinstance(workers, Iterable):
        workers = [workers]
    return tuple(str(getattr(worker, "address", worker)) for worker in workers)
