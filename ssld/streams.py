"""Keep a command alive when nobody reads what it prints: the work of days must not end because a terminal is gone.

Progress that cannot be written is dropped. A result that cannot be written is told by the exit code, see `cli`.
"""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

PIPE_CLOSED = 141  # exit code of a command whose reader has gone, as that of any Unix command (128 + SIGPIPE)


class Forgiving:
    """A text stream that drops what it cannot write."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._lost(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines as they come."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is waiting, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        """Send all that follows nowhere, that of libraries and of processes to come too."""
        if error.errno != errno.EAGAIN:  # a full pipe that does not wait may be read again
            with suppress(OSError, ValueError):
                _to_nowhere(self._stream.fileno())


@contextmanager
def progress_on_stderr() -> Iterator[None]:
    """Drop, inside, what standard error does not take. What waits for standard output is written behind the block."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it is open as long as the process
    try:
        with redirect_stderr(Forgiving(sys.stderr)):
            yield
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # of a help text that nobody reads to its end
            drop_output()


def libraries_print_on_stderr() -> AbstractContextManager[Any]:
    """Return a context in which what is printed goes to standard error: standard output is kept for the result."""
    return redirect_stdout(sys.stderr)


def open_standard_files() -> None:
    """Open the null device in the place of each standard file that is closed.

    Otherwise the next file that is opened would get its number, and whatever a library prints would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free


def drop_output() -> None:
    """Let nothing of what is still waiting for standard output be written when the process ends."""
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            _to_nowhere(sys.stdout.fileno())


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
