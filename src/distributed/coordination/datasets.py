"""Published datasets: values by name that outlive the client that made them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

from distributed.coordination.values import KeyHolder, pack_value, unpack_value
from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload

#: Stands for "raise KeyError".
NO_DEFAULT = "__no_default__"

# ---------------------------------------------------------------- scheduler


class SchedulerDatasets:
    """The scheduler's half: payloads by name; results that they refer to are kept."""

    def __init__(self, scheduler: Any) -> None:
        self.datasets: dict[Any, tuple[Payload, list[Key]]] = {}
        self.holder = KeyHolder(scheduler, "published")

    def publish_put(self, name: Any, payload: Payload, keys: list[Key], override: bool = False) -> None:
        if name in self.datasets and not override:
            raise KeyError(f"Dataset {name} already exists")
        self.holder.hold(keys)
        before = self.datasets.pop(name, None)
        if before is not None:
            self.holder.release(before[1])
        self.datasets[name] = payload, keys

    def publish_delete(self, name: Any) -> None:
        _, keys = self.datasets.pop(name, (b"", []))
        self.holder.release(keys)

    def publish_list(self) -> list[Any]:
        return sorted(self.datasets, key=str)

    def publish_get(self, name: Any, client: str) -> list[Any] | None:
        found = self.datasets.get(name)
        if found is None:
            return None
        self.holder.share(client, found[1])
        return list(found)


# ---------------------------------------------------------------- client


class ClientDatasets:
    """The client's half."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def publish(self, args: tuple[Any, ...], name: Any, override: bool, named: dict[str, Any]) -> None:
        if name is not None:
            if len(args) != 1 or named:
                raise ValueError(
                    "If name is provided, expecting call signature like publish_dataset(df, name='ds')"
                )
            data = {name: args[0]}
        else:
            if len(args) > 1 or (args and not isinstance(args[0], dict)):
                raise ValueError("If name is omitted, positional argument must be a {name: value} dict")
            data = {**(args[0] if args else {}), **named}
        for each, value in data.items():
            payload, keys, _held = pack_value(self.client, value)
            await self.client._call("publish_put", name=each, payload=payload, keys=keys, override=override)

    async def unpublish(self, name: Any) -> None:
        await self.client._call("publish_delete", name=name)

    async def names(self) -> list[Any]:
        return list(await self.client._call("publish_list"))

    async def get(self, name: Any, default: Any) -> Any:
        found = await self.client._call("publish_get", name=name, client=self.client.id)
        if found is not None:
            return unpack_value(self.client, *found)
        if isinstance(default, str) and default == NO_DEFAULT:
            raise KeyError(f"Dataset '{name}' not found")
        return default


class Datasets(MutableMapping[Any, Any]):
    """``client.datasets``: the published datasets as a dictionary.

    For asynchronous clients: ``await client.datasets.get(name)`` and ``async for name in client.datasets``.

    Examples
    --------
    >>> client.datasets["x"] = future  # doctest: +SKIP
    >>> "x" in client.datasets  # doctest: +SKIP
    True
    """

    __slots__ = ("_client",)

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getitem__(self, name: Any) -> Any:
        return self._client.get_dataset(name)

    def __setitem__(self, name: Any, value: Any) -> None:
        self._needs_sync("client.publish_dataset(value, name=...)")
        self._client.publish_dataset(value, name=name, override=True)

    def __delitem__(self, name: Any) -> None:
        self._needs_sync("client.unpublish_dataset(name)")
        if name not in self:
            raise KeyError(name)
        self._client.unpublish_dataset(name)

    def __contains__(self, name: object) -> bool:
        self._needs_sync("client.list_datasets()")
        return name in self._client.list_datasets()

    def get(self, name: Any, default: Any = None) -> Any:
        """The dataset of this name, or ``default``; awaited where the client is asynchronous."""
        return self._client.get_dataset(name, default=default)

    def __iter__(self) -> Iterator[Any]:
        self._needs_sync("async for")
        return iter(self._client.list_datasets())

    def __aiter__(self) -> AsyncIterator[Any]:
        if not self._client.asynchronous:
            raise TypeError("'async for' needs an asynchronous client: use 'for'")

        async def names() -> AsyncIterator[Any]:
            for name in await self._client.list_datasets():
                yield name

        return names()

    def __len__(self) -> int:
        self._needs_sync("len(await client.list_datasets())")
        return len(self._client.list_datasets())

    def __repr__(self) -> str:
        return f"<Datasets of {self._client!r}>"

    def _needs_sync(self, instead: str) -> None:
        if self._client.asynchronous:
            raise TypeError(f"this would block the event loop of an asynchronous client: use {instead}")
