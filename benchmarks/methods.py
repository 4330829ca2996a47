"""What a step of every method costs beside a step of plain distillation: time, memory and parameters of its layers.

    python benchmarks/methods.py [--only NAME ...] [--size 32] [--batch 64] [--rounds 15]
                                 [--csv docs/data/method_costs.csv]

Every recipe of recipes/methods says how a method is used; a ResNet18_vd teaches a MobileNetV3_small_x1_0 here, or the
networks of the recipe where a method needs others. The networks have fresh weights and get images of random numbers.
Plain distillation is the same stage with the cross entropy and the divergence from the teacher as its only terms, and
with momentum.

Each method is measured in a process of its own on one thread. First it makes steps alone: the memory is the largest
resident set during them, less that before the networks are made. Then it takes turns with plain distillation, a step
each, and the time is the median over the rounds of the ratio of their steps. The memory of plain distillation is
measured in the same way in a process of its own for each pair of networks. Ends with one JSON line; a ratio above 1
costs more than plain distillation.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from ssld.config import parse, recipe
from ssld.config.recipe import Plan
from ssld.losses import build_terms, overview
from ssld.progress import progress

STAGE = "distill"  # the stage that uses the method, in every recipe of recipes/methods
PLAIN = {"ce": {"unlabelled": "ignore"}, "kl": {"temperature": 4.0}}
COLUMNS = ("method", "teacher", "student", "time", "memory", "parameters", "parameters_of_student")
WARM = 2  # steps before those that count: the first makes the states of the optimiser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="recipes of recipes/methods (default: all)")
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--batch", type=int, default=64, help="images of a step")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each that count")
    parser.add_argument("--csv", type=Path, help="file of a table (default: none is written)")
    parser.add_argument("--measure", choices=("method", "plain"), help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measured(args.only[0], args.measure == "plain", args.size, args.batch, args.rounds)))
        return
    recipes = sorted(file.stem for file in parse.recipes() if file.parent.name == "methods")
    names = args.only or [name for name in recipes if name in overview.names()]  # the others are ways to use a method
    rows = [*compared(names, [f"--{key}={getattr(args, key)}" for key in ("size", "batch", "rounds")])]
    for row in sorted(rows, key=lambda row: -float(str(row["time"]))):
        print(
            f"{row['method']:16} time {row['time']:.2f}  memory {row['memory']:.2f}  parameters {row['parameters']:,}"
        )
    if args.csv:
        with args.csv.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print(json.dumps({"benchmark": "methods", "batch": args.batch, "size": args.size, "methods": rows}))


def compared(names: list[str], options: list[str]) -> Iterator[dict[str, object]]:
    """Yield the row of each method, whose memory is divided by that of plain distillation by the same networks."""
    plain: dict[tuple[object, object], float] = {}
    with progress(len(names), "methods", unit="methods") as bar:
        for done, name in enumerate(names, 1):
            row = child(name, "method", options)
            pair = row["teacher"], row["student"]
            if pair not in plain:
                plain[pair] = float(str(child(name, "plain", options)["memory"]))
            yield {**row, "memory": round(float(str(row["memory"])) / plain[pair], 3)}
            bar.update(done)


def child(name: str, what: str, options: list[str]) -> dict[str, object]:
    """Measure in a process of its own. Exits with its error where it fails."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", what, "--only", name, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    row: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(name: str, plain: bool, size: int, batch: int, rounds: int) -> dict[str, object]:
    """Return the row of a method, with its memory in bytes; of plain distillation by its networks with `plain`."""
    plan = planned(name, size)
    networks = {
        "teacher": "+".join(plan.network_of(teacher).title for teacher in plan.teachers_of(STAGE)) or "-",
        "student": plan.network_of(plan.stages[STAGE].network).title,
    }
    with ExitStack() as stack:
        before = memory("VmRSS")
        step, parameters = training(distilled(plan) if plain else plan, batch, stack)
        for _ in range(WARM):
            step()
        used = memory("VmHWM") - before
        if plain:
            return {**networks, "memory": used}
        other, (_, of_student) = training(distilled(plan), batch, stack)
        for _ in range(WARM):
            other()
        ratios = [seconds(step) / seconds(other) for _ in range(rounds)]
    return {
        "method": name, **networks, "time": round(statistics.median(ratios), 3), "memory": used,
        "parameters": parameters[0], "parameters_of_student": of_student,
    }  # fmt: skip


def planned(name: str, size: int) -> Plan:
    """Return the plan of a recipe of recipes/methods for images of this size, with the student of this benchmark.

    A recipe that names another student than plain distillation has needs it, and keeps it.
    """
    file, plain = parse.locate(f"methods/{name}"), parse.locate("methods/kl")
    overrides = [f"stages.{STAGE}.data.size={size}", f"stages.{STAGE}.data.eval_resize={size}"]
    if recipe.load(file).student.arch == recipe.load(plain).student.arch:
        overrides.append("student.arch=MobileNetV3_small_x1_0")
    return recipe.load(file, overrides)


def distilled(plan: Plan) -> Plan:
    """Return the plan whose stage distils plainly, from a teacher of the recipe where the method asks none."""
    stage = plan.stages[STAGE]
    stage = replace(stage, loss=build_terms(PLAIN), optim=replace(stage.optim, algorithm="momentum"))
    return replace(plan, stages={**plan.stages, STAGE: stage})


def training(plan: Plan, images: int, stack: ExitStack) -> tuple[Callable[[], object], tuple[int, int]]:
    """Return a function that makes a step, and the numbers of parameters that the losses and the network train."""
    from ssld.distill.stage import train_step
    from ssld.distill.trial import on_trial
    from ssld.runtime import Runtime

    state, batches = stack.enter_context(on_trial(plan, STAGE, images, Runtime(rank=0, world=1, gpu=None)))
    helpers = sum(p.size for p in state.step.helpers.parameters() if not p.stop_gradient)
    network = sum(p.size for p in state.network.parameters() if not p.stop_gradient)
    return lambda: float(train_step(state, batches, 0)[0]["loss"]), (helpers, network)


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def memory(what: str) -> int:
    """Return VmRSS, the resident set of this process in bytes, or VmHWM, the largest it was."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{what}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
