"""Images for a bench: drawn ones for the network alone, JPEG files for the way from a file to an answer."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssld.data.geometry import half_up
from ssld.data.readable import Unreadable, content, decode, examine
from ssld.deploy.engines.registry import Run
from ssld.errors import DeployError
from ssld.spec.colours import WHITE

DRAWN, DRAWN_SIZE, QUALITY = 8, (500, 375), 90
"""Number of the drawn JPEG files, their width and height (the usual ones of ImageNet), and their quality."""


def drawn(contract: dict[str, Any], batch: int, size: int) -> np.ndarray:
    """Random images as an exported file takes them."""
    rng = np.random.default_rng(0)
    if contract["input"].get("dtype") == "uint8":
        return rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    return rng.random((batch, 3, size, size), np.float32)


def jpegs(files: Sequence[Path] = ()) -> list[bytes]:
    """The content of image files; without any, of photograph-like drawings: smooth shapes and some noise.

    DeployError, naming the file: one that cannot be read.
    """
    if files:
        return [read(file) for file in files]
    from PIL import Image

    rng, (width, height), made = np.random.default_rng(0), DRAWN_SIZE, []
    for _ in range(DRAWN):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        noisy = np.asarray(coarse.resize(DRAWN_SIZE, Image.Resampling.BICUBIC)) + rng.normal(0, 8, (height, width, 3))
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
        made.append(stream.getvalue())
    return made


def read(file: Path) -> bytes:
    try:
        data = content(str(file))
        examine(data)
    except Unreadable as error:
        raise DeployError(f"{file}: unreadable image ({error}); give another list of images") from None
    return data


def prepared(picture: bytes, given: dict[str, Any], size: int) -> np.ndarray:
    """Decode, resize the short side, cut the centre; normalise unless the file does: one image as it takes it.

    With Pillow, as a service in Python would; `given` is the contract's `input`, `size` the pixels of the crop. Raises
    `readable.Unreadable`.
    """
    from PIL import Image

    image = decode(picture, tuple(given.get("background", WHITE))).image.convert("RGB")
    short = half_up(given["resize"] * size, given["size"])
    width, height = (max(size, half_up(side * short, min(image.size))) for side in image.size)
    kind = Image.Resampling.BICUBIC if given.get("interpolation") == "cubic" else Image.Resampling.BILINEAR
    left, top = (width - size) // 2, (height - size) // 2
    cut = np.asarray(image.resize((width, height), kind).crop((left, top, left + size, top + size)))
    if given.get("dtype") == "uint8":
        return cut
    mean, std = np.array(given["mean"], np.float32), np.array(given["std"], np.float32)
    return ((cut / np.float32(255) - mean) / std).transpose(2, 0, 1)


def answer(run: Run, pictures: Sequence[bytes], given: dict[str, Any], size: int) -> np.ndarray:
    """From the bytes of image files to the network's answers, on one thread but for the network."""
    return run(np.stack([prepared(picture, given, size) for picture in pictures]).astype(given.get("dtype", "float32")))
