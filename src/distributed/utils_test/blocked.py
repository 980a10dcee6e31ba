"""Workers that stop at a certain point until a test lets them go on."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.worker.server import Worker
from distributed.worker.state import Execute, Instruction


class BlockedExecute(Worker):
    """A worker that runs no task until it is told.

    Attributes
    ----------
    in_execute : asyncio.Event
        Set when the first task is about to start.
    block_execute : asyncio.Event
        Tasks start once this is set.
    in_execute_exit, block_execute_exit : asyncio.Event
        The same between the end of a task and the moment when the worker takes note of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_execute, self.block_execute = asyncio.Event(), asyncio.Event()
        self.in_execute_exit, self.block_execute_exit = asyncio.Event(), asyncio.Event()

    def _carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, Execute) and not self.block_execute.is_set():
            self.in_execute.set()
            self.spawn(self._execute_later(instruction), name="blocked execute")
        else:
            super()._carry_out(instruction)

    async def _execute_later(self, instruction: Execute) -> None:
        await self.block_execute.wait()
        super()._carry_out(instruction)

    def _on_outcomes(self) -> None:
        if self.block_execute_exit.is_set():
            super()._on_outcomes()
        else:
            self.in_execute_exit.set()
            self.spawn(self._outcomes_later(), name="blocked execute exit")

    async def _outcomes_later(self) -> None:
        await self.block_execute_exit.wait()
        super()._on_outcomes()


class BlockedGatherDep(Worker):
    """A worker that fetches nothing from others until it is told.

    Attributes
    ----------
    in_gather_dep : asyncio.Event
        Set when it is about to ask another worker for results.
    block_gather_dep : asyncio.Event
        It asks once this is set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_gather_dep, self.block_gather_dep = asyncio.Event(), asyncio.Event()

    async def gather_dep(self, *args: Any, **kwargs: Any) -> None:
        self.in_gather_dep.set()
        await self.block_gather_dep.wait()
        await super().gather_dep(*args, **kwargs)


class BlockedGetData(Worker):
    """A worker that gives nothing to others until it is told.

    Attributes
    ----------
    in_get_data : asyncio.Event
        Set when it is asked for results.
    block_get_data : asyncio.Event
        It answers once this is set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_get_data, self.block_get_data = asyncio.Event(), asyncio.Event()

    async def get_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self.in_get_data.set()
        await self.block_get_data.wait()
        return await super().get_data(*args, **kwargs)
