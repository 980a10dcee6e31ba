"""First steps of a worker process. Run as a script by :mod:`distributed.nanny.process`, never imported.

The process gets one end of a socket pair (its number is the only argument). The nanny first sends its
module search path, so that the same packages, and modules beside the user's script, are found; only then
anything is imported.
"""

import gc
import json
import os
import sys


def boot() -> None:
    gc.disable()  # until the worker runs: what is imported is no garbage
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # what user code starts must not hold the nanny's line
    channel = open(descriptor, "rb", closefd=False)  # noqa: SIM115 - open as long as the process
    sys.path[:] = json.loads(channel.readline())
    sys.argv[1:] = []
    from distributed import inherited

    inherited.expected = True  # before anything asks for the configuration
    from distributed.nanny.child import main

    main(channel)


if __name__ == "__main__":
    boot()
