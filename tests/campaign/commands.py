"""Start commands of `ssld` in processes that have made its imports already.

A command that begins with its imports needs seconds until it does what a campaign disturbs. A server imports once,
before anything is computed; each command is a fork of it, with its own folder, environment, output and session.
"""

import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from ssld.stopping import ask_for_death_of_parent

SECONDS = 300  # the longest time that any command of a campaign takes
_FORKS = multiprocessing.get_context("forkserver")
_COMMANDS = ("run", "mine", "label", "export", "bench", "report", "data", "eval", "weights", "compare", "sweep", "plan")
_FORKS.set_forkserver_preload(["ssld.cli", "onnx", *(f"ssld.commands.{name}" for name in _COMMANDS)])

Limits = Mapping[int, int]
"""Limits of the system, such as {resource.RLIMIT_NOFILE: 64}."""


def surroundings(**changes: str) -> dict[str, str]:
    """Return the environment of a command: without the user's own folders and trackers, with one thread."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SSLD_", "PADDLE_", "WANDB_"))}
    return {**kept, "OMP_NUM_THREADS": "1", **changes}


@dataclass(frozen=True)
class Done:
    """Hold how a command ended. A negative code is the number of the signal that ended it."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Running:
    """Hold a command that was started. What it prints goes to two files."""

    process: BaseProcess
    printed: Path

    def errors(self) -> str:
        """Return what it has written to standard error so far."""
        return _text(self.printed.with_suffix(".err"))

    def kill(self) -> None:
        """Send SIGKILL to it alone."""
        self.process.kill()

    def ended(self) -> bool:
        return not self.process.is_alive()

    def wait(self, seconds: float = SECONDS) -> Done:
        """Wait for its end. TimeoutError where that does not come; then it and its session are killed."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
            raise TimeoutError(f"a command has not ended after {seconds:.0f} s:\n{self.errors()[-2000:]}")
        done = Done(self.process.exitcode, _text(self.printed.with_suffix(".out")), self.errors())
        for ending in (".out", ".err"):
            self.printed.with_suffix(ending).unlink(missing_ok=True)
        return done


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


_started = 0


def start(words: list[str], place: Path, limits: Limits | None = None, **environment: str) -> Running:
    """Start `ssld WORDS` in the folder `place`."""
    return call(_command, (words,), place, limits, **environment)


def ssld(
    *words: object, place: Path, limits: Limits | None = None, seconds: float = SECONDS, **environment: str
) -> Done:
    """Run `ssld WORDS` in the folder `place` to its end."""
    return start([str(word) for word in words], place, limits, **environment).wait(seconds)


def call(
    function: Callable[..., None], arguments: tuple[object, ...], place: Path, limits: Limits | None, **environment: str
) -> Running:
    """Start a function of a module in a process of its own that has made the imports of all commands."""
    global _started
    _started += 1
    os.environ["OMP_NUM_THREADS"] = "1"  # of the server: libraries read it when they are imported
    # Not in the place, whose disk may be full or read only.
    printed = Path(tempfile.gettempdir()) / f"ssld-campaign-{os.getpid()}-{_started}-{time.monotonic_ns()}"
    process = _FORKS.Process(
        target=_in_child, args=(function, arguments, place, printed, surroundings(**environment), dict(limits or {}))
    )
    process.start()
    return Running(process, printed)


def _in_child(
    function: Callable[..., None],
    arguments: tuple[object, ...],
    place: Path,
    printed: Path,
    environment: dict[str, str],
    limits: Limits,
) -> None:
    os.setsid()
    ask_for_death_of_parent()  # the server ends with the campaign
    for number, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(printed.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), number)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))
    function(*arguments)


def _command(words: list[str]) -> None:
    from ssld.cli import main

    main(words)
