"""Streaming selection at the size of ImageNet-22k: peak memory and time for 1, 4 and 14 million rows of scores.

    python benchmarks/mine_scale.py [--millions 1 4 14] [--classes 1000] [--k 4000] [--teacher MobileNetV3_small_x1_0]

Each size runs in a process of its own. Rows are simulated probabilities float32 [rows, classes], softmaxes of drawn
logits, BATCH at a time; no file is written. What is timed is what mining does with them: the sparse form, the look at
contents that were there before, the k best of each class, and last the sorted result. Making the rows is timed apart.
Times are CPU seconds of the process (one thread): other load on the machine counts little.
`peak_mb` is the highest resident memory of the process, interpreter and NumPy included.

Then the teacher: images a second of eager PaddlePaddle at 224 pixels on this machine, batch 32, median of --repeats,
and what 14,197,122 images (the size of ImageNet-22k) would take at that speed. Ends with one JSON line.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from ssld.mine.results import DIGEST, SeenContents, keys
from ssld.mine.topk import Rows, TopK, serving, sparse

BATCH = 2048
IMAGENET_22K = 14_197_122
BANK = 2048  # rows of drawn logits that all others are made of


def simulate(rows: int, classes: int, k: int) -> dict[str, float]:
    """Choose among `rows` simulated rows; seconds, and the number of rows that were chosen."""
    rng = np.random.default_rng(0)
    bank = rng.standard_normal((BANK, classes), dtype=np.float32) * 2.5
    top, seen = TopK(classes, k), SeenContents()
    spent, clock = dict.fromkeys(("making rows", "sparse", "copies", "k best"), 0.0), time.process_time()

    def lap(part: str) -> None:
        nonlocal clock
        spent[part] += time.process_time() - clock
        clock = time.process_time()

    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        found = probabilities(bank, rng, count)
        digest = rng.integers(0, 256, (count, DIGEST), dtype=np.uint8)
        lap("making rows")
        image, label, score = sparse(found)
        lap("sparse")
        fresh = seen.first(digest)[image]
        lap("copies")
        image, label, score = image[fresh], label[fresh], score[fresh]
        serves = serving(image, score, "best", 0.0)
        image = image[serves]
        top.add(Rows(label[serves], score[serves], keys(digest[image]), np.int64(start) + image))
        lap("k best")
    kept = len(top.rows())
    lap("k best")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = sum(spent.values()) - spent["making rows"]
    return {"rows": rows, "kept": kept, "seconds": seconds, "peak_mb": peak, **spent}


def probabilities(bank: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Softmaxes float32 [count, classes] of logits of the bank, each row sharpened by a factor of its own."""
    logits = bank[rng.integers(0, len(bank), count)] * rng.uniform(0.5, 2.0, (count, 1)).astype(np.float32)
    logits = np.roll(logits, int(rng.integers(0, bank.shape[1])), axis=1)
    np.exp(logits - logits.max(1, keepdims=True), out=logits)
    logits /= logits.sum(1, keepdims=True)
    return logits


def teacher_speed(name: str, repeats: int) -> dict[str, float | str]:
    """Images a second of a network with fresh weights: speed does not depend on them."""
    import paddle

    import ssld
    from ssld.runtime import hardware

    paddle.set_device("cpu")
    network = ssld.create_model(name)
    network.eval()
    images = paddle.randn([32, 3, 224, 224])
    times = []
    with paddle.no_grad():
        for _ in range(repeats + 1):
            clock = time.perf_counter()
            network(images).numpy()
            times.append(time.perf_counter() - clock)
    speed = 32 / float(np.median(times[1:]))
    hours = IMAGENET_22K / speed / 3600
    return {"teacher": name, "images_a_second": round(speed, 1), "hours_22k": round(hours, 1), "hardware": hardware()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 4, 14])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--k", type=int, default=4000)
    parser.add_argument("--teacher", nargs="*", default=["ResNet50_vd_ssld"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)  # of a process that was started by this one
    args = parser.parse_args()
    if args.rows:
        print(json.dumps(simulate(args.rows, args.classes, args.k)))
        return
    sizes = []
    for millions in args.millions:
        options = ["--rows", str(round(millions * 1e6)), "--classes", str(args.classes), "--k", str(args.k)]
        done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        row = {**row, "microseconds_a_row": round(1e6 * row["seconds"] / row["rows"], 3)}
        sizes.append({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
        print("{rows:>12,} rows: {seconds:8.1f} s, {microseconds_a_row} us a row, peak {peak_mb:,.0f} MB".format(**row))
    teachers = [teacher_speed(name, args.repeats) for name in args.teacher]
    for row in teachers:
        print("{teacher}: {images_a_second} images a second, ImageNet-22k in {hours_22k} hours".format(**row))
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    conditions = {"classes": args.classes, "k": args.k, "threads": threads, "numpy": np.__version__}
    print(json.dumps({"benchmark": "mine_scale", **conditions, "sizes": sizes, "teachers": teachers}))


if __name__ == "__main__":
    main()
