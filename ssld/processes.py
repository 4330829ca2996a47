"""This module runs a run in processes of its own: one for each rank, a seed or a trial.

Standard output is kept for the result.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssld.config.recipe import Plan
from ssld.config.run_folder import read_result
from ssld.errors import RunError
from ssld.files import alone
from ssld.spec.choices import Device, WandbMode
from ssld.stopping import PARENT, ask_for_death_of_parent, caught

SSLD = (sys.executable, "-m", "ssld")
PATIENCE = 30  # seconds that the ranks of a launcher which has ended get to save their last step


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Hold the options of `ssld run` that a command hands on to the processes that it starts.

    ranks: how many processes share each batch, a number or `auto`. device: where they compute. wandb, wandb_project,
    wandb_tags, tensorboard: which trackers get the run (docs/tracking.md). smoke: whether the run takes seconds, on
    fake images. reuse: whether finished stages are used whatever made them.
    """

    ranks: str
    device: Device
    wandb: WandbMode
    wandb_project: str
    wandb_tags: tuple[str, ...]
    tensorboard: bool
    smoke: bool
    reuse: bool = False


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder, which exists. Raises RunError where one is at work in it."""
    with ExitStack() as lock:
        try:
            lock.enter_context(alone(folder, 0))
        except BlockingIOError:
            raise RunError(f"{folder}: another process is at work in it; let it end, or choose another --out") from None
        yield


def is_rank() -> bool:
    """Return whether `run_ranks` started this process."""
    return "PADDLE_TRAINER_ID" in os.environ


def count_ranks(text: str, device: str) -> int:
    """Return the number behind `--ranks`; auto is one a GPU, and 1 on a CPU."""
    if text != "auto":
        return int(text)
    import paddle

    if device == "cpu" or not paddle.is_compiled_with_cuda():
        return 1
    return max(1, paddle.device.cuda.device_count())


def run_ranks(count: int, plan: Plan, argv: Sequence[str], device: Device, out: Path) -> dict[str, Any]:
    """Start a command once for each rank, behind paddle.distributed.launch; return what rank 0 wrote as result.json.

    argv: the words behind `ssld`, exactly as they were typed. The output of the ranks goes to `<run folder>.ranks/`.
    Raises RunError when a batch does not divide among the ranks, and when one of them fails.
    """
    for name, stage in plan.stages.items():
        if stage.data.batch % (parts := count * stage.optim.accumulate):
            what = f"stages.{name}.data.batch {stage.data.batch} does not divide into {parts} parts"
            raise RunError(f"--ranks {count}: {what} (ranks x accumulate); change one of them")
    import paddle

    gpu = paddle.is_compiled_with_cuda() and device != "cpu"
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count)]
    launcher += ["--log_dir", f"{out}.ranks", *([] if gpu else ["--backend", "gloo"])]
    logs = {rank: Path(f"{out}.ranks", f"workerlog.{rank}") for rank in range(count)}
    before = {rank: log.stat().st_size if log.is_file() else 0 for rank, log in logs.items()}
    code = call([*launcher, str(Path(__file__).with_name("__main__.py")), *argv], children)
    if code:
        errors = (_error(logs[rank], before[rank]) for rank in range(count))
        reason = next(filter(None, errors), f"ended with code {code}; the same command resumes")
        raise RunError(f"{count} ranks: {reason}; their output is in {out}.ranks")
    return read_result(out)


def _error(log: Path, start: int) -> str | None:
    """Return the line with which `ssld run` ended in a rank, without its beginning, or None where it said nothing."""
    with suppress(OSError), log.open("rb") as stream:
        stream.seek(start)
        lines = stream.read().decode(errors="replace").splitlines()
        said = [line.removeprefix("ssld run: ") for line in lines if line.startswith("ssld run: ")]
        return said[-1] if said else None
    return None


def call(command: list[str], ranks_of: Callable[[int], list[int]] | None = None) -> int:
    """Run a command to its end, its output on standard error, and return its exit code.

    A signal that asks for a stop goes to the process, and this one waits for its end, so that it saves its last step:
    it has a session of its own, where the terminal's Ctrl-C does not reach. Then KeyboardInterrupt is raised. A
    launcher hands no signal on. Its signals therefore go to the processes `ranks_of(launcher)` alone, and these are
    waited for. When this process is killed, the command gets SIGTERM, because it must not train on beside the one that
    resumes.
    """
    ranks: list[int] = []

    def hand_on(number: int) -> None:
        for pid in (ranks_of(child.pid) if ranks_of else []) or [child.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    with caught() as stop:
        child = _start(command, copied=ranks_of is not None)
        with stop.handed_on(hand_on):
            while child.poll() is None:
                time.sleep(0.1)
                ranks = (ranks_of(child.pid) if ranks_of else []) or ranks
                if stop.asked and ranks_of and not ranks_of(child.pid):
                    child.terminate()  # a launcher looks only every few seconds for ranks that ended
            end = time.monotonic() + PATIENCE
            while any(map(_lives, ranks)) and time.monotonic() < end:
                time.sleep(0.1)
    return child.returncode


def _start(
    command: list[str], *, copied: bool = False, log: Path | None = None, threads: int | None = None
) -> subprocess.Popen[str]:
    """Start a command that ends with this process.

    With `copied` its output is read and written on, so that it does not matter to the command whether anybody reads
    it; with `log` it is added to that file. Otherwise the command sees whether standard error is a terminal. `threads`
    is how many threads libraries may use.
    """
    caller = os.getpid()
    environment = {**os.environ, PARENT: str(caller)}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)

    def in_child() -> None:
        ask_for_death_of_parent()
        if os.getppid() != caller:  # it is gone already
            os.kill(os.getpid(), signal.SIGTERM)

    with log.open("a") if log else nullcontext(subprocess.PIPE if copied else sys.stderr) as output:
        child = subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=in_child,
            stdout=output, stderr=subprocess.STDOUT if copied or log else None, text=True, errors="replace",
        )  # fmt: skip
    if copied:
        assert child.stdout is not None
        threading.Thread(target=sys.stderr.writelines, args=(child.stdout,), daemon=True).start()
    return child


def _lives(pid: int) -> bool:
    """Return whether there is a process of this number that has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2][1] != "Z"
    return False


