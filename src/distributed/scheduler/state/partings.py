"""Partings: how a worker is let go of.

Whoever is out of the books has no connection either: he is told to stop, or is hung up on and may come back as a new
one. So nobody runs on unknown. What is to be done about it, :attr:`Index.parted` says; the shell does it at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parting:
    """What is done about a worker that leaves the books.

    ``stop``: it is told to, on its own connection; ``for_good``: its nanny starts no other. ``ordered``: its nanny is
    told to replace it, in case it cannot hear; ``by_force``: even if its process runs, at once.
    """

    stop: bool = False
    for_good: bool = False
    ordered: bool = False
    by_force: bool = False
    word: str = ""

    @property
    def unheard(self) -> bool:
        """Whether it is let go of because it does not hear."""
        return self.ordered and not self.stop


#: Its connection is closed without a word. If it lives, it comes back, and what it holds is taken up.
HANG_UP = Parting(word="hang up")
#: It stops, and so does its nanny.
DISMISS = Parting(stop=True, for_good=True, word="dismiss")
#: It stops, and its nanny starts another.
RENEW = Parting(stop=True, ordered=True, word="renew")
#: It is silent and cannot run: its nanny ends the process and starts another. Without a nanny it may come back.
REPLACE = Parting(ordered=True, word="replace")
#: It is silent for longer than anybody waits: the same, even if its process seems to run.
REPLACE_BY_FORCE = Parting(ordered=True, by_force=True, word="replace by force")
