"""A whole network in one thread: the real pure machines, a simulated clock, wires and threads, all from one seed.

``python -m distributed.testing.simulation --seeds 0:200`` plays as many networks and prints the seeds that went
wrong, each with its last events. :func:`play` plays one::

    from distributed.testing.simulation import play

    play(seed=17)

What is checked is in :mod:`~distributed.testing.simulation.invariants`, what goes wrong on purpose in
:mod:`~distributed.testing.simulation.world`.
"""

from distributed.testing.simulation.invariants import SimulationError
from distributed.testing.simulation.world import Report, World, play

__all__ = ["Report", "SimulationError", "World", "play"]
