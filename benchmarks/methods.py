"""What a step of every method costs beside a step of plain distillation: time, memory and parameters of its layers.

    python benchmarks/methods.py [--only NAME ...] [--size 32] [--batch 64] [--rounds 15] [--jobs 2]
                                 [--csv docs/data/method_costs.csv]

Every recipe of recipes/methods says how a method is used; a ResNet18_vd teaches a MobileNetV3_small_x1_0 here, or the
networks of the recipe where a method needs others. The networks have fresh weights and get images of random numbers.
Plain distillation is the same stage with the cross entropy and the divergence from the teacher as its only terms, and
with momentum.

Each method is measured in a process of its own on one thread, and as many processes as `--jobs` says work side by side,
one a core at most. First a method makes steps alone: the memory is the largest resident set during them, less that
before the networks are made. Then it takes turns with plain distillation, a step each, in the same process, so that
whatever else the machine does slows both. The time is the median over the rounds of the ratio of their steps, with the
interval that holds the true median with a probability of 95 % or more. The memory of plain distillation is measured in
the same way, once for each pair of networks. Ends with one JSON line; a ratio above 1 costs more than plain
distillation.

With `--csv` each row is kept in FILE.partial as soon as it is measured, so that the same command goes on after a kill,
and FILE is written at the end. Rows of methods that `--only` does not name stay as they are.
"""

import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from ssld.config import parse, recipe
from ssld.config.recipe import Plan
from ssld.files import whole
from ssld.losses import build_terms, overview
from ssld.progress import progress

