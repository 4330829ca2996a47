"""Draw the sheet of docs/glyphs.md: for each part of the prepared glyphs a few families, and the same classes of each.

python benchmarks/glyph_sheet.py data/glyphs docs/figures/glyphs.png
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from ssld.data import read_list

FAMILIES, CLASSES, SIDE, GAP = 6, 24, 32, 12  # families of a part, classes of each, pixels of an image, between parts
PARTS = ("train_labelled", "train_unlabelled", "val", "test")


def sheet(folder: Path) -> Image.Image:
    """Return the parts one below the other, dark characters on white."""
    blocks = []
    for part in PARTS:
        paths = read_list(folder / f"{part}.txt", folder).paths
        faces = [list(group) for _, group in groupby(paths, key=lambda path: path.rpartition("/")[0])]
        rows = []
        for number in np.linspace(0, len(faces) - 1, FAMILIES).round().astype(int):
            shown = np.linspace(0, len(faces[number]) - 1, CLASSES).round().astype(int)
            rows.append(np.hstack([np.asarray(Image.open(folder / faces[number][place])) for place in shown]))
        blocks += [np.vstack(rows), np.zeros((GAP, CLASSES * SIDE), np.uint8)]
    return Image.fromarray(255 - np.vstack(blocks[:-1]))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    sheet(source).quantize(16).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")
