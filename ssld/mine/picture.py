"""An encoded image as mining sees it: its digest, a small grey picture, and the crop that the teacher takes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssld.config.cards import Input
from ssld.data.check import DALI_FORMATS
from ssld.data.pipeline import eval_geometry
from ssld.mine.sources import Item

DIGEST = 16  # bytes of a content's sha256 that are kept
SIDE = 256  # pixels of the longer side of a grey picture


class Unreadable(Exception):
    """An image that cannot be used; the text says why."""


@dataclass(frozen=True)
class Picture:
    """digest: the first bytes of the file's sha256; grey: uint8 [h, w], the longer side SIDE; crop: float32
    [3, size, size], normalised (None where no teacher is asked)."""

    digest: bytes
    grey: np.ndarray
    crop: np.ndarray | None = None


def look(item: Item, given: Input | None = None) -> Picture:
    """Read and decode one image; with `given`, also crop it as the evaluation of a teacher with that input does.

    The resize is the one of docs/data.md, in Pillow. Raises Unreadable for what a recipe could not train on either.
    """
    if item.fault:
        raise Unreadable(item.fault)
    try:
        data = item.read()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    image = decode(data)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR))
    return Picture(sha256(data).digest()[:DIGEST], grey, centre_crop(image, given) if given else None)


def decode(data: bytes) -> Image.Image:
    """The RGB image of encoded bytes, as stored: EXIF orientation is not applied. Raises Unreadable."""
    if not data:
        raise Unreadable("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF data and large images: no fault here
            with Image.open(io.BytesIO(data)) as image:
                if image.format not in DALI_FORMATS:
                    raise Unreadable(f"{image.format} is not read by DALI")
                return image.convert("RGB")
    except UnidentifiedImageError:
        raise Unreadable("no image of a kind that Pillow knows") from None
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise almost anything on damaged bytes
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from None


def centre_crop(image: Image.Image, given: Input) -> np.ndarray:
    """float32 [3, size, size]: the short side resized, the centre cut out, normalised."""
    sides, corner = eval_geometry(np.array([[image.height, image.width]]), given.resize, given.size)
    (height, width), (top, left) = sides[0].tolist(), corner[0].tolist()
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized.crop((left, top, left + given.size, top + given.size)), dtype=np.float32)
    mean, std = (np.array(values, dtype=np.float32) for values in (given.mean, given.std))
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)
