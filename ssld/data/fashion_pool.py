"""Prepare a pool for a mining whose better half is known: garments of Fashion-MNIST without labels, and digits."""

from __future__ import annotations

import os

import numpy as np

from ssld.data import digits, fashion_mnist
from ssld.data.digits import png
from ssld.data.sampler import epoch_order
from ssld.data.split import take_per_class
from ssld.data.target import Prepared, Progress, Target

FEW, POOL = 100, 150  # garments of a class: with a label, and in the pool
RANDOM = 1000  # images drawn from the pool, as many as a mining of 100 a class chooses


def prepare(out: str | os.PathLike[str], progress: Progress, source: str | os.PathLike[str] | None = None) -> Prepared:
    """Write PNG files and the lists few, pool and random.

    few: 1,000 garments with labels, among the 6,000 labelled ones of `fashion_mnist`; pool: 1,500 other garments and
    1,797 digits, without labels; random: images that are drawn from the pool with seed 0. source: as in
    `fashion_mnist`. It raises DataError as `fashion_mnist` and `digits` do.
    """
    target = Target("fashion_pool", out, {})
    if data_set := target.done():
        return data_set
    garments, labels = fashion_mnist.training_part(source)
    others, _ = digits.load()
    few, _, unlabelled, _ = take_per_class(labels, [FEW, fashion_mnist.LABELLED - FEW, POOL], seed=0)
    images = {f"few/{i:05d}.png": garments[i] for i in few}
    pool = {f"pool/garment-{i:05d}.png": garments[i] for i in unlabelled}
    pool |= {f"pool/digit-{i:04d}.png": image for i, image in enumerate(others)}
    for number, (path, image) in enumerate((images | pool).items(), start=1):
        target.save(path, png(image))
        progress(number, len(images) + len(pool))
    target.save_list("few.txt", list(images), labels[few].tolist())
    target.save_list("pool.txt", list(pool))
    drawn = np.sort(epoch_order(0, 0, len(pool))[:RANDOM])
    target.save_list("random.txt", [list(pool)[i] for i in drawn])
    return target.finish(fashion_mnist.CLASSES)
