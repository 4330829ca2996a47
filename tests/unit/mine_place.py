"""This module makes a small pool and validation set from a real photograph, and a teacher without a network."""

import io
import tarfile
from pathlib import Path

import numpy as np
import sklearn
from PIL import Image

from ssld.config.cards import Input
from ssld.data import read_list
from ssld.data.lists import write_list
from ssld.mine import Job, Options, Teacher, shards

TILE = 128
INPUT = Input(size=32, resize=36, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def tiles(name="china"):
    """Return 12 tiles of 128 x 128 pixels that do not overlap, with content."""
    photo = Image.open(Path(sklearn.__file__).parent / "datasets/images" / f"{name}.jpg").convert("RGB")
    boxes = [
        (left, top, left + TILE, top + TILE) for top in range(170, 427 - TILE, TILE) for left in range(0, 513, TILE)
    ]
    return [photo.crop(box) for box in boxes]


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_tar(file, members):
    """Write a tar of {name: bytes}."""
    with tarfile.open(file, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def colours(images):
    """Return probabilities of three classes, how red, green and blue an image is: float32 [n, 3]."""
    weight = np.exp(4 * images.mean((2, 3)))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def plain(colour, level):
    """Return a picture of one colour (0 red, 1 green, 2 blue): the higher the level, the more of it."""
    pixels = np.full((40, 40, 3), 60, dtype=np.uint8)
    pixels[..., colour] = level
    return Image.fromarray(pixels)


def teacher(probabilities=colours, **facts):
    return Teacher(classes=3, input=INPUT, ready=lambda: probabilities, facts={"name": "colours", **facts})


def write_validation(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    write_list(folder / "val.txt", [f"{number}.png" for number in range(len(images))], [0] * len(images))
    return folder / "val.txt"


def job(tmp_path, *sources, out="out", k=2, scorer=None, part=(1, 1), **options):
    listed = tmp_path / "val" / "val.txt"
    if not listed.exists():
        write_validation(tmp_path / "val", tiles("flower")[:2])
    return Job(
        shards=shards(sources),
        teacher=scorer or teacher(),
        against=read_list(listed, listed.parent),
        against_list=listed,
        options=Options(k=k, **options),
        out=tmp_path / out,
        sources=[str(source) for source in sources],
        part=part,
        threads=2,
        quiet=True,
    )
