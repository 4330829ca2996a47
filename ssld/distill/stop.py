"""Ctrl-C and SIGTERM: a stage ends at a whole step and saves it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ssld.runtime import Runtime, sum_over_ranks


class Stop:
    """Whether SIGINT or SIGTERM came. Several ranks answer alike, at logged steps: none waits for one that left."""

    asked = False

    def here_and_everywhere(self, runtime: Runtime, logged: bool) -> bool:
        if runtime.world == 1:
            return self.asked
        return logged and bool(sum_over_ranks(np.array([float(self.asked)]), runtime)[0])


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """The first signal asks to stop after a whole step, a second one stops at once."""
    stop = Stop()

    def ask(number: int, frame: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}  # main thread only
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
