"""``scatter``: the user's data into the workers' memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distributed.client.future import Future, make_future
from distributed.client.options import check_key, worker_names
from distributed.client.packing import digest
from distributed.client.state.records import ClientTask
from distributed.loops import seconds
from distributed.protocol.messages import Key, TasksInMemory
from distributed.protocol.payload import Payload, pack

if TYPE_CHECKING:
    from distributed.client.session import Session


class ScatterMixin:
    """The part of ``Client`` that sends data."""

    _session: Session

    def scatter(
        self,
        data: Any,
        workers: Any = None,
        broadcast: bool | int = False,
        direct: bool | None = None,
        hash: bool = True,
        timeout: float | str | None = None,
        asynchronous: bool | None = None,
    ) -> Any:
        """Put data into the memory of workers.

        Parameters
        ----------
        data : list, tuple, set, dict, or any single object
            A container's elements are spread over the workers; a dict's keys become the keys of the data.
        workers : str or iterable of str, optional
            Where it may go.
        broadcast : bool or int, default False
            Put everything on all workers (or on that many).
        direct : bool, optional
            Kept for other programs' sake; data always passes the scheduler, unopened.
        hash : bool, default True
            Name the data by its content, so that the same data is stored once.
        timeout : float or str, optional
            Seconds to wait for a worker to be there.

        Returns
        -------
        A future, or a list, tuple, set or dict of futures, as ``data`` was.

        Examples
        --------
        >>> future = client.scatter([1, 2, 3])  # doctest: +SKIP
        """
        return self.sync(  # type: ignore[attr-defined]
            self._scatter, data, workers, broadcast, hash, timeout, asynchronous=asynchronous
        )

    async def _scatter(
        self, data: Any, workers: Any, broadcast: bool | int, hash: bool, timeout: float | str | None
    ) -> Any:
        session = self._session
        session.check_open()
        if isinstance(data, Iterator):
            raise TypeError(
                f"scatter needs the data itself, not a {type(data).__name__}: wrap it in list(...)"
            )
        names: list[Key | None]
        if isinstance(data, Mapping):
            values, names = list(data.values()), list(data)
        elif isinstance(data, list | tuple | set | frozenset):
            values, names = list(data), [None] * len(data)
        else:
            values, names = [data], [None]
        payloads = [_pack(value) for value in values]
        keys = [
            _data_key(value, payload, hash) if name is None else check_key(name)
            for value, payload, name in zip(values, payloads, names, strict=True)
        ]
        # Counted before anything is sent: what the scheduler says of these keys from now on finds them.
        works = [
            b"" if name is None else digest(payload, b"data")
            for name, payload in zip(names, payloads, strict=True)
        ]
        tasks = [ClientTask(key, named=bool(work), work=work) for key, work in zip(keys, works, strict=True)]
        futures: list[Future] = [make_future(self, task) for task in tasks]  # type: ignore[arg-type]
        session.post(session.state.handle_scatter, tasks)
        session.flush()
        named = {}
        if any(works):
            pairs = [[key, work] for key, work in zip(keys, works, strict=True) if work]
            named = {"works": pairs, "number": session.state.numbered}
        distinct = dict(zip(keys, payloads, strict=True))
        try:
            reply = await session.call(
                "scatter",
                keys=list(distinct),
                payloads=list(distinct.values()),
                workers=list(worker_names(workers)) or None,
                broadcast=broadcast,
                client=self.id,  # type: ignore[attr-defined]
                timeout=_limit(timeout),
                **named,
            )
        except BaseException:
            session.post(session.state.handle_cancel, keys, False, "scatter failed")
            raise
        where = _where(reply)  # where a key stands for other work, the scheduler says what becomes of that
        came = [(key, type(value).__name__) for key, value in zip(keys, values, strict=True) if key in where]
        session.post(
            session.state.handle_message,
            TasksInMemory(
                [key for key, _ in came],
                [None] * len(came),
                [typename for _, typename in came],
                [where[key] for key, _ in came],
                [work for key, work in zip(keys, works, strict=True) if key in where],
            ),
        )
        session.flush()
        if isinstance(data, Mapping):
            return dict(zip(data, futures, strict=True))
        if isinstance(data, list):
            return futures
        if isinstance(data, tuple | set | frozenset):
            return type(data)(futures) if not hasattr(data, "_fields") else tuple(futures)
        return futures[0]


def _limit(timeout: float | str | None) -> float:
    limit = seconds(timeout)
    return 30.0 if limit is None else limit


def _pack(value: Any) -> Payload:
    try:
        return pack(value)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise TypeError(
            f"cannot scatter a {type(value).__qualname__}: it cannot be pickled ({type(error).__name__}: {first})"
        ) from error


def _data_key(value: Any, payload: Payload, hashed: bool) -> str:
    return f"{type(value).__name__}-{digest(payload).hex() if hashed else uuid.uuid4().hex}"


def _where(reply: Any) -> dict[Key, str]:
    """From the reply's pairs of key and addresses: one address for each key."""
    pairs = reply.get("who_has") if isinstance(reply, Mapping) else reply
    return {key: addresses[0] for key, addresses in pairs or () if addresses}
