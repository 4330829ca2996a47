"""What the cores do in a distillation: the teacher in eager Paddle, and in an engine one batch ahead of the student.

    python benchmarks/overlap.py [--engine onnxruntime] [--teacher ResNet50_vd] [--student MobileNetV3_small_x1_0]
                                 [--size 224] [--batch 32] [--steps 5] [--figure docs/figures/overlap.svg]

The input pipeline, the teacher and the student of `--steps` steps, fresh weights, SSLD loss, synthetic JPEG files; the
two ways take turns, two rounds each, and the second is drawn: one row a thread, one bar a piece of work. Ends with one
JSON line: time of a step before and after, and the share of the teacher's time that the student's step hides.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ssld  # before Paddle: it chooses MKL's fast path on AMD

os.environ.setdefault("GLOG_minloglevel", "2")

import matplotlib
import paddle
from data_pipeline import MEAN, STD, write_images

from ssld import models
from ssld.config.recipe import Data
from ssld.data import Augment, Loader
from ssld.distill.engine import in_engine
from ssld.distill.step import Step
from ssld.distill.teacher import TeacherLogits
from ssld.losses import build_terms
from ssld.losses.objective import Objective
from ssld.runtime import Runtime, hardware

matplotlib.use("svg")
import matplotlib.pyplot as plt

COLOURS = {"input": "#8a8f98", "teacher": "#d1495b", "student": "#2e86ab"}
Span = tuple[str, float, float]  # who, when it began, how long it took: seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--teacher", default="ResNet50_vd")
    parser.add_argument("--student", default="MobileNetV3_small_x1_0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--figure", type=Path, help="SVG file (default: none is drawn)")
    args = parser.parse_args()
    here = Runtime(rank=0, world=1, gpu=None)
    paddle.set_device("cpu")
    data = Data(train=("t",), val="v", size=args.size, mean=MEAN, std=STD)
    with tempfile.TemporaryDirectory() as root:
        files = write_images(root, args.batch * args.steps)
        options: dict[str, Any] = {"size": args.size, "batch": args.batch, "mean": MEAN, "std": STD, "seed": 0}
        teacher = TeacherLogits(models.create(args.teacher), "running", data, args.size, MEAN, STD)
        ways = {"eager": teacher, args.engine: in_engine(teacher, args.engine, args.size, args.batch, here)}
        runs = {name: training(way, Loader(files, augment=Augment(), **options), args) for name, way in ways.items()}
        for _ in range(2):
            drawn = {name: run() for name, run in runs.items()}
    report(args, drawn)


def training(way: Any, images: Loader, args: argparse.Namespace) -> Callable[[], list[Span]]:
    """A function that trains a fresh student for `steps` steps and says who did what when."""
    spans: list[Span] = []
    student = models.create(args.student)
    step = Step(student, Objective(build_terms({"ssld": {}})))
    optimizer = paddle.optimizer.Momentum(0.01, parameters=student.parameters())
    place = "forward" if isinstance(way, TeacherLogits) else "run"
    setattr(way, place, timed("teacher", getattr(way, place), spans))

    def read(batches: Iterable[Any]) -> Iterator[Any]:
        batches = iter(batches)
        step = timed("input", lambda: next(batches, None), spans)
        while (batch := step()) is not None:
            yield batch

    def update(batch: Any) -> None:
        step(batch)[0][0].backward()
        optimizer.step()
        optimizer.clear_grad()

    work = timed("student", update, spans)

    def run() -> list[Span]:
        spans.clear()
        start = time.perf_counter()
        for batch in way.labelled(read(images.batches(0, args.steps))):
            work(batch)
        return [(who, began - start, took) for who, began, took in spans]

    return run


def timed(who: str, function: Callable[..., Any], spans: list[Span]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments)
        spans.append((who, start, time.perf_counter() - start))
        return result

    return call


def report(args: argparse.Namespace, drawn: dict[str, list[Span]]) -> None:
    ends = {name: max(began + took for _, began, took in spans) for name, spans in drawn.items()}
    after = drawn[args.engine]
    students = [(began, began + took) for who, began, took in after if who == "student"]
    hidden = sum(
        max(0.0, min(end, began + took) - max(start, began))
        for who, began, took in after
        for start, end in students
        if who == "teacher"
    )
    whole = sum(took for who, _, took in after if who == "teacher")
    for name, spans in drawn.items():
        sums = {who: sum(took for w, _, took in spans if w == who) / args.steps for who in COLOURS}
        parts = ", ".join(f"{who} {1000 * taken:.0f} ms" for who, taken in sums.items())
        print(f"{name:12} {1000 * ends[name] / args.steps:.0f} ms a step: {parts}")
    if args.figure:
        draw(args, drawn, ends)
    given = {key: value for key, value in vars(args).items() if key != "figure"}
    ratios = {"step": round(ends["eager"] / ends[args.engine], 3), "teacher_hidden": round(hidden / whole, 3)}
    conditions = {"hardware": hardware(), "paddle": paddle.__version__, "ssld": ssld.__version__, **given}
    print(json.dumps({"benchmark": "overlap", **conditions, "ratio": ratios}))


def draw(args: argparse.Namespace, drawn: dict[str, list[Span]], ends: dict[str, float]) -> None:
    matplotlib.rcParams.update({"svg.hashsalt": "ssld", "font.size": 10, "font.family": "sans-serif"})
    figure, panels = plt.subplots(len(drawn), 1, figsize=(9.6, 3.6), sharex=True, layout="constrained")
    for panel, (name, spans) in zip(panels, drawn.items(), strict=True):
        beside = name != "eager"
        for who, began, took in spans:
            row = 1 if who == "teacher" and beside else 0
            panel.broken_barh([(began, took)], (0.1 + row, 0.8), color=COLOURS[who], edgecolor="white")
        panel.set_yticks([0.5, 1.5] if beside else [0.5], ["training", "engine"] if beside else ["training"])
        rate = args.batch * args.steps / ends[name]
        panel.set_title(f"teacher: {name}, {rate:.1f} images a second", loc="left", fontsize=10)
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[-1].set_xlabel(f"seconds, {args.steps} steps of {args.batch} images of {args.size} pixels")
    bars = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    figure.legend(bars, COLOURS, loc="outside upper right", ncols=3, frameon=False)
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()
