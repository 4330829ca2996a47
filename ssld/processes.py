"""This module runs a run in processes of its own: one for each rank, a seed or a trial.

Standard output is kept for the result.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ssld.config.recipe import Plan
from ssld.config.run_folder import read_result
from ssld.errors import RunError
from ssld.spec.choices import Device, WandbMode


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `ssld run` that a command hands on to the processes that it starts.

    ranks: how many processes share each batch, a number or `auto`. device: where they compute. wandb, wandb_project,
    wandb_tags, tensorboard: which trackers get the run (docs/tracking.md). smoke: whether the run takes seconds, on
    fake images. reuse, fresh: whether finished stages are used whatever made them, or none is.
    """

    ranks: str
    device: Device
    wandb: WandbMode
    wandb_project: str
    wandb_tags: tuple[str, ...]
    tensorboard: bool
    smoke: bool
    reuse: bool = False
    fresh: bool = False


def is_rank() -> bool:
    """Whether `run_ranks` started this process."""
    return "PADDLE_TRAINER_ID" in os.environ


def count_ranks(text: str, device: str) -> int:
    """Return the number behind `--ranks`; auto is one a GPU, and 1 on a CPU. Raises RunError for anything else."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text != "auto":
        raise RunError(f"--ranks {text}: give a whole number from 1 up, or auto")
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
    code = call([*launcher, str(Path(__file__).with_name("__main__.py")), *argv], stop=children)
    if code:
        raise RunError(
            f"{count} ranks: ended with code {code}; their output is in {out}.ranks; the same command resumes"
        )
    return read_result(out)


def call(command: list[str], stop: Callable[[int], list[int]]) -> int:
    """Run a command to its end, its output on standard error, and return its exit code.

    SIGINT and SIGTERM go to the processes `stop(child)` alone, and this process waits for their end, so that they save
    their last step: the command has a session of its own, where the terminal's Ctrl-C does not reach. Then
    KeyboardInterrupt is raised. When this process is killed, the command gets SIGTERM, because it must not train on
    beside the one that resumes.
    """
    interrupted = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        for pid in stop(child.pid) or [child.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    child = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True, preexec_fn=end_with_parent)
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while child.poll() is None:
            time.sleep(0.1)
            if interrupted and not stop(child.pid):  # the launcher looks only every few seconds for ranks that ended
                child.terminate()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted:
        raise KeyboardInterrupt
    return child.returncode


def end_with_parent() -> None:
    """Let this process get SIGTERM when the one that started it is gone, killed too (prctl(2), PR_SET_PDEATHSIG = 1).

    A launcher that ends by a signal leaves its ranks alone, so they ask for it themselves.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started.

    They are the ranks of a launcher, which itself would kill them in seconds.
    """
    with suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def run_alone(recipe: str, overrides: Sequence[str], out: Path, options: RunOptions) -> int:
    """Run `ssld run` in a process of its own and return its exit code."""
    words = ["--ranks", options.ranks, "--device", options.device, "--wandb", options.wandb, "--out", str(out)]
    words += ["--wandb-project", options.wandb_project, "--wandb-tags", ",".join(options.wandb_tags)]
    flags = {"--smoke": options.smoke, "--tensorboard": options.tensorboard}
    flags |= {"--reuse": options.reuse, "--fresh": options.fresh}
    words += [flag for flag, given in flags.items() if given]
    return call([sys.executable, "-m", "ssld", "run", recipe, *overrides, *words], stop=lambda child: [child])
