"""A run as several processes: one a rank, or one a seed. Standard output is kept for the result."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ssld.config.recipe import Plan
from ssld.errors import RunError
from ssld.listing import load_plan


def is_rank() -> bool:
    """Whether this process was started by `ranks`."""
    return "PADDLE_TRAINER_ID" in os.environ


def count_ranks(text: str, device: str) -> int:
    """The number behind `--ranks`; auto is one a GPU, and 1 on a CPU. Raises RunError for anything else."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text != "auto":
        raise RunError(f"--ranks {text}: give a whole number from 1 up, or auto")
    import paddle

    if device == "cpu" or not paddle.is_compiled_with_cuda():
        return 1
    return max(1, paddle.device.cuda.device_count())


def ranks(count: int, plan: Plan, args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Start the same command once a rank, behind paddle.distributed.launch; returns what rank 0 wrote as result.json.

    The output of the ranks goes to `<run folder>.ranks/`. Raises RunError when a batch does not divide among the ranks,
    and when one of them fails.
    """
    for name, stage in plan.stages.items():
        if stage.data.batch % (parts := count * stage.optim.accumulate):
            what = f"stages.{name}.data.batch {stage.data.batch} does not divide into {parts} parts"
            raise RunError(f"--ranks {count}: {what} (ranks x accumulate); change one of them")
    import paddle

    gpu = paddle.is_compiled_with_cuda() and args.device != "cpu"
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count)]
    launcher += ["--log_dir", f"{out}.ranks", *([] if gpu else ["--backend", "gloo"])]
    code = subprocess.call([*launcher, str(Path(__file__).with_name("__main__.py")), *args.argv], stdout=sys.stderr)
    if code:
        raise RunError(
            f"{count} ranks: ended with code {code}; their output is in {out}.ranks; the same command resumes"
        )
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return result


def seeds(first: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """The recipe with `args.seeds` seeds, one process after the other, then their comparison in `args.experiments`."""
    from ssld.report import ledger  # draws figures: slow to import

    folders = []
    for seed in range(first.seed, first.seed + args.seeds):
        overrides = [*args.overrides, f"seed={seed}"]
        plan = load_plan(args.recipe, overrides, smoke=args.smoke)
        folders.append(Path(args.out or "runs") / f"{plan.name}-{plan.digest[:8]}")
        options = ["--ranks", args.ranks, "--device", args.device, "--wandb", args.wandb, "--out", str(folders[-1])]
        options += ["--smoke"] if args.smoke else []
        if subprocess.call([sys.executable, "-m", "ssld", "run", args.recipe, *overrides, *options], stdout=sys.stderr):
            raise RunError(f"seed {seed}: did not finish; the same command goes on from there")
    results = [json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in folders]
    target = Path(args.out or "runs") / "smoke" if args.smoke else Path(args.experiments)
    for result in results:
        ledger.record(result, target)
    command = " ".join(["ssld run", args.recipe, *args.overrides, f"--seeds {args.seeds}"])
    page = ledger.write_seed_report(results, target / f"{first.name}.md", command=command)
    return {"report": str(page), "runs": [str(folder) for folder in folders]}
