"""Use the classifier of a network, the layer that makes the logits, as a loss gets it: as tensors.

A classifier is linear, with a weight [d, classes], or a 1x1 convolution, with a weight [classes, d, 1, 1]. It may have
a bias [classes].
"""

from __future__ import annotations

from collections.abc import Mapping

from ssld.errors import RunError
from ssld.losses.lazy import Tensor

WEIGHT, BIAS = "classifier.weight", "classifier.bias"


def rows(weights: Mapping[str, Tensor]) -> Tensor:
    """Return the weight of each class, [classes, d]."""
    weight = weights[WEIGHT]
    return weight.T if weight.ndim == 2 else weight.flatten(1)


def classified(vectors: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return the logits [N, classes] that a classifier makes of vectors [N, d].

    It raises RunError where the classifier takes vectors of another width.
    """
    logits = vectors @ _fitting(vectors.shape[1], weights).T
    return logits + weights[BIAS] if BIAS in weights else logits


def class_maps(maps: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return the map of each class, [N, classes, H, W]: a classifier without bias on each pixel of maps [N, d, H, W].

    It raises RunError where the classifier takes vectors of another width than that of the map, as it does where
    further layers stand between them.
    """
    weight = _fitting(maps.shape[1], weights)
    n, width, height, breadth = maps.shape
    return (weight @ maps.reshape([n, width, -1])).reshape([n, -1, height, breadth])


def _fitting(width: int, weights: Mapping[str, Tensor]) -> Tensor:
    weight = rows(weights)
    if weight.shape[1] != width:
        what = f"the classifier takes {weight.shape[1]} numbers, and the tap has {width}"
        raise RunError(f"classifier: {what}; name the tap that the classifier takes, or choose another loss")
    return weight
