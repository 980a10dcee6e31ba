"""Topics: events that anybody logs, the scheduler keeps, and clients read or subscribe to.

``distributed.print`` and ``distributed.warn`` are events of two topics that every client has subscribed to.
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed import config
from distributed.protocol.codec import encode
from distributed.protocol.messages import ClientEvent

#: Topic of ClientEvent messages that carry an event of a topic.
EVENT = "event"

#: Parties that have left whose topics are kept at most.
MAX_LEFT = 1_000

# ---------------------------------------------------------------- scheduler


class TopicLog:
    """The events of all topics and who has subscribed to each. Pure.

    Parameters
    ----------
    maxlen : int
        Events kept a topic.
    keep : float
        Seconds for which the topic of a party that left is kept.
    """

    def __init__(self, maxlen: int, keep: float = 3600.0) -> None:
        self.maxlen = maxlen
        self.keep = keep
        self.left: dict[
            str, float
        ] = {}  # topics of those who left, and when they did, the first to leave first
        self.events: dict[str, deque[tuple[float, Any]]] = {}
        self.subscribers: dict[str, dict[str, None]] = {}

    def append(self, topic: str, when: float, msg: Any) -> list[str]:
        """The clients that have to be told."""
        events = self.events.get(topic)
        if self.left:
            self.left.pop(topic, None)  # it is used again
        if events is None:
            events = self.events[topic] = deque(maxlen=self.maxlen)
        events.append((when, msg))
        return list(self.subscribers.get(topic, ()))

    def subscribe(self, topic: str, client: str) -> None:
        self.subscribers.setdefault(topic, {})[client] = None

    def unsubscribe(self, topic: str, client: str) -> None:
        clients = self.subscribers.get(topic)
        if clients is not None:
            clients.pop(client, None)
            if not clients:
                del self.subscribers[topic]

    def forget_client(self, client: str) -> None:
        for topic in list(self.subscribers):
            self.unsubscribe(topic, client)

    def party_left(self, topic: str, now: float) -> None:
        """The topic of a party that left is kept for a while, if it has one, and those of not too many others."""
        if topic in self.events:
            self.left.pop(topic, None)
            self.left[topic] = now
        while self.left:
            first = next(iter(self.left))
            if len(self.left) <= MAX_LEFT and self.left[first] + self.keep >= now:
                break
            del self.left[first]
            del self.events[first]


class SchedulerTopics:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.log = TopicLog(
            int(config.get("distributed.admin.events-log-length", None) or 100_000),
            config.seconds("distributed.scheduler.events-cleanup-delay", 3600.0) or 0.0,
        )

    def log_event(self, topic: Any, msg: Any) -> None:
        when = time.time()
        for name in [topic] if isinstance(topic, str) else topic:
            clients = self.log.append(name, when, msg)
            if clients:
                encode(
                    [ClientEvent(EVENT, [name, [when, msg]])]
                )  # it must not be a client's stream that fails
            for client in clients:
                self.scheduler.tell_client(client, ClientEvent(EVENT, [name, [when, msg]]))
            self.scheduler.call_hooks("log_event", name, msg)

    def events(self, topic: str | None = None) -> Any:
        if topic is not None:
            return tuple(self.log.events.get(topic, ()))
        return {name: tuple(events) for name, events in self.log.events.items()}

    def subscribe_topic(self, topic: str, client: str) -> None:
        self.log.subscribe(topic, client)

    def unsubscribe_topic(self, topic: str, client: str) -> None:
        self.log.unsubscribe(topic, client)

    def client_gone(self, client: str) -> None:
        self.log.forget_client(client)
        self.log.party_left(client, time.monotonic())

    def worker_gone(self, address: str) -> None:
        self.log.party_left(address, time.monotonic())


# ---------------------------------------------------------------- client


class ClientTopics:
    """The client's half: handlers by topic. ``client.topics`` are those that the scheduler is told at registration."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.handlers: dict[str, Callable[[Any], Any]] = {}

    async def subscribe(self, topic: str, handler: Callable[[Any], Any]) -> None:
        if not callable(handler):
            raise TypeError(f"subscribe_topic needs a function to call with each event, not {handler!r}")
        self.handlers[topic] = handler
        self.client.topics[topic] = None
        await self.client._session.call("subscribe_topic", topic=topic, client=self.client.id)

    async def unsubscribe(self, topic: str) -> None:
        if topic not in self.client.topics:
            raise ValueError(f"No event handler known for topic {topic}.")
        self.handlers.pop(topic, None)
        del self.client.topics[topic]
        await self.client._session.call("unsubscribe_topic", topic=topic, client=self.client.id)

    def on_event(self, data: Any) -> None:
        """An event came."""
        topic, event = data
        if topic not in self.client.topics:
            return  # it was under way as we unsubscribed
        handler = self.handlers.get(topic) or self._builtin(topic)
        if handler is not None:
            result = handler(tuple(event))
            if inspect.isawaitable(result):
                self.client.loop.add_callback(lambda: result)

    def _builtin(self, topic: str) -> Callable[[Any], Any] | None:
        from distributed.coordination import messages_to_user

        return messages_to_user.HANDLERS.get(topic)
