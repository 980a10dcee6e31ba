"""A plugin for pytest: fixtures that a project's own ``conftest.py`` imports, which its wheel does not ship."""

from distributed.utils_test import cleanup, loop, loop_in_thread

__all__ = ["cleanup", "loop", "loop_in_thread"]
