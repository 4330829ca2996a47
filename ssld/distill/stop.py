"""End a stage at a whole step, and save it, when Ctrl-C or SIGTERM comes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np

from ssld.runtime import Runtime, sum_over_ranks


class Stop:
    """Say whether SIGINT or SIGTERM came.

    Several ranks give the same answer at logged steps, so that no rank waits for one that has left.
    """

    asked = False

    def here_and_everywhere(self, runtime: Runtime, logged: bool) -> bool:
        """Return whether to stop after this step.

        With several ranks the answer is false at steps that are not `logged`.
        """
        if runtime.world == 1:
            return self.asked
        return logged and bool(sum_over_ranks(np.array([float(self.asked)]), runtime)[0])


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM. The first signal asks for a stop after a whole step; a second signal stops at once."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    # Python lets only the main thread set signal handlers.
    handlers = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