STUDENT = "MobileNetV3_small_x1_0"
STAGE = "distill"  # the stage that uses the method, in every recipe of recipes/methods
PLAIN = {"ce": {"unlabelled": "ignore"}, "kl": {"temperature": 4.0}}
SETTINGS = ("size", "batch", "rounds")
COLUMNS = (
    "method", "teacher", "student", "time", "time_low", "time_high", "memory", "parameters", "parameters_of_student",
    *SETTINGS, "device",
)  # fmt: skip
WARM = 2  # steps before those that count: the first makes the states of the optimiser
MISSED = 0.05  # probability that the interval of a median does not hold the true one, at most

Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="recipes of recipes/methods (default: all)")
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--batch", type=int, default=64, help="images of a step")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each that count")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: cores)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="file of a table (default: none is written)")
    parser.add_argument("--measure", choices=("method", "plain"), help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    settings: Row = {key: getattr(args, key) for key in SETTINGS}
    if args.measure:
        print(json.dumps(measured(args.only[0], args.measure == "plain", args.size, args.batch, args.rounds)))
        return
    recipes = sorted(file.stem for file in parse.recipes() if file.parent.name == "methods")
    names = args.only or [name for name in recipes if name in overview.names()]  # the others are ways to use a method
    partial = args.csv and args.csv.with_name(f"{args.csv.name}.partial")
    rows = [row for row in read(partial) if all(row[key] == str(settings[key]) for key in SETTINGS)]
    rows = [row for row in rows if row["method"] in names]
    kept = {row["method"] for row in rows}
    for row in compared([name for name in names if name not in kept], settings, args.jobs):
        rows.append(row)
        if partial:
            write(partial, rows)
    if args.csv:
        others = [row for row in read(args.csv) if row["method"] in {*recipes} - {*names}]
        write(args.csv, sorted([*rows, *others], key=lambda row: str(row["method"])))
        partial.unlink(missing_ok=True)
    shown = "{method:16} time {time} ({time_low} to {time_high})  memory {memory}  parameters {parameters}"
    for row in sorted(rows, key=lambda row: -float(str(row["time"]))):
        print(shown.format(**row))
    print(json.dumps({"benchmark": "methods", **settings, "methods": rows}))


def read(file: Path | None) -> list[Row]:
    """Return the rows of a table as text; none where there is no file."""
    if not file or not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [*csv.DictReader(lines)]


def write(file: Path, rows: Sequence[Row]) -> None:
    with whole(file) as new, new.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def compared(names: Sequence[str], settings: Row, jobs: int) -> Iterator[Row]:
    """Yield the row of each method, in this order, plain distillation by the same networks being 1."""
    pairs = [networks(planned(name, int(str(settings["size"])))) for name in names]
    of_pair = dict(zip(pairs, names, strict=True))
    with progress(len(of_pair) + len(names), "methods", unit="runs") as bar, ThreadPoolExecutor(jobs) as pool:
        first = pool.map(lambda name: child(name, "plain", settings), of_pair.values())
        rest = pool.map(lambda name: child(name, "method", settings), names)
        plain = {}
        for done, (pair, row) in enumerate(zip(of_pair, first, strict=True), 1):
            plain[pair] = float(str(row["memory"]))
            bar.update(done)
        for done, (pair, row) in enumerate(zip(pairs, rest, strict=True), len(plain) + 1):
            bar.update(done)
            yield {**row, "memory": round(float(str(row["memory"])) / plain[pair], 3), **settings}


def child(name: str, what: str, settings: Row) -> Row:
    """Measure in a process of its own. Exits with its error where it fails."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", what, "--only", name]
    command += [f"--{key}={value}" for key, value in settings.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def networks(plan: Plan) -> tuple[str, str]:
    """Return the names of the teachers, "-" where there are none, and of the student."""
    teachers = "+".join(plan.network_of(teacher).title for teacher in plan.teachers_of(STAGE))
    return teachers or "-", plan.network_of(plan.stages[STAGE].network).title


def measured(name: str, plain: bool, size: int, batch: int, rounds: int) -> Row:
    """Return the row of a method, with its memory in bytes; of plain distillation by its networks with `plain`."""
    from ssld.runtime import hardware

    plan = planned(name, size)
    with ExitStack() as stack:
        before = memory("VmRSS")
        step, parameters = training(distilled(plan) if plain else plan, batch, stack)
        for _ in range(WARM):
            step()
        used = memory("VmHWM") - before
        if plain:
            return {"memory": used}
        other, (_, of_student) = training(distilled(plan), batch, stack)
        for _ in range(WARM):
            other()
        ratios = [seconds(step) / seconds(other) for _ in range(rounds)]
    teacher, student = networks(plan)
    low, high = interval(ratios)
    return {
        "method": name, "teacher": teacher, "student": student, "time": round(statistics.median(ratios), 3),
        "time_low": round(low, 3), "time_high": round(high, 3), "memory": used,
        "parameters": parameters[0], "parameters_of_student": of_student, "device": hardware(),
    }  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval between two of the values that holds the true median with a probability of 1 - MISSED.

    Of n values so many as are below the true median are binomial with 1/2; of few values it is all of them.
    """
    some, n = sorted(values), len(values)
    tails = [sum(math.comb(n, below) for below in range(k + 1)) / 2**n for k in range((n + 1) // 2)]
    place = max((k for k, tail in enumerate(tails) if 2 * tail <= MISSED), default=0)
    return some[place], some[n - 1 - place]


def planned(name: str, size: int) -> Plan:
    """Return the plan of a recipe of recipes/methods for images of this size, with the student of this benchmark.

    A recipe that names another student than plain distillation has needs it, and keeps it. A peer of the student's
    architecture has that of the student here too.
    """
    file, usual = parse.locate(f"methods/{name}"), recipe.load(parse.locate("methods/kl")).student.arch
    overrides = [f"stages.{STAGE}.data.size={size}", f"stages.{STAGE}.data.eval_resize={size}"]
    own = recipe.load(file)
    if own.student.arch == usual:
        equals = [name for name, peer in own.stages[STAGE].peers.items() if peer.arch == usual]
        places = ["student", *(f"stages.{STAGE}.peers.{name}" for name in equals)]
        overrides += [f"{place}.arch={STUDENT}" for place in places]
    return recipe.load(file, overrides)


def distilled(plan: Plan) -> Plan:
    """Return the plan whose stage distils plainly, with the teacher of the recipe `kl` where this recipe has none."""
    if not plan.all_teachers:
        plan = planned("kl", plan.stages[STAGE].data.size)
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
