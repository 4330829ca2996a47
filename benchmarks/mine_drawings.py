"""Recall and precision of the removal of near-duplicates on drawings and icons with transparency.

    python benchmarks/mine_drawings.py FOLDER [--images 1200] [--seed 0]

FOLDER holds PNG files with transparency, as Debian's package `openclipart-png` has them under /usr/share/openclipart.
A quarter of an even selection of them becomes the validation set, the rest the pool, all of at most 300 pixels a side.
Of each validation image two copies on white are planted, a PNG file and a JPEG file of quality 75.

recall: copies that were removed, for whichever validation image. unplanted: images of the pool that were removed though
nobody planted them; the table of their names is printed, for somebody to look at, as drawings have true copies under
other names. Playing cards, by names that end in SUIT_RANK.png with the suits s, h, d and c, need nobody: `cards` counts
those that were removed for a card of another suit or rank. Ends with one JSON line.
"""

import argparse
import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mine_duplicates import compare
from PIL import Image

from ssld.data import FileList
from ssld.data.readable import Unreadable, content, decode
from ssld.mine.validation import Validation
from ssld.runtime import hardware

SIDE = 300
CARD = re.compile(r"_([shdc])_(\w+)$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.threads) as pool:
        names = prepared(args, Path(folder))
        validation = names[::4]
        copies = {copy: name for name in validation for copy in plant(name)}
        others = [name for name in names if name not in set(validation)]
        known = Validation(FileList(validation, np.full(len(validation), -1), ""), pool)
        found, _ = compare(known, [*copies, *others], pool)
    result = {"validation": len(validation), "pool": len(others), "hardware": hardware()}
    for kind in ("png", "jpg"):
        planted = [copy for copy in copies if copy.endswith(f"copy.{kind}")]
        result[f"recall_{kind}"] = round(sum(copy in found for copy in planted) / len(planted), 4)
    pairs = [(stem(name), stem(validation[found[name]])) for name in others if name in found]
    cards = [(own, other) for own, other in pairs if card(own) and card(other)]
    result |= {"unplanted": len(pairs), "cards": sum(card(own) != card(other) for own, other in cards)}
    result["same_cards"] = len(cards) - result["cards"]
    print("\n".join(f"{own} = {other}" for own, other in pairs))
    print(json.dumps(result))


def prepared(args: argparse.Namespace, out: Path) -> list[str]:
    """An even selection of the images, in an order drawn with the seed, each at most SIDE pixels wide and high."""
    found = sorted(args.folder.rglob("*.png"))
    chosen = np.random.default_rng(args.seed).permutation(len(found))[: args.images]
    names = []
    for number in chosen.tolist():
        try:
            transparent = decode(content(str(found[number]))).transparent
        except Unreadable:
            continue
        if transparent:
            image = Image.open(found[number]).convert("RGBA")
            image.thumbnail((SIDE, SIDE))
            names.append(str(out / f"{number}-{found[number].stem}.png"))
            image.save(names[-1])
    return names


def plant(name: str) -> list[str]:
    """The copies of one image on white."""
    image = Image.open(name)
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image.getchannel("A"))
    copies = [name.replace(".png", "-copy.png"), name.replace(".png", "-copy.jpg")]
    for copy in copies:
        canvas.save(copy, quality=75)
    return copies


def stem(name: str) -> str:
    return Path(name).stem.partition("-")[2]


def card(name: str) -> tuple[str, ...] | None:
    """Suit and rank that a name ends in."""
    match = CARD.search(name)
    return match.groups() if match else None


if __name__ == "__main__":
    main()
