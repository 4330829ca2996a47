"""A distillation step from JPEG files to new weights, by where the teacher's logits come from.

    python benchmarks/distill_step.py [--teacher ResNet50_vd] [--student MobileNetV3_small_x1_0] [--size 224]
                                      [--batch 32] [--steps 2] [--rounds 3]

`eager`: the teacher in eager Paddle, as the published runs had it. An engine of `ssld list engines`: the teacher in it,
one batch ahead of the student. `cache`: its ten largest logits of 1,000 from a soft-label cache. `pipeline` and
`pipeline_cached` are the input pipeline alone, without and with the reading of labels. Fresh weights, SSLD loss,
momentum, synthetic JPEG files of about 49 KB. The ways take turns in every round; wall time and CPU time (of all
threads) are medians over the rounds. Filling the cache is timed beside them. Ends with one JSON line; ratios above 1
are faster than `eager` (of the pipelines: than `pipeline`).
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ssld  # before Paddle: it chooses MKL's fast path on AMD

os.environ.setdefault("GLOG_minloglevel", "2")

import paddle
from data_pipeline import MEAN, STD, measure, write_images

from ssld import labels, models
from ssld.config.recipe import Data
from ssld.data import Augment, FileList, Loader, Views
from ssld.deploy import usable
from ssld.distill.engine import in_engine
from ssld.distill.teacher import TeacherLogits
from ssld.losses import Objective
from ssld.runtime import Runtime, hardware

HERE = Runtime(rank=0, world=1, gpu=None)
Batches = Callable[[Iterable[Any]], Iterator[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="ResNet50_vd")
    parser.add_argument("--student", default="MobileNetV3_small_x1_0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    paddle.set_device("cpu")
    images = args.batch * args.steps
    with tempfile.TemporaryDirectory() as root:
        files = write_images(root, images)
        data = Data(train=("t",), val="v", size=args.size, mean=MEAN, std=STD)
        teacher = TeacherLogits(models.create(args.teacher), "running", data, args.size, MEAN, STD)
        ways: dict[str, Any] = {"eager": teacher}
        for engine, why_not in usable().items():
            if why_not is None:
                ways[engine] = in_engine(teacher, engine, args.size, args.batch, HERE)
        fastest = ways.get("onnxruntime", teacher)
        ways["cache"], seconds = cached(fastest, files, args, Path(root))
        steps: dict[str, Callable[[], None]] = {
            name: training(way.labelled, loader(files, args), args) for name, way in ways.items()
        }
        steps |= {"pipeline": reading(iter, loader(files, args), args)}
        steps |= {"pipeline_cached": reading(ways["cache"].labelled, loader(files, args), args)}
        found = measure(steps, images, args.rounds)
    report(args, found, images / seconds)


def loader(files: FileList, args: argparse.Namespace) -> Loader:
    """One view of every image, on one thread of DALI."""
    options: dict[str, Any] = {"size": args.size, "batch": args.batch, "mean": MEAN, "std": STD, "seed": 0}
    return Loader(files, augment=Augment(), views=Views(0, 1), **options)


def cached(teacher: Any, files: FileList, args: argparse.Namespace, root: Path) -> tuple[labels.CachedLogits, float]:
    """A cache of one view, and the seconds that it took to fill."""
    cache = labels.Cache(root / "labels", labels.Layout(1000, 10), views=1, places=len(files), micro=args.batch)
    cache.folder.mkdir()
    images = loader(files, args)

    def say(view: int, numbers: list[int]) -> Iterator[Any]:
        return (batch["teacher"].numpy() for batch in teacher.labelled(images.of_view(view, numbers)))

    start = time.perf_counter()
    labels.fill(cache, lambda: say, HERE)
    return labels.CachedLogits(cache), time.perf_counter() - start


def training(labelled: Batches, images: Loader, args: argparse.Namespace) -> Callable[[], None]:
    """`steps` steps of a fresh student."""
    student, objective = models.create(args.student), Objective({"ssld": {}})
    optimizer = paddle.optimizer.Momentum(0.01, parameters=student.parameters())

    def run() -> None:
        for batch in labelled(images.batches(0, args.steps)):
            objective(student(batch["image"]), batch["teacher"], batch)[0].backward()
            optimizer.step()
            optimizer.clear_grad()

    return run


def reading(labelled: Batches, images: Loader, args: argparse.Namespace) -> Callable[[], None]:
    def run() -> None:
        for _ in labelled(images.batches(0, args.steps)):
            pass

    return run


def report(args: argparse.Namespace, found: dict[str, dict[str, float]], filling: float) -> None:
    ratios: dict[str, float] = {}
    for name, numbers in found.items():
        base = found["pipeline" if name.startswith("pipeline") else "eager"]
        ratios[f"wall/{name}"] = round(numbers["images_per_second"] / base["images_per_second"], 3)
        ratios[f"cpu/{name}"] = round(base["cpu_ms"] / numbers["cpu_ms"], 3)
        print(f"{name:16} {numbers['images_per_second']:8.1f} img/s   {numbers['cpu_ms']:8.2f} CPU-ms an image")
    print(f"{'filling':16} {filling:8.1f} img/s")
    conditions = {"hardware": hardware(), "paddle": paddle.__version__, "ssld": ssld.__version__, **vars(args)}
    print(json.dumps({"benchmark": "distill_step", **conditions, "ratio": ratios}))


if __name__ == "__main__":
    main()
