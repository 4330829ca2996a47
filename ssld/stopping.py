"""Stop a command when a person or the system asks for it, and let a process end with the one that started it.

Ctrl-C (SIGINT) asks for a stop, and so do SIGTERM, SIGHUP (the terminal is gone), SIGUSR1, SIGUSR2 and SIGXCPU (a batch
system says that the time is nearly over). This module imports nothing that is slow to import: a process that was
started by another one has to look after that one before it does anything else.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
STOPPED = 130  # exit code of a command that was asked to stop, whatever the signal was
PARENT = "SSLD_PARENT"  # environment variable: the process that started this one, or its launcher


class Stop:
    """Say whether a signal has asked for a stop. It is the handler of all SIGNALS.

    The first signal raises KeyboardInterrupt, unless a block is to be ended first (`delayed`) or another process does
    the work (`handed_on`). After it Ctrl-C ends the process at once, whatever that is doing: the system does it. Other
    signals change nothing any more, because a terminal that closes sends two, and a batch system one to every process.
    """

    def __init__(self) -> None:
        self.asked = False
        self._delayed = False
        self._hand_on: Callable[[int], None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if self._hand_on is not None:
            if first or number == signal.SIGINT:
                self._hand_on(number)
            if not first and number == signal.SIGINT:
                self._let_ctrl_c_end_it()
        elif first:
            self._let_ctrl_c_end_it()
            if not self._delayed:
                raise KeyboardInterrupt
            # A handler may run in the middle of another line.
            with suppress(OSError, RuntimeError, ValueError):
                sys.stderr.write("\nstopping: this step is ended and saved; Ctrl-C ends at once\n")

    def _let_ctrl_c_end_it(self) -> None:
        if signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    @contextmanager
    def delayed(self) -> Iterator[None]:
        """Raise nothing inside, so that the block can look at `asked` where it has something whole; raise behind it."""
        self._delayed = True
        try:
            yield
        finally:
            self._delayed = False
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def handed_on(self, hand_on: Callable[[int], None]) -> Iterator[None]:
        """Call `hand_on` with the first signal, and with every Ctrl-C; raise KeyboardInterrupt behind the block."""
        self._hand_on = hand_on
        try:
            yield
        finally:
            self._hand_on = None
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def caught() -> Iterator[Stop]:
    """Catch SIGNALS inside, and yield what they ask for. Inside another `caught` it is that one's.

    A signal that was ignored when the process began, such as SIGHUP under nohup, stays ignored. Python lets only the
    main thread catch signals; in another one nothing is caught.
    """
    outer = next((handler for number in SIGNALS if isinstance(handler := signal.getsignal(number), Stop)), None)
    if outer is not None:
        yield outer
        return
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def catch_again() -> None:
    """Take the signals back from a library that has taken them when it was imported, as Paddle takes SIGTERM."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if isinstance(handler := signal.getsignal(number), Stop):
                signal.signal(number, handler)


def end_with_parent() -> None:
    """Let a process that `processes.call` started, itself or through a launcher, end with the one that started it.

    It gets SIGTERM when its parent is gone, killed too. Where the parent, or the one that called it, is gone already,
    it ends now.
    """
    caller = os.environ.pop(PARENT, None)
    if caller is not None:
        ask_for_death_of_parent()
        if int(caller) not in ancestors(os.getpid()):
            os.kill(os.getpid(), signal.SIGTERM)


def ask_for_death_of_parent() -> None:
    """Ask the system to send this process SIGTERM when its parent is gone (prctl(2), PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def ancestors(pid: int) -> list[int]:
    """Return the parent of a process, the parent of that one, and so on."""
    found = []
    while pid > 1:
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            break
        pid = int(status.rpartition(")")[2].split()[1])  # (the name of the command) state, parent ...
        found.append(pid)
    return found
