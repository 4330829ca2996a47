"""An encoded image as mining sees it: its digest, a small grey picture, and the crop that the teacher takes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image

from ssld.config.cards import Input
from ssld.data.geometry import eval_geometry, half_up
from ssld.data.readable import Decoded, Unreadable, content, examine
from ssld.mine.sources import Item
from ssld.spec.colours import WHITE, Colour

DIGEST = 16  # bytes of a content's sha256 that are kept
SIDE = 256  # pixels of the longer side of a grey picture


@dataclass(frozen=True)
class Picture:
    """Hold a picture.

    digest: the first bytes of the file's sha256; grey: uint8 [h, w], the longer side SIDE; transparent: whether some
    pixels lie on the background; crop: float32 [3, size, size], normalised (None where no teacher is asked).
    """

    digest: bytes
    grey: np.ndarray
    transparent: bool = False
    crop: np.ndarray | None = None


def look(item: Item, given: Input | None = None, background: Colour = WHITE) -> Picture:
    """Read and decode one image; with `given`, also crop it as the evaluation of a teacher with that input does.

    The resize is the one of docs/data.md, in Pillow. Raises Unreadable for what a recipe could not train on either.
    """
    decoded, digest = read(item, background)
    image = decoded.image.convert("RGB")
    longer = max(image.size)
    width, height = (max(1, half_up(side * SIDE, longer)) for side in image.size)
    grey = np.asarray(image.convert("L").resize((width, height), Image.Resampling.BILINEAR))
    return Picture(digest, grey, decoded.transparent, centre_crop(image, given) if given else None)


def read(item: Item, background: Colour = WHITE) -> tuple[Decoded, bytes]:
    """Return the image of an item, as a training would see it, and the digest of its bytes. Raises Unreadable."""
    if item.fault:
        raise Unreadable(item.fault)
    try:
        data = content(item.file) if item.whole else item.read()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    return examine(data, background), sha256(data).digest()[:DIGEST]


def centre_crop(image: Image.Image, given: Input) -> np.ndarray:
    """Return float32 [3, size, size]: the short side is resized, the centre cut out and normalised."""
    sides, corner = eval_geometry(np.array([[image.height, image.width]]), given.resize, given.size)
    (height, width), (top, left) = sides[0].tolist(), corner[0].tolist()
    kind = Image.Resampling.BICUBIC if given.interpolation == "cubic" else Image.Resampling.BILINEAR
    resized = image.resize((width, height), kind)
    pixels = np.asarray(resized.crop((left, top, left + given.size, top + given.size)), dtype=np.float32)
    mean, std = (np.array(values, dtype=np.float32) for values in (given.mean, given.std))
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)
