"""Actors under their public names; they live in ``distributed.coordination.actor``."""

from __future__ import annotations

from distributed.coordination.actor import Actor, ActorFuture, BaseActorFuture, EagerActorFuture

__all__ = ["Actor", "ActorFuture", "BaseActorFuture", "EagerActorFuture"]
