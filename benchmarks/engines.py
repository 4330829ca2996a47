"""How much faster an exported network runs than eager Paddle, on this machine, interleaved in one process.

    python benchmarks/engines.py MobileNetV3_small_x1_0 --size 224 --batch 1

Prints the medians and ends with one JSON line: {"model", ..., "ratio": {engine: eager p50 / engine p50}}.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# Paddle's MKL takes a slow path on AMD processors unless told otherwise, and reads this when it is imported.
os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
os.environ.setdefault("GLOG_minloglevel", "2")

import numpy as np
import paddle

from ssld import models
from ssld.deploy import export_model, format_of, ready, usable
from ssld.deploy.timing import REST_SECONDS, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="MobileNetV3_small_x0_35", help="name of a zoo network")
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="limit for each engine")
    args = parser.parse_args()

    model = models.create(args.model, num_classes=1000)
    model.eval()
    images = np.random.default_rng(0).random((args.batch, 3, args.size, args.size), np.float32)
    calls: dict[str, Callable[[], object]] = {"eager": lambda: eager(model, images)}
    with tempfile.TemporaryDirectory() as folder:
        engines = usable()
        formats = sorted({format_of(name) for name, why_not in engines.items() if not why_not})
        export(model, Path(folder) / "export", args.size, formats)
        for name, why_not in engines.items():
            if why_not:
                print(f"{name}: left out, {why_not}")
                continue
            run = ready(name, threads=args.threads).load(Path(folder) / "export")
            calls[name] = lambda run=run: run(images)
    rest = REST_SECONDS if args.threads > 1 else 0.0
    times = measure(list(calls.values()), warmup=5, repeats=args.repeats, seconds=args.seconds, rest=rest)
    report(args, dict(zip(calls, times, strict=True)))


def eager(model: models.Classifier, images: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(images)).numpy()


def export(model: models.Classifier, folder: Path, size: int, formats: list[str]) -> None:
    given = {"size": size, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "resize": size}
    contract = {"arch": model.arch, "classes": model.num_classes, "digest": "benchmark", "input": given}
    export_model(model, folder, name=model.arch, formats=formats, contract=contract)


def report(args: argparse.Namespace, times: dict[str, list[float]]) -> None:
    p50 = {name: float(np.median(taken)) for name, taken in times.items()}
    for name, median in p50.items():
        ratio = p50["eager"] / median
        print(f"{name:12} p50 {median:9.3f} ms   {ratio:6.2f} times eager   ({len(times[name])} runs)")
    result = {
        "model": args.model,
        "size": args.size,
        "batch": args.batch,
        "threads": args.threads,
        "repeats": len(times["eager"]),
        "p50_ms": {name: round(median, 4) for name, median in p50.items()},
        "ratio": {name: round(p50["eager"] / median, 2) for name, median in p50.items() if name != "eager"},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
