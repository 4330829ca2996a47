"""Training input pipeline on CPU against PaddleClas, a plain Pillow/NumPy loop, and decoding alone.

    python benchmarks/data_pipeline.py [--images 256] [--rounds 5] [--threads 1] [--peer PATH]

Synthetic JPEG files of about 49 KB (500 x 375). Each contender makes batches of 224 x 224 images with
random-resized-crop, flip and normalisation; `autoaugment` and `randaugment` add a policy, `labels` a teacher's logits
from a cache (10 of 1,000 classes). Ours, the plain loop and decoding alone (whole images, Pillow) work on `--threads`
threads; ours decodes, resizes and feeds side by side besides, so read its CPU time too. PATH is a checkout of
PaddleClas (see _peer.py for what it needs): `peer_N` is its own loader with N worker processes. Each is a process of
its own; they take turns, so that another program on the machine slows all of them, and every round makes and uses up
its own batches, so nothing prefetched is left when a clock starts. CPU time is that of all threads and children. Ends
with one JSON line; a ratio above 1 is faster than the base, the fastest of its kind.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _peer
import _turns
import numpy as np
from PIL import Image

from ssld import labels
from ssld.data import Augment, FileList, Loader, Views
from ssld.data.augment import draw
from ssld.runtime import hardware, start

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


def loader(files: FileList, threads: int, augment: Augment, views: Views | None = None) -> Loader:
    look: dict[str, Any] = {"size": SIZE, "mean": MEAN, "std": STD}
    return Loader(files, batch=BATCH, augment=augment, seed=0, threads=threads, views=views, **look)


def ours(files: FileList, batches: int, threads: int, augment: Augment) -> Callable[[], None]:
    made = loader(files, threads, augment)

    def run() -> None:
        for _ in made.batches(0, batches):
            pass

    return run


def with_labels(files: FileList, batches: int, threads: int) -> Callable[[], None]:
    cache = labels.Cache(Path(files.root).parent / "labels", labels.Layout(1000, 10), 1, len(files), BATCH)
    cache.folder.mkdir()

    def say(view: int, numbers: list[int]) -> Iterator[np.ndarray]:
        return (np.random.default_rng(n).normal(0, 3, (BATCH, 1000)).astype(np.float32) for n in numbers)

    labels.fill(cache, lambda: say, start("cpu"))
    made, logits = loader(files, threads, Augment(), Views(0, 1)), labels.CachedLogits(cache)

    def run() -> None:
        for _ in logits.labelled(made.batches(0, batches)):
            pass

    return run


def theirs(files: FileList, batches: int, workers: int, policy: dict[str, Any] | None) -> Callable[[], None]:
    """Its loader, an epoch a round."""
    lists = Path(files.root).parent / f"list_{workers}_{bool(policy)}.txt"
    lists.write_text("".join(f"{path} 0\n" for path in files.paths[: batches * BATCH]), encoding="utf-8")
    block = _peer.reading(lists, Path(files.root), size=SIZE, batch=BATCH, workers=workers, policy=policy)
    loader = _peer.loader(block)

    def run() -> None:
        for _ in loader:
            pass

    return run


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


def contenders(options: argparse.Namespace) -> list[str]:
    found = ["plain", "decode_only", "ssld", "ssld_labels", "ssld_autoaugment", "ssld_randaugment"]
    peers = [f"peer_{workers}" for workers in (0, 1, 2)] if options.peer else []
    return [*found, *peers, *(f"{peer}_randaugment" for peer in peers)]


def ready(options: argparse.Namespace, name: str, files: FileList) -> Callable[[], None]:
    """A round of the named contender."""
    batches, threads = len(files) // BATCH, options.threads
    kind, _, policy = name.partition("_")
    if name == "ssld_labels":
        return with_labels(files, batches, threads)
    if kind == "ssld":
        return ours(files, batches, threads, Augment(auto=policy or "none"))
    if kind == "peer":
        _peer.attach(options.peer)
        workers, _, policy = policy.partition("_")
        return theirs(files, batches, int(workers), {"RandAugment": RANDAUGMENT} if policy else None)
    return (plain if kind == "plain" else decode)(files, batches, threads)


def listed(root: Path) -> FileList:
    names = sorted((path.name for path in (root / "images").iterdir()), key=lambda name: int(name.split(".")[0]))
    return FileList(names, np.zeros(len(names), dtype=np.int64), str(root / "images"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=256, help="images a contender makes in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", type=Path, help="checkout of PaddleClas")
    parser.add_argument("--contender", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        name, root = options.contender[0], Path(options.contender[1])
        _turns.compete(root, lambda: (None, ready(options, name, listed(root))))
        return
    if options.peer:
        _peer.attach(options.peer)  # a wrong path is told now
    count = max(1, options.images // BATCH) * BATCH
    words = ["--threads", str(options.threads), *(["--peer", str(options.peer.resolve())] if options.peer else [])]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "images").mkdir()
        files = write_images(str(root / "images"), count)
        kilobytes = statistics.mean(os.path.getsize(files.path(i)) for i in range(count)) / 1000
        with _turns.open_door(root) as door:
            team = [_turns.invite(name, __file__, words, root, door) for name in contenders(options)]
            found = _turns.take_turns(team, count, options.rounds)
    for name, numbers in found.items():
        print(f"{name:20} {numbers['images_per_second']:7.0f} img/s   {numbers['cpu_ms']:6.2f} CPU-ms an image")
    given = {"images": count, "rounds": options.rounds, "threads": options.threads}
    conditions = {"hardware": hardware(), **given, "kilobytes": round(kilobytes, 1)}
    result = {"benchmark": "data_pipeline", **conditions, "ratio_to_plain": ratios(found, ["plain"])}
    result |= {"ratio_to_decoding": ratios(found, ["decode_only"]), "ratio_to_ssld": ratios(found, ["ssld"])}
    if options.peer:
        policies = [name for name in found if name.startswith("peer") and name.endswith("randaugment")]
        plain_ones = [name for name in found if name.startswith("peer") and name not in policies]
        result |= {"ratio_to_peer": ratios(found, plain_ones), "ratio_to_peer_randaugment": ratios(found, policies)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
