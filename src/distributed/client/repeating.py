"""Repeating: which operations of a scheduler are asked again when their answer was lost with the connection.

Three kinds. *Questions* change nothing. *Repeatable* orders change only what lies in the scheduler's own memory, or do
the same when they are carried out twice: the scheduler that was asked first remembers its answers (``core/answers.py``)
and carries them out once; a scheduler that was started anew knows nothing of them, and carries them out once, too.
All others may have left traces elsewhere, in workers, files or the user's objects: they are asked again only where the
first scheduler can tell that they were not begun, or how they ended; else :class:`UnknownOutcomeError` says so.
"""

from __future__ import annotations

from distributed.exceptions import UnknownOutcomeError

#: Operations that change nothing.
QUESTIONS = frozenset(
    (
        *(
            "identity",
            "versions",
            "ping",
            "echo",
            "get_logs",
            "story",
            "events",
            "get_metadata",
            "get_cluster_state",
        ),
        *(
            "who_has",
            "has_what",
            "nbytes",
            "ncores",
            "ncores_running",
            "nthreads",
            "processing",
            "get_task_status",
        ),
        *("gather", "wait_for_workers", "workers_to_close", "adaptive_target", "check_idle", "get_memory"),
        *("profile", "get_progress", "get_call_stack", "get_task_stream", "get_worker_monitor_info"),
        *("performance_report", "benchmark_hardware"),
        *("queue_qsize", "variable_get", "event_is_set", "semaphore_value", "publish_list"),
    )
)

#: Orders that may be given to a scheduler that knows nothing of them, whatever became of them before.
REPEATABLE = frozenset(
    (
        *("queue_create", "queue_put", "queue_get", "queue_release", "variable_set", "variable_delete"),
        *("event_set", "event_clear", "event_wait", "publish_put", "publish_get", "publish_delete"),
        *("semaphore_acquire", "semaphore_release", "semaphore_close"),
        *("multi_lock_acquire", "multi_lock_release"),
        *(
            "set_metadata",
            "log_event",
            "subscribe_topic",
            "unsubscribe_topic",
            "subscribe_worker_status",
            "feed",
        ),
        *("scatter", "add_data", "replicate", "rebalance", "delete_worker_data", "cancel", "retry"),
        *("register_plugin", "register_worker_plugin", "register_nanny_plugin", "register_scheduler_plugin"),
        *(
            "unregister_worker_plugin",
            "unregister_nanny_plugin",
            "unregister_scheduler_plugin",
            "upload_file",
        ),
        *("start_task_stream", "stop_task_stream", "start_task_metadata", "stop_task_metadata"),
        *("start_performance_report", "add_resources", "drain", "restart"),
    )
)

#: Operations of workers that change nothing: a broadcast of one is a question.
WORKER_QUESTIONS = frozenset(
    (
        *("identity", "versions", "ping", "get_logs", "story", "call_stack", "executing", "keys", "has_what"),
        *("get_monitor_info", "profile"),
    )
)


def is_question(op: str, kwargs: dict[str, object]) -> bool:
    """Whether an operation changes nothing."""
    return op in QUESTIONS or (op in ("broadcast", "proxy") and kwargs.get("op") in WORKER_QUESTIONS)


def unknown_outcome(op: str, kwargs: dict[str, object]) -> UnknownOutcomeError:
    """What is known of an order whose scheduler is another one now."""
    inner = kwargs.get("op")
    what = f"{op!r} of {inner!r}" if isinstance(inner, str) else repr(op)
    return UnknownOutcomeError(
        f"the scheduler died while it carried out {what}: that may or may not have been done; look, and call again "
        "if it was not"
    )
