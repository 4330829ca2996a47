"""Training input pipeline on CPU against PaddleClas, a plain Pillow/NumPy loop, and decoding alone.

    python benchmarks/data_pipeline.py [--images 256] [--rounds 5] [--threads 1] [--peer PATH]

Synthetic JPEG files of about 49 KB (500 x 375). Each contender makes batches of 224 x 224 images with
random-resized-crop, flip and normalisation; `autoaugment` and `randaugment` add a policy. Ours, the plain loop and
decoding alone (whole images, Pillow) work on `--threads` threads; decoding alone is the floor of a pipeline that
decodes more than the crop. PATH is a checkout of PaddleClas (see _peer.py for what it needs): `peer_N` is its own
loader with N worker processes. Rounds are interleaved, so that another program on the machine slows all of them; every
round makes and uses up its own batches, so nothing prefetched is left when a clock starts. CPU time is that of all
threads and children. Ends with one JSON line; a ratio above 1 is faster than the base, the fastest of its kind.
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
from pathlib import Path
from typing import Any

import _peer
import numpy as np
from PIL import Image

from ssld import launch
from ssld.data import Augment, FileList, Loader
from ssld.data.augment import draw
from ssld.runtime import hardware

RANDAUGMENT = {"num_layers": 2, "magnitude": 9}  # as ours
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


def theirs(files: FileList, batches: int, workers: int, policy: dict[str, Any] | None) -> Callable[[], None]:
    """Its loader, an epoch a round."""
    lists = Path(files.root) / "list.txt"
    lists.write_text("".join(f"{path} 0\n" for path in files.paths[: batches * BATCH]), encoding="utf-8")
    block = _peer.reading(lists, Path(files.root), size=SIZE, batch=BATCH, workers=workers, policy=policy)
    loader = _peer.loader(block)

    def run() -> None:
        for _ in loader:
            pass

    return run


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its children that live and of those that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_seconds, launch.children(pid)))


def measure(contenders: dict[str, Callable[[], None]], images: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median images per second (wall) and CPU milliseconds per image of each contender."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):  # the first builds graphs and warms the page cache
        for name, run in contenders.items():
            start, start_cpu = time.perf_counter(), cpu_seconds(os.getpid())
            run()
            if turn:
                wall[name].append(images / (time.perf_counter() - start))
                cpu[name].append(1000 * (cpu_seconds(os.getpid()) - start_cpu) / images)
    return {
        name: {"images_per_second": statistics.median(wall[name]), "cpu_ms": statistics.median(cpu[name])}
        for name in contenders
    }


def ratios(found: dict[str, dict[str, float]], bases: list[str]) -> dict[str, float]:
    """Of every contender to the fastest of `bases`."""
    base = found[max(bases, key=lambda name: found[name]["images_per_second"])]
    return {
        f"{kind}/{name}": round(value, 3)
        for name, numbers in found.items()
        for kind, value in (
            ("wall", numbers["images_per_second"] / base["images_per_second"]),
            ("cpu", base["cpu_ms"] / numbers["cpu_ms"]),
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=256, help="images a contender makes in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", type=Path, help="checkout of PaddleClas")
    options = parser.parse_args()
    batches = max(1, options.images // BATCH)
    if options.peer:
        _peer.attach(options.peer)
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
        for workers in (0, 1, 2) if options.peer else ():
            contenders[f"peer_{workers}"] = theirs(files, batches, workers, None)
            contenders[f"peer_{workers}_randaugment"] = theirs(files, batches, workers, {"RandAugment": RANDAUGMENT})
        found = measure(contenders, batches * BATCH, options.rounds)
    for name, numbers in found.items():
        print(f"{name:20} {numbers['images_per_second']:7.0f} img/s   {numbers['cpu_ms']:6.2f} CPU-ms an image")
    given = {"images": batches * BATCH, "rounds": options.rounds, "threads": options.threads}
    conditions = {"hardware": hardware(), **given, "kilobytes": round(kilobytes, 1)}
    result = {"benchmark": "data_pipeline", **conditions, "ratio_to_plain": ratios(found, ["plain"])}
    if options.peer:
        policies = [name for name in found if name.startswith("peer") and name.endswith("randaugment")]
        plain_ones = [name for name in found if name.startswith("peer") and name not in policies]
        result |= {"ratio_to_peer": ratios(found, plain_ones), "ratio_to_peer_randaugment": ratios(found, policies)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
