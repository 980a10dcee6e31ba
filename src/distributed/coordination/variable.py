"""Variables: one value that all of the network can set and read."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from distributed.coordination.handle import Handle, positive
from distributed.coordination.parking import Parking, Waiting
from distributed.coordination.values import KeyHolder, pack_value, unpack_value
from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload

# ---------------------------------------------------------------- scheduler


class Cells:
    """Values by name, and who waits for a first one. Pure."""

    def __init__(self) -> None:
        self.values: dict[Any, tuple[Payload, list[Key]]] = {}
        self.waiting = Waiting()

    def set(self, name: Any, payload: Payload, keys: list[Key]) -> tuple[list[Key], list[int]]:
        """Keys of the value before, and the tickets that are granted by this."""
        before = self.delete(name)
        self.values[name] = payload, keys
        return before, self.waiting.take(name)

    def delete(self, name: Any) -> list[Key]:
        """Keys of the value that was there."""
        return self.values.pop(name, (b"", []))[1]


class SchedulerVariables:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.cells = Cells()
        self.parking = Parking()
        self.holder = KeyHolder(scheduler, "variables")

    def variable_set(self, name: Any, payload: Payload, keys: list[Key]) -> None:
        self.holder.hold(keys)
        before, granted = self.cells.set(name, payload, keys)
        self.holder.release(before)
        self.parking.grant(granted)

    async def variable_get(self, name: Any, client: str, timeout: float | None = None) -> list[Any] | None:
        """[payload, keys]; None after the timeout."""
        if name not in self.cells.values:
            ticket = self.parking.ticket()
            self.cells.waiting.add(name, ticket)
            try:
                await self.parking.wait(ticket, timeout)
            finally:
                self.cells.waiting.withdraw(name, ticket)
            if name not in self.cells.values:  # too late, or deleted in the same turn
                return None
        payload, keys = self.cells.values[name]
        self.holder.share(client, keys)
        return [payload, keys]

    def variable_delete(self, name: Any) -> None:
        self.holder.release(self.cells.delete(name))


# ---------------------------------------------------------------- client


class Variable(Handle):
    """One value that all of the network can set and read. A future in it stays alive until another value is set.

    Parameters
    ----------
    name : str, optional
        Handles with the same name are the same variable. Default: a name of its own.
    client : Client, optional
        Default: the current one.

    Examples
    --------
    >>> Variable("stop").set(True)  # doctest: +SKIP
    >>> Variable("stop").get()  # doctest: +SKIP
    True
    """

    def __init__(self, name: str | None = None, client: Any = None) -> None:
        super().__init__(client)
        self.name = name or f"variable-{uuid.uuid4().hex}"

    def set(self, value: Any, timeout: Any = "30 s", **kwargs: Any) -> Any:
        """Set the value: anything that can be pickled, with futures in it or not.

        ``timeout`` (seconds, or a text such as "5s") is for the scheduler's answer; then TimeoutError is raised.
        """
        return self.order(self._set, value, positive(timeout), **kwargs)

    async def _set(self, value: Any, timeout: float | None) -> None:
        payload, keys, _held = pack_value(self.client, value)
        async with asyncio.timeout(timeout):
            await self._call("variable_set", name=self.name, payload=payload, keys=keys)

    def get(self, timeout: Any = None, **kwargs: Any) -> Any:
        """The value; waits for the first one.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or a text such as "5s"; then TimeoutError is raised.
        """
        return self.sync(self._get, positive(timeout), **kwargs)

    async def _get(self, timeout: float | None) -> Any:
        found = await self._call("variable_get", timeout=timeout, name=self.name, client=self.client.id)
        if found is None:
            raise TimeoutError(
                f"the variable {self.name!r} "
                + ("was deleted" if timeout is None else f"was not set within {timeout:g} s")
            )
        return unpack_value(self.client, *found)

    def delete(self) -> Any:
        """Forget the value; who reads from now on waits for the next one."""
        return self.order(self._call, "variable_delete", name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)

    def __repr__(self) -> str:
        return f"<Variable {self.name!r}>"