def children(pid: int) -> list[int]:
    """Return the processes that a process has started.

    They are the ranks of a launcher, which itself would kill them in seconds.
    """
    with suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def run_alone(recipe: str, overrides: Sequence[str], out: Path, options: RunOptions) -> int:
    """Run `ssld run` in a process of its own and return its exit code."""
    return call(command_of_run(recipe, overrides, out, options))


def command_of_run(recipe: str, overrides: Sequence[str], out: Path, options: RunOptions) -> list[str]:
    """Return the command that runs a recipe in a process of its own."""
    words = ["--ranks", options.ranks, "--device", options.device, "--wandb", options.wandb, "--out", str(out)]
    words += ["--wandb-project", options.wandb_project, "--wandb-tags", ",".join(options.wandb_tags)]
    flags = {"--smoke": options.smoke, "--tensorboard": options.tensorboard, "--reuse": options.reuse}
    words += [flag for flag, given in flags.items() if given]
    return [*SSLD, "run", recipe, *overrides, *words]


def side_by_side(commands: Sequence[list[str]], logs: Sequence[Path], jobs: int) -> Iterator[tuple[int, int]]:
    """Run commands, `jobs` of them at a time, and yield the number and the exit code of each one that has ended.

    What a command prints is added to its log. Each gets its share of the cores of this process, since two that take
    all of them are slower than one after the other. A signal that asks for a stop goes to all that run; they are
    waited for, and KeyboardInterrupt is raised.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    waiting, running = list(enumerate(commands)), dict[int, subprocess.Popen[str]]()

    def hand_on(number: int) -> None:
        for child in [*running.values()]:
            with suppress(ProcessLookupError):
                os.kill(child.pid, number)

    with caught() as stop, stop.handed_on(hand_on):
        while running or (waiting and not stop.asked):
            while waiting and len(running) < jobs and not stop.asked:
                number, command = waiting.pop(0)
                running[number] = _start(command, log=logs[number], threads=threads)
            time.sleep(0.1)
            for number in [number for number, child in running.items() if child.poll() is not None]:
                yield number, running.pop(number).returncode
