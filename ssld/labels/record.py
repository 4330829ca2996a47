"""This module defines one record: what is kept of a teacher's logits for one view of an image.

Of `classes` logits z the k largest are kept, and one number for all others:

    float16            max z
    float16 x k-1      max z - z of the second, third ... largest
    float16            max z - log(sum of exp z over the others)
    k class numbers of ceil(log2(classes)) bits each, the largest logit's first

With k = classes there are float16 max z, then max z - z of every class. A softmax at any temperature is made of
differences, and a float16 holds them to 1 part in 2,048: the small ones, which matter, almost exactly. The maximum
alone, an offset of all logits that no softmax depends on, is off by up to 0.008 for logits of 16 to 32.
"""

from dataclasses import dataclass

import numpy as np

from ssld.errors import DataError

HALF = np.dtype("<f2")
# The largest distance of a logit from the maximum; its probability is 0 long before.
FARTHEST = float(np.finfo(HALF).max)


@dataclass(frozen=True)
class Layout:
    """Describe records of `classes` classes that keep `k` logits: 1 <= k <= classes."""

    classes: int
    k: int

    @property
    def bits(self) -> int:
        """Return the bits of one class number."""
        return max(1, (self.classes - 1).bit_length())

    @property
    def size(self) -> int:
        """Return the bytes of a record."""
        if self.k == self.classes:
            return HALF.itemsize * (1 + self.classes)
        return HALF.itemsize * (self.k + 1) + -(-self.k * self.bits // 8)

    def encode(self, logits: np.ndarray) -> np.ndarray:
        """Turn float32 [n, classes] into uint8 [n, size]. Equal logits are kept in the order of their class numbers.

        Raises DataError for a logit that is not finite.
        """
        if not np.isfinite(logits).all():
            raise DataError("the teacher's logits are not finite; check its weights and its input")
        top = logits.max(axis=1, keepdims=True)
        below = (top - logits).astype(np.float64)
        if self.k == self.classes:
            return _halves(np.hstack([top, below]))
        classes = np.argsort(below, axis=1, kind="stable")
        kept_classes, other_classes = classes[:, : self.k], classes[:, self.k :]
        rest = -np.log(np.exp(-np.take_along_axis(below, other_classes, 1)).sum(axis=1, keepdims=True).clip(1e-300))
        numbers = _halves(np.hstack([top, np.take_along_axis(below, kept_classes[:, 1:], 1), rest]))
        bits = kept_classes[:, :, None] >> np.arange(self.bits)[::-1] & 1
        return np.hstack([numbers, np.packbits(bits.reshape(len(kept_classes), -1).astype(np.uint8), axis=1)])

    def decode(self, records: np.ndarray) -> np.ndarray:
        """Turn uint8 [n, size] into float32 [n, classes].

        The classes that were not kept get equal shares of what is left.
        """
        count = 1 + self.classes if self.k == self.classes else self.k + 1
        numbers = np.ascontiguousarray(records[:, : HALF.itemsize * count]).view(HALF).astype(np.float32)
        top = numbers[:, :1]
        if self.k == self.classes:
            return top - numbers[:, 1:]
        bits = np.unpackbits(records[:, HALF.itemsize * count :], axis=1)[:, : self.k * self.bits]
        kept_classes = bits.reshape(len(records), self.k, self.bits).astype(np.int64) @ (
            1 << np.arange(self.bits)[::-1]
        )
        share = numbers[:, -1:] + np.float32(np.log(self.classes - self.k))
        logits = np.repeat(top - share, self.classes, axis=1)
        np.put_along_axis(logits, kept_classes[:, :1], top, axis=1)
        np.put_along_axis(logits, kept_classes[:, 1:], top - numbers[:, 1:-1], axis=1)
        return logits


def _halves(values: np.ndarray) -> np.ndarray:
    """Return the bytes of float64 [n, m] as m float16 each, uint8 [n, 2 m]."""
    return np.ascontiguousarray(values.clip(-FARTHEST, FARTHEST).astype(HALF)).view(np.uint8)
