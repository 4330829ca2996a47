"""Training input pipeline on CPU against a plain Pillow/NumPy loop, and against decoding alone.

    python benchmarks/data_pipeline.py [--images 256] [--rounds 5] [--threads 1]

Synthetic JPEG files of about 49 KB (500 x 375). Each contender makes batches of 224 x 224 images with
random-resized-crop, flip and normalisation, on the same number of threads; `autoaugment` and `randaugment` add a
policy. Rounds are interleaved, so that another program on the machine slows all of them; every round makes and uses up
its own batches, so nothing prefetched is left when a clock starts. Ends with one JSON line; a ratio above 1 is faster
than the plain loop. Decoding alone (whole images, Pillow) is the floor of a pipeline that decodes more than the crop.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from ssld.data import Augment, FileList, Loader
from ssld.data.augment import draw

SIZE, BATCH, MEAN, STD = 224, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_images(root: str, count: int) -> FileList:
    """Smooth waves and grey noise, about 49 KB each."""
    for number in range(count):
        rng = np.random.default_rng(number)
        y, x = np.mgrid[0:375, 0:500]
        waves = [np.sin(y * rng.uniform(0, 0.1) + x * rng.uniform(0, 0.1) + c) for c in range(3)]
        noise = rng.normal(0, 3.9, (375, 500, 1))
        pixels = np.clip(120 + 60 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(os.path.join(root, f"{number}.jpg"), quality=90)
    return FileList([f"{i}.jpg" for i in range(count)], np.zeros(count, dtype=np.int64), root)


def plain(files: FileList, batches: int, threads: int) -> Callable[[], None]:
    """The loop that one would write first: Pillow decodes, crops and resizes, NumPy normalises."""
    mean, std = (np.float32(v)[:, None, None] * 255 for v in (MEAN, STD))
    pool = ThreadPoolExecutor(threads)

    def one(index: int) -> np.ndarray:
        with Image.open(files.path(index)) as opened:
            image = opened.convert("RGB")
        d = draw(Augment(), 0, 0, np.array([index]), np.array([(image.height, image.width)]), SIZE)
        (top, left), (height, width) = d.anchor[0].tolist(), d.shape[0].tolist()
        box = (left, top, left + width, top + height)
        pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))
        pixels = pixels[:, ::-1] if d.flip[0] else pixels
        return (pixels.transpose(2, 0, 1).astype(np.float32) - mean) / std

    def run() -> None:
        for batch in range(batches):
            np.stack(list(pool.map(one, [i % len(files) for i in range(batch * BATCH, (batch + 1) * BATCH)])))

    return run


def decode(files: FileList, batches: int, threads: int) -> Callable[[], None]:
    pool = ThreadPoolExecutor(threads)

    def one(index: int) -> None:
        with Image.open(files.path(index)) as image:
            image.load()

    def run() -> None:
        for _ in pool.map(one, [i % len(files) for i in range(batches * BATCH)]):
            pass

    return run


def ours(files: FileList, batches: int, threads: int, augment: Augment) -> Callable[[], None]:
    loader = Loader(files, size=SIZE, batch=BATCH, augment=augment, mean=MEAN, std=STD, seed=0, threads=threads)

    def run() -> None:
        for _ in loader.batches(0, batches):
            pass

    return run


def measure(contenders: dict[str, Callable[[], None]], images: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median images per second (wall) and CPU milliseconds per image of each contender."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):  # the first builds graphs and warms the page cache
        for name, run in contenders.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            run()
            if turn:
                wall[name].append(images / (time.perf_counter() - start))
                cpu[name].append(1000 * (time.process_time() - start_cpu) / images)
    return {
        name: {"images_per_second": statistics.median(wall[name]), "cpu_ms": statistics.median(cpu[name])}
        for name in contenders
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=256, help="images a contender makes in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    batches = max(1, options.images // BATCH)
    with tempfile.TemporaryDirectory() as root:
        files = write_images(root, batches * BATCH)
        kilobytes = statistics.mean(os.path.getsize(files.path(i)) for i in range(len(files))) / 1000
        contenders = {
            "plain": plain(files, batches, options.threads),
            "decode_only": decode(files, batches, options.threads),
            "ssld": ours(files, batches, options.threads, Augment()),
            "ssld_autoaugment": ours(files, batches, options.threads, Augment(auto="autoaugment")),
            "ssld_randaugment": ours(files, batches, options.threads, Augment(auto="randaugment")),
        }
        found = measure(contenders, batches * BATCH, options.rounds)
    for name, numbers in found.items():
        print(f"{name:18} {numbers['images_per_second']:7.0f} img/s   {numbers['cpu_ms']:6.2f} CPU-ms an image")
    base = found["plain"]
    ratios = {
        f"{kind}/{name}": round(value, 3)
        for name, numbers in found.items()
        if name != "plain"
        for kind, value in (
            ("wall", numbers["images_per_second"] / base["images_per_second"]),
            ("cpu", base["cpu_ms"] / numbers["cpu_ms"]),
        )
    }
    shape = {
        "images": batches * BATCH,
        "rounds": options.rounds,
        "threads": options.threads,
        "kilobytes": round(kilobytes, 1),
    }
    print(json.dumps({"benchmark": "data_pipeline", **shape, "ratio_to_plain": ratios}))


if __name__ == "__main__":
    main()
