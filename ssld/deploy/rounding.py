"""How far the logits of a network and those of its file may lie apart when nothing but rounding makes the difference.

A file sums in another order than the network, so both round, and each in its own way. A sum of K products in a format
with the unit roundoff u is off by about sqrt(K) u of the sum of their sizes: roundings have either sign, and their
errors add up like the steps of a random walk, within CERTAINTY standard deviations nearly always (N. Higham and
T. Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41, 2019). From layer to layer,
which are in the same proportion to the values that they work on, these walks go on. Over layers whose sums have K_1,
K_2 ... products, and over the two that round, the share of the largest logit is

    CERTAINTY u sqrt(2 (K_1 + K_2 + ...))

A file of 16 bits computes its sums in 32 bits, and rounds the weights and the result of each of L layers:

    CERTAINTY u sqrt(2 L)

A network whose layers nearly cancel (a batch norm of next to no variance, logits that are small differences of large
numbers) multiplies its own rounding. What it does with it is measured where a file is beyond the bound: `own_error`.
"""

from __future__ import annotations

import copy
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from paddle.nn import Layer

UNIT = {"fp32": 2.0**-24, "fp16": 2.0**-11}
"""The unit roundoff of each format: half the distance from 1 to the next number."""
CERTAINTY = 4.0
"""Standard deviations of the random walk; one walk in 16,000 ends beyond 4."""
LEAST = 1e-5
"""The share is no less: correct exports of small networks were measured at up to 8e-6."""
TF32 = 1e-3
"""The share where the network itself runs on a GPU, whose convolutions may round to 11 bits."""
OWN = 8.0
"""A file may be so many times as far from the network as the network is from exact numbers.

Both are rounded results of one computation, whose errors are of one size; that of a few logits may be small by chance.
"""
MOST = 100.0
"""The bound grows so many times at most: what is multiplied more often is no rounding, or no network for float32."""


def share(model: Layer, precision: str) -> float:
    """Return the largest |difference| of logits that rounding explains, as a share of the largest |logit|.

    precision: `fp32` or `fp16`, in which the file computes.
    """
    import paddle

    layers, products = depth(model)
    roundings = products if precision == "fp32" else layers
    on_gpu = paddle.get_device().startswith("gpu")
    return max(CERTAINTY * UNIT[precision] * sqrt(2 * roundings), TF32 if on_gpu else LEAST)


def depth(model: Layer) -> tuple[int, int]:
    """Return the number of layers that compute sums, and the number of products of one sum of each, added up.

    Such a layer has a weight of two axes or more: [out, in / groups, ...] of a convolution, [in, out] of a linear one.
    """
    from paddle import nn

    products = []
    for layer in model.sublayers(include_self=True):
        for weight in layer.parameters(include_sublayers=False):
            if weight.ndim > 1:
                products.append(weight.shape[0] if isinstance(layer, nn.Linear) else prod(weight.shape[1:]))
    return len(products), sum(products)


def own_error(model: Layer, images: np.ndarray, logits: np.ndarray) -> float:
    """Return the largest |difference| of float32 logits of a network from those that it computes in float64.

    It is 0 for a network that cannot compute in float64. images: float32 [n, 3, S, S]. logits: float32 [n, classes].
    """
    import paddle

    from ssld.models import evaluating

    try:
        exact = copy.deepcopy(model)
        exact.to(dtype="float64")
        with evaluating(exact), paddle.no_grad():
            error = float(np.abs(exact(paddle.to_tensor(images.astype("float64"))).numpy() - logits).max())
    except Exception:  # noqa: BLE001 - it runs the model's own code: anything may come out of it
        return 0.0
    return error if np.isfinite(error) else 0.0
