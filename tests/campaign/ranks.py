"""Kill a run of two ranks: one of its ranks, their launcher, or the command itself. The same command resumes it.

Ranks are started by a launcher, so that they are no forks of `tests.campaign.commands`, and begin with their imports.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ssld.processes import children
from tests.campaign.commands import surroundings
from tests.campaign.small_run import QUIET, WHOLE, curve_of, weights_of
from tests.unit.some_recipe import written
from tests.unit.test_imports import ROOT

PATIENCE = 120  # seconds in which all processes of a killed run must have ended, and in which a rank must begin
TREE = {
    **{key: WHOLE[key] for key in ("classes", "student", "teacher", "stage", "export", "bench")},
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "loss": {"ce": {}}},
        "distill": {"epochs": 4, "loss": {"ssld": {}}},
    },
}
STEPS = 36  # of both stages


def _start(place: Path, out: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "ssld", "run", "ranks.yaml", *QUIET, "--ranks", "2", "--out", out]
    environment = surroundings(PYTHONPATH=str(ROOT), PYTHONWARNINGS="ignore")
    with open(place / "errors.txt", "a") as errors:
        return subprocess.Popen(
            words, cwd=place, env=environment, stdout=errors, stderr=errors, text=True, start_new_session=True
        )


def _finish(place: Path, out: str) -> None:
    code = _start(place, out).wait(600)
    assert code == 0, (place / "errors.txt").read_text()[-3000:]


def _lines(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def _processes_of(command: int) -> dict[str, int]:
    """Return the processes of a run of two ranks by what they are, as far as they have been started."""
    found = {"command": command}
    for launcher in children(command):
        found["launcher"] = launcher
        found |= {f"rank {number}": rank for number, rank in enumerate(sorted(children(launcher)))}
    return found


def _alive(numbers: list[int]) -> list[int]:
    """Return those of these processes that have not ended."""
    found = []
    for number in numbers:
        with suppress(OSError):
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(number)
    return found


def _killed(place: Path, out: str, target: str, after: int, seconds: float) -> bool:
    """Kill one process of a run, so many seconds after its curve has got `after` lines more; return whether it lived.

    AssertionError where another process of the run is still there much later.
    """
    process, run = _start(place, out), place / out
    wanted, end = _lines(run) + after, time.monotonic() + PATIENCE
    while _lines(run) < wanted or len(_processes_of(process.pid)) < 4:
        if process.poll() is not None:
            assert process.returncode == 0, (place / "errors.txt").read_text()[-3000:]
            return False
        assert time.monotonic() < end, "the ranks did not begin"
        time.sleep(0.01)
    time.sleep(seconds)
    found = _processes_of(process.pid)
    if target not in found:
        process.wait(600)
        return False
    os.kill(found[target], signal.SIGKILL)
    process.wait(PATIENCE)
    end = time.monotonic() + PATIENCE
    while left := _alive([*found.values()]):
        assert time.monotonic() < end, f"{left} of {found} are left after {target} was killed"
        time.sleep(0.05)
    return True


def _kills(target: str) -> Callable[[Path, Path], Counter[str]]:
    def find(place: Path, own: Path) -> Counter[str]:
        generator, met = random.Random(target), Counter[str]()
        shutil.copytree(place, own / "copy", ignore=shutil.ignore_patterns("runs", "pool", "labels"))
        place = own / "copy"
        written(place, TREE, "ranks.yaml")
        _finish(place, "runs/undisturbed")
        for after in (0, generator.randint(1, 6), generator.randint(6, 20)):
            met[target] += _killed(place, "runs/killed", target, after, generator.uniform(0, 0.3))
        _finish(place, "runs/killed")
        assert weights_of(place / "runs/killed") == weights_of(place / "runs/undisturbed")
        assert curve_of(place / "runs/killed") == curve_of(place / "runs/undisturbed")
        return met

    return find


CASES = {f"of two ranks, {target}": _kills(target) for target in ("rank 0", "rank 1", "launcher", "command")}
