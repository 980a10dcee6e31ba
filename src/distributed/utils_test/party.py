"""``python -m distributed.utils_test.party``: one party of a test cluster, told on standard input what to be."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from typing import Any

from distributed import config as configuration
from distributed.loop_threads import new_event_loop


async def run(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], tell: Any) -> None:
    """Be that party until it is closed or standard input ends; tell the address, or why there is none."""
    from distributed.utils import import_term

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        if not os.read(0, 4096):
            ended.set()

    loop.add_reader(0, on_input)
    try:
        party = import_term(kind)(*args, **kwargs)
        await party
    except Exception as error:
        tell(error)
        return
    tell(getattr(party, "worker_address", None) or party.address)
    waiting = [asyncio.ensure_future(party.finished()), asyncio.ensure_future(ended.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(0)
    await party.close()
    await asyncio.wait(waiting[:1])
    waiting[1].cancel()


def main() -> None:
    """Read what to be, be it."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what tasks print does not get between

    def tell(what: Any) -> None:
        out.write(pickle.dumps(what))
        out.flush()

    kind, args, kwargs, config = pickle.load(os.fdopen(os.dup(0), "rb", buffering=0))
    configuration.adopt(config)
    configuration.initialize_logging()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(kind, args, kwargs, tell))
    sys.stdout.flush()
    os._exit(0)  # threads of tasks that never end must not keep a test waiting


if __name__ == "__main__":
    main()
