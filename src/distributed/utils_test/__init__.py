"""Helpers for tests against a network.

>>> from distributed.utils_test import gen_cluster, inc
>>> @gen_cluster(client=True)
... async def test_inc(c, s, a, b):
...     assert await c.submit(inc, 1) == 2

Names are loaded when they are first used: functions such as :func:`inc` can be sent to workers without pytest.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "blocked": "BlockedExecute BlockedGatherDep BlockedGetData",
    "connecting": (
        "assert_can_connect assert_cannot_connect assert_can_connect_from_everywhere_4 "
        "assert_can_connect_from_everywhere_4_6 assert_can_connect_from_everywhere_6 assert_can_connect_locally_4 "
        "assert_can_connect_locally_6 get_dashboard_port has_ipv6"
    ),
    "environment": (
        "NO_AMM environment new_config new_config_file nodebug save_sys_modules process_key process_security"
    ),
    "fixtures": (
        "a b c cleanup client client_no_amm cluster_fixture loop loop_in_thread requires_default_ports s security "
        "tls_client tls_cluster"
    ),
    "functions": (
        "add asyncinc block_on_event dec div double identity inc lock_inc map_varying mul randominc slowadd slowdec "
        "slowdouble slowidentity slowinc slowmul slowsum throws varying"
    ),
    "leaks": "Leak clean",
    "logs": "captured_handler captured_logger raises_with_cause",
    "networks": "gen_cluster gen_test gen_tls_cluster network",
    "processes": "cluster popen",
    "tls": "get_cert tls_config tls_only_security tls_security xfail_ssl_issue5601",
    "waiting": "async_poll_for freeze_batched_send poll_for wait_for_cancelled wait_for_log_line wait_for_state",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
