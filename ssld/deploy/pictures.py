"""This module makes images for a bench: random arrays for the network alone, JPEG files for the way to an answer."""

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
"""The number of drawn JPEG files, their width and height (usual ones of ImageNet), and their quality."""


def random_images(contract: dict[str, Any], batch: int, size: int) -> np.ndarray:
    """Return random images as an exported file takes them."""
    rng = np.random.default_rng(0)
    if contract["input"].get("dtype") == "uint8":
        return rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    return rng.random((batch, 3, size, size), np.float32)


def jpegs(files: Sequence[Path] = ()) -> list[bytes]:
    """Return the content of image files; without any, of photograph-like drawings: smooth shapes and some noise.

    DeployError, naming the file: one that cannot be read.
    """
    if files:
        return [read(file) for file in files]
    from PIL import Image

    rng, (width, height), contents = np.random.default_rng(0), DRAWN_SIZE, []
    for _ in range(DRAWN):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        noisy = np.asarray(coarse.resize(DRAWN_SIZE, Image.Resampling.BICUBIC)) + rng.normal(0, 8, (height, width, 3))
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
        contents.append(stream.getvalue())
    return contents


def read(file: Path) -> bytes:
    """Read an image file. Raises DeployError where that fails."""
    try:
        data = content(str(file))
        examine(data)
    except Unreadable as error:
        raise DeployError(f"{file}: unreadable image ({error}); give another list of images") from None
    return data


def preprocess(picture: bytes, input_spec: dict[str, Any], size: int) -> np.ndarray:
    """Turn the bytes of an image file into one image as the exported file takes it.

    It decodes, resizes the short side, cuts the centre, and normalises unless the file does. It does so with Pillow, as
    a service in Python would. input_spec: the contract's `input`. size: pixels of the crop. Raises
    `readable.Unreadable`.
    """
    from PIL import Image

    image = decode(picture, tuple(input_spec.get("background", WHITE))).image.convert("RGB")
    short = half_up(input_spec["resize"] * size, input_spec["size"])
    width, height = (max(size, half_up(side * short, min(image.size))) for side in image.size)
    kind = Image.Resampling.BICUBIC if input_spec.get("interpolation") == "cubic" else Image.Resampling.BILINEAR
    left, top = (width - size) // 2, (height - size) // 2
    cut = np.asarray(image.resize((width, height), kind).crop((left, top, left + size, top + size)))
    if input_spec.get("dtype") == "uint8":
        return cut
    mean, std = np.array(input_spec["mean"], np.float32), np.array(input_spec["std"], np.float32)
    return ((cut / np.float32(255) - mean) / std).transpose(2, 0, 1)


def answer(run: Run, pictures: Sequence[bytes], input_spec: dict[str, Any], size: int) -> np.ndarray:
    """Run the network on image files, given as bytes, and return its answers. All but the network uses one thread."""
    return run(
        np.stack([preprocess(picture, input_spec, size) for picture in pictures]).astype(
            input_spec.get("dtype", "float32")
        )
    )
