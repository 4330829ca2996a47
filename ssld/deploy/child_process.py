"""This module runs converters in child processes: a converter can abort, and that must cost one line, not the run."""

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
    """Run `python -m MODULE ARGUMENTS` and return its standard output.

    Raises DeployError unless the child ends well: one line that opens with `what` and says how the child ended (exit
    code, name of the signal, or time limit) and why, in the child's own words.
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
    """Run a command as `run_module` runs a module; `env` None is the environment of this process."""
    try:
        process = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeployError(f"{what}: took longer than {seconds:g} s and was stopped; allow it more time") from None
    if process.returncode == 0:
        return process.stdout
    end = f"exit code {process.returncode}" if process.returncode > 0 else _signal_name(-process.returncode)
    lines = (process.stdout + "\n" + process.stderr).splitlines()
    # paddle2onnx writes the reason here, then it aborts.
    errors = "; ".join(line for line in lines if "[ERROR]" in line)
    fatal = "\n".join(line for line in lines if "FatalError" in line)
    raise DeployError(f"{what}: the converter ended with {end}; {reason(errors or process.stderr.strip() or fatal)}")


def reason(text: str, limit: int = 300) -> str:
    """Return the last line of an error text that says something, without colours, cut to `limit` characters.

    Paddle ends its C++ errors with a hint and the failing operator in brackets: a line that is nothing else is skipped.
    """
    lines = [" ".join(COLOUR.sub("", line).split()) for line in text.splitlines()]
    telling = [line for line in lines if re.search(r"\w{3}", line) and not OPERATOR.fullmatch(line)]
    return telling[-1][:limit] if telling else "it gave no reason"


def _signal_name(number: int) -> str:
    """Return the name of a signal for a message."""
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # real-time signals have no name
        return f"signal {number}"
