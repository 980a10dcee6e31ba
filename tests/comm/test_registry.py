"""Schemes."""

from __future__ import annotations

import asyncio

import pytest

from distributed.comm import backends, connect, listen
from distributed.comm.registry import get_backend


@pytest.mark.parametrize("address", ["nonsense://a:1", "tls://127.0.0.1:1", "ws://127.0.0.1:1"])
def test_an_unknown_scheme_names_the_known_ones(address: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="known are inproc://, tcp://"):
            await connect(address)
        with pytest.raises(ValueError, match="known are inproc://, tcp://"):
            await listen(address, lambda comm: None)

    asyncio.run(main())


def test_transports_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends, "mine", backends["inproc"])
    assert get_backend("mine") is backends["inproc"]
