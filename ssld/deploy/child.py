"""Run a converter in a child process: converters can abort, and an abort must cost one line, not the run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ssld
from ssld.errors import DeployError

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
OPERATOR = re.compile(r"\[operator < .* > error\]")


def run_module(module: str, arguments: Sequence[str], *, what: str, seconds: float) -> str:
    """Run `python -m MODULE ARGUMENTS`; returns its standard output.

    Raises DeployError, one line that opens with `what`, unless it ends well.
    The line says how the child ended (exit code, the signal's name, or the time limit) and why, in its own words.
    """
    package = str(Path(next(iter(ssld.__path__))).resolve().parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "POLYGRAPHY_AUTOINSTALL_DEPS": "0",
        "PYTHONWARNINGS": "ignore",
    }
    return run_command([sys.executable, "-m", module, *arguments], what=what, seconds=seconds, env=env)


def run_command(command: Sequence[str], *, what: str, seconds: float, env: dict[str, str] | None = None) -> str:
    """Run a command as `run_module` says; `env` None = this process's environment."""
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeployError(f"{what}: took longer than {seconds:g} s and was stopped; allow it more time") from None
    if done.returncode == 0:
        return done.stdout
    end = f"exit code {done.returncode}" if done.returncode > 0 else _signal_name(-done.returncode)
    lines = (done.stdout + "\n" + done.stderr).splitlines()
    errors = "; ".join(line for line in lines if "[ERROR]" in line)  # paddle2onnx says why here, then aborts
    fatal = "\n".join(line for line in lines if "FatalError" in line)
    raise DeployError(f"{what}: the converter ended with {end}; {reason(errors or done.stderr.strip() or fatal)}")


def reason(text: str, limit: int = 300) -> str:
    """The last line of an error text that says something, without colours, at most `limit` characters.

    Paddle ends its C++ errors with a hint and the failing operator in brackets: a line that is only that is skipped.
    """
    lines = [" ".join(COLOUR.sub("", line).split()) for line in text.splitlines()]
    telling = [line for line in lines if re.search(r"\w{3}", line) and not OPERATOR.fullmatch(line)]
    return telling[-1][:limit] if telling else "it gave no reason"


def _signal_name(number: int) -> str:
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # real-time signals have no name
        return f"signal {number}"
