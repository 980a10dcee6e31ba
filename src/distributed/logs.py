"""Texts of logs as notebooks show them, and quiet for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distributed.unheard import print_unheard


class Log(str):
    """Text of a log; shown as preformatted text in a notebook."""

    def _repr_html_(self) -> str:
        import html  # its table of entities is only for notebooks

        return f"<pre><code>\n{html.escape(self).rstrip()}\n</code></pre>"


class Logs(dict[str, Log]):
    """Logs by name of who wrote them; each can be folded out in a notebook."""

    def _repr_html_(self) -> str:
        import html

        return "\n".join(
            f"<details>\n<summary style='display:list-item'>{html.escape(str(title))}</summary>\n"
            f"{log._repr_html_() if isinstance(log, Log) else Log(log)._repr_html_()}\n</details>"
            for title, log in sorted(self.items(), key=lambda item: str(item[0]))
        )


@contextmanager
def silence_logging_cmgr(level: int | str, root: str = "distributed") -> Iterator[None]:
    """Within the block, let the handlers of logger ``root`` pass nothing below ``level``."""
    restore = silence_logging(level, root)
    try:
        yield
    finally:
        restore()


def silence_logging(level: int | str, root: str = "distributed") -> Callable[[], None]:
    """Raise the handlers of logger ``root`` to at least ``level``; call what is returned to undo it."""
    if isinstance(level, str):
        level = logging.getLevelNamesMapping()[level.upper()]
    if root == "distributed":
        print_unheard()  # what would print its warnings is to be silenced, too
    handlers = [
        (h, h.level) for h in logging.getLogger(root).handlers if isinstance(h, logging.StreamHandler)
    ]
    for handler, before in handlers:
        handler.setLevel(max(level, before))

    def restore() -> None:
        for handler, before in handlers:
            handler.setLevel(before)

    return restore
