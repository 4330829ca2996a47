"""Precision and recall of the removal of near-duplicates, on duplicates planted into a pool of real photographs.

    python benchmarks/mine_duplicates.py [--photos FOLDER ...] [--garments 2000] [--repeats 3] [--seed 0]

Photographs are those that scikit-learn, matplotlib and (where installed) scikit-image bring along, and any that
--photos adds. Each is cut into tiles of 128 x 128 pixels that do not overlap, at most 16, evenly from all; every other
tile goes to the validation set, the rest to the pool, where they are negatives: other parts of the same photograph,
some of them of textures that repeat. From every validation tile each change below plants --repeats duplicates, drawn
anew. Fashion-MNIST (`ssld data prepare fashion_mnist`), where it is found in the data folder, adds negatives that look
alike: 500 of its images join the validation set, --garments others the pool.

recall: planted duplicates that were removed, as a copy of the tile that they were made of. precision: of all pool
images removed (duplicates of this change, and every negative), those that are such duplicates. In brackets: the lower
ends of Wilson's 95 % intervals. Ends with one JSON line.
"""

import argparse
import io
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import cv2
import faiss
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from ssld.data import FileList, read_list
from ssld.mine.picture import look
from ssld.mine.sources import Item
from ssld.mine.validation import Validation
from ssld.paths import data_root
from ssld.runtime import hardware

SHIPPED = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "skimage": tuple(
        f"data/{name}"
        for name in (
            "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
            "gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "moon.png", "page.png",
            "retina.jpg", "rocket.jpg",
        )
    ),
}  # fmt: skip
TILE = 128  # pixels of a side
TILES = 16  # of one photograph at most: large ones do not decide alone
FLAT = 12.0  # smallest standard deviation of the brightness of a tile, of 255: sky and black borders are left out
GARMENTS = 500  # in the validation set
Image_ = Image.Image


def jpeg(image: Image_, rng: np.random.Generator) -> Image_:
    """JPEG of quality 20 to 60"""
    held = io.BytesIO()
    image.save(held, "JPEG", quality=int(rng.integers(20, 61)))
    return Image.open(held).convert("RGB")


