"""Values that lie in the scheduler for a while: pickled, unopened there; futures in them stay alive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from distributed.client.future import Future
from distributed.client.owning import own
from distributed.client.packing import frozen
from distributed.protocol import refs
from distributed.protocol.messages import Key, ReleaseKeys, WantKeys
from distributed.protocol.payload import Payload, pack, unpack


def pack_value(client: Any, value: Any) -> tuple[Payload, list[Key], list[Future]]:
    """A value as a payload, the keys of the futures in it, and what must live until the scheduler has both.

    Raises
    ------
    TypeError
        When it cannot be pickled.
    ValueError
        When a future belongs to a client of another scheduler.
    """
    with refs.collecting() as noted:
        try:
            payload = frozen(pack(value))
        except Exception as error:
            raise TypeError(
                f"cannot send a {type(value).__qualname__}: it cannot be pickled ({type(error).__name__}: {error})"
            ) from error
    held = [own(future, client) for future in noted]
    return payload, list(dict.fromkeys(future.key for future in held)), held


def unpack_value(client: Any, payload: Payload, keys: Iterable[Key]) -> Any:
    """The value; futures in it are ``client``'s."""
    with refs.collecting() as made:
        value = unpack(payload)
    for future in made:
        future.bind_client(client)
    return value


class KeyHolder:
    """Wants results on behalf of values that lie in the scheduler, as a client would.

    Parameters
    ----------
    scheduler : Scheduler
    name : str
        Under which it stands among the scheduler's clients.
    """

    def __init__(self, scheduler: Any, name: str) -> None:
        self._scheduler = scheduler
        self._name = name
        self._counts: Counter[Key] = Counter()

    def hold(self, keys: Iterable[Key]) -> None:
        """Keep these results alive, once more."""
        new = []
        for key in keys:
            self._counts[key] += 1
            if self._counts[key] == 1:
                new.append(key)
        if new:
            scheduler = self._scheduler
            now = time.monotonic()
            if self._name not in scheduler.state.clients:
                scheduler.state.add_client(self._name, now)
            scheduler.state.handle_client(self._name, WantKeys(new), now)
            scheduler.schedule_flush()

    def release(self, keys: Iterable[Key]) -> None:
        """Once less."""
        last = []
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
                last.append(key)
        if last:
            scheduler = self._scheduler
            now = time.monotonic()
            scheduler.state.handle_client(self._name, ReleaseKeys(last), now)
            if not self._counts:
                scheduler.state.remove_client(self._name, now)
            scheduler.schedule_flush()

    def share(self, client: str, keys: list[Key]) -> None:
        """From now on ``client`` wants them too: it is about to be given futures on them."""
        if keys:
            self._scheduler.state.handle_client(client, WantKeys(keys), time.monotonic())
            self._scheduler.schedule_flush()
