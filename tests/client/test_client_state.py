"""The client's state machine against a model of a scheduler that keeps its word, and only its word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.client.state import TRANSITIONS, Call, ClientState, ClientTask, Function, Waiter
from distributed.client.state import outbox as outbox_module
from distributed.protocol.messages import (
    CancelAnswered,
    CancelKeys,
    DropFunctions,
    PutFunctions,
    ReleaseKeys,
    RetryKeys,
    SubmitTasks,
    TaskError,
    TaskOptions,
    TasksCancelled,
    TasksErredForClient,
    TasksInMemory,
    TasksLost,
    TasksRefused,
    WantKeys,
)

INC = Call(Function(b"i" * 16, b"inc", 3), "inc", TaskOptions())
DEC = Call(Function(b"d" * 16, b"dec", 3), "dec", TaskOptions())


def task(key: Any, *deps: Any, call: Call | None = INC, args: bytes = b"") -> ClientTask:
    return ClientTask(key, call, args, tuple(deps))


def memory(*keys: Any, value: bytes | None = b"v") -> TasksInMemory:
    return TasksInMemory(
        list(keys), [value] * len(keys), ["int"] * len(keys), ["tcp://10.0.0.1:1"] * len(keys)
    )


def erred(*keys: Any) -> TasksErredForClient:
    return TasksErredForClient(list(keys), [TaskError(b"e") for _ in keys])


def sent(state: ClientState) -> list[Any]:
    """What is sent now, without the functions, as (kind, keys)."""
    return [
        (type(message).__name__, message.keys)
        for message in state.drain()
        if not isinstance(message, PutFunctions | DropFunctions)
    ]


# ---------------------------------------------------------------- what is said


def test_neighbouring_submissions_of_a_function_become_one_message() -> None:
    state = ClientState()
    state.handle_submit([task("a"), task("b")])
    state.handle_submit([task("c")])
    put, submit = state.drain()
    assert put == PutFunctions([b"i" * 16], [b"inc"])
    assert submit == SubmitTasks(b"i" * 16, "inc", ["a", "b", "c"], [b"", b"", b""])
    assert state.drain() == []


def test_a_function_is_sent_once_and_forgotten_with_the_connection() -> None:
    state = ClientState()
    state.handle_submit([task("a"), task("b", call=DEC)])
    assert [type(m).__name__ for m in state.drain()] == ["PutFunctions", "SubmitTasks"] * 2
    state.handle_submit([task("c"), task("d", call=DEC)])
    assert [type(m).__name__ for m in state.drain()] == ["SubmitTasks"] * 2
    state.reconnected()
    messages = state.drain()
    assert [m.ids[0][:1] for m in messages if isinstance(m, PutFunctions)] == [b"i", b"d"]
    assert [k for m in messages if isinstance(m, SubmitTasks) for k in m.keys] == ["a", "b", "c", "d"]


def test_the_scheduler_is_asked_to_remember_a_bounded_number_of_functions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_FUNCTIONS", 2)
    state = ClientState()
    calls = [Call(Function(bytes([i]) * 16, b"f", 1), "f", TaskOptions()) for i in range(3)]
    state.handle_submit([task(i, call=call) for i, call in enumerate(calls)])
    drops = [m.ids for m in state.drain() if isinstance(m, DropFunctions)]
    assert drops == [[b"\0" * 16]]
    state.handle_submit([task(10, call=calls[0])])
    assert [type(m).__name__ for m in state.drain()] == ["PutFunctions", "DropFunctions", "SubmitTasks"]


def test_dependencies_are_a_column_only_where_there_are_some() -> None:
    state = ClientState()
    state.handle_submit([task("a")])
    state.handle_submit([task("b", "a"), task("c")])
    submit = state.drain()[1]
    assert isinstance(submit, SubmitTasks)
    assert submit.deps == [[], ["a"], []]


def test_large_batches_are_cut() -> None:
    state = ClientState()
    state.handle_submit([task(i) for i in range(25_000)])
    assert [len(keys) for _, keys in sent(state)] == [10_000, 10_000, 5_000]


def test_a_second_future_on_a_key_costs_no_message() -> None:
    state = ClientState()
    state.handle_submit([task("a")])
    assert sent(state) == [("SubmitTasks", ["a"])]
    state.handle_submit([task("a")])
    assert sent(state) == []
    state.handle_release([task("a")])
    assert sent(state) == []
    state.handle_release([task("a")])
    assert sent(state) == [("ReleaseKeys", ["a"])]
    assert state.tasks == {}


def test_the_order_of_release_and_submission_is_kept() -> None:
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    state.handle_release([a])
    state.handle_submit([a])
    assert sent(state) == [("SubmitTasks", ["a"]), ("ReleaseKeys", ["a"]), ("SubmitTasks", ["a"])]
    assert a.status == "pending"
    state.validate()


def test_two_records_of_a_key_made_at_the_same_time_end_alike() -> None:
    state = ClientState()
    first, second = task("a"), task("a")
    state.handle_submit([first])
    state.handle_submit([second])
    state.handle_message(memory("a"))
    assert (first.status, second.status) == ("finished", "finished")
    assert second.value == b"v"
    state.handle_release([second])
    state.handle_release([first])
    assert sent(state) == [("SubmitTasks", ["a"]), ("ReleaseKeys", ["a"])]


def test_a_record_that_was_dropped_and_comes_back_beside_a_newer_one() -> None:
    state = ClientState()
    old = task("a")
    state.handle_submit([old])
    state.handle_release([old])  # dropped; meanwhile a thread has seen it and posts a submission,
    state.handle_submit([task("a")])  # but another thread that saw nothing is first
    state.handle_submit([old])
    state.handle_message(memory("a"))
    assert old.status == "finished"
    assert state.tasks["a"].nfutures == 2
    state.validate()


def test_a_released_handle_does_not_count_again() -> None:
    state = ClientState()
    state.handle_submit([task("a"), task("a")])
    state.handle_release([ClientTask("a", nfutures=-1)])
    assert state.tasks["a"].nfutures == 2


# ---------------------------------------------------------------- what is kept


def test_specs_are_kept_as_long_as_something_stands_on_them() -> None:
    state = ClientState()
    a, b, c = task("a"), task("b", "a"), task("c", "b")
    state.handle_submit([a, b, c])
    state.handle_release([a, b])
    assert set(state.tasks) == {"a", "b", "c"}
    state.validate()
    state.handle_release([c])
    assert state.tasks == {}


def test_a_long_chain_is_dropped_without_recursion() -> None:
    state = ClientState()
    chain = [task(0), *(task(i, i - 1) for i in range(1, 20_000))]
    state.handle_submit(chain)
    state.handle_release(chain)
    assert 0 < len(state.tasks) <= 10_000  # the rest in later turns
    state.validate()
    while state.parked:
        state.drop_parked()
    assert state.tasks == {}


def test_what_is_wanted_again_while_it_is_being_forgotten_stays() -> None:
    state = ClientState()
    chain = [task(0), *(task(i, i - 1) for i in range(1, 25_000))]
    state.handle_submit(chain)
    state.handle_release(chain)
    state.handle_submit([task(0), task(1, 0), task(2, 1)])
    while state.parked:
        state.drop_parked()
    assert set(state.tasks) == {0, 1, 2}
    state.validate()


def test_everything_is_told_again_in_order_with_its_wishes() -> None:
    state = ClientState()
    a, b = task("a"), task("b", "a")
    state.handle_submit([a, b])
    state.handle_want([task("foreign", call=None)])
    state.handle_release([a])
    state.handle_message(memory("b", value=None))
    state.drain()
    state.reconnected()
    put, inner, outer, want, release = state.drain()
    assert isinstance(put, PutFunctions)
    assert isinstance(inner, SubmitTasks)
    assert isinstance(outer, SubmitTasks)
    assert (inner.keys, inner.wanted) == (["a"], False)
    assert (outer.keys, outer.wanted, outer.deps) == (["b"], True, [["a"]])
    assert want == WantKeys(["foreign"])
    assert release == ReleaseKeys(["a"])  # in case it is the same scheduler, and our word of it was lost
    assert b.status == "finished"


def test_what_failed_is_told_again_when_it_is_asked_for() -> None:
    state = ClientState()
    a, b = task("a"), task("b", "a")
    state.handle_submit([a, b])
    state.handle_release([a])
    state.handle_message(erred("b"))
    state.drain()
    state.reconnected()
    assert sent(state) == [("ReleaseKeys", ["a"])]
    state.handle_retry(["b"])
    assert sent(state) == [("SubmitTasks", ["a"]), ("SubmitTasks", ["b"]), ("RetryKeys", ["b"])]
    assert b.status == "pending"


def test_a_new_dependent_brings_back_what_the_new_scheduler_does_not_know() -> None:
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    state.handle_message(erred("a"))
    state.drain()
    state.reconnected()
    state.handle_submit([task("b", "a", call=DEC)])
    assert sent(state) == [("SubmitTasks", ["a"]), ("SubmitTasks", ["b"])]


def test_a_finished_task_that_nobody_wanted_for_a_while_is_asked_for_again() -> None:
    state = ClientState()
    a, b = task("a"), task("b", "a")
    state.handle_submit([a, b])
    state.handle_message(memory("a"))
    state.handle_release([a])
    state.drain()
    state.handle_submit([task("a")])
    assert sent(state) == [("SubmitTasks", ["a"])]
    assert a.status == "pending"
    assert a.value is None


def test_scattered_data_is_not_submitted_but_wanted_by_a_new_scheduler() -> None:
    state = ClientState()
    data = task("x", call=None)
    state.handle_scatter([data])
    state.handle_message(memory("x", value=None))
    assert (sent(state), data.status) == ([], "finished")
    state.reconnected()
    assert sent(state) == [("WantKeys", ["x"])]


# ---------------------------------------------------------------- statuses


def test_results_errors_losses() -> None:
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    state.handle_message(memory("a"))
    assert (a.status, a.value, a.type, a.worker) == ("finished", b"v", "int", "tcp://10.0.0.1:1")
    state.handle_message(TasksLost(["a"]))
    assert (a.status, a.value, a.worker) == ("pending", None, "")
    state.handle_message(erred("a"))
    assert (a.status, a.error) == ("error", TaskError(b"e"))
    state.handle_retry(["a"])
    assert (a.status, a.error) == ("pending", None)
    assert [event for _, event, _ in state.story("a")] == ["memory", "lost", "erred"]
    state.drain()
    assert [event for _, event, _ in state.story("a")][3:] == ["submit", "retry"]


def test_the_answer_to_a_cancellation_does_not_hit_the_next_submission() -> None:
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    state.handle_cancel(["a"], False, "enough")
    assert (a.status, a.reason) == ("cancelled", "enough")
    state.handle_release([a])
    assert state.tasks == {}
    again = task("a")
    state.handle_submit([again])
    state.handle_message(TasksCancelled(["a"]))
    state.handle_message(CancelAnswered(["a"]))
    assert again.status == "pending"
    state.handle_message(TasksCancelled(["a"], "by another client", "sorry"))
    assert (again.status, again.reason) == ("cancelled", "by another client: sorry")
    assert [kind for kind, _ in sent(state)] == ["SubmitTasks", "CancelKeys", "ReleaseKeys", "SubmitTasks"]


def test_a_cancellation_is_answered_where_the_scheduler_does_not_know_the_key() -> None:
    """Data whose scattering failed, say; the same data, scattered again, has the same key."""
    state = ClientState()
    state.handle_scatter([ClientTask("a")])
    state.handle_cancel(["a"], False, "scatter failed")
    again = ClientTask("a")
    state.handle_scatter([again])
    state.handle_message(CancelAnswered(["a"]))
    state.handle_message(memory("a"))
    assert again.status == "finished"


def test_somebody_elses_cancellation_is_no_answer() -> None:
    state = ClientState()
    state.handle_submit([task("a")])
    state.handle_cancel(["a"])
    state.handle_message(TasksCancelled(["a"], "by force, before it heard ours"))
    again = task("a")
    state.handle_submit([again])
    state.handle_message(memory("a"))  # of a submission by another client
    assert again.status == "pending"
    state.handle_message(CancelAnswered(["a"]))
    state.handle_message(memory("a"))
    assert again.status == "finished"
    state.handle_message(CancelAnswered(["a"]))  # nothing is waited for: it says nothing


def test_what_only_a_cancelled_task_stands_on_is_forgotten() -> None:
    """A record that was cancelled is never computed again: other work may come under its key."""
    state = ClientState()
    state.handle_submit([task("a")], wanted=False)
    b = task("b", "a")
    state.handle_submit([b, task("c", "b")])
    state.handle_cancel(["c"])
    state.handle_release([b])
    assert [kind for kind, _ in sent(state)][-2:] == ["CancelKeys", "ReleaseKeys"]
    assert set(state.tasks) == {"c"}
    state.validate()


@pytest.mark.parametrize("news", [TasksLost(["b"]), memory("b")])
def test_an_erred_task_that_others_had_run_again_is_told_after_a_reconnection(news: Any) -> None:
    """What has erred is not told to a scheduler at once; it would forget our interest in the meantime."""
    state = ClientState()
    state.handle_submit([task("a")], wanted=False)
    b = task("b", "a")
    state.handle_submit([b])
    state.handle_message(erred("b"))
    state.reconnected()
    assert sent(state) == []
    state.handle_message(news)  # another client retried it
    assert sent(state) == [("SubmitTasks", ["a"]), ("SubmitTasks", ["b"])]
    state.validate()


def test_what_a_retry_sets_back_is_named_in_it() -> None:
    """By the time it arrives the scheduler may have cancelled what stands on the task that had erred."""
    state = ClientState()
    state.handle_submit([a := task("a"), b := task("b", "a")])
    state.handle_message(erred("a", "b"))
    state.drain()
    state.handle_retry(["b"])
    assert (a.status, b.status) == ("pending", "pending")
    assert sent(state) == [("RetryKeys", ["a", "b"])]
    state.validate()


def test_what_was_refused_is_told_again_with_all_that_it_needs() -> None:
    """The scheduler forgot what only a task kept that it had cancelled with another: the client cannot see that."""
    state = ClientState()
    state.handle_submit([task("a"), task("b", "a")], wanted=False)
    c = task("c", "b")
    state.handle_submit([c])
    d = task("d", "b")
    state.handle_submit([d])
    assert sent(state)[-1] == ("SubmitTasks", ["c", "d"])
    state.handle_message(TasksRefused(["d"], ["b"]))
    assert d.status == "pending"
    assert sent(state) == [("SubmitTasks", ["a", "b"]), ("SubmitTasks", ["d"])]
    state.validate()


def test_what_needs_data_that_the_scheduler_does_not_know_is_cancelled() -> None:
    state = ClientState()
    state.handle_want([data := ClientTask("data")])
    state.handle_submit([a := task("a", "data")])
    state.handle_message(TasksCancelled(["data"], "the scheduler does not know this key"))
    state.handle_message(TasksRefused(["a"], ["data"]))
    assert (data.status, a.status) == ("cancelled", "cancelled")
    assert a.reason == "it depends on 'data', which the scheduler does not know"
    state.validate()


def test_and_so_is_what_stands_on_that() -> None:
    state = ClientState()
    data = ClientTask("data")
    state.handle_want([data])
    state.handle_submit([task("a", "data")], wanted=False)
    state.handle_submit([b := task("b", "a")])
    state.handle_release([data])
    state.drain()
    state.handle_message(TasksCancelled(["data"], "scheduler-restart"))
    state.handle_message(TasksRefused(["a", "b"], ["data", "a"]))
    assert b.status == "cancelled"
    assert b.reason == "it depends on 'a', which the scheduler does not know"
    assert all(kind == "ReleaseKeys" for kind, _ in sent(state))
    state.validate()


def test_messages_on_forgotten_keys_are_ignored() -> None:
    state = ClientState()
    for message in (memory("a"), erred("a"), TasksLost(["a"]), TasksCancelled(["a"])):
        state.handle_message(message)
    assert state.tasks == {}


def test_abandoned() -> None:
    state = ClientState()
    a, b = task("a"), task("b")
    state.handle_submit([a, b])
    state.handle_message(memory("b"))
    state.abandon("gone for good")
    assert (a.status, a.reason, b.status) == ("lost", "gone for good", "finished")


def test_every_transition_of_the_table_can_happen(capsys: pytest.CaptureFixture[str]) -> None:
    reached = [entry for entry in sorted(TRANSITIONS) if happens(*entry) == TRANSITIONS[entry]]
    with capsys.disabled():
        print(f"\ntransitions of the client: {len(reached)} of {len(TRANSITIONS)} reached")
    assert reached == sorted(TRANSITIONS)


def happens(before: str, event: str) -> str:
    """The status of a task that had this one and to which that has happened."""
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    reach = {"finished": memory("a"), "error": erred("a"), "cancelled": TasksCancelled(["a"], "x")}
    if before == "lost":
        state.abandon("x")
    elif before != "pending":
        state.handle_message(reach[before])
    assert a.status == before
    if event == "submit":
        state.handle_submit([task("b", "a")])
        if before != "lost":
            state.handle_release([a])
        state.handle_submit([a])
    elif event == "cancel":
        state.handle_cancel(["a"])
    elif event == "retry":
        state.handle_retry(["a"])
    elif event == "abandoned":
        state.abandon("x")
    else:
        messages = {
            "memory": memory("a"),
            "erred": erred("a"),
            "cancelled": TasksCancelled(["a"]),
            "lost": TasksLost(["a"]),
        }
        state.handle_message(messages[event])
    state.validate()
    return a.status


# ---------------------------------------------------------------- waiting


def waiter(mode: str = "all", **kwargs: Any) -> Waiter:
    return Waiter(mode, lambda: None, **kwargs)


def test_waiting_for_all_wakes_once() -> None:
    state = ClientState()
    tasks = [task(i) for i in range(100)]
    state.handle_submit(tasks)
    all_of_them = waiter()
    state.handle_wait(all_of_them, tasks)
    state.handle_message(memory(*range(99)))
    assert state.take_woken() == []
    state.handle_message(memory(99))
    assert state.take_woken() == [all_of_them]
    state.handle_wait(again := waiter(), tasks)
    assert state.take_woken() == [again]


def test_waiting_for_any_and_eagerly() -> None:
    state = ClientState()
    tasks = [task(i) for i in range(3)]
    state.handle_submit(tasks)
    any_of_them, eager = waiter("any"), waiter("all", eager=True)
    state.handle_wait(any_of_them, tasks)
    state.handle_wait(eager, tasks)
    state.handle_message(memory(0))
    assert state.take_woken() == [any_of_them]
    state.handle_message(erred(1))
    assert state.take_woken() == [eager]
    state.handle_message(memory(2))
    assert state.take_woken() == []
    state.handle_wait(eager := waiter("all", eager=True), [tasks[1], task("pending")])
    assert state.take_woken() == [eager]


def test_watching_each() -> None:
    state = ClientState()
    tasks = [task(i) for i in range(4)]
    state.handle_submit(tasks)
    state.handle_message(memory(0))
    each = waiter("each")
    state.handle_wait(each, tasks)
    assert state.take_woken() == [each]
    assert each.ready == [0]
    each.ready = []
    state.handle_message(memory(1, 2))
    assert state.take_woken() == [each]
    assert each.ready == [1, 2]
    each.abandon()
    state.handle_message(memory(3))
    assert state.take_woken() == []


def test_who_waits_for_a_released_task_is_woken() -> None:
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    state.handle_wait(alone := waiter(), [a])
    state.handle_release([a])
    assert state.take_woken() == [alone]


def test_abandoned_waiters_do_not_pile_up() -> None:
    state = ClientState()
    a = task("a")
    state.handle_submit([a])
    for _ in range(1_000):
        impatient = waiter()
        state.handle_wait(impatient, [a])
        impatient.abandon()
    assert len(a.waiters or ()) <= 33


# ---------------------------------------------------------------- against a model


class ModelScheduler:
    """What a client may rely on, and nothing more."""

    def __init__(self) -> None:
        self.specs: dict[int, tuple[int, ...]] = {}
        self.wants: set[int] = set()
        self.states: dict[int, str] = {}
        self.functions: set[bytes] = set()
        self.answers: list[Any] = []
        self.forced: set[int] = set()  # cancelled by others, so that the client cannot know

    def hear(self, message: Any) -> None:
        if isinstance(message, PutFunctions):
            self.functions.update(message.ids)
        elif isinstance(message, SubmitTasks):
            assert message.fn in self.functions, "a function that never arrived"
            for i, key in enumerate(message.keys):
                deps = tuple(message.deps[i]) if message.deps is not None else ()
                missing = [dep for dep in deps if dep not in self.specs]
                if missing:
                    assert self.forced.intersection(deps), "a dependency that never arrived"
                    self.answers.append(TasksRefused([key], missing[:1]))
                    self.forced.add(key)
                    continue
                if key not in self.specs:
                    self.specs[key] = deps
                    self.states[key] = "waiting"
                if message.wanted:
                    self.wants.add(key)
                    self.report(key)
        elif isinstance(message, ReleaseKeys):
            self.wants.difference_update(message.keys)
        elif isinstance(message, CancelKeys):
            hit = [key for key in message.keys if key in self.wants]
            self.wants.difference_update(hit)
            if hit:
                self.answers.append(TasksCancelled(hit, "ours"))
            self.answers.append(CancelAnswered(message.keys))
        elif isinstance(message, RetryKeys):
            for key in message.keys:
                if self.states.get(key) == "erred":
                    self.states[key] = "waiting"

    def forget(self) -> None:
        needed: set[int] = set()
        stack = [*self.wants]
        while stack:
            key = stack.pop()
            if key not in needed:
                needed.add(key)
                stack += self.specs[key]
        for key in [key for key in self.specs if key not in needed]:
            del self.specs[key], self.states[key]

    def report(self, key: int) -> None:
        if self.states[key] == "memory":
            self.answers.append(memory(key, value=None))
        elif self.states[key] == "erred":
            self.answers.append(erred(key))

    def finish(self, key: int, state: str) -> None:
        if self.states.get(key) == "waiting":
            self.states[key] = state
            if key in self.wants:
                self.report(key)

    def lose(self, key: int) -> None:
        if self.states.get(key) == "memory":
            self.states[key] = "waiting"
            if key in self.wants:
                self.answers.append(TasksLost([key]))

    def cancel_for_others(self, key: int) -> None:
        if key in self.wants:
            self.wants.discard(key)
            self.forced.add(key)
            self.answers.append(TasksCancelled([key], "by others"))
            self.forget()


KEYS = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), KEYS, st.sampled_from([INC, DEC])),
        st.tuples(st.sampled_from(["release", "cancel", "retry", "err", "finish", "lose", "others"]), KEYS),
        st.tuples(st.sampled_from(["send", "receive", "restart", "wait"])),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_every_future_resolves_and_nothing_is_left_behind(steps: list[tuple[Any, ...]]) -> None:
    """Key k depends on those of 0..k-1 whose futures live when it is submitted."""
    state, scheduler = ClientState(), ModelScheduler()
    futures: list[ClientTask] = []
    waiters: list[Waiter] = []
    woken: list[Waiter] = []

    def live(key: int) -> list[ClientTask]:
        return [future for future in futures if future.key == key]

    def send() -> None:
        for message in state.drain():
            scheduler.hear(message)
        scheduler.forget()

    def receive() -> None:
        answers, scheduler.answers = scheduler.answers, []
        for message in answers:
            state.handle_message(message)

    for step in steps:
        match step:
            case ("submit", key, call):
                known = state.tasks.get(key)
                deps = tuple(
                    k for k in range(key) if any(f.status in ("pending", "finished") for f in live(k))
                )
                future = known if known is not None else ClientTask(key, call, b"", deps)
                futures.append(future)
                state.handle_submit([future])
            case ("release", key) if live(key):
                future = live(key)[0]
                futures.remove(future)
                state.handle_release([future])
            case ("cancel", key):
                state.handle_cancel([key])
            case ("retry", key):
                state.handle_retry([key])
            case ("finish", key):
                scheduler.finish(key, "memory")
            case ("err", key):
                scheduler.finish(key, "erred")
            case ("lose", key):
                scheduler.lose(key)
            case ("others", key):
                scheduler.cancel_for_others(key)
            case ("send",):
                send()
            case ("receive",):
                receive()
            case ("wait",) if futures:
                waiters.append(waiter())
                state.handle_wait(waiters[-1], futures)
            case ("restart",):
                state.drain()  # lost on the way
                scheduler = ModelScheduler()
                state.reconnected()
        woken += state.take_woken()
        state.validate()

    for _ in range(3):
        send()
        receive()
    assert scheduler.wants == {
        key for key, t in state.tasks.items() if t.nfutures and t.status in ("pending", "finished")
    } | {key for key in scheduler.wants if state.tasks[key].status in ("error", "cancelled")}
    for key in list(scheduler.specs):
        scheduler.finish(key, "memory")
    receive()
    assert all(future.status != "pending" for future in futures)
    woken += state.take_woken()
    assert set(map(id, woken)) == set(map(id, waiters))
    state.handle_release(futures)
    send()
    assert state.tasks == {}
    assert scheduler.wants == set()


# ---------------------------------------------------------------- fire and forget


def test_what_is_fired_is_told_after_its_submission_and_again_to_a_new_scheduler() -> None:
    state = ClientState()
    fired = [task("a"), task("b"), task("c")]
    state.handle_submit(fired)
    state.handle_fire(fired)
    assert sent(state) == [("SubmitTasks", ["a", "b", "c"]), ("FireAndForget", ["a", "b", "c"])]
    state.handle_message(memory("a"))
    state.handle_fire(fired[:1])
    assert sent(state) == []  # it is done
    state.fired.pop("a")
    state.handle_release([fired[1]])
    state.reconnected()
    assert sent(state) == [("SubmitTasks", ["a", "c"]), ("FireAndForget", ["c"]), ("ReleaseKeys", ["b"])]