def resize(image: Image_, rng: np.random.Generator) -> Image_:
    """resized to 50 to 150 % of its sides, each of them apart by up to 10 %"""
    scale = rng.uniform(0.5, 1.5)
    width, height = (max(8, round(side * scale * rng.uniform(0.95, 1.05))) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def crop(image: Image_, rng: np.random.Generator, share: float = 0.8) -> Image_:
    """80 % of both sides (64 % of the area), anywhere"""
    width, height = (round(share * side) for side in image.size)
    left, top = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def flip(image: Image_, rng: np.random.Generator) -> Image_:
    """mirrored, left to right"""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def colour(image: Image_, rng: np.random.Generator) -> Image_:
    """brightness, contrast and saturation by 0.6 to 1.4 each, hue by up to 18 degrees"""
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = kind(image).enhance(rng.uniform(0.6, 1.4))
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.uint8(rng.integers(-13, 14) % 256)  # a turn has 256 steps
    return Image.fromarray(hsv, "HSV").convert("RGB")


def rotate(image: Image_, rng: np.random.Generator) -> Image_:
    """turned by up to 5 degrees, corners black"""
    return image.rotate(rng.uniform(-5, 5), Image.Resampling.BICUBIC)


def text(image: Image_, rng: np.random.Generator) -> Image_:
    """two lines of text across it, a sixth of its height each"""
    image = image.copy()
    font = ImageFont.load_default(size=max(8, image.height // 6))
    for place in rng.uniform(0, 0.8, 2):
        words = "".join(chr(letter) for letter in rng.integers(65, 91, 9))
        ink = tuple(int(c) for c in rng.integers(0, 256, 3))
        ImageDraw.Draw(image).text((2, place * image.height), words, fill=ink, font=font)
    return image


def area80(image: Image_, rng: np.random.Generator) -> Image_:
    """80 % of the area, anywhere"""
    return crop(image, rng, math.sqrt(0.8))


def crop70(image: Image_, rng: np.random.Generator) -> Image_:
    """70 % of both sides, anywhere: beyond the index's own cut-outs"""
    return crop(image, rng, 0.7)


def several(image: Image_, rng: np.random.Generator) -> Image_:
    """90 % of both sides, mirrored, colours changed, halved, JPEG"""
    changed = colour(flip(crop(image, rng, 0.9), rng), rng)
    return jpeg(changed.resize((changed.width // 2, changed.height // 2), Image.Resampling.BICUBIC), rng)


CHANGES: tuple[Callable[[Image_, np.random.Generator], Image_], ...] = (
    jpeg, resize, crop, flip, colour, rotate, text, area80, crop70, several,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", nargs="*", default=[], help="folders of more photographs")
    parser.add_argument("--garments", type=int, default=2000, help="images of Fashion-MNIST in the pool")
    parser.add_argument("--repeats", type=int, default=3, help="duplicates of each tile a change")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    faiss.omp_set_num_threads(threads)
    cv2.setNumThreads(1)
    photos = photographs(args.photos)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        root = Path(folder)
        listed, truth = plant(root, photos, args)
        start = time.perf_counter()
        validation = Validation(listed, pool)
        indexed = time.perf_counter() - start
        names = list(truth)
        start = time.perf_counter()
        found, looked = compare(validation, names, pool)
        seconds = time.perf_counter() - start
    rows = scores(names, truth, found)
    for row in rows:
        print(
            "{change:<10} {planted:6} {recall:8.4f} ({recall_low:.4f}) {precision:8.4f} ({precision_low:.4f})".format(
                **row
            )
        )
    conditions = {
        "photographs": len(photos), "validation": len(listed), "pool": len(names), "seed": args.seed,
        "negatives": sum(origin is None for _, origin in truth.values()),
        "removed_negatives": sum(truth[name][1] is None for name in found),
        "index_ms_an_image": round(1000 * indexed / len(listed), 2),
        "ms_an_image": round(1000 * seconds / len(names), 2),
        "candidates_an_image": round(looked / len(names), 3), "threads": threads, "hardware": hardware(),
        "opencv": cv2.__version__, "faiss": faiss.__version__,
    }  # fmt: skip
    print(json.dumps({"benchmark": "mine_duplicates", **conditions, "changes": rows}))


def photographs(folders: list[str]) -> list[Path]:
    found = []
    for package, files in SHIPPED.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            print(f"{package} is not installed: its photographs are left out")
            continue
        found += [Path(spec.origin).parent / file for file in files if (Path(spec.origin).parent / file).is_file()]
    for folder in folders:
        found += sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return found


def plant(
    root: Path, photos: list[Path], args: argparse.Namespace
) -> tuple[FileList, dict[str, tuple[str, int | None]]]:
    """Write validation and pool; returns the validation list, and for each file of the pool the change and the place in
    that list that it was made of (None: it was made of none)."""
    validation: list[str] = []
    truth: dict[str, tuple[str, int | None]] = {}
    for photo_number, photo in enumerate(photos):
        tiles = cut(Image.open(photo).convert("RGB"), TILE)
        for number, tile in enumerate(tiles):
            rng = np.random.default_rng((args.seed, photo_number, number))
            if number % 2:
                truth[store(root, f"pool-{photo.stem}-{number}", tile)] = ("negative", None)
                continue
            validation.append(store(root, f"val-{photo.stem}-{number}", tile))
            for change, again in itertools.product(CHANGES, range(args.repeats)):
                file = store(root, f"{change.__name__}-{photo.stem}-{number}-{again}", change(tile, rng))
                truth[file] = (change.__name__, len(validation) - 1)
    listed = data_root() / "fashion_mnist" / "train_all.txt"
    if listed.is_file():
        garments = read_list(listed, listed.parent)
        chosen = np.random.default_rng(args.seed).permutation(len(garments))
        validation += [os.path.abspath(garments.path(int(place))) for place in chosen[:GARMENTS]]
        truth |= {
            os.path.abspath(garments.path(int(place))): ("garment", None)
            for place in chosen[GARMENTS : GARMENTS + args.garments]
        }
    else:
        print(f"no {listed}: Fashion-MNIST is left out")
    return FileList(validation, np.full(len(validation), -1)), truth


def cut(photo: Image_, side: int) -> list[Image_]:
    """At most TILES tiles of side x side pixels that do not overlap, those without content left out."""
    boxes = [
        (left, top, left + side, top + side)
        for top in range(0, photo.height - side + 1, side)
        for left in range(0, photo.width - side + 1, side)
    ]
    tiles = [tile for tile in map(photo.crop, boxes) if np.asarray(tile.convert("L")).std() >= FLAT]
    return (
        [tiles[int(place)] for place in np.unique(np.linspace(0, len(tiles) - 1, TILES).astype(int))] if tiles else []
    )


def store(root: Path, name: str, image: Image_) -> str:
    file = root / f"{name}.png"
    image.save(file)
    return str(file)


def compare(validation: Validation, names: list[str], pool: ThreadPoolExecutor) -> tuple[dict[str, int], int]:
    """Which files are removed, and as a copy of which place of the validation list; candidates that SIFT looked at."""
    found: dict[str, int] = {}
    looked = 0
    for start in range(0, len(names), 64):
        batch = names[start : start + 64]
        pictures = list(pool.map(lambda name: look(Item(name, name)), batch))
        for name, (near, count) in zip(batch, validation.near(pictures, pool), strict=True):
            looked += count
            if near:
                found[name] = near.image
    return found, looked


def scores(names: list[str], truth: dict[str, tuple[str, int | None]], found: dict[str, int]) -> list[dict]:
    """A row a change, and one over all."""
    wrong = [name for name in found if truth[name][1] is None]
    rows = []
    for change in [*(function.__name__ for function in CHANGES), "all"]:
        planted = [name for name in names if truth[name][1] is not None and change in (truth[name][0], "all")]
        removed = [name for name in planted if name in found]
        right = sum(found[name] == truth[name][1] for name in removed)
        of = len(removed) + len(wrong)
        row = {"change": change, "planted": len(planted), "recall": right / len(planted)}
        row |= {"recall_low": wilson(right, len(planted)), "precision": right / of if of else 1.0}
        rows.append(row | {"precision_low": wilson(right, of)})
    return rows


def wilson(hits: int, of: int, z: float = 1.96) -> float:
    """Lower end of the interval of a share (Wilson 1927)."""
    if not of:
        return 0.0
    share = hits / of
    middle, spread = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return round((middle - spread) / (1 + z * z / of), 4)


if __name__ == "__main__":
    main()
