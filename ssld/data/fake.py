"""Write a tiny fake data set for `--smoke`: JPEG files of several sizes, the same bytes wherever Pillow is the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from ssld.data.lists import write_list


def fake(
    root: str | os.PathLike[str], classes: int, *, train: int = 64, val: int = 32, unlabelled: int = 64, test: int = 0,
    size: int = 64,
) -> dict[str, Path]:  # fmt: skip
    """Write images and the lists train_labelled.txt, train_unlabelled.txt, val.txt, test.txt under `root`.

    It returns name -> list; a list without images is not written.

    size: about the short side in pixels. Labels run through 0..classes-1 again and again; the label sets hue and
    stripes, so that even a fake run learns something.
    """
    base, number, lists = Path(root), 0, {}
    (base / "images").mkdir(parents=True, exist_ok=True)
    for name, count in (("train_labelled", train), ("train_unlabelled", unlabelled), ("val", val), ("test", test)):
        paths, labels = [], []
        for i in range(count):
            path = f"images/{number:05d}.jpg"
            _image(number, i % classes, size).save(base / path, quality=90)
            paths.append(path)
            labels.append(i % classes)
            number += 1
        if count:
            lists[name] = base / f"{name}.txt"
            write_list(lists[name], paths, None if name == "train_unlabelled" else labels)
    return lists


def _image(number: int, label: int, size: int) -> Image.Image:
    rng = np.random.default_rng([number, label])
    height, width = size + int(rng.integers(0, size // 2 + 1)), size + int(rng.integers(0, size // 2 + 1))
    y, x = np.mgrid[0:height, 0:width] / size
    angle, phase = 2.4 * label, rng.uniform(0, 6.3)
    wave = np.sin(phase + (6 + label % 5) * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
    hue = 0.5 + 0.4 * np.cos(1.7 * label + np.array([0.0, 2.1, 4.2]))
    noise = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(255 * hue * (0.75 + 0.25 * wave) + noise, 0, 255).astype(np.uint8))
